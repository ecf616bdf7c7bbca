"""Progress that fits a terminal and is plain lines elsewhere."""

import errno
import fcntl
import os
import select
import struct
import sys
import termios

import pytest

from covid_tfds import progress


def read_until(handle: int, text: str, times: int = 1) -> str:
    """What a terminal shows, up to a text that has to come so often; it comes in pieces."""
    drawn = b""
    while drawn.count(text.encode()) < times:
        assert select.select([handle], [], [], 30)[0], f"only {drawn!r} was drawn"
        drawn += os.read(handle, 100_000)
    return drawn.decode(errors="replace")


@pytest.mark.parametrize("columns", [40, 80, 120])
def test_a_bar_is_narrower_than_its_terminal(monkeypatch, columns):
    outer, inner = os.openpty()
    fcntl.ioctl(inner, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    with open(inner, "w") as terminal:
        monkeypatch.setattr(sys, "stderr", terminal)
        assert progress.drawn()
        assert list(progress.counted(range(30), "reading", 30)) == list(range(30))
        with progress.shown("comparing the images with each other"):
            pass
        sys.stderr.flush()
        drawn = read_until(outer, "each other" if columns >= 80 else "reading: 100%")
    os.close(outer)
    assert "reading: 100%" in drawn
    if columns >= 80:
        assert "comparing the images with each other ..." in drawn
    assert all(len(line) < columns for line in drawn.replace("\r", "\n").split("\n"))


def test_a_bars_clock_moves_while_the_work_stands(monkeypatch):
    outer, inner = os.openpty()
    fcntl.ioctl(inner, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
    monkeypatch.setattr(progress, "_TICK", 0.001)
    with open(inner, "w") as terminal:
        monkeypatch.setattr(sys, "stderr", terminal)
        with progress.shown("comparing"):
            read_until(outer, "comparing ... 00:0", times=3)
    os.close(outer)


@pytest.mark.parametrize("pause,shown", [(0.0, range(10, 101, 10)), (60.0, [100])])
def test_elsewhere_there_are_plain_lines(capfd, monkeypatch, pause, shown):
    monkeypatch.setattr(progress, "_PAUSE", pause)
    with open(2, "w", closefd=False) as stderr:
        monkeypatch.setattr(sys, "stderr", stderr)
        assert not progress.drawn()
        assert sum(1 for _ in progress.counted(range(3_000), "reading", 3_000)) == 3_000
        with progress.shown("hashing the files"):
            pass
    first, *tenths, last = capfd.readouterr().err.splitlines()
    assert first == "reading: 3,000 images ..." and last == "hashing the files: ..."
    assert [line.split(",")[0] for line in tenths] == [f"reading: {n} %" for n in shown]
    assert all("\r" not in line and len(line) <= 80 for line in tenths)


def test_what_c_writes_is_dropped_and_what_python_writes_is_not(capfd, monkeypatch):
    with open(2, "w", closefd=False) as stderr:
        monkeypatch.setattr(sys, "stderr", stderr)
        with progress.no_greeting(), progress.shown("loading TensorFlow"):
            os.write(2, b"I0000 oneDNN custom operations are on.\n")
        os.write(2, b"behind it\n")
    assert capfd.readouterr().err == "loading TensorFlow: ...\nbehind it\n"


def test_nothing_to_do_and_no_stderr_are_no_errors(monkeypatch):
    monkeypatch.setattr(sys, "stderr", None)
    with progress.shown("reading", 0) as update:
        update(1)


def test_a_process_without_stderr_goes_on(monkeypatch):
    def refuse(_: int) -> int:
        raise OSError(errno.EBADF, os.strerror(errno.EBADF))

    before = sys.stderr
    monkeypatch.setattr(os, "dup", refuse)
    with progress.no_greeting():
        assert sys.stderr is before
    assert sys.stderr is before
