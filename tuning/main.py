"""Searches for better values of the trainer's settings: `python -m tuning.main --classes=4`."""

import os
import pathlib
import sys

from absl import flags

from trainer import config_flags
from trainer.execution import options, ray
from trainer.run import command
from trainer.run.files import expanded
from tuning import settings, space
from tuning.folder import Folder

FLAGS = flags.FLAGS
_MOST_GROWTH = 2 * 2**30  # bytes that this process may have grown by since its first trial


def main(argv: list[str]) -> None:
    """Flags -> space, settings and where tasks run -> one call."""
    command.refuse_words(argv)
    searched = space.from_flags(FLAGS)
    chosen, where = settings.from_flags(FLAGS, searched), options.from_flags(FLAGS)
    config = searched.config({})
    root = expanded(FLAGS.search_dir or f"searches/{config.dataset}-{config.classes}")
    folder = Folder(pathlib.Path(root))
    with (
        command.stopped(f"trials that ended are in {folder.root}; the same command goes on"),
        ray.connected(where) as cluster,
    ):
        with command.heavy_imports():
            from tuning import search
        finished = search.run(
            settings.Spec(folder, searched, chosen),
            cluster,
            overwrite=FLAGS.overwrite,
            retrain_best=FLAGS.retrain_best,
            on_trial_end=_Memory() if cluster is None else lambda: None,
        )
    if not finished:
        sys.exit(1)


class _Memory:
    """Replaces this process, between two trials, before its memory has climbed too high.

    TensorFlow keeps some 2 MiB of every function that was ever traced, and a trial traces two. A
    search goes on where it was killed, so it can be started again by itself.
    """

    def __init__(self) -> None:
        """Begins before the first trial."""
        self._first: int | None = None

    def __call__(self) -> None:
        """Looks at the memory; does not return where it has climbed."""
        import psutil

        now = psutil.Process().memory_info().rss
        self._first = now if self._first is None else self._first
        if now - self._first > _MOST_GROWTH:
            print("Memory has climbed: the process is replaced and goes on.", flush=True)
            os.execv(
                sys.executable,
                [sys.executable, "-m", "tuning.main", *sys.argv[1:], "--nooverwrite"],
            )


def _define_flags() -> None:
    space.define_flags()
    settings.define_flags()
    options.define_flags()
    flags.DEFINE_string(
        "search_dir", "", "Folder of the search. Default: searches/DATASET-CLASSES."
    )
    flags.DEFINE_boolean("overwrite", False, "Remove a search that is there and begin again.")
    flags.DEFINE_boolean("retrain_best", False, "Then train and test with the best values.")


if __name__ == "__main__":
    _define_flags()
    for module in (config_flags, space, settings, options):
        flags.adopt_module_key_flags(module)
    command.run(main)
