"""A run in its folder: how it begins, goes on, replaces an earlier one, and ends.

The manifest is written before what it speaks of, so that a run that is killed at any moment leaves
the earlier run, the new one, or one that is known to be removed.
"""

import contextlib
import dataclasses
import json
import pathlib
from collections.abc import Iterable, Mapping
from typing import Any, Literal

from trainer.run import files, saved_state
from trainer.run.errors import RunError
from trainer.run.lease import Lease
from trainer.run.manifest import (
    CONFIG,
    CONTENTS,
    FLAGS,
    FOLDERS,
    NAME,
    NO_FLAGS,
    OF_THE_MACHINE,
    TRACE_FOLDERS,
    Identity,
    Manifest,
)


@dataclasses.dataclass(frozen=True)
class RunFolder:
    """A folder, and the run that it is for. Nothing in it changes before `begin`.

    Attributes:
        path: The folder.
        identity: Of the run.
        state: What was there when it was opened: "new", nothing that counts; "started" or
            "finished", this very run.
        before: The manifest that was there; None where there was none.
        grown: Flags that are higher than those the run began with: before and now, by name.
        lease: What holds the folder, if anything has to.
    """

    path: pathlib.Path
    identity: Identity
    state: Literal["new", "started", "finished"] = "new"
    before: Manifest | None = None
    grown: Mapping[str, tuple[int, int]] = dataclasses.field(default_factory=dict)
    lease: Lease | None = None

    @property
    def origin(self) -> dict[str, Any] | None:
        """What config.json holds of the run that is there; None of a new one."""
        if self.state == "new":
            return None
        assert self.before is not None and self.before.origin is not None  # else it is new
        return dict(self.before.origin)

    @property
    def begun(self) -> bool:
        """Whether the run has begun, and not ended: before, the folder holds what it held."""
        try:
            own = self.own_manifest()
        except files.DamagedError:
            return False
        return own is not None and own.files is None

    def own_manifest(self) -> Manifest | None:
        """The manifest that is there now, if it is of this run; None before the run has begun.

        Raises:
            DamagedError: It is not what was written.
        """
        there = Manifest.read(self.path)
        if there is None or there.origin is None or there.flags != self.identity.flags:
            return None
        return there

    def begin(self, origin: Mapping[str, Any]) -> None:
        """Begins the run, or goes on with it; called when all that can be refused was.

        What --overwrite replaces is removed, file by file as its manifest lists them. Killed at
        any moment, the folder holds the earlier run, a new one, or one that is to go on.

        Args:
            origin: What config.json is to hold, JSON-able; of a run that goes on it counts only if
                a flag of it grew. Folders and the like of this machine are noted in any case.

        Raises:
            RunError: Another process took the folder over.
        """
        self.check()
        files.make_folder(self.path)
        if self.state == "new":
            now = self._replaced()
        else:
            assert self.before is not None  # else the state is new
            here = {n: v for n, v in self.identity.flags.items() if n in OF_THE_MACHINE}
            flags = {**here, **{name: value for name, (_, value) in self.grown.items()}}
            now = dataclasses.replace(
                self.before.with_config(here), flags={**self.before.flags, **flags}, files=None
            )
            now = now.with_contents(CONTENTS)
            self._remove(now.unfinished_of(self.path))
        if self.state == "new" or self.grown:
            now = dataclasses.replace(now, origin=json.loads(json.dumps(origin)))
        if now != self.before:
            now.write(self.path)
        for name in FOLDERS:
            files.make_folder(self.path / name)
        self._write_origin(now)

    def finish(self, missing: Iterable[str] = ()) -> None:
        """Ends the run: what its files hold is written down, and folders that stayed empty go.

        Args:
            missing: Names of files that could not be written; they count as `damaged`, so that the
                same command makes them.

        Raises:
            RunError: Another process took the folder over, or the run never began.
        """
        self._manifest().finished(self.path, missing).write(self.path)
        self._remove(())

    def damaged(self) -> list[str]:
        """Names of what is missing of the finished run, or not what it was.

        They are files, and of several seeds folders whose run has not ended or lacks a file.
        """
        parts = [path for path in self._parts() if not _is_whole(path)]
        return [*self._manifest().damaged(self.path), *(path.name for path in parts)]

    def _parts(self) -> list[pathlib.Path]:
        """The folders of the runs with several seeds that this run is made of."""
        flags = self.identity.flags
        return [
            saved_state.of_seed(self.path, flags["seed"] + number)
            for number in range(flags.get("seeds", 0))
        ]

    def check(self) -> None:
        """Looks whether the folder is still this run's.

        Raises:
            RunError: Another process took it over.
        """
        if self.lease is not None:
            self.lease.check()

    def _manifest(self) -> Manifest:
        there = Manifest.read(self.path)
        if there is None:
            raise RunError(f"{self.path} has no {NAME} any more. Start the run again.")
        return there

    def _replaced(self) -> Manifest:
        """The manifest of a new run, where nothing of the earlier one is left."""
        before = Manifest.read(self.path)
        now = Manifest(self.identity.command, self.identity.flags)
        if before is not None:
            now = now.with_contents(before.contents)
            now.write(self.path)  # no earlier run any more, but what is left of it is known
            there = now.files_of(self.path)
            self._remove(path for path in there if path != self.path / NAME)
            for path in self.path.glob(saved_state.SEED):
                if not path.is_symlink():
                    _clear(path)
        self._remove(now.unfinished_of(self.path))
        return dataclasses.replace(now, contents=CONTENTS)

    def _remove(self, paths: Iterable[pathlib.Path]) -> None:
        """Removes files, and folders of a run that are empty; a power cut brings none back."""
        for path in paths:
            path.unlink(missing_ok=True)
        for path in (self.path / name for name in (*TRACE_FOLDERS, *FOLDERS)):
            if path.is_dir():
                files.flush(path)
                with contextlib.suppress(OSError):  # something is in it
                    path.rmdir()
        files.flush(self.path)

    def _write_origin(self, now: Manifest) -> None:
        """Writes config.json, and flags.txt, a `--flagfile` that repeats the run."""
        assert now.origin is not None  # from here on
        flags = {**now.flags, **now.origin.get("config", {})}
        for name in NO_FLAGS:
            flags.pop(name, None)
        texts = {
            FLAGS: files.flag_lines(flags),
            CONFIG: json.dumps(now.origin, indent=1) + "\n",
        }
        for name, text in texts.items():
            path, data = self.path / name, text.encode("utf-8", "surrogateescape")
            if not path.is_file() or path.read_bytes() != data:
                with files.written_whole(path) as beside:
                    beside.write_bytes(data)


def _clear(folder: pathlib.Path) -> None:
    """Removes the run of one seed, which belongs to a run of several that is replaced.

    Otherwise it would count as one of the new run, where that is killed before it comes to it.
    """
    earlier = RunFolder(folder, Identity("", {}))
    with contextlib.suppress(files.DamagedError):  # whoever comes to that seed is told
        if Manifest.read(folder) is not None:
            earlier._replaced()
            earlier._remove([folder / NAME])
            with contextlib.suppress(OSError):  # something is in it
                folder.rmdir()


def _is_whole(path: pathlib.Path) -> bool:
    """Whether a folder has a run that has ended, with all that can't be made without training."""
    try:
        there = Manifest.read(path)
    except files.DamagedError:
        return False
    if there is None or there.files is None:
        return False
    return there.damaged(path) in ([], [saved_state.FILE])
