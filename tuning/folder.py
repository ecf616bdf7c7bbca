"""The folder of a search: what it was begun with, what is in it, who may write to it now."""

import contextlib
import dataclasses
import pathlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import PurePosixPath
from typing import Any

from trainer.config import HPARAMS_FILE
from trainer.run import files, lease, manifest, run_dir, saved_folds
from trainer.run.errors import ConfigError

_IDENTITY, _LOG, _OLD_STATE = "search.json", "log.jsonl", "state.json"
_ORIGIN = "origin.json"
_RUN = "retrained"
_OF_CURVES = ("events.out.tfevents.*", "execution_*/events.out.tfevents.*")
# By folder, "" is the search's own, the files that a search writes beside the run of its best
# values, which has a manifest; --overwrite removes these files and nothing else.
_CONTENTS = {
    "": (HPARAMS_FILE, manifest.FLAGS, _IDENTITY, _LOG, _OLD_STATE, "trials.csv", "final.json",
         _ORIGIN, "oracle.json", "tuner0.json", lease.NAME),
    "/trial_[0-9]*": ("trial.json", "predictions.csv", "error.txt", "checkpoint.weights.h5",
                      "build_config.json"),
    "/tensorboard/trial_[0-9]*": _OF_CURVES,
    "/.trial_[0-9]*": _OF_CURVES,  # until they are whole
    f"/{saved_folds.FOLDER}": (saved_folds.NAMES,),
    f"/{_RUN}": (lease.NAME,),
    # Of earlier releases.
    "/plots": ("parallel_coordinates.png", "objective_by_parameter.png", "best_so_far.png"),
    "/logs": ("worker[0-9]*.log",),
}  # fmt: skip
_FILES = tuple(f"{place}/{name}" for place, names in _CONTENTS.items() for name in names)
_FOLDERS = (
    *(str(folder) for name in _FILES for folder in PurePosixPath(name).parents if folder.name),
    *(f"/{_RUN}/{name}" for name in (*manifest.FOLDERS, *manifest.TRACE_FOLDERS)),
)


