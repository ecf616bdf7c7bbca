"""The run folder: where it is, what it may hold, and what the run was made with."""

import datetime
import importlib.metadata
import pathlib
import re
import shutil
import subprocess
from collections.abc import Collection
from typing import Any

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
