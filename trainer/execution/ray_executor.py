"""Runs tasks by the workers of a Ray cluster.

Ray finds out that a worker or a node died; the task is then submitted again, here and not by Ray's
own retries: these count neither what runs out of memory nor the time that a task waits for room.
A result belongs to the reference of one submission, so that none comes late or twice.
"""

import collections
import dataclasses
import itertools
import re
import sys
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import ray
from ray import exceptions
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from trainer.execution import tasks, worker
from trainer.execution.ray import Cluster, cores, first_line
from trainer.execution.tasks import Ended, Task
from trainer.execution.worker import Mark
from trainer.run import command
from trainer.run.errors import ConfigFailedError, RunError

if TYPE_CHECKING:
    from trainer.execution.sharing import Chunk
    from trainer.input_pipeline.stages import Stage
    from trainer.training.setup import Setup
    from trainer.training.training import Training

_TRIES = {"lost": 10, "memory": tasks.MEMORY_TRIES, "silent": 2}
_LOADING = 120.0  # least seconds for a worker to import TensorFlow and to open the setup
_LOOK = 1.0  # most seconds in which the user's interrupt is not seen


@dataclasses.dataclass(eq=False)
class _Submitted:
    """A task, and its submission that counts."""

    task: Task
    key: int = 0
    ref: Any = None
    mark: Mark | None = None  # of the last step; None: it did not start
    idle: float = 0.0  # seconds since then
    tries: collections.Counter = dataclasses.field(default_factory=collections.Counter)


