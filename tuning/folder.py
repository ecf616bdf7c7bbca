"""The folder of a search: whose it is, what it was begun with, who may write to it now."""

import contextlib
import dataclasses
import json
import pathlib
from collections.abc import Iterator, Mapping
from typing import Any

from trainer.config import HPARAMS_FILE as BEST
from trainer.run import files, run_dir
from trainer.run.errors import ConfigError, RunError

_IDENTITY, _LOCK = "search.json", ".lock"
_CONTENTS = (
    BEST, _IDENTITY, "state.json", "trials.csv", "final.json",
    "plots", "tensorboard", "logs", "retrained",
)  # fmt: skip
_PATIENCE = 20.0  # seconds that a killed process may take to be gone


@dataclasses.dataclass(frozen=True)
class Folder:
    """Paths of a search."""

    root: pathlib.Path

    @property
    def state(self) -> pathlib.Path:
        """All that the oracle knows."""
        return self.root / "state.json"

    @property
    def best(self) -> pathlib.Path:
        """What `trainer.main --hparams` takes."""
        return self.root / BEST

    @property
    def logs(self) -> pathlib.Path:
        """What workers say."""
        return self.root / "logs"

    def begin(self, identity: Mapping[str, Any], *, overwrite: bool) -> None:
        """Begins a search, or goes on with one.

        Args:
            identity: See `settings.identity`.
            overwrite: Whether to remove a search that is there.

        Raises:
            ConfigError: A search with other flags is there, or the folder can't be used.
            RunError: A search that goes on is to be removed.
        """
        path = self.root / _IDENTITY
        if overwrite or not path.exists():
            with self._locked() if (self.root / _LOCK).exists() else contextlib.nullcontext():
                run_dir.prepare(
                    self.root,
                    overwrite=overwrite,
                    contents=_CONTENTS,
                    spared=(_LOCK,),  # a lock that is held counts only as long as its file is there
                    flag="search_dir",
                )
                files.write_json(path, identity)
        elif not self.state.exists():  # perhaps no trial has begun: nothing to be true to
            with self._locked():
                if not self.state.exists():
                    files.write_json(path, identity)
        self._check(identity)

    @contextlib.contextmanager
    def owned(self, identity: Mapping[str, Any]) -> Iterator[None]:
        """Keeps a second search out of the folder; the system lets go when the process dies.

        Args:
            identity: Of the search that wants it.

        Raises:
            RunError: Another process has it.
            ConfigError: A search with other flags has begun in it meanwhile.
        """
        with self._locked():
            self._check(identity)
            yield

    def _check(self, identity: Mapping[str, Any]) -> None:
        before = json.loads((self.root / _IDENTITY).read_text())
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
            lock = files.Lock(self.root / _LOCK, wait=_PATIENCE)
        except files.LockHeldError as error:
            raise RunError(
                f"Another process searches in {self.root}: it is {error.text}. Wait for it or stop "
                "it, or give another --search_dir."
            ) from None
        lock.sign()
        return lock


def _shown(value: Any) -> str:
    return "not given" if value is None else str(value)
