"""The folder of a run: where it is, who has it, and whether what is there is this very run."""

import contextlib
import dataclasses
import datetime
import importlib.metadata
import os
import pathlib
import shlex
import subprocess
from collections.abc import Collection, Iterator, Sequence
from typing import Any, Literal

from trainer.run import files, lease, saved_state
from trainer.run.errors import ConfigError, RunError
from trainer.run.lease import Lease
from trainer.run.manifest import (
    CONFIG,
    FOLDERS,
    NAME,
    NETWORK,
    PREDICTIONS,
    REPORT,
    TRACE_FOLDERS,
    Identity,
    Manifest,
    grown,
)
from trainer.run.progress import fitted
from trainer.run.run_folder import RunFolder

__all__ = [
    "Identity",
    "RunFolder",
    "create",
    "held",
    "nothing_left",
    "plain",
    "provenance",
    "use",
    "writable",
]

_FOLDS = "trainer.crossval"
_REMADE = "what follows the training is done again."
_REMADE_OF_FOLDS = ("what follows the folds is done again.", "all folds are trained again.")
_REMADE_OF_SEEDS = "it is made again, and a seed without its network is trained again."
_PACKAGES = ("tensorflow", "keras", "tensorflow-datasets", "numpy", "pillow", "scikit-learn")
# What a killed process may have been writing before the folder had a manifest.
_FIRST = (NAME, lease.NAME)


@contextlib.contextmanager
def create(
    run_dir: str | pathlib.Path, default: str, identity: Identity, *, overwrite: bool
) -> Iterator[RunFolder]:
    """Opens the folder of a run, and holds it while the run lasts.

    Args:
        run_dir: The folder, which may begin with `~`; "" makes runs/DEFAULT-TIME, with -2, -3 ...
            behind it where another run has that name.
        default: Name of a folder that is not given.
        identity: Of the run.
        overwrite: Whether `begin` may replace a run that is there.

    Yields:
        The folder. If the run writes nothing, a folder that was made for it is removed again.

    Raises:
        ConfigError: The folder holds a run of other flags and `overwrite` is off, or what no run
            wrote, or can't be written.
        RunError: Another process has it, or its manifest is damaged.
    """
    path, made = _made(files.expanded(run_dir), default)
    with held(path, "run_dir", made=made) as has:
        yield dataclasses.replace(_opened(path, identity, overwrite=overwrite), lease=has)


def nothing_left(folder: RunFolder, *, within: bool = False) -> bool:
    """Whether the run has ended and all that it wrote is whole; prints what there is to know.

    Args:
        folder: Of the run.
        within: Whether the run is a part of what the command makes, all of which --overwrite
            would begin again.

    Raises:
        RunError: What was lost can't be made again without another network taking the place of the
            one that is there.
    """
    if folder.state != "finished" or folder.grown:
        return False
    damaged = folder.damaged()
    without_state = saved_state.FILE in damaged
    rest = [name for name in damaged if name != saved_state.FILE]
    if rest == [REPORT] and (without_state or folder.identity.command == _FOLDS):
        command = f"python -m trainer.report --run={shlex.quote(str(folder.path))}"
        line = f"{folder.path / REPORT} is missing or damaged: {command} writes it again."
        print(fitted(line), flush=True)
        rest = []
    if rest:
        are = "is" if len(damaged) == 1 else "are"
        lost = f"{', '.join(damaged)} of {folder.path} {are} missing or damaged"
        print(fitted(f"{lost}: {_remade(folder, lost, damaged)}"), flush=True)
        return False
    if without_state:
        line = f"{folder.path / saved_state.FILE} is damaged: the run can't be made longer."
        print(fitted(line), flush=True)
    again = "" if within else " --overwrite begins it again."
    print(fitted(f"{folder.path} holds this run, and it has ended.{again}"))
    return True


def _remade(folder: RunFolder, lost: str, damaged: Sequence[str]) -> str:
    """How what was lost of a run that has ended is made again."""
    if folder.identity.flags.get("seeds"):
        return _REMADE_OF_SEEDS
    if folder.identity.command == _FOLDS:
        return _REMADE_OF_FOLDS[PREDICTIONS in damaged]
    if saved_state.FILE not in damaged:
        return _REMADE
    if NETWORK in damaged:
        return "it is trained again."
    raise RunError(
        f"{lost}, and only the state could make the rest again: trained again, the run would have "
        f"another network than its {NETWORK}. Put back a copy of {saved_state.FILE}, or move the "
        "folder away to train again."
    )


def plain(path: pathlib.Path) -> RunFolder:
    """A folder for a run of no command that nobody else can have, such as a temporary one.

    Args:
        path: The folder, made by `begin` where it is missing. A run that is there is replaced.
    """
    return RunFolder(path, Identity("", {}))


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
    with contextlib.ExitStack() as opened:
        if shared:
            with _refused(path, flag):
                opened.enter_context(lease.shared(path))
        else:
            opened.enter_context(held(path, flag))
        yield


