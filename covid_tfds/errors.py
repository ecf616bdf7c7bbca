"""What the dataset says when its user has to mend something."""

import contextlib
import pathlib
import signal
import sys
from collections.abc import Iterator

from covid_tfds.sources import wording

_INTERRUPTED = (
    "Interrupted: nothing is left of this build, and a dataset that was there stays. The same "
    "command begins again."
)
_STATUS_OF_INTERRUPT = 128 + signal.SIGINT


class DatasetError(Exception):
    """A source, table or request that can't be used; the message says what and how to mend it."""


def under_tfds_command() -> bool:
    """Whether this process is TFDS' own command (`tfds build ...`)."""
    program = pathlib.Path(sys.argv[0] or "?")
    return program.stem == "tfds" or "tensorflow_datasets" in program.parts


@contextlib.contextmanager
def message_for_command() -> Iterator[None]:
    """Turns a `DatasetError` into the end of the `tfds` command: its message, no traceback.

    So does Ctrl-C, with the status that shells give it. Everywhere else the error passes.
    """
    try:
        yield
    except KeyboardInterrupt:
        if not under_tfds_command():
            raise
        print(shown(_INTERRUPTED), file=sys.stderr)
        sys.exit(_STATUS_OF_INTERRUPT)
    except DatasetError as error:
        if not under_tfds_command():
            raise
        sys.exit(shown(error))


def shown(message: object) -> str:
    """An error or its message as a terminal can show it, whatever names are in it."""
    encoding = getattr(sys.stderr, "encoding", None) or "utf-8"
    text = wording.wrapped(f"\n{message}")
    return text.encode(encoding, "backslashreplace").decode(encoding)
