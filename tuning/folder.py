"""The folder of a search: what it was begun with, what is in it, who may write to it now."""

import contextlib
import dataclasses
import json
import pathlib
from collections.abc import Iterator, Mapping
from typing import Any

from trainer.config import HPARAMS_FILE
from trainer.run import files, run_dir
from trainer.run.errors import ConfigError, RunError

_IDENTITY, _LOG, _OLD_STATE = "search.json", "log.jsonl", "state.json"
# What a search writes beside its trials' folders; --overwrite removes these and nothing else.
_CONTENTS = (
    HPARAMS_FILE, _IDENTITY, _LOG, _OLD_STATE, "trials.csv", "final.json", "oracle.json",
    "tuner0.json", "tensorboard", "retrained",
    "plots", "logs",  # of earlier releases
)  # fmt: skip
_PATIENCE = 20.0  # seconds that a killed process may take to be gone


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

    @contextlib.contextmanager
    def held(self, identity: Mapping[str, Any], *, overwrite: bool) -> Iterator[None]:
        """Begins a search or goes on with one, and keeps other processes out meanwhile.

        Args:
            identity: See `settings.identity`.
            overwrite: Whether to remove a search that is there.

        Raises:
            ConfigError: A search with other flags is there, or the folder can't be used.
            RunError: Another process has it.
        """
        with contextlib.ExitStack() as opened:
            locked = (self.root / run_dir.LOCK).exists()
            if locked:
                opened.enter_context(self._locked())
            if overwrite or not (self.identity.exists() or (self.root / _OLD_STATE).exists()):
                trials = [path.name for path in self.root.glob("trial_[0-9]*")]
                run_dir.prepare(
                    self.root,
                    overwrite=overwrite,
                    contents=(*_CONTENTS, *trials),
                    spared=(run_dir.LOCK,),  # a lock counts only as long as its file is there
                    flag="search_dir",
                )
                files.write_json(self.identity, identity)
            elif not self.log.exists() or not self.log.stat().st_size:
                self._require_current()
                files.write_json(self.identity, identity)  # no trial has begun with the other
            if not locked:
                opened.enter_context(self._locked())
            self._require(identity)
            yield

    def _require_current(self) -> None:
        if (self.root / _OLD_STATE).exists():
            raise ConfigError(
                f"{self.root} holds a search of an earlier release, which this one does not go on "
                "with. Give another --search_dir, or --overwrite to begin again."
            )

    def _require(self, identity: Mapping[str, Any]) -> None:
        before = json.loads(self.identity.read_text(encoding="utf-8"))
        changed = [
            f"--{name} is {_shown(identity.get(name))}, and was {_shown(before.get(name))}"
            for name in sorted(before.keys() | identity.keys())
            if before.get(name) != identity.get(name)
        ]
        if changed:
            raise ConfigError(
                f"{self.root} holds a search with other flags: {'; '.join(changed)}. Give the same "
                "flags to go on, another --search_dir, or --overwrite to begin again."
            )

    def _locked(self) -> files.Lock:
        try:
            lock = files.Lock(self.root / run_dir.LOCK, wait=_PATIENCE)
        except files.LockHeldError as error:
            raise RunError(
                f"Another process searches in {self.root}: it is {error.text}. Wait for it or stop "
                "it, or give another --search_dir."
            ) from None
        lock.sign()
        return lock


def _shown(value: Any) -> str:
    return "not given" if value is None else str(value)
