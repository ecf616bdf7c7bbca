"""The folder of a search: what it was begun with, what is in it, who may write to it now."""

import contextlib
import dataclasses
import pathlib
import shutil
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from trainer.config import HPARAMS_FILE
from trainer.run import files, lease, manifest, run_dir
from trainer.run.errors import ConfigError

_IDENTITY, _LOG, _OLD_STATE = "search.json", "log.jsonl", "state.json"
# What a search writes beside its trials' folders; --overwrite removes these and nothing else.
_CONTENTS = (
    HPARAMS_FILE, manifest.FLAGS, _IDENTITY, _LOG, _OLD_STATE, "trials.csv", "final.json",
    "oracle.json", "tuner0.json", "tensorboard", "retrained", "checkpoints",
    "plots", "logs",  # of earlier releases
)  # fmt: skip


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
        return self.root / "retrained"

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
            yield new

    def begin(self, identity: Mapping[str, Any]) -> None:
        """Begins a search in the folder that is held; called when all that can be refused was.

        What an earlier one wrote is removed. Killed meanwhile, the folder holds the earlier search
        or what takes --overwrite to be removed.

        Args:
            identity: See `settings.identity`.

        Raises:
            ConfigError: Something can't be removed.
        """
        written = self._written()
        with run_dir.writable(self.root, "search_dir"):
            self.identity.unlink(missing_ok=True)  # without it, nothing goes on with the rest
            files.flush(self.root)
            for path in written:
                if path.is_dir() and not path.is_symlink():
                    shutil.rmtree(path)
                else:
                    path.unlink(missing_ok=True)
        files.write_json(self.identity, identity)

    def _written(self) -> list[pathlib.Path]:
        """What searches wrote into the folder, files that were never finished too."""
        trials = {path.name for path in self.root.glob("trial_[0-9]*")}
        # A trial's curves are written beside.
        names = {*_CONTENTS, *trials, *(path.name for path in self.root.glob(".trial_[0-9]*"))}
        return [
            path
            for path in sorted(self.root.iterdir())
            if path.name in names or files.unfinished(path) in {*names, lease.NAME}
        ]

    def _require_replaceable(self, *, overwrite: bool) -> None:
        """Refuses what no search wrote and, without `overwrite`, an earlier search.

        Raises:
            ConfigError: There is such a thing.
        """
        written = self._written()
        left = [
            path
            for path in sorted(self.root.iterdir())
            if path.name != lease.NAME
            and not files.unfinished(path)
            and (path.is_symlink() or not path.is_dir() or any(path.iterdir()))
        ]
        if left and not overwrite:
            raise ConfigError(
                f"--search_dir {self.root} is not empty (it holds {_names(left)}). Give another "
                "folder, or --overwrite."
            )
        if foreign := [path for path in left if path not in written] + self._added():
            raise ConfigError(
                f"--search_dir {self.root} holds what no search wrote ({_names(foreign)}), and "
                "--overwrite removes nothing else. Give another folder."
            )

    def _added(self) -> list[pathlib.Path]:
        """Files among those of the run of the best values that no run wrote."""
        there = manifest.Manifest.read(self.retrained)
        if there is None:  # of an earlier release
            return []
        every = {path for path in self.retrained.rglob("*") if path.is_symlink() or path.is_file()}
        of_run = {*there.files_of(self.retrained), *there.unfinished_of(self.retrained)}
        return sorted(every - of_run - {self.retrained / lease.NAME})

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


def _names(paths: Sequence[pathlib.Path]) -> str:
    return ", ".join(path.name for path in paths[:5])
