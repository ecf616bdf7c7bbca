"""A run's manifest.json: whose run it is, which files are its own, what they were at its end.

It is the first file of a run, and the only one that decides what is there. Which flags count, and
which of them may differ when the same command goes on, is decided here, too.
"""

import dataclasses
import fnmatch
import hashlib
import json
import pathlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Self

from trainer.run import files, saved_folds, saved_state
from trainer.run.errors import ConfigError

NAME = "manifest.json"
CONFIG, FLAGS = "config.json", "flags.txt"
FOLDS = f"{saved_folds.FOLDER}/{saved_folds.NAMES}"  # of a cross-validation under way
EVENTS = ".covid_tfds"  # how the names of a run's own TensorBoard files end
HEATMAPS = "heatmaps.npz"
PREDICTIONS, NETWORK, REPORT = "predictions.csv", "model.keras", "report.html"
TIMES = "times.json"
_PICTURES = ("curves", "confusion", "roc", "gallery")
PLOTS = (*(f"plots/{name}.png" for name in _PICTURES), HEATMAPS)
ALIGNED = "plots/alignment.png"  # of a run with aligned images alone
FOLDERS = ("plots", "tensorboard", "checkpoints")
# Of --profile, where TensorBoard's plugin looks; what it makes of a trace it puts beside it.
TRACE = "tensorboard/plugins/profile/run/steps.xplane.pb"
TRACE_FOLDERS = tuple(str(each) for each in list(pathlib.PurePosixPath(TRACE).parents)[:3])
_OF_TRACE = f"{TRACE_FOLDERS[0]}/*"
# All that a run may write, relative to its folder; patterns where no name is known ahead.
CONTENTS = (
    NAME,
    CONFIG,
    FLAGS,
    "history.csv",
    "metrics.json",
    PREDICTIONS,
    "stressed.csv",
    "images_used.csv",
    "crossval.json",
    "seeds.json",
    NETWORK,
    "alignment.csv",
    TIMES,
    REPORT,
    *PLOTS,
    ALIGNED,
    f"tensorboard/events.out.tfevents.*{EVENTS}",
    _OF_TRACE,
    saved_state.FILE,
    FOLDS,
)
# Flags that name where a run is and how often it is saved: it is the same run whatever they are.
OF_THE_MACHINE = ("data_dir", "cache_dir", "cache_gib", "checkpoint_every", "distribute")
NO_FLAGS = ("trial",)  # what identifies the run of a search's best values, and no command takes
# Those of a training that may be higher; a run that did not score test may do so.
GROWING = ("epochs", "fine_tune_epochs", "seeds", "test")
OPTIONAL = ("seeds",)  # a run of one seed has no such flag; all others are in every manifest


@dataclasses.dataclass(frozen=True)
class Identity:
    """What makes a run the one that it is.

    Attributes:
        command: Its name.
        flags: As given, defaults too, by name; kept as they come back from JSON.
        may_grow: Names of those that may be higher when the run goes on.
    """

    command: str
    flags: Mapping[str, Any]
    may_grow: Sequence[str] = ()

    def __post_init__(self) -> None:
        """Makes the flags comparable with those of a file."""
        object.__setattr__(self, "flags", json.loads(json.dumps(dict(self.flags))))


@dataclasses.dataclass(frozen=True)
class Manifest:
    """What the file holds, beside a SHA-256 of all that it holds.

    Attributes:
        command: Of the `Identity`.
        flags: Of the `Identity`.
        contents: Names and patterns of the files that belong to the run, relative to its folder.
        origin: What config.json holds; None until an earlier run is removed.
        files: `bytes` and `sha256` by name of all files of a finished run, None of one that was
            removed while it ended; None of another run.
    """

    command: str
    flags: Mapping[str, Any]
    contents: tuple[str, ...] = CONTENTS
    origin: Mapping[str, Any] | None = None
    files: Mapping[str, Mapping[str, Any] | None] | None = None

    @classmethod
    def read(cls, folder: pathlib.Path) -> Self | None:
        """The manifest of a folder; None where there is none, or a link.

        Raises:
            DamagedError: The file is not what was written.
        """
        path = folder / NAME
        if path.is_symlink() or not path.is_file():
            return None
        try:
            text = path.read_text(encoding="utf-8")
            values = json.loads(text)
            del values["sha256"]
            manifest = cls(**{**values, "contents": tuple(values["contents"])})
            # Compared as text, so that no bit counts for nothing.
            if manifest._text() == text:
                return manifest
        except (ValueError, TypeError, KeyError):
            pass
        raise files.DamagedError(
            f"{path} is damaged: its content is not what was written. Nothing of that folder is "
            "removed or used without it; put back a copy of it, or give another folder."
        )

    def write(self, folder: pathlib.Path) -> None:
        """Writes the file, whole."""
        with files.written_whole(folder / NAME) as beside:
            beside.write_text(self._text(), encoding="utf-8")

    def files_of(self, folder: pathlib.Path) -> list[pathlib.Path]:
        """The files in a folder that belong to the run, without those that were never finished."""
        return [path for path in _entries(folder) if self._lists(folder, path.parent, path.name)]

    def unfinished_of(self, folder: pathlib.Path) -> list[pathlib.Path]:
        """The files in a folder that killed processes of the run were writing."""
        return [
            path
            for path in _entries(folder)
            if (name := files.unfinished(path)) and self._lists(folder, path.parent, name)
        ]

    def finished(self, folder: pathlib.Path, missing: Iterable[str] = ()) -> Self:
        """The manifest of the run with what its files hold now, which is on the disk.

        Args:
            folder: Of the run.
            missing: Names of files that could not be written, which count as damaged.
        """
        content: dict[str, dict[str, Any] | None] = {}
        for path in self.files_of(folder):
            if path != folder / NAME and not (path.match(FOLDS) or path.match(_OF_TRACE)):
                files.flush(path)  # TensorBoard's are written by TensorFlow
                content[path.relative_to(folder).as_posix()] = _content(path)
        return dataclasses.replace(self, files=content | {name: {} for name in missing})

    def with_file(self, folder: pathlib.Path, name: str) -> Self:
        """The manifest of a finished run, one of whose files was written again.

        Args:
            folder: Of the run.
            name: Of the file, relative to the folder.
        """
        assert self.files is not None  # of a finished run
        content = {**self.files, name: _content(folder / name)}
        return dataclasses.replace(self.with_contents([name]), files=content)

    def with_config(self, values: Mapping[str, Any]) -> Self:
        """The manifest whose origin's config has these values of those that it has."""
        if self.origin is None or "config" not in self.origin:
            return self
        config = self.origin["config"]
        known = {name: value for name, value in values.items() if name in config}
        return dataclasses.replace(self, origin={**self.origin, "config": {**config, **known}})

    def with_contents(self, more: Iterable[str]) -> Self:
        """The manifest with more names and patterns of files."""
        return dataclasses.replace(self, contents=tuple(dict.fromkeys((*self.contents, *more))))

    def damaged(self, folder: pathlib.Path) -> list[str]:
        """Names of files that are missing, or not what they were when the run was finished."""
        recorded = self.files or {}
        return [name for name, content in recorded.items() if _content(folder / name) != content]

    def _lists(self, folder: pathlib.Path, parent: pathlib.Path, name: str) -> bool:
        relative = (parent / name).relative_to(folder).as_posix()
        return any(fnmatch.fnmatchcase(relative, pattern) for pattern in self.contents)

    def _text(self) -> str:
        values = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        body = json.dumps(values, allow_nan=False)
        digest = hashlib.sha256(body.encode()).hexdigest()
        return json.dumps({"sha256": digest, **values}, indent=1, allow_nan=False) + "\n"


