"""What every command shares: flags, exit statuses, the user's interrupt.

Status 2 is a wrong command line, 1 a run that failed, 130 one that was interrupted; each with a
sentence of what is wrong and how to mend it, and no traceback. Signals are handled here alone, and
the process is ended here alone: what is called from a notebook does neither.
"""

import contextlib
import errno
import os
import signal
import sys
from collections.abc import Callable, Iterator

from absl import app, flags, logging

from trainer.run.errors import ConfigError, RunError
from trainer.run.libraries import heavy_imports, no_greeting, prepare_keras

__all__ = [
    "heavy_imports",
    "no_greeting",
    "prepare_keras",
    "raise_if_interrupted",
    "refuse_words",
    "run",
    "stopped",
]

_interrupted = False


def run(main: Callable[[list[str]], None]) -> None:
    """Parses the flags and calls `main` with what is left; does not return.

    Args:
        main: The command. Its ConfigError ends with status 2, its RunError with 1.
    """

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
        except KeyboardInterrupt:
            _stop("\nstopped", status=130)
        except BrokenPipeError:  # the reader has seen enough: `... | head`
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            sys.exit(1)
        except OSError as error:
            if error.errno not in (errno.ENOSPC, errno.EDQUOT):
                raise
            _stop(f"The disk is full ({error}). Free some room and run it again.", status=1)

    app.run(guarded, flags_parser=_parse)


def refuse_words(argv: list[str]) -> None:
    """Refuses what stands on the command line and is no flag.

    Args:
        argv: The command and what is left behind its flags.

    Raises:
        ConfigError: Something is left.
    """
    if len(argv) > 1:
        raise ConfigError(f"{argv[1:]} are no flags. Flags begin with --.")


@contextlib.contextmanager
def stopped(message: str) -> Iterator[None]:
    """Ends the process with status 130 and a message when the user interrupts.

    Whatever is raised from then on is taken for the interrupt: where it strikes in Python that
    TensorFlow called from C++, another error can take its place.

    Args:
        message: What stays, e.g. "the best weights so far are in runs/a".
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
        _stop(f"\nstopped; {message}", status=130)
    finally:
        _interrupted = False
        signal.signal(signal.SIGINT, before)


def raise_if_interrupted() -> None:
    """Raises KeyboardInterrupt if one got lost.

    Python drops those that strike in a finalizer, and TensorFlow can make other errors of them.
    """
    if _interrupted:
        raise KeyboardInterrupt


def _stop(error: Exception | str, status: int) -> None:
    print(error, file=sys.stderr)
    sys.exit(status)


def _parse(argv: list[str]) -> list[str]:
    try:
        return flags.FLAGS(argv)
    except flags.Error as error:
        _stop(f"wrong command line: {error}", status=2)
