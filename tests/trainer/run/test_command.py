"""What commands share: exit statuses, and an interrupt that stays one whatever became of it."""

import signal
import subprocess
import sys

import pytest

from tests.helpers.interrupts import interrupted_within_tensorflow
from trainer.run import command

COMMAND = """
import sys
from trainer.run.errors import ConfigError
from trainer.run import command
from trainer.run.errors import RunError
def main(argv):
{body}
command.run(main)
"""


def command_of(body: str, *arguments: str, **options) -> subprocess.CompletedProcess:
    """Runs a command whose `main` has these lines."""
    lines = "\n".join(f"    {line}" for line in body.splitlines())
    return subprocess.run(
        [sys.executable, "-c", COMMAND.format(body=lines), *arguments],
        stdout=options.pop("stdout", subprocess.PIPE), stderr=subprocess.PIPE, text=True,
        timeout=60, check=False, **options,
    )  # fmt: skip


ENDS = {
    'raise RunError("The run cannot go on. Mend it.")': (1, "The run cannot go on. Mend it.\n"),
    'raise ConfigError("--x is 1. Give 2.")': (2, "wrong command line: --x is 1. Give 2.\n"),
    "raise KeyboardInterrupt": (130, "\nstopped\n"),
    "command.refuse_words(['main', 'train'])": (
        2, "wrong command line: ['train'] are no flags. Flags begin with --.\n",
    ),
    'raise OSError(28, "No space left on device", "runs/a/history.csv")': (
        1, "The disk is full ([Errno 28] No space left on device: 'runs/a/history.csv'). "
        "Free some room and run it again.\n",
    ),
}  # fmt: skip


@pytest.mark.parametrize("body", ENDS)
def test_what_ends_a_command_is_a_status_and_a_sentence(body):
    done = command_of(body)
    assert (done.returncode, done.stderr) == ENDS[body]


def test_an_unknown_flag_is_a_wrong_command_line():
    done = command_of("pass", "--clases=4")
    assert done.returncode == 2
    assert done.stderr.startswith("wrong command line: Unknown command line flag 'clases'")


def test_an_error_of_the_program_keeps_its_traceback():
    done = command_of("1 / 0")
    assert done.returncode == 1
    assert "ZeroDivisionError" in done.stderr


def test_a_reader_that_has_seen_enough_is_no_error():
    """As in `python -m trainer.features --list | head -1`."""
    shell = subprocess.Popen(["true"], stdin=subprocess.PIPE)
    shell.wait()
    done = command_of("print('x' * 10_000_000)", stdout=shell.stdin)
    assert (done.returncode, done.stderr) == (1, "")
    shell.stdin.close()


def test_an_error_that_took_an_interrupts_place_is_taken_for_the_interrupt(capsys):
    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(SystemExit) as ended, command.stopped("all of it stays"):
        interrupted_within_tensorflow()
    assert ended.value.code == 130
    assert capsys.readouterr().err == "\nstopped; all of it stays\n"
    assert signal.getsignal(signal.SIGINT) is before


def test_an_interrupt_that_python_dropped_is_raised_at_the_next_step(monkeypatch):
    class Struck:
        def __del__(self):
            signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(sys, "unraisablehook", lambda _: None)
    with pytest.raises(SystemExit) as ended, command.stopped("all of it stays"):
        Struck()
        command.raise_if_interrupted()
        pytest.fail("the interrupt is lost")
    assert ended.value.code == 130
    command.raise_if_interrupted()  # what runs afterwards in this process is not interrupted


def test_errors_without_an_interrupt_are_what_they_are():
    with pytest.raises(ZeroDivisionError), command.stopped("all of it stays"):
        command.raise_if_interrupted()
        _ = 1 / 0
