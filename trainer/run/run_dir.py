"""The run folder: where it is, who has it, what it may hold, and what the run was made with."""

import contextlib
import datetime
import importlib.metadata
import pathlib
import shutil
import subprocess
from collections.abc import Collection, Iterator
from typing import Any

from trainer.run import files
from trainer.run.errors import ConfigError, RunError

FOLDERS = ("plots", "tensorboard", "checkpoints")
# What a run writes; --overwrite removes these and nothing else.
CONTENTS = (
    "config.json",
    "flags.txt",
    "history.csv",
    "metrics.json",
    "predictions.csv",
    "images_used.csv",
    "crossval.json",
    "model.keras",
    "report.html",
    *FOLDERS,
)
LOCK = ".lock"
_PACKAGES = ("tensorflow", "keras", "tensorflow-datasets", "numpy", "pillow", "scikit-learn")


@contextlib.contextmanager
def create(run_dir: str | pathlib.Path, default: str, *, overwrite: bool) -> Iterator[pathlib.Path]:
    """Makes the folder of a run, empty of an earlier one, and holds it while the run lasts.

    Args:
        run_dir: The folder, which may begin with `~`; "" makes runs/DEFAULT-TIME, with -2, -3 ...
            behind it where another run has that name.
        default: Name of a folder that is not given.
        overwrite: Whether to remove what an earlier run left.

    Yields:
        The folder. If the run writes nothing, a folder that was made for it is removed again.

    Raises:
        ConfigError: The folder holds a run and `overwrite` is off, or what no run wrote, or can't
            be written.
        RunError: Another process has it.
    """
    path, made = _made(files.expanded(run_dir), default)
    with _held(path, "run_dir", made=made) as lock:
        foreign = lock.holder() is None and lock.path.stat().st_size  # someone else's .lock
        prepare(path, overwrite=overwrite, spared=() if foreign else (LOCK,))
        lock.sign()
        yield path


@contextlib.contextmanager
def use(run_dir: str | pathlib.Path, *, flag: str = "run", shared: bool = False) -> Iterator[None]:
    """Holds the folder of a run that has ended, for a command that reads it or adds to it.

    Args:
        run_dir: The folder.
        flag: What names it.
        shared: Whether other processes may read it meanwhile.

    Raises:
        RunError: There is no such folder, or another process has it.
        ConfigError: It can't be written, and is not `shared`.
    """
    path = pathlib.Path(files.expanded(run_dir))
    if not path.is_dir():
        raise RunError(f"--{flag} {path} is no folder. Give that of a run.")
    if not shared:
        with _held(path, flag) as lock:
            lock.sign()
            yield
        return
    with contextlib.ExitStack() as opened:
        # A run that goes on has the file there; a folder that is only read is left as it is.
        if (path / LOCK).exists():
            opened.enter_context(_lock(path, flag, shared=True))
        yield


def prepare(
    run_dir: pathlib.Path,
    *,
    overwrite: bool,
    contents: Collection[str] = CONTENTS,
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
        ConfigError: The folder holds a run and `overwrite` is off, or what is not in `contents`, or
            can't be written.
    """
    with _writable(run_dir, flag):
        there = sorted(run_dir.iterdir()) if run_dir.exists() else []
        unfinished = [path for path in there if files.unfinished(path) in contents]
        # Empty folders are those of a run that stopped before it had anything to write.
        held = [
            path
            for path in there
            if path.name not in spared
            and path not in unfinished
            and (path.is_symlink() or not path.is_dir() or any(path.iterdir()))
        ]
        if held and not overwrite:
            raise ConfigError(
                f"--{flag} {run_dir} is not empty (it holds {_names(held)}). Give another folder, "
                "or --overwrite."
            )
        foreign = [path for path in held if path.name not in contents]
        if foreign:
            raise ConfigError(
                f"--{flag} {run_dir} holds what this command did not write ({_names(foreign)}), "
                "and --overwrite removes nothing else. Give another folder."
            )
        for path in (*unfinished, *held):
            shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()
        run_dir.mkdir(parents=True, exist_ok=True)


def provenance() -> dict[str, Any]:
    """Versions of packages and the git revision of the code; None where there is none."""
    return {
        "packages": {name: _version(name) for name in _PACKAGES},
        "git_revision": _git_revision(),
    }


def _made(given: str, default: str) -> tuple[pathlib.Path, bool]:
    """The folder of a run, and whether it was made here, and not there before."""
    with _writable(given or "runs"):
        if given:
            path = pathlib.Path(given)
            made = not path.exists()
            path.mkdir(parents=True, exist_ok=True)
            return path, made
        time = datetime.datetime.now().strftime("%Y%m%d-%H%M%S")
        pathlib.Path("runs").mkdir(exist_ok=True)
        number = 1
        while True:  # until the name is of no other run that began in this second
            path = pathlib.Path("runs", f"{default}-{time}" + (f"-{number}" if number > 1 else ""))
            try:
                path.mkdir()
                return path, True
            except FileExistsError:
                number += 1


@contextlib.contextmanager
def _held(path: pathlib.Path, flag: str, *, made: bool = False) -> Iterator[files.Lock]:
    """Holds a folder; leaves no lock behind in it, and no empty folder that was made for it."""
    there_before = (path / LOCK).exists()
    with _lock(path, flag) as lock:
        ours = not there_before or lock.holder() is not None
        try:
            yield lock
        finally:
            if ours:
                lock.remove()
            if made:
                with contextlib.suppress(OSError):
                    path.rmdir()


def _lock(path: pathlib.Path, flag: str, *, shared: bool = False) -> files.Lock:
    try:
        with _writable(path, flag):
            return files.Lock(path / LOCK, shared=shared)
    except files.LockHeldError as error:
        raise RunError(
            f"--{flag} {path} is {error.text}. Wait for it or stop it, or give another folder."
        ) from None


@contextlib.contextmanager
def _writable(path: str | pathlib.Path, flag: str = "run_dir") -> Iterator[None]:
    """Turns the system's refusal into one sentence.

    Raises:
        ConfigError: What is done here to a folder can't be done.
    """
    try:
        yield
    except OSError as error:
        raise ConfigError(
            f"--{flag} {path} can't be written ({error.strerror or error}). Give another folder."
        ) from None


def _names(paths: Collection[pathlib.Path]) -> str:
    return ", ".join(path.name for path in list(paths)[:5])


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def _git_revision() -> str | None:
    here = pathlib.Path(__file__).parent
    try:
        described = subprocess.run(
            ["git", "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"],
            cwd=here, capture_output=True, text=True, timeout=10, check=True,
        )  # fmt: skip
    except (OSError, subprocess.SubprocessError):
        return None
    return described.stdout.strip()
