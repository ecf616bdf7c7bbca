"""What happens in a worker of a Ray cluster."""

import importlib
import os
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import ray

from trainer.execution import tasks
from trainer.execution.tasks import Task
from trainer.run.errors import RunError

_CALLS = 100  # of a worker process: TensorFlow keeps some 2 MiB of every function that it traced


class Mark(NamedTuple):
    """The last step of a task: its time, whether it had loaded all, its process, how far it is."""

    time: float
    loaded: bool
    pid: int
    text: str


@ray.remote(num_cpus=0, max_restarts=-1, max_task_retries=-1)
class Marks:
    """When each task made its last step, and whether it had loaded all by then."""

    def __init__(self) -> None:
        """Has none yet."""
        self._marks: dict[int, Mark] = {}

    def write(self, key: int, loaded: bool, pid: int, text: str) -> None:
        """Notes a step of a task, now."""
        self._marks[key] = Mark(time.time(), loaded, pid, text)

    def read(self, keys: list[int]) -> dict[int, Mark]:
        """Those of these keys. All are kept: a task has some 100 bytes."""
        return {key: self._marks[key] for key in keys if key in self._marks}


_opened: dict[str, Any] = {}  # in a worker: the one setup that it has, by its reference


@ray.remote(max_retries=0, max_calls=_CALLS)
def run_task(shared: list, of_marks: tuple, function: tuple[str, str], arguments: tuple) -> Any:
    """Runs a task in a worker: (value, failure, details), or an error that it raised."""
    marks, key, every = of_marks
    last, loaded, latest = -every, False, ""

    def progressed(text: str = "") -> None:
        nonlocal last, latest
        latest = text or latest
        if time.monotonic() - last >= every:
            last = time.monotonic()
            marks.write.remote(key, loaded, os.getpid(), latest)

    tasks.set_on_progress(progressed)
    progressed()
    try:
        setup = _setup(*shared)
        task = Task("", _function(*function), arguments)
        last, loaded = -every, True
        progressed()
        ended = tasks.run(task, setup)
    except RunError as error:
        return error
    except MemoryError as error:
        _close()  # what earlier tasks left may be what is too much
        return error
    finally:
        tasks.set_on_progress(None)
    return ended.value, ended.failure, ended.details


def _setup(packed: Any, chunks: list) -> Any:
    """The setup in this worker, which opens it once."""
    if packed.hex() not in _opened:
        _close()
        _opened[packed.hex()] = _unpacked(ray.get(packed))
    setup = _opened[packed.hex()]
    if setup is not None and chunks:
        from trainer.execution import sharing

        sharing.add_chunks(setup, chunks)
    return setup


def _unpacked(packed: Any) -> Any:
    if packed is None:
        return None
    from trainer.execution import sharing

    def fetch(ref: Any) -> Any:
        tasks.progressed()
        return ray.get(ref)

    return sharing.unpacked(packed, fetch)


def _close() -> None:
    for setup in _opened.values():
        if setup is not None:
            setup.opened.close()
    _opened.clear()


def _function(module: str, name: str) -> Callable:
    """By its name, so that TensorFlow is imported when the setup has prepared it, not before."""
    return getattr(importlib.import_module(module), name)
