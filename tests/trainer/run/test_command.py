"""What commands share: exit statuses, and signals that end them whatever is under way."""

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time

import pytest

from tests.helpers.interrupts import (
    command_that_is_ready,
    ended,
    interrupted_within_tensorflow,
    signalled_until_ended,
)
from trainer.run import command
from trainer.run.errors import RunError

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
    "command.refuse_words(['main', *'abcd'])": (
        2, "wrong command line: ['a', 'b', 'c', 'd'] are no flags. Flags begin with --.\n",
    ),
    "command.refuse_words(['main', *'abcde'])": (
        2, "wrong command line: ['a', 'b', 'c', 'd', ...] are no flags. Flags begin with --.\n",
    ),
    'raise OSError(28, "No space left on device", "runs/a/history.csv")': (
        1, "The disk is full (No space left on device: runs/a/history.csv). Free some room, "
        "then give the same command again.\n",
    ),
    "raise MemoryError": (
        1, "There is not enough memory (no reason is known). Give a smaller --batch_size, "
        "--image_size or --head_units, or end other programs, then give the same command "
        "again.\n",
    ),
    'open("/nowhere/a")': (
        1, "The system refused: No such file or directory: /nowhere/a. See to it that this "
        "can be read and written, then give the same command again.\n",
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


def test_what_the_machine_refuses_is_said_with_what_stays():
    with (
        pytest.raises(RunError) as refused,
        command.stopped(lambda: "epoch 3 is saved; the same command goes on there"),
        open("/dev/full", "w", buffering=1) as full,
    ):
        full.write("a\n")
    assert str(refused.value) == (
        "The disk is full (No space left on device). Free some room, then give the same command "
        "again. Epoch 3 is saved; the same command goes on there."
    )


def test_a_message_that_can_not_be_made_hides_no_error(tmp_path):
    """As where the folder that it is read from was removed."""
    with (
        pytest.raises(RunError, match="refused: No such file or directory"),
        command.stopped(lambda: (tmp_path / "b").read_text()),
    ):
        (tmp_path / "a").read_text()


SIGNALS = {signal.SIGINT: (130, "stopped"), signal.SIGTERM: (143, "stopped (SIGTERM)")}
TWO_EVENTS = 2 * command._ONE_EVENT  # seconds


@pytest.mark.parametrize("number", SIGNALS)
def test_a_signal_ends_a_command_with_its_own_status_and_what_stays(number):
    status, word = SIGNALS[number]
    with command_that_is_ready("""
        epochs = 0
        with command.stopped(lambda: f"{epochs} epochs are saved"):
            epochs = 3
            print("ready", flush=True)
            time.sleep(60)
    """) as process:
        process.send_signal(number)
        assert ended(process) == (status, "", f"\n{word}; 3 epochs are saved\n")


def test_a_message_of_the_moment_is_made_before_the_handlers_are_gone(capsys):
    with pytest.raises(SystemExit) as left, command.stopped(lambda: "epoch 3 is saved"):
        signal.raise_signal(signal.SIGTERM)
    assert left.value.code == 143
    assert capsys.readouterr().err == "\nstopped (SIGTERM); epoch 3 is saved\n"


@pytest.mark.parametrize("number", SIGNALS)
def test_handlers_the_wakeup_file_and_the_thread_are_gone_afterwards(number):
    before, threads = signal.getsignal(number), threading.active_count()
    with contextlib.suppress(SystemExit), command.stopped("all of it stays"):
        signal.raise_signal(number)
    with command.stopped("all of it stays"):
        pass
    assert signal.getsignal(number) is before
    assert signal.set_wakeup_fd(-1) == -1
    assert threading.active_count() == threads


def test_a_deferred_signal_waits_for_the_point_where_all_is_whole():
    reached = []
    with pytest.raises(SystemExit) as left, command.stopped("all of it stays"):
        with command.deferred():
            signal.raise_signal(signal.SIGTERM)
            reached.append("the step")
            with pytest.raises(command.Interrupted) as raised:
                command.raise_if_interrupted()
            reached.append("saved")
            raise raised.value
        pytest.fail("the block goes on")
    assert (left.value.code, raised.value.signal) == (143, signal.SIGTERM)
    assert reached == ["the step", "saved"]


def test_a_deferred_signal_strikes_at_the_latest_where_the_block_ends():
    reached = []
    with pytest.raises(SystemExit), command.stopped("all of it stays"):
        with command.deferred():
            with command.deferred():
                signal.raise_signal(signal.SIGINT)
            reached.append("after the inner block")
        pytest.fail("the interrupt is lost")
    assert reached == ["after the inner block"]


def test_outside_of_a_command_nothing_is_deferred():
    """A notebook has its own handler."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with pytest.raises(KeyboardInterrupt), command.deferred():
            signal.raise_signal(signal.SIGINT)
            pytest.fail("the interrupt is lost")
    finally:
        signal.signal(signal.SIGINT, before)


STUCK = """
    command.LEAVE_WITHIN = {within}
    with command.stopped("epoch 3 is saved"), command.deferred():  # from "ready" on
        stuck()
"""


@pytest.mark.parametrize("number", SIGNALS)
def test_a_command_that_is_stuck_in_c_ends_by_itself(number):
    status, word = SIGNALS[number]
    with command_that_is_ready(STUCK.format(within=0.3)) as process:
        process.send_signal(number)
        message = f"{word}; epoch 3 is saved (it did not end by itself within 0.3 seconds)"
        assert ended(process) == (status, "", f"\n{message}\n")


def test_a_command_that_does_not_end_by_itself_is_gone_within_ten_seconds():
    """As it is shipped: tests of it wait for less."""
    assert 0 < command.LEAVE_WITHIN + command._FLUSH_WITHIN <= 10


@pytest.mark.slow
def test_a_command_that_hangs_while_python_shuts_down_ends_by_itself():
    with command_that_is_ready("""
        import atexit
        command.LEAVE_WITHIN = 3.0
        atexit.register(time.sleep, 60)
        with command.stopped("epoch 3 is saved"):
            print("ready", flush=True)
            time.sleep(60)
    """) as process:
        process.send_signal(signal.SIGTERM)
        status, _, errors = ended(process)
    assert status == 143
    assert errors.startswith("\nstopped (SIGTERM); epoch 3 is saved\n")
    assert "did not end by itself" in errors


def failing() -> str:
    raise KeyError("epoch")


@pytest.mark.parametrize(
    ("text", "shown"),
    [(lambda: "\nstopped; runs/\udce9", "\nstopped; runs/\\udce9\n"), (failing, "")],
)
def test_a_command_leaves_where_no_thread_begins_whatever_it_says(text, shown, monkeypatch, capfd):
    def refused(thread):
        raise RuntimeError("can't create new thread at interpreter shutdown")  # as from 3.12 on

    left = []
    monkeypatch.setattr(threading.Thread, "start", refused)
    monkeypatch.setattr(os, "_exit", left.append)
    command._leave(signal.SIGTERM, text)
    assert (left, capfd.readouterr().err) == ([143], shown)


@pytest.mark.parametrize("second", SIGNALS)
def test_a_second_signal_ends_at_once_with_the_status_of_the_first(second):
    with command_that_is_ready(STUCK.format(within=60)) as process:
        process.send_signal(signal.SIGTERM)
        time.sleep(TWO_EVENTS)
        assert signalled_until_ended(process, second) == (143, "", "\nstopped at once\n")


def test_a_process_that_ends_at_once_has_written_what_it_printed():
    with command_that_is_ready("""
        with command.stopped("epoch 3 is saved"), command.deferred():
            print("ready", flush=True)
            print("of the buffer")
            while True:
                time.sleep(0.01)
    """) as process:
        end = signalled_until_ended(process, signal.SIGINT)
        assert end == (130, "of the buffer\n", "\nstopped at once\n")


@pytest.mark.slow
def test_a_reader_that_does_not_read_does_not_keep_the_process():
    """As `| less` does: the main thread waits in a write, and has what flushing needs."""
    with command_that_is_ready("""
        with command.stopped("epoch 3 is saved"), command.deferred():
            print("ready", flush=True)
            while True:
                print("x" * 1000)
    """) as process:
        assert signalled_until_ended(process, signal.SIGINT)[0] == 130


def test_two_signals_of_one_event_are_one():
    """GNU timeout sends its signal to the command, then to the command's process group."""
    body = """
        command._ONE_EVENT = 30.0
        with command.stopped("epoch 3 is saved"):
            with command.deferred():
                print("ready", flush=True)
                while not command._interrupted:
                    time.sleep(0.01)
                print("first", flush=True)
                time.sleep(1)
                print("saved", flush=True)
    """
    with command_that_is_ready(body) as process:
        process.send_signal(signal.SIGTERM)
        assert process.stdout.readline() == "first\n"  # else the two are merged
        process.send_signal(signal.SIGTERM)
        assert ended(process) == (143, "saved\n", "\nstopped (SIGTERM); epoch 3 is saved\n")
