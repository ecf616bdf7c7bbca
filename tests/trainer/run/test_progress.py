"""Progress: a bar where it can be redrawn, plain lines elsewhere."""

import contextlib
import os
import pty
import re
import subprocess
import sys
import termios

import pytest

from trainer.run import progress as progress_lib
from trainer.run.progress import progress

WORK = (
    "from trainer.run.progress import progress\n"
    "with progress(40, 'head', 'steps') as shown:\n"
    "    for step in range(40): shown.update(1)"
)
EPOCHS = (
    "from trainer.run.progress import progress\n"
    "with progress(40, 'fine_tune', parts=True) as shown:\n"
    "    for epoch in range(1, 5):\n"
    "        shown.update(10)\n"
    "        shown.part(f'epoch {epoch}', 'loss 0.1{}', 'val. loss 0.234',\n"
    "            'balanced accuracy 0.567')"
)
LOADING = (
    "import sys, time\n"
    "from trainer.run import progress\n"
    "with progress.working('loading TensorFlow'):\n"
    "    time.sleep(1.2)\n"
    "    progress.note('floatx is replaced.')\n"
    "print('loaded', file=sys.stderr)"
)


@pytest.fixture
def every_tenth(monkeypatch):
    """Plain lines come though the work takes no time."""
    monkeypatch.setattr(progress_lib, "_PAUSE", 0.0)


