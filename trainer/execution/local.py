"""Runs tasks in this process, and chooses between that and a cluster."""

import collections
import contextlib
import functools
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from trainer.execution import tasks
from trainer.execution.tasks import Ended, Executor, Task
from trainer.run import command

if TYPE_CHECKING:
    from trainer.execution.ray import Cluster
    from trainer.training.setup import Setup
    from trainer.training.training import Training


class LocalExecutor:
    """Runs one task after the other, first in, first out, within `next`.

    Attributes:
        setup: What the tasks' functions are called with.
        shares_files: True.
    """

    slots, shares_files = 1, True

    def __init__(self, setup: "Setup") -> None:
        """Has no tasks yet.

        Args:
            setup: What the tasks' functions are called with; None if they need none.
        """
        self.setup = setup
        self._queue: collections.deque[Task] = collections.deque()

    def submit(self, task: Task) -> None:
        """Queues a task."""
        self._queue.append(task)

    def next(self) -> Ended | None:
        """Runs the first task in the queue.

        Returns:
            How it ended; None if there is no task.

        Raises:
            RunError: The task raised it.
        """
        command.raise_if_interrupted()
        if not self._queue:
            return None
        task = self._queue.popleft()
        tasks.set_on_progress(functools.partial(tasks.report, task.name))
        try:
            return self._ended(task)
        finally:
            tasks.set_on_progress(None)

    def _ended(self, task: Task) -> Ended:
        for _ in range(tasks.MEMORY_TRIES):
            try:
                ended = tasks.run(task, self.setup)
                if ended.failure:  # which TensorFlow can make of an interrupt
                    command.raise_if_interrupted()
                return ended
            except MemoryError as error:
                reason = str(error)
            if self.setup is not None:
                self.setup.kept.clear()  # what earlier tasks left may be what is too much
        return Ended(task, failure=tasks.MEMORY_FAILURE.format(reason))

    @property
    def pending(self) -> int:
        """How many tasks were submitted and not returned by `next`."""
        return len(self._queue)

    def provide(self, training: "Training") -> None:
        """Does nothing: the tasks read the driver's cache."""

    def close(self) -> None:
        """Drops the tasks that did not run."""
        self._queue.clear()


@contextlib.contextmanager
def opened_executor(
    cluster: "Cluster | None", open_setup: Callable[[], "Setup"]
) -> Iterator[Executor]:
    """What runs tasks with a setup that is opened for them, and closed afterwards.

    Args:
        cluster: Of `ray.connected`; None runs them in this process.
        open_setup: Opens the setup.
    """
    if cluster is not None:
        _hide_gpus()
    setup = open_setup()
    with contextlib.closing(setup.opened), executor(cluster, setup) as tasks_:
        yield tasks_


def _hide_gpus() -> None:
    """Keeps this process from taking the memory of the GPUs that are the workers'."""
    import tensorflow as tf

    with contextlib.suppress(RuntimeError):  # a notebook has used them before
        tf.config.set_visible_devices([], "GPU")


@contextlib.contextmanager
def executor(cluster: "Cluster | None", setup: "Setup") -> Iterator[Executor]:
    """What runs tasks with a setup.

    Args:
        cluster: Of `ray.connected`; None runs them in this process.
        setup: What the tasks' functions are called with.
    """
    if cluster is None:
        chosen: Executor = LocalExecutor(setup)
    else:
        from trainer.execution.ray_executor import RayExecutor

        chosen = RayExecutor(cluster, setup)
    with contextlib.closing(chosen):
        yield chosen
