"""What every command of the trainer shares: flags, exit statuses, silence of the libraries.

Status 2 is a wrong command line, 1 a run that failed, 130 one that was interrupted; each with a
sentence of what is wrong and how to mend it, and no traceback.
"""

import contextlib
import os
import signal
import sys
from collections.abc import Callable, Iterator

from absl import app, flags, logging

from trainer.config import ConfigError
from trainer.run.errors import RunError

_interrupted = False


def run(main: Callable[[list[str]], None]) -> None:
    """Parses the flags and calls `main` with what is left; does not return."""

    def told(argv: list[str]) -> None:
        if not flags.FLAGS["verbosity"].present:
            logging.set_verbosity(logging.ERROR)  # TFDS tells of every file it opens
        try:
            main(argv)
        except ConfigError as error:
            _stop(f"wrong command line: {error}", status=2)
        except RunError as error:
            _stop(error, status=1)

    app.run(told, flags_parser=_parse)


def refuse_words(argv: list[str]) -> None:
    """Raises ConfigError when something stands on the command line that is no flag."""
    if len(argv) > 1:
        raise ConfigError(f"{argv[1:]} are no flags. Flags begin with --.")


@contextlib.contextmanager
def stopped(kept: str) -> Iterator[None]:
    """Says what is kept when the user interrupts.

    Whatever is raised from then on is taken for the interrupt: where it strikes in Python that
    TensorFlow called from C++, another error can take its place.
    """

    global _interrupted
    _interrupted = False

    def note(*_: object) -> None:
        global _interrupted
        _interrupted = True
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGINT, note)
    try:
        yield
    except BaseException as error:
        if not (_interrupted or isinstance(error, KeyboardInterrupt)):
            raise
        _stop(f"\nstopped; {kept}", status=130)
    finally:
        signal.signal(signal.SIGINT, before)


def raise_if_interrupted() -> None:
    """Raises KeyboardInterrupt if one got lost.

    Python drops those that strike in a finalizer, and TensorFlow can make other errors of them.
    """
    if _interrupted:
        raise KeyboardInterrupt


@contextlib.contextmanager
def no_greeting() -> Iterator[None]:
    """Drops what TensorFlow writes to stderr while it is imported, before any log level counts.

    Errors of Python still come through, and TF_CPP_MIN_LOG_LEVEL=0 shows everything.
    """
    if os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3") != "3":  # children inherit the 3
        yield
        return
    stderr, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 2)
    try:
        yield
    finally:
        os.dup2(stderr, 2)
        os.close(stderr)
        os.close(nowhere)


def _stop(error: Exception | str, status: int) -> None:
    print(error, file=sys.stderr)
    sys.exit(status)


def _parse(argv: list[str]) -> list[str]:
    try:
        return flags.FLAGS(argv)
    except flags.Error as error:
        _stop(f"wrong command line: {error}", status=2)
