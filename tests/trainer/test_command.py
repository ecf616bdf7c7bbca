"""What commands share: an interrupt is told as one, whatever became of it."""

import signal
import sys

import pytest

from trainer.run import command


def interrupted_within_tensorflow():
    """As TensorFlow's C++ does when an interrupt strikes in the Python that it calls."""
    try:
        signal.raise_signal(signal.SIGINT)
    except KeyboardInterrupt:
        raise RuntimeError("MISMATCH of original and normalized active exception types") from None


def test_an_error_that_took_an_interrupts_place_is_told_as_the_interrupt(capsys):
    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(SystemExit) as ended, command.stopped("all is kept"):
        interrupted_within_tensorflow()
    assert ended.value.code == 130
    assert capsys.readouterr().err == "\nstopped; all is kept\n"
    assert signal.getsignal(signal.SIGINT) is before


def test_an_interrupt_that_python_dropped_is_raised_at_the_next_step(capsys, monkeypatch):
    class Struck:
        def __del__(self):
            signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(sys, "unraisablehook", lambda _: None)
    with pytest.raises(SystemExit) as ended, command.stopped("all is kept"):
        Struck()
        command.raise_if_interrupted()
        pytest.fail("the interrupt is lost")
    assert ended.value.code == 130


def test_errors_without_an_interrupt_are_what_they_are():
    with pytest.raises(ZeroDivisionError), command.stopped("all is kept"):
        command.raise_if_interrupted()
        _ = 1 / 0