def lines(total: int, done: int, each: int, capsys, before: int = 0) -> list[str]:
    with progress(total, "computing", done=before) as shown:
        for _ in range(done // each):
            shown.update(each)
    printed = capsys.readouterr()
    assert printed.out == ""
    return printed.err.splitlines()


def test_a_pipe_gets_plain_lines():
    done = subprocess.run([sys.executable, "-c", WORK], capture_output=True, text=True, check=True)
    assert done.stdout == ""
    assert "\r" not in done.stderr and "\x1b" not in done.stderr
    *_, last = done.stderr.splitlines()  # the only one where the work is quick
    assert re.fullmatch(r"head: 100 %, 40 of 40 steps, \d\d:\d\d", last)


def on_a_terminal(columns: int, work: str = WORK) -> bytes:
    """What work draws on a terminal of 24 lines."""
    mine, theirs = pty.openpty()
    termios.tcsetwinsize(theirs, (24, columns))
    subprocess.run([sys.executable, "-c", work], stderr=theirs, check=True)
    os.close(theirs)
    drawn = b""
    with contextlib.suppress(OSError):  # all is read
        while True:
            drawn += os.read(mine, 4096)
    os.close(mine)
    return drawn


def test_a_terminal_gets_a_bar_that_is_redrawn():
    drawn = on_a_terminal(columns=100)
    assert drawn.count(b"\n") == 1  # at the end
    last = drawn.split(b"\r")[-2]
    assert all(part in last for part in (b"head: 100%", b"40/40", b"steps/s"))


def test_a_terminal_without_a_width_gets_plain_lines():
    drawn = on_a_terminal(columns=0)
    assert drawn.count(b"\n") == 1
    assert b"head: 100 %, 40 of 40 steps" in drawn


@pytest.mark.usefixtures("every_tenth")
def test_slow_work_gives_a_line_for_every_tenth(capsys):
    assert [line.split(", ")[0] for line in lines(40, 40, 1, capsys)] == [
        f"computing: {tenth}0 %" for tenth in range(1, 11)
    ]


@pytest.mark.usefixtures("every_tenth")
def test_large_steps_give_a_line_each(capsys):
    assert [line.split(",")[0] for line in lines(3, 3, 1, capsys)] == [
        "computing: 33 %", "computing: 67 %", "computing: 100 %"
    ]  # fmt: skip


@pytest.mark.usefixtures("every_tenth")
def test_numbers_are_grouped(capsys):
    assert ", 600,000 of 1,200,000 images, " in lines(1_200_000, 600_000, 600_000, capsys)[0]


def test_work_that_ends_early_says_where(capsys):
    assert lines(1000, 450, 10, capsys)[-1].startswith("computing: 45 %, 450 of 1,000 images")


def test_slow_work_shows_that_it_goes_on(capsys, monkeypatch):
    monkeypatch.setattr(progress_lib, "_SILENCE", 0.0)
    assert len(lines(1000, 5, 1, capsys)) == 5


@pytest.mark.parametrize(("total", "label"), [(0, "computing"), (10, "")])
def test_no_work_and_no_label_show_nothing(total, label, capsys):
    with progress(total, label) as shown:
        shown.update(5)
        shown.part("text")
    assert capsys.readouterr() == ("", "")


def test_something_else_can_show_it(capsys):
    texts = []
    with progress_lib.shown_by(texts.append), progress(2000, "computing") as shown:
        shown.update(500)
        shown.part("epoch 1", "loss 0.5")
        shown.update(500)
        with progress_lib.working("drawing"):
            pass
    assert texts == [
        "computing: 25 %, 500 of 2,000 images", "computing: 25 %, epoch 1, loss 0.5",
        "computing: 50 %, epoch 1, loss 0.5", "drawing", "", "",
    ]  # fmt: skip
    assert capsys.readouterr() == ("", "")
    assert lines(1000, 450, 10, capsys)  # afterwards as before


# Work of which a part was done before


@pytest.mark.usefixtures("every_tenth")
def test_lines_begin_where_the_work_goes_on(capsys):
    assert [line.rpartition(",")[0] for line in lines(40, 5, 1, capsys, before=30)] == [
        "computing: 80 %, 32 of 40 images",
        "computing: 88 %, 35 of 40 images",
    ]


def test_work_that_was_done_before_is_one_line(capsys):
    assert [line.rpartition(",")[0] for line in lines(4, 0, 1, capsys, before=4)] == [
        "computing: 100 %, 4 of 4 images"
    ]


@pytest.mark.slow
def test_a_bar_begins_where_the_work_goes_on_and_counts_the_speed_of_the_rest():
    work = WORK.replace("'steps')", "'steps', done=30)").replace(
        "range(40): shown.update(1)", "range(10): time.sleep(0.1); shown.update(1)"
    )
    drawn = on_a_terminal(columns=100, work=f"import time\n{work}").split(b"\r")
    assert b"head:  75%" in drawn[1] and b"30/40" in drawn[1]
    assert b"head: 100%" in drawn[-2] and b"40/40" in drawn[-2]
    rate = float(re.search(rb"([\d.]+) steps/s", drawn[-2])[1])
    assert 0 < rate < 11  # ten steps in a second or more, not forty


def test_something_else_is_shown_where_the_work_goes_on():
    texts = []
    with progress_lib.shown_by(texts.append), progress(40, "computing", done=30) as shown:
        shown.update(1)
    assert texts == ["computing: 78 %, 31 of 40 images", ""]


# Work in parts, such as epochs


def test_a_pipe_gets_one_line_a_part_with_the_time(capsys):
    with progress(40, "head", parts=True) as shown:
        for epoch in range(4):
            for _ in range(10):
                shown.update(1)
            shown.part(f"epoch {epoch + 1}", "balanced accuracy 0.567")
    lines = capsys.readouterr().err.splitlines()
    assert [line[:-5] for line in lines] == [
        f"head: epoch {epoch}, balanced accuracy 0.567, " for epoch in range(1, 5)
    ]
    assert all(re.fullmatch(r"\d\d:\d\d", line[-5:]) for line in lines)


def test_parts_that_do_not_end_show_where_the_work_is(capsys):
    with progress(40, "head", parts=True) as shown:
        shown.update(10)
        shown.part("epoch 1")
        shown.update(5)
    last = capsys.readouterr().err.splitlines()[-1]
    assert re.fullmatch(r"head: 38 %, 15 of 40 images, \d\d:\d\d", last)


@pytest.mark.parametrize("columns", [20, 40, 60, 80, 100, 120, 200])
def test_a_bar_of_parts_is_as_wide_as_the_terminal_and_keeps_what_matters(columns):
    drawn = on_a_terminal(columns, EPOCHS).decode().replace("\x1b[A", "")
    shown = [line.rstrip() for line in re.split("[\r\n]+", drawn) if line.strip()]
    assert max(map(len, shown)) < columns
    assert "fine_tune 100%" in shown[-1]
    for text, from_columns in (
        ("balanced accuracy 0.567", 40), ("val. loss 0.234", 60), ("loss 0.1{}", 80),
        ("epoch 4", 80), ("left", 100),
    ):  # fmt: skip
        assert (text in shown[-1]) == (columns >= from_columns), (text, shown[-1])


# Work that can't be counted


@pytest.mark.slow
def test_a_pipe_gets_a_line_when_it_begins():
    done = subprocess.run(
        [sys.executable, "-c", LOADING], capture_output=True, text=True, check=True
    )
    assert done.stderr == "loading TensorFlow ...\nfloatx is replaced.\nloaded\n"


@pytest.mark.slow
def test_a_terminal_gets_a_clock_that_is_erased():
    drawn = on_a_terminal(80, LOADING.replace("1.2", "4")).decode()
    assert "\x1b[Kloading TensorFlow ..." in drawn
    assert re.search(r"loading TensorFlow \.\.\. [1-4] s", drawn)
    assert "\x1b[Kfloatx is replaced.\r\n" in drawn
    assert drawn.endswith("\r\x1b[Kloaded\r\n")


@pytest.mark.slow
def test_a_clock_is_no_wider_than_the_terminal():
    drawn = on_a_terminal(16, LOADING).decode()
    shown = [line.removeprefix("\x1b[K") for line in drawn.split("\r")]
    assert "loading TensorF" in shown and "loading TensorFlow" not in drawn


# Paragraphs


FITTED = """
import sys
from trainer.run.progress import fitted, note
print(fitted("runs/a holds this run, and it has ended.\\n--overwrite"), file=sys.stderr)
note("a second process has this folder, and waits")
"""


@pytest.mark.parametrize("columns", [24, 60])
def test_a_paragraph_is_no_wider_than_the_terminal(columns):
    shown = on_a_terminal(columns, FITTED).decode().split("\r\n")
    assert max(map(len, shown)) <= columns
    assert " ".join(shown).startswith("runs/a holds this run, and it has ended. --overwrite a sec")


def test_a_paragraph_in_a_file_is_one_line():
    done = subprocess.run([sys.executable, "-c", FITTED], capture_output=True, text=True)
    assert done.stderr.split("\n") == [
        "runs/a holds this run, and it has ended.",
        "--overwrite",
        "a second process has this folder, and waits",
        "",
    ]


def test_no_label_is_no_work(capsys):
    with progress_lib.working(""):
        pass
    assert capsys.readouterr() == ("", "")