class RayExecutor:
    """Runs tasks on a cluster.

    Attributes:
        setup: The driver's, with `compute` set.
        shares_files: Whether all workers are on this machine.
    """

    def __init__(self, cluster: Cluster, setup: "Setup") -> None:
        """Sends the setup to the cluster.

        Args:
            cluster: Of `connected`.
            setup: What the tasks' functions are called with; None if they need none.
        """
        self.setup, self.shares_files, self._cluster = setup, cluster.shares_files, cluster
        self._running: list[_Submitted] = []
        self._chunks: list[Chunk] = []
        self._known: set = set()
        self._keys = itertools.count()
        self._slots = cluster.slots()
        self._every = min(5.0, cluster.task_timeout / 10)  # seconds between looks at the marks
        self._looked = time.monotonic()
        packed, threads = None, cluster.task_cpus
        if setup is not None:
            from trainer.execution import sharing

            packed = sharing.packed(
                setup,
                shares_files=cluster.shares_files,
                worker_data_dir=cluster.worker_data_dir,
            )
            threads = cores() if setup.config.deterministic else threads
            self.setup = dataclasses.replace(setup, compute=self._compute)
        self._packed = ray.put(packed)
        here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
        self._marks = cast(Any, worker.Marks).options(scheduling_strategy=here).remote()
        self._remote = worker.run_task.options(
            num_cpus=cluster.task_cpus,
            num_gpus=cluster.task_gpus,
            runtime_env={"env_vars": _variables(threads, cluster)},
        )

    def submit(self, task: Task) -> None:
        """Queues a task."""
        self._running.append(self._submitted(_Submitted(task)))

    def next(self) -> Ended | None:
        """Waits until a task has ended; see `tasks.Executor`."""
        while True:
            if ended := self._look(self._running):
                return ended
            before, now = self._slots, self.slots
            if now > max(before, self.pending):
                return None
            if not self._running:
                time.sleep(_LOOK)

    @property
    def slots(self) -> int:
        """How many tasks can run at the same time on the nodes that are there now."""
        self._slots = self._cluster.slots()  # those that the caller knows of
        return self._slots

    @property
    def pending(self) -> int:
        """How many tasks were submitted and not returned by `next`."""
        return len(self._running)

    def provide(self, training: "Training") -> None:
        """Puts the rows that a training reads into the object store, unless all is on one disk."""
        if not self._cluster.shares_files:
            from trainer.execution import sharing

            self._chunks += sharing.chunks(
                training, ray.put, self._known, squares=not self._cluster.worker_data_dir
            )

    def close(self) -> None:
        """Drops what still runs, which ends when the cluster is left.

        Cancelling it could end this process: Ray 2.60 aborts where a task is cancelled at the
        moment at which it is completed ("Tried to complete task that was not pending").
        """
        self._running.clear()
        ray.kill(self._marks)

    def _compute(self, config: Any, stage: "Stage", batches: Iterator) -> Iterator[np.ndarray]:
        """Computes rows of a stage by tasks, a few batches ahead; yields them in order."""
        from trainer.execution import sharing

        name = stage.spec.folder_name()
        ahead: collections.deque[list[_Submitted]] = collections.deque()
        for lower, draws in batches:
            task = Task(f"rows of {stage.spec.name}", sharing.compute_rows,
                        (config, name, lower, draws, stage.takes_squares))  # fmt: skip
            ahead.append([self._submitted(_Submitted(task))])
            if len(ahead) > self.slots:
                yield self._rows(ahead.popleft())
        while ahead:
            yield self._rows(ahead.popleft())

    def _rows(self, one: list[_Submitted]) -> np.ndarray:
        while not (ended := self._look(one)):
            pass
        if ended.failure:
            raise ConfigFailedError(f"The {ended.task.name} could not be computed: {ended.failure}")
        return ended.value

    def _submitted(self, each: _Submitted) -> _Submitted:
        """Submits a task, again where it was before: what its older submission gives is dropped."""
        each.key, each.mark, each.idle = next(self._keys), None, 0.0
        function = (each.task.function.__module__, each.task.function.__qualname__)
        shared = [self._packed, self._chunks]
        of_marks = (self._marks, each.key, self._every / 2)
        each.ref = self._remote.remote(shared, of_marks, function, each.task.arguments)
        return each

    def _look(self, among: list[_Submitted]) -> Ended | None:
        """Waits for at most a second for one to end; those that hang are run again."""
        command.raise_if_interrupted()
        if not among:
            return None
        by_ref = {each.ref: each for each in among}
        ready, _ = ray.wait(list(by_ref), timeout=min(_LOOK, self._every))
        for ref in ready:
            if ended := self._settled(by_ref[ref]):
                among.remove(by_ref[ref])
                return ended
        for each in self._silent(among):
            ray.cancel(each.ref, force=True)
            seconds = f"{self._cluster.task_timeout:g}"
            reason = f"It made no step for {seconds} seconds, twice (--task_timeout={seconds})."
            if ended := self._again(each, "silent", reason):
                among.remove(each)
                return ended
        return None

    def _settled(self, each: _Submitted) -> Ended | None:
        """How a task ended whose reference is ready; None if it runs again."""
        try:
            outcome = ray.get(each.ref)
        except exceptions.OutOfMemoryError as error:
            if not self._had_most_memory(each, error):
                return self._lost(each, error)
            outcome = MemoryError(first_line(error))
        except exceptions.RayTaskError as error:  # of what surrounds the task: its value, say
            return Ended(each.task, failure=first_line(error.cause), details=str(error))
        except exceptions.RayError as error:
            return self._lost(each, error)
        if isinstance(outcome, MemoryError):
            return self._again(each, "memory", tasks.MEMORY_FAILURE.format(outcome))
        if isinstance(outcome, RunError):
            self._running = [other for other in self._running if other is not each]
            raise outcome
        value, failure, details = outcome
        return Ended(each.task, value, failure, details)

    def _lost(self, each: _Submitted, error: exceptions.RayError) -> Ended | None:
        print("A worker was lost; its task runs again.", file=sys.stderr)
        failure = (
            f"Its process was lost {_TRIES['lost']} times. Does it run out of memory? Ray says: "
            f"{first_line(error)}"
        )
        return self._again(each, "lost", failure)

    def _again(self, each: _Submitted, why: str, failure: str) -> Ended | None:
        """Submits a task again, or fails it if it was often enough."""
        each.tries[why] += 1
        if each.tries[why] >= _TRIES[why]:
            return Ended(each.task, failure=failure)
        self._submitted(each)
        return None

    def _silent(self, among: list[_Submitted]) -> list[_Submitted]:
        """Those that started and made no step for too long."""
        # A driver that was stopped (Ctrl-Z, with its workers) does not count that time.
        passed = min(time.monotonic() - self._looked, 2 * self._every + _LOOK)
        if passed < self._every:
            return []
        self._looked = time.monotonic()
        marks = self._read_marks(among)
        silent, timeout = [], self._cluster.task_timeout
        for each in among:
            mark = marks.get(each.key, each.mark)
            each.idle = each.idle + passed if mark and mark == each.mark else 0.0
            each.mark = mark
            tasks.report(each.task.name, mark.text if mark else "")
            if mark and each.idle > (timeout if mark.loaded else max(timeout, _LOADING)):
                silent.append(each)
        return silent

    def _had_most_memory(self, each: _Submitted, error: exceptions.OutOfMemoryError) -> bool:
        """Whether a task had the most of those that were killed when a node's memory was used up.

        Ray kills the youngest first, so that an older task that takes it all costs others a run.
        """
        sizes = dict(re.findall(r"pid=(\d+), actual memory used=([\d.]+)GB", str(error)))
        mark = self._read_marks([each]).get(each.key, each.mark)
        if not sizes or mark is None:
            return True
        return float(sizes.get(str(mark.pid), 0)) >= max(map(float, sizes.values()))

    def _read_marks(self, among: list[_Submitted]) -> dict[int, Mark]:
        try:
            return ray.get(self._marks.read.remote([each.key for each in among]), timeout=5)
        except exceptions.RayError:  # it died, too, and Ray starts it again
            return {}


def _variables(threads: int, cluster: Cluster) -> dict[str, str]:
    """Environment of a worker."""
    names = ("TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS", "OMP_NUM_THREADS")
    variables = dict.fromkeys(names, str(threads)) | {"TF_CPP_MIN_LOG_LEVEL": "3"}
    if 0 < cluster.task_gpus < 1:  # TensorFlow takes a whole GPU's memory otherwise
        variables["TF_FORCE_GPU_ALLOW_GROWTH"] = "true"
    if cluster.folder:  # a worker is killed at the end, and leaves TensorFlow's temporary files
        variables["TMPDIR"] = cluster.folder
    return variables
