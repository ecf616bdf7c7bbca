"""Run folders as runs leave them, without a training."""

import dataclasses
import json
import pathlib

from trainer.run import lease, run_dir
from trainer.run.run_dir import Identity

FLAGS = {"classes": 4, "dataset": "phantom", "epochs": 5, "cache_dir": ""}
SAME = Identity("trainer.main", FLAGS, ("epochs",))
ORIGIN = {"config": FLAGS, "command": ["main.py"]}
EVENTS = "tensorboard/events.out.tfevents.{}.host.7.0.covid_tfds"
WRITTEN = ("history.csv", "metrics.json", "model.keras", "report.html", "plots/roc.png",
           "checkpoints/state", EVENTS.format(1))  # fmt: skip
BEGUN = {"manifest.json", "config.json", "flags.txt"}


def contents(folder: pathlib.Path) -> dict[str, str]:
    """All files but the lock."""
    return {
        path.relative_to(folder).as_posix(): path.read_text()
        for path in folder.rglob("*")
        if path.is_file() and path.name != lease.NAME
    }


def opened(folder: str | pathlib.Path, identity: Identity = SAME, *, overwrite: bool = False):
    return run_dir.create(folder, "phantom-4", identity, overwrite=overwrite)


def left(path: pathlib.Path, *, finished: bool = False) -> pathlib.Path:
    """Leaves what a run leaves."""
    with opened(path) as folder:
        folder.begin(ORIGIN)
        for name in WRITTEN:
            (path / name).write_text(name)
        if finished:
            folder.finish()
    return path


def state(folder: pathlib.Path, identity: Identity = SAME) -> str:
    with opened(folder, identity) as there:
        return there.state


def taken_over(folder: pathlib.Path) -> None:
    """Does what a process of another host does that takes a folder over."""
    holder = dataclasses.replace(lease.Holder.of_this_process(), host="node12")
    beside = folder / "beside"
    beside.write_text(json.dumps(dataclasses.asdict(holder)))
    beside.replace(folder / lease.NAME)