@dataclasses.dataclass(frozen=True)
class Folder:
    """Paths of a search.

    Attributes:
        root: The folder, which KerasTuner knows as `directory`/`project_name`.
    """

    root: pathlib.Path

    @property
    def log(self) -> pathlib.Path:
        """Every trial that began and ended, which is all that decides what comes next."""
        return self.root / _LOG

    @property
    def identity(self) -> pathlib.Path:
        """What the search was begun with."""
        return self.root / _IDENTITY

    @property
    def flags(self) -> pathlib.Path:
        """A `--flagfile` that repeats the search."""
        return self.root / manifest.FLAGS

    @property
    def best(self) -> pathlib.Path:
        """What `trainer.main --hparams` reads."""
        return self.root / HPARAMS_FILE

    @property
    def comparison(self) -> pathlib.Path:
        """The closing comparison."""
        return self.root / "final.json"

    @property
    def retrained(self) -> pathlib.Path:
        """The run of the best values."""
        return self.root / _RUN

    @property
    def tensorboard(self) -> pathlib.Path:
        """Curves and HPARAMS of all trials."""
        return self.root / "tensorboard"

    def trial(self, trial_id: str) -> pathlib.Path:
        """What is kept of one trial, where KerasTuner looks for it."""
        return self.root / f"trial_{trial_id}"

    @property
    def dataset(self) -> str:
        """The dataset of a search of which a trial has begun; "" where there is none."""
        if not self.identity.is_file() or not self._log_begun:
            return ""
        return self.began_with().get("dataset", "")

    @property
    def _log_begun(self) -> bool:
        return self.log.is_file() and self.log.stat().st_size > 0

    def began_with(self) -> dict[str, Any]:
        """What the search was begun with, by flag.

        Raises:
            RunError: The file is damaged.
        """
        again = "Put back a copy of it, give another --search_dir, or --overwrite to begin again."
        return files.read_json(self.identity, mend=again)

    def begun_at(self) -> tuple[int, int] | None:
        """What is another one when another search begins here; None where there is none."""
        try:
            there = self.identity.stat()
        except OSError:
            return None
        return there.st_ino, there.st_mtime_ns

    def origin(self) -> dict[str, Any] | None:
        """What the images of the first trial were opened with; None where no trial has begun.

        Raises:
            RunError: The file is damaged.
        """
        path = self.root / _ORIGIN
        if not (path.exists() and self._log_begun):
            return None
        again = "Put back a copy of it, give another --search_dir, or --overwrite to begin again."
        return files.read_json(path, "config", "dataset", "weights", "precision", "xla", mend=again)

    def keep_origin(self, origin: Mapping[str, Any]) -> None:
        """Writes what the images were opened with, unless a trial was begun with it before.

        Args:
            origin: Of a `Setup`, as a run's config.json has it.
        """
        if self.origin() is None:
            files.write_json(self.root / _ORIGIN, origin)

    @contextlib.contextmanager
    def held(self, identity: Mapping[str, Any], *, overwrite: bool) -> Iterator[bool]:
        """Keeps other processes out, and compares what is there with the search to be run.

        Args:
            identity: See `settings.identity`.
            overwrite: Whether `begin` may remove a search that is there.

        Yields:
            Whether the search is to `begin`; else it goes on.

        Raises:
            ConfigError: A search with other flags is there, or the folder can't be used.
            RunError: Another process has it.
        """
        with run_dir.held(self.root, "search_dir"):
            new = overwrite or not (self.identity.exists() or (self.root / _OLD_STATE).exists())
            if new:
                self._require_replaceable(overwrite=overwrite)
            elif not self._log_begun:
                self._require_current()
                files.write_json(self.identity, identity)  # no trial has begun with the other
            if not new:
                before = self.began_with()
                manifest.require_same(f"{self.root} holds a search", before, identity, "search_dir")
                self._remove(list(filter(self._is_left, self._files())))
            yield new

    def begin(self, identity: Mapping[str, Any]) -> None:
        """Begins a search in the folder that is held; called when all that can be refused was.

        What an earlier one wrote is removed. Killed meanwhile, the folder holds the earlier search
        or what takes --overwrite to be removed.

        Args:
            identity: See `settings.identity`.

        Raises:
            ConfigError: Something can't be removed.
            RunError: Another process took the folder over.
        """
        files.require_held(self.identity)
        marks, written = self._marks(), self._written()
        with run_dir.writable(self.root, "search_dir"):
            # Without the first, nothing goes on with the rest; by the last, the rest is known.
            self._remove(marks[:-1])
            self._remove([path for path in written if path not in marks])
            self._remove(marks[-1:])
        files.write_json(self.identity, identity)

    def _marks(self) -> list[pathlib.Path]:
        """The files without which there is no search, and all that is there is a user's."""
        marks = (self.identity, self.root / _OLD_STATE, self.log)
        return [path for path in marks if path.is_file()]

    def _written(self) -> list[pathlib.Path]:
        """The files that searches wrote, those that were never finished too, to be removed so.

        Without a search they alone.
        """
        searched = bool(self._marks())
        of_run = self._of_run() if searched else set()
        written = [
            path
            for path in self._files()
            if path in of_run
            or (self._is_of(_FILES, path) and (searched or files.unfinished(path)))
        ]
        # The manifest behind what it lists, so that what is left of the run is known.
        return sorted(written, key=lambda path: path == self.retrained / manifest.NAME)

    def _of_run(self) -> set[pathlib.Path]:
        """The files of the run of the best values; none of one of an earlier release."""
        there = manifest.Manifest.read(self.retrained)
        if there is None:
            return set()
        return {*there.files_of(self.retrained), *there.unfinished_of(self.retrained)}

    def _files(self) -> list[pathlib.Path]:
        """All files but the lock that is held; links, too, none of which is followed."""
        every = sorted(self.root.rglob("*"))
        lock = self.root / lease.NAME
        return [path for path in every if path != lock and (path.is_symlink() or not path.is_dir())]

    def _is_of(self, patterns: Sequence[str], path: pathlib.Path) -> bool:
        """Whether a file is one of some, or is to be when it is finished; likewise a folder."""
        finished = path.with_name(files.unfinished(path) or path.name)
        return any(map(PurePosixPath("/", finished.relative_to(self.root)).match, patterns))

    def _is_left(self, path: pathlib.Path) -> bool:
        """Whether a process of the search was killed while it wrote this file."""
        return self._is_of(_FILES, path) and files.unfinished(path) is not None

    def _remove(self, paths: Sequence[pathlib.Path]) -> None:
        """Removes files, and folders of a search that are empty; a power cut brings none back."""
        for path in paths:
            path.unlink(missing_ok=True)
        folders = [path for path in self.root.rglob("*") if path.is_dir() and not path.is_symlink()]
        for folder in sorted(folders, reverse=True) if self._marks() else ():
            if self._is_of(_FOLDERS, folder):
                try:
                    folder.rmdir()
                except OSError:  # something is in it
                    files.flush(folder)
        files.flush(self.root)

    def _require_replaceable(self, *, overwrite: bool) -> None:
        """Refuses what no search wrote and, without `overwrite`, an earlier search.

        Raises:
            ConfigError: There is such a thing.
        """
        written = set(self._written())
        left = [path for path in self._files() if not files.unfinished(path)]
        foreign = [path for path in left if path not in written]
        if left and not overwrite:
            mend = "Give another folder." if foreign else "Give another folder, or --overwrite."
            raise ConfigError(
                f"--search_dir {self.root} is not empty (it holds {self._names(left)}). {mend}"
            )
        if foreign:
            raise ConfigError(
                f"--search_dir {self.root} holds what no search wrote ({self._names(foreign)}), "
                "and --overwrite removes nothing else. Give another folder."
            )

    def _names(self, paths: Sequence[pathlib.Path]) -> str:
        return ", ".join(str(path.relative_to(self.root)) for path in paths[:5])

    def _require_current(self) -> None:
        if (self.root / _OLD_STATE).exists():
            raise ConfigError(
                f"{self.root} holds a search of an earlier release, which this one does not go on "
                "with. Give another --search_dir, or --overwrite to begin again."
            )


def read_result(path: pathlib.Path) -> dict[str, Any]:
    """What best_hparams.json or final.json holds; empty where there is none.

    Args:
        path: Of the file.

    Raises:
        RunError: It is damaged.
    """
    mend = "Remove it: the command of the search writes it again."
    return files.read_json(path, "trial", mend=mend) if path.exists() else {}
