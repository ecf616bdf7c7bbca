"""What every command shares: flags, exit statuses, signals.

Status 2 is a wrong command line, 1 a run that failed or that the machine stopped (a full disk, no
memory), 130 one that Ctrl-C (SIGINT) ended and 143 one that SIGTERM did; each with a sentence of
what is wrong and how to mend it, and no traceback.
Signals are handled here alone, and the process is ended here alone: what is called from a notebook
does neither.
"""

import atexit
import contextlib
import gc
import os
import select
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from typing import NoReturn

from absl import app, flags, logging

from trainer.run import help as help_lib
from trainer.run import machine, process
from trainer.run.errors import ConfigError, RunError
from trainer.run.libraries import heavy_imports, no_greeting, prepare_keras
from trainer.run.progress import fitted
from trainer.run.text import shortened

__all__ = [
    "Interrupted",
    "deferred",
    "heavy_imports",
    "no_greeting",
    "prepare_keras",
    "raise_if_interrupted",
    "refuse_words",
    "run",
    "stopped",
]

LEAVE_WITHIN = 8.0  # seconds from the first signal; `docker stop` kills after 10
_ONE_EVENT = 0.2  # seconds; `timeout` signals its child twice, and schedulers do, too
_FLUSH_WITHIN = 1.0  # seconds

_interrupted: signal.Signals | None = None  # by the first signal in `stopped`
_deferred = False
_runs_process = False  # whether `run` was called, which does not return


class Interrupted(KeyboardInterrupt):
    """A signal that ends the command.

    Attributes:
        signal: SIGINT or SIGTERM.
    """

    def __init__(self, number: signal.Signals) -> None:
        """Makes it.

        Args:
            number: The signal.
        """
        super().__init__()
        self.signal = number


def run(main: Callable[[list[str]], None]) -> None:
    """Parses the flags and calls `main` with what is left; does not return.

    Args:
        main: The command. Its ConfigError ends with status 2, its RunError with 1, and so does what
            the machine refused (see `machine.sentence`); any other error keeps its traceback.
    """
    global _runs_process
    _runs_process = True
    process.prepare()
    atexit.register(gc.freeze)  # collecting what TensorFlow holds takes seconds after the last word

    def guarded(argv: list[str]) -> None:
        if not flags.FLAGS["verbosity"].present:
            logging.set_verbosity(logging.ERROR)  # TFDS logs every file that it opens
        try:
            main(argv)
            sys.stdout.flush()
        except ConfigError as error:
            _stop(f"wrong command line: {error}", status=2)
        except RunError as error:
            _stop(error, status=1)
        except KeyboardInterrupt as error:  # outside of `stopped`
            _stop("\nstopped", status=128 + getattr(error, "signal", signal.SIGINT))
        except BrokenPipeError:  # the reader has seen enough: `... | head`
            _drop_unwritten()
            sys.exit(1)
        except Exception as error:
            if (text := machine.sentence(error)) is None:
                raise
            _stop(text, status=1)

    try:
        app.run(guarded, flags_parser=_parse)
    finally:
        _runs_process = False


def refuse_words(argv: list[str]) -> None:
    """Refuses what stands on the command line and is no flag.

    Args:
        argv: The command and what is left behind its flags.

    Raises:
        ConfigError: Something is left.
    """
    if len(argv) > 1:
        shown = [shortened(repr(word), 40) for word in argv[1:5]] + ["..."] * (len(argv) > 5)
        raise ConfigError(f"[{', '.join(shown)}] are no flags. Flags begin with --.")


@contextlib.contextmanager
def stopped(message: str | Callable[[], str]) -> Iterator[None]:
    """Ends the process with a message and status 130 at SIGINT (Ctrl-C), 143 at SIGTERM.

    The first signal raises `Interrupted` where the main thread is (but see `deferred`). Whatever is
    raised from then on is taken for it: where it strikes in Python that TensorFlow called from
    C++, another error can take its place. At a second signal the process leaves at once, and it
    leaves by itself LEAVE_WITHIN seconds after the first, even where the main thread is in C++.

    Args:
        message: What stays, e.g. "the best weights so far are in runs/a"; a function is called
            when the process ends.

    Raises:
        RunError: What the machine refused (a full disk, no memory), and the message.
    """
    global _interrupted
    _interrupted = None
    with contextlib.ExitStack() as handled:
        _handle_signals(message, handled)
        try:
            yield
        except BaseException as error:
            if _interrupted is None and not isinstance(error, KeyboardInterrupt):
                _require_machine(error, message)
                raise
            if _runs_process:
                handled.pop_all()  # what hangs while Python shuts down is ended, too
            number = _interrupted or signal.SIGINT
            _stop(_text(number, message), status=128 + number)


