"""The run folder: where it is, files that appear whole, and locks."""

import contextlib
import csv
import datetime
import fcntl
import importlib.metadata
import json
import os
import pathlib
import re
import shutil
import subprocess
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import IO, Any

from trainer.config import ConfigError

# What a run leaves; --overwrite removes these and nothing else.
_CONTENTS = (
    "config.json",
    "crossval.json",
    "history.csv",
    "metrics.json",
    "predictions.csv",
    "model.keras",
)
_UNFINISHED = re.compile(r"\.\d+\..+")  # what `written_whole` was killed over
FOLDERS = ("plots", "tensorboard", "checkpoints")
_PACKAGES = ("tensorflow", "keras", "tensorflow-datasets", "numpy", "pillow", "scikit-learn")


def named(run_dir: str, default: str) -> pathlib.Path:
    """The folder that `--run_dir` names, or runs/DEFAULT-TIME."""
    time = datetime.datetime.now().strftime("%Y%m%d-%H%M%S")
    return pathlib.Path(run_dir or f"runs/{default}-{time}")


def locked(file: IO) -> bool:
    """Whether an open file could be locked for this process alone; it stays so until it is closed.

    The lock falls with the process, however that ends.
    """
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def prepare(
    run_dir: pathlib.Path,
    *,
    overwrite: bool,
    contents: Collection[str] = (*_CONTENTS, *FOLDERS),
    spared: Collection[str] = (),
    flag: str = "run_dir",
) -> None:
    """Makes the folder, empty of an earlier run.

    Args:
        run_dir: The folder.
        overwrite: Whether to remove what an earlier run left.
        contents: What a run leaves; nothing else is ever removed.
        spared: What may be there and stays.
        flag: What names the folder.

    Raises:
        ConfigError: The folder holds a run and `overwrite` is off, or can't be written.
    """
    try:
        there = list(run_dir.iterdir()) if run_dir.exists() else []
        for path in there:
            if _UNFINISHED.fullmatch(path.name):
                path.unlink()
        # Empty folders are those of a run that stopped before it had anything to write.
        held = sorted(
            path.name
            for path in there
            if path.name not in spared and path.exists() and (path.is_file() or any(path.iterdir()))
        )
        if held and not overwrite:
            raise ConfigError(
                f"--{flag} {run_dir} is not empty (it holds {', '.join(held[:5])}). "
                "Give another folder, or --overwrite."
            )
        foreign = sorted(set(held) - set(contents))
        if foreign:
            raise ConfigError(
                f"--{flag} {run_dir} holds what this command did not write "
                f"({', '.join(foreign[:5])}), and --overwrite removes nothing else. Give another "
                "folder."
            )
        for name in held:
            path = run_dir / name
            shutil.rmtree(path) if path.is_dir() else path.unlink()
        run_dir.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(
            f"--{flag} {run_dir} can't be written ({error.strerror}). Give another folder."
        ) from None


@contextlib.contextmanager
def written_whole(path: str | os.PathLike) -> Iterator[pathlib.Path]:
    """Yields a path beside `path` to write to; it takes the place of `path` when all went well."""
    path = pathlib.Path(path)
    beside = path.with_name(f".{os.getpid()}.{path.name}")  # Keras reads the suffix
    try:
        yield beside
        beside.replace(path)
    finally:
        beside.unlink(missing_ok=True)


def write_json(path: pathlib.Path, values: Mapping[str, Any]) -> None:
    """Writes JSON that other tools can read: no NaN, no infinity."""
    with written_whole(path) as beside:
        beside.write_text(json.dumps(values, indent=1, allow_nan=False) + "\n")


def write_csv(path: pathlib.Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """Writes rows that share the keys of the first."""
    with written_whole(path) as beside, open(beside, "w", newline="") as file:
        writer = csv.DictWriter(file, rows[0].keys(), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


def provenance() -> dict[str, Any]:
    """Package versions, and the git revision the code was run from (None outside a checkout)."""
    return {
        "packages": {name: importlib.metadata.version(name) for name in _PACKAGES},
        "git_revision": _git_revision(),
    }


def _git_revision() -> str | None:
    here = pathlib.Path(__file__).parent
    try:
        asked = subprocess.run(
            ["git", "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"],
            cwd=here, capture_output=True, text=True, timeout=10, check=True,
        )  # fmt: skip
    except (OSError, subprocess.SubprocessError):
        return None
    return asked.stdout.strip()
