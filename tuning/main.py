"""Searches for better values of the trainer's settings: `python -m tuning.main --classes=4`."""

import contextlib
import os
import sys
from collections.abc import Callable, Iterator

from absl import flags

from trainer.execution import options, ray
from trainer.run import command
from trainer.run.definitions import define
from tuning import settings, space
from tuning.folder import Folder

FLAGS = flags.FLAGS
_MOST_GROWTH = 2 * 2**30  # bytes that this process may have grown by since its first trial


def main(argv: list[str]) -> None:
    """Flags -> space, settings and where tasks run -> one call."""
    command.refuse_words(argv)
    searched = space.from_flags(FLAGS)
    chosen, where = settings.from_flags(FLAGS, searched), options.from_flags(FLAGS)
    described = settings.described(searched, chosen, FLAGS.search_dir, overwrite=FLAGS.overwrite)
    folder = described.folder
    with (
        command.stopped(_what_stays(folder, overwrite=FLAGS.overwrite)),
        ray.connected(where) as cluster,
        _replaced_when_large(),
    ):
        with command.heavy_imports():
            from tuning import search
        finished = search.run(
            described,
            cluster,
            overwrite=FLAGS.overwrite,
            retrain_best=FLAGS.retrain_best,
            on_trial_end=_Memory() if cluster is None else lambda: None,
        )
    if not finished:
        sys.exit(1)


def _what_stays(folder: Folder, *, overwrite: bool) -> Callable[[], str]:
    """What to say of the folder of a search that is stopped, for `command.stopped`."""
    before = folder.begun_at()

    def said() -> str:
        if overwrite and folder.begun_at() == before:
            return f"the new search has not begun, and {folder.root} holds what it held before"
        again = "the same command" + (", without --overwrite," if overwrite else "")
        return f"trials that ended are in {folder.root}; {again} goes on"

    return said


class _TooLarge(Exception):
    """This process has grown too large to go on."""


@contextlib.contextmanager
def _replaced_when_large() -> Iterator[None]:
    """Replaces this process where it is too large, when what the search has opened is closed.

    A search goes on where it was killed, so it can be started again by itself.
    """
    try:
        yield
    except _TooLarge:
        print("Memory has climbed: the process is replaced and goes on.", flush=True)
        os.execv(
            sys.executable,
            [sys.executable, "-m", "tuning.main", *sys.argv[1:], "--nooverwrite"],
        )


class _Memory:
    """Ends the search, between two trials, before its process has grown too large.

    TensorFlow keeps some 2 MiB of every function that was ever traced, and a trial traces two.
    """

    def __init__(self) -> None:
        """Begins before the first trial."""
        self._first: int | None = None

    def __call__(self) -> None:
        """Looks at the memory.

        Raises:
            _TooLarge: It has climbed.
        """
        import psutil

        try:
            now = psutil.Process().memory_info().rss
        except (OSError, psutil.Error):  # no /proc: nothing is known of the memory
            return
        self._first = now if self._first is None else self._first
        if now - self._first > _MOST_GROWTH:
            raise _TooLarge


def _define_flags() -> None:
    space.define_flags()
    settings.define_flags()
    options.define_flags()
    define("search_dir", "", "Its folder; else searches/DATASET-CLASSES", "output")
    define("overwrite", False, "Remove a search that is there", "output")
    define("retrain_best", False, "Then train and test the best values", "output")


if __name__ == "__main__":
    _define_flags()
    command.run(main)