@contextlib.contextmanager
def deferred() -> Iterator[None]:
    """Inside, a first signal waits for `raise_if_interrupted`, or for the end of the block.

    So what has to be whole is not interrupted halfway. Changes nothing outside of `stopped`.
    """
    global _deferred
    before, _deferred = _deferred, True
    try:
        yield
    finally:
        _deferred = before
    if not before:
        raise_if_interrupted()


def raise_if_interrupted() -> None:
    """Raises `Interrupted` if there was a signal that waits (see `deferred`) or that got lost.

    Python drops those that strike in a finalizer, and TensorFlow can make other errors of them.
    """
    if _interrupted is not None:
        raise Interrupted(_interrupted)


def _handle_signals(message: str | Callable[[], str], handled: contextlib.ExitStack) -> None:
    """Until `handled` is closed, signals are handled as `stopped` promises."""

    def note(number: int, _: object) -> None:
        global _interrupted
        if _interrupted is None:
            _interrupted = signal.Signals(number)
            if not _deferred:
                raise Interrupted(_interrupted)

    read, write = os.pipe()
    os.set_blocking(write, False)
    watch = threading.Thread(target=_watch, args=(read, message), daemon=True)
    watch.start()
    handled.callback(os.close, read)
    handled.callback(watch.join)
    handled.callback(os.close, write)  # which ends the thread
    # Python's own C handler writes a signal's number there, whatever the main thread does.
    handled.callback(signal.set_wakeup_fd, signal.set_wakeup_fd(write, warn_on_full_buffer=False))
    handled.callback(_forget)
    for number in (signal.SIGINT, signal.SIGTERM):
        handled.callback(signal.signal, number, signal.signal(number, note))


def _forget() -> None:
    global _interrupted
    _interrupted = None


def _watch(read: int, message: str | Callable[[], str]) -> None:
    """Ends the process at a second signal, or LEAVE_WITHIN seconds after the first."""
    first, struck, left = None, 0.0, None
    while left is None or left > 0:
        ready, _, _ = select.select([read], [], [], left)
        numbers = os.read(read, 4096) if ready else b""
        if ready and not numbers:
            return
        now = time.monotonic()
        for number in numbers:  # in the order in which they came
            if number not in (signal.SIGINT, signal.SIGTERM):
                continue
            if first is None:
                first, struck = signal.Signals(number), now
            elif now - struck > _ONE_EVENT:
                _leave(first, lambda: "\nstopped at once")
        left = None if first is None else struck + LEAVE_WITHIN - now
    late = f" (it did not end by itself within {LEAVE_WITHIN:g} seconds)"
    assert first is not None  # what ends the loop
    _leave(first, lambda: _text(first, message) + late)


def _leave(number: signal.Signals, text: Callable[[], str]) -> None:
    """Ends the process here and now. The main thread may hold what printing needs: not for long."""

    def print_and_flush() -> None:
        with contextlib.suppress(Exception):
            sys.stdout.flush()
        print(fitted(text()), file=sys.stderr, flush=True)

    printing = threading.Thread(target=print_and_flush, daemon=True)
    try:
        printing.start()
        printing.join(_FLUSH_WITHIN)
    except RuntimeError:  # from 3.12 on, no thread begins while Python shuts down
        with contextlib.suppress(Exception):  # waits for no lock of Python's streams
            os.write(2, f"{fitted(text())}\n".encode(errors="backslashreplace"))
    os._exit(128 + number)


def _text(number: signal.Signals, message: str | Callable[[], str]) -> str:
    by = "" if number == signal.SIGINT else f" ({number.name})"
    return f"\nstopped{by}; {message() if callable(message) else message}"


def _require_machine(error: BaseException, message: str | Callable[[], str]) -> None:
    """Raises RunError where an error is the machine's, with what stays."""
    text = None if isinstance(error, BrokenPipeError) else machine.sentence(error)
    if text is not None:
        with contextlib.suppress(OSError, RunError):  # the folder may be what is gone
            stays = message() if callable(message) else message
            text += f" {stays[:1].upper()}{stays[1:].removesuffix('.')}."
        raise RunError(text) from error


def _stop(error: Exception | str, status: int) -> NoReturn:
    _drop_unwritten()
    for stream in (sys.stderr, sys.stdout):  # the first may be what is full
        try:
            print(fitted(str(error)), file=stream, flush=True)
            break
        except OSError:
            continue
    sys.exit(status)


def _drop_unwritten() -> None:
    """Drops what stdout can't take any more: at its end, Python would try again."""
    try:
        sys.stdout.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _parse(argv: list[str]) -> list[str]:
    help_lib.replace_absl()
    try:
        return flags.FLAGS(argv)
    except (flags.Error, ValueError) as error:  # ValueError: --noNAME=VALUE, a binary --flagfile
        _stop(f"wrong command line: {help_lib.message(error)}", status=2)
    except SystemExit:  # of absl's --helpfull and --helpxml, which end with status 1
        sys.exit(0)
    except BrokenPipeError:  # `--help | head`
        _drop_unwritten()
        sys.exit(0)
