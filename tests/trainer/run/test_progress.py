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
    "    for step in range(40): shown.update(1); shown.set(f'loss {step}')"
)


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
    shown = [line.split(", ") for line in done.stderr.splitlines()]
    assert [line[0] for line in shown] == [f"head: {tenth}0 %" for tenth in range(1, 11)]
    assert [line[1] for line in shown][-1] == "40 of 40 steps"
    assert [line[3] for line in shown][-1] == "loss 39"  # set after the last step


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
    assert all(part in last for part in (b"head: 100%", b"40/40", b"steps/s", b"loss 39"))


def test_a_terminal_without_a_width_gets_plain_lines():
    drawn = on_a_terminal(columns=0)
    assert drawn.count(b"\n") == 10
    assert b"head: 100 %, 40 of 40 steps" in drawn


def test_large_steps_give_a_line_each(capsys):
    assert [line.split(",")[0] for line in lines(3, 3, 1, capsys)] == [
        "computing: 33 %", "computing: 67 %", "computing: 100 %"
    ]  # fmt: skip


def test_numbers_are_grouped(capsys):
    assert ", 600,000 of 1,200,000 images, " in lines(1_200_000, 600_000, 600_000, capsys)[0]


def test_work_that_ends_early_says_where(capsys):
    assert lines(1000, 450, 10, capsys)[-1].startswith("computing: 45 %, 450 of 1,000 images")


def test_slow_work_shows_that_it_goes_on(capsys, monkeypatch):
    monkeypatch.setattr(progress_lib, "_SILENCE", 0.0)
    assert len(lines(1000, 5, 1, capsys)) == 6


@pytest.mark.parametrize(("total", "label"), [(0, "computing"), (10, "")])
def test_no_work_and_no_label_show_nothing(total, label, capsys):
    with progress(total, label) as shown:
        shown.update(5)
        shown.set("text")
    assert capsys.readouterr() == ("", "")


def test_something_else_can_show_it(capsys):
    texts = []
    with progress_lib.shown_by(texts.append), progress(2000, "computing") as shown:
        shown.set("slowly")
        shown.update(500)
    assert texts == ["computing: 25 %, 500 of 2,000 images, slowly", ""]
    assert capsys.readouterr() == ("", "")
    lines(1000, 450, 10, capsys)  # afterwards as before


# Work of which a part was done before


def test_lines_begin_where_the_work_goes_on(capsys):
    assert [line.rpartition(",")[0] for line in lines(40, 5, 1, capsys, before=30)] == [
        "computing: 80 %, 32 of 40 images",
        "computing: 88 %, 35 of 40 images",
    ]


def test_work_that_was_done_before_is_one_line(capsys):
    assert [line.rpartition(",")[0] for line in lines(4, 0, 1, capsys, before=4)] == [
        "computing: 100 %, 4 of 4 images"
    ]


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