def require_whole(folder: pathlib.Path, name: str) -> None:
    """Refuses a file of a finished run that is not what the manifest says.

    Args:
        folder: Of the run. One without a manifest, and one that is not finished, say nothing.
        name: Of the file, relative to the folder.

    Raises:
        DamagedError: The file is missing or has changed, or the manifest is damaged.
    """
    there = Manifest.read(folder)
    content = ((there and there.files) or {}).get(name)
    if content and _content(folder / name) != content:
        raise files.DamagedError(
            f"{folder / name} is damaged: its content is not what it was when the run was "
            "finished. Put back a copy of it, or train again with --overwrite."
        )


def grown(folder: pathlib.Path, before: Manifest, now: Identity) -> dict[str, tuple[int, int]]:
    """The flags of `may_grow` that are higher than those of a run that is there.

    Args:
        folder: Of the run.
        before: Its manifest, with an origin.
        now: Of the command that is to go on with it.

    Returns:
        Before and now, by name.

    Raises:
        ConfigError: It is a run of another command, or with other flags.
    """
    if before.command != now.command:
        raise ConfigError(
            f"--run_dir {folder} holds a run of {before.command}, and this is {now.command}. Give "
            "another --run_dir, or --overwrite to begin again."
        )
    same = {name: value for name, value in now.flags.items() if name in OF_THE_MACHINE}
    higher = {
        name: (before.flags[name], now.flags[name])
        for name in now.may_grow
        if name in before.flags and now.flags.get(name, 0) > before.flags[name]
    }
    allowed = {**same, **{name: now.flags[name] for name in higher}}
    there = f"--run_dir {folder} holds a run"
    require_same(there, {**before.flags, **allowed}, now.flags, "run_dir")
    return higher


def require_same(there: str, before: Mapping[str, Any], now: Mapping[str, Any], flag: str) -> None:
    """Refuses to go on with other flags, each named with both values.

    Args:
        there: What is there: "runs/a holds a run".
        before: The flags that it was begun with.
        now: Those that are given.
        flag: What names the folder.

    Raises:
        ConfigError: They differ, or there were fewer flags then: it is of an earlier release.
    """
    later = now.keys() - before.keys() - set(OPTIONAL)
    if later:
        names = ", ".join(f"--{name}" for name in sorted(later))
        raise ConfigError(
            f"{there} of an earlier release (it knows no {names}), which this one does not go on "
            f"with. Give another --{flag}, or --overwrite to begin again."
        )
    changed = [
        f"--{name} is {_shown(now.get(name))}, and was {_shown(before.get(name))}"
        for name in sorted(before.keys() | now.keys())
        if before.get(name) != now.get(name)
    ]
    if changed:
        raise ConfigError(
            f"{there} with other flags: {'; '.join(changed)}. Give the same flags to go on, "
            f"another --{flag}, or --overwrite to begin again."
        )


def _shown(value: Any) -> str:
    return "not given" if value is None else str(value)


def _entries(folder: pathlib.Path) -> Iterable[pathlib.Path]:
    """What is in a run's folder and its own folders; no link is followed, and no folder listed."""
    for place in (folder, *(folder / name for name in (*FOLDERS, *TRACE_FOLDERS))):
        if place == folder or (place.is_dir() and not place.is_symlink()):
            for path in sorted(place.iterdir()):
                if path.is_symlink() or not path.is_dir():
                    yield path


def _content(path: pathlib.Path) -> dict[str, Any] | None:
    """Size and SHA-256 of a file; None where there is none."""
    try:
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
            return {"bytes": file.tell(), "sha256": digest}
    except (FileNotFoundError, IsADirectoryError):
        return None