@contextlib.contextmanager
def held(path: pathlib.Path, flag: str, *, made: bool = False) -> Iterator[Lease]:
    """Holds a folder; leaves no lock behind in it, and no empty folder that was made for it.

    Args:
        path: The folder, which is made where it is missing.
        flag: What names it.
        made: Whether it was made for this just before.

    Raises:
        RunError: Another process has it.
        ConfigError: It can't be written.
    """
    try:
        with _refused(path, flag):
            made = made or not path.exists()
            files.make_folder(path)
            has = Lease(path)
        with has, files.guarded(path, has.check):
            yield has
    finally:
        if made:
            with contextlib.suppress(OSError):  # something is in it
                path.rmdir()


def provenance() -> dict[str, Any]:
    """Versions of packages and the git revision of the code; None where there is none."""
    return {
        "packages": {name: _version(name) for name in _PACKAGES},
        "git_revision": _git_revision(),
    }


def _made(given: str, default: str) -> tuple[pathlib.Path, bool]:
    """The folder of a run, and whether it was made here, and not there before."""
    if given:
        return pathlib.Path(given), False
    time = datetime.datetime.now().strftime("%Y%m%d-%H%M%S")
    with writable("runs"):
        files.make_folder("runs")
        number = 1
        while True:  # until the name is of no other run that began in this second
            path = pathlib.Path("runs", f"{default}-{time}" + (f"-{number}" if number > 1 else ""))
            try:
                path.mkdir()
            except FileExistsError:
                number += 1
            else:
                files.flush("runs")
                return path, True


def _opened(path: pathlib.Path, identity: Identity, *, overwrite: bool) -> RunFolder:
    """What is there, compared with the run that is to go there."""
    before = Manifest.read(path)
    if before is None:
        _require_empty(path)
    folders = [path / name for name in (*FOLDERS, *TRACE_FOLDERS)]
    links = [each for each in folders if each.is_symlink()]
    if links:
        raise ConfigError(
            f"--run_dir {path} holds a link in place of a folder ({_names(links)}), and a run "
            "follows none. Remove it, or give another folder."
        )
    if before is None or before.origin is None or overwrite:
        return RunFolder(path, identity, before=before)
    higher = grown(path, before, identity)
    state: Literal["started", "finished"] = "started" if before.files is None else "finished"
    return RunFolder(path, identity, state, before, higher)


def _require_empty(path: pathlib.Path) -> None:
    """Refuses a folder that has no manifest and yet holds something."""
    there = {each.name: each for each in sorted(path.iterdir())}
    if {CONFIG, "metrics.json"} <= there.keys() or {CONFIG, "crossval.json"} <= there.keys():
        raise ConfigError(
            f"--run_dir {path} holds a run of an earlier release (it has no {NAME}), which this "
            "one neither goes on with nor removes. Give another folder."
        )
    foreign = [
        each
        for name, each in there.items()
        if name != lease.NAME
        and files.unfinished(each) not in _FIRST
        # Empty folders are those of a run that stopped before it had anything to write.
        and not (name in FOLDERS and each.is_dir() and not any(each.iterdir()))
        and not _is_seed_alone(each)
    ]
    if foreign:
        raise ConfigError(
            f"--run_dir {path} is not empty (it holds {_names(foreign)}), and no {NAME} says that "
            "a run wrote that, so --overwrite removes nothing of it. Give another folder."
        )


def _is_seed_alone(path: pathlib.Path) -> bool:
    """Whether it is the folder of one of several seeds that stopped while it was set up."""
    if not path.match(saved_state.SEED) or path.is_symlink() or not path.is_dir():
        return False
    return all(
        each.name == lease.NAME or files.unfinished(each) in _FIRST for each in path.iterdir()
    )


@contextlib.contextmanager
def _refused(path: pathlib.Path, flag: str) -> Iterator[None]:
    """Names the flag where a folder is in use or can't be written."""
    try:
        with writable(path, flag):
            yield
    except lease.LockHeldError as error:
        raise RunError(
            f"--{flag} {path} is {error.text}. Wait for it or stop it, or give another folder."
        ) from None


@contextlib.contextmanager
def writable(path: str | pathlib.Path, flag: str = "run_dir") -> Iterator[None]:
    """Turns the system's refusal into one sentence.

    Args:
        path: Of the folder.
        flag: What names it.

    Raises:
        ConfigError: What is done here to a folder can't be done.
    """
    try:
        yield
    except OSError as error:
        above = pathlib.Path(path)
        in_the_way = next((p for p in (above, *above.parents) if os.path.isfile(p)), None)
        # Of a file above it the system says "File exists", as if it were of the name itself.
        why = f"{in_the_way} is no folder" if in_the_way else error.strerror or error
        # A run that is there is written beside, by a report for example.
        mend = "Make it writable." if flag == "run" else "Give another folder."
        raise ConfigError(f"--{flag} {path} can't be written ({why}). {mend}") from None


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
