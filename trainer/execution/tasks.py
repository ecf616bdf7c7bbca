"""Tasks, how they end, and what runs them."""

import collections
import contextlib
import dataclasses
import traceback
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any, Protocol

from trainer.run.errors import RunError

if TYPE_CHECKING:  # the driver's flags come before TensorFlow
    from trainer.training.setup import Setup
    from trainer.training.training import Training

MEMORY_TRIES = 2  # of a task that runs out of memory
MEMORY_FAILURE = "Out of memory, twice: {}"
_on_progress: Callable[[str], None] | None = None
_on_report: Callable[[str, str], None] | None = None


class TaskFailed(Exception):
    """Raised by a task's function: this task alone failed; the message is the reason."""


@dataclasses.dataclass(frozen=True)
class Task:
    """What can run in any process that has the setup.

    Attributes:
        name: Names it in messages.
        function: A function of a module, called as `function(setup, *arguments)`.
        arguments: What it is called with; can be pickled.
    """

    name: str
    function: Callable[..., Any]
    arguments: tuple = ()


@dataclasses.dataclass(frozen=True)
class Ended:
    """How a task ended.

    Attributes:
        task: The task.
        value: What its function returned; None if it failed.
        failure: Why it failed, a sentence; "" if it did not.
        details: The traceback of an unexpected error, else "".
    """

    task: Task
    value: Any = None
    failure: str = ""
    details: str = ""

    def result(self) -> Any:
        """What its function returned.

        Raises:
            RunError: The task failed.
        """
        if self.failure:
            name = self.task.name[:1].upper() + self.task.name[1:]
            raise RunError(f"{name} failed: {self.failure}\n{self.details}".strip())
        return self.value


class Executor(Protocol):
    """What runs tasks.

    Attributes:
        setup: The driver's, with `compute` set where tasks compute missing rows.
        shares_files: Whether tasks run on this machine, and can write where the driver does.
    """

    setup: "Setup"
    shares_files: bool

    def submit(self, task: Task) -> None:
        """Queues a task."""

    def next(self) -> Ended | None:
        """Waits until a task has ended.

        Returns:
            How it ended, each task once, in any order; None: more tasks can be submitted than
            before, since a node joined.

        Raises:
            RunError: A task raised it: what is wrong for every task.
        """

    @property
    def slots(self) -> int:
        """How many tasks can run at the same time now."""

    @property
    def pending(self) -> int:
        """How many tasks were submitted and not returned by `next`."""

    def provide(self, training: "Training") -> None:
        """Makes the rows that a training reads available to tasks."""

    def close(self) -> None:
        """Drops what still runs; the setup stays open."""


def run_all(executor: Executor, tasks: Iterable[Task]) -> Iterator[Ended]:
    """Runs tasks, as many at a time as there is room for; yields each as it ends.

    Args:
        executor: What runs them; nothing of others is pending.
        tasks: The tasks.

    Raises:
        RunError: See `Executor.next`.
    """
    left = collections.deque(tasks)
    while left or executor.pending:
        while left and executor.pending < executor.slots:
            executor.submit(left.popleft())
        if (ended := executor.next()) is not None:
            yield ended


def progressed(text: str = "") -> None:
    """Marks that the task under way made a step; cheap, and without effect outside an executor.

    Args:
        text: How far the task is, `epoch 3 of 10`; "": as far as it was.
    """
    if _on_progress is not None:
        _on_progress(text)


def set_on_progress(call: Callable[[str], None] | None) -> None:
    """Sets what `progressed` calls in this process."""
    global _on_progress
    _on_progress = call


def report(name: str, text: str) -> None:
    """Shows how far a task is, where `reported_to` wants it; called by executors.

    Args:
        name: Of the task.
        text: Of `progressed`; "" shows nothing.
    """
    if _on_report is not None and text:
        _on_report(name, text)


@contextlib.contextmanager
def reported_to(call: Callable[[str, str], None]) -> Iterator[None]:
    """Shows how far tasks are, meanwhile.

    Args:
        call: Called with the name of a task and its text.
    """
    global _on_report
    before, _on_report = _on_report, call
    try:
        yield
    finally:
        _on_report = before


def out_of_memory(error: BaseException) -> bool:
    """Whether an error means that the memory of the machine or of its device is used up."""
    # By its name, so that TensorFlow need not be imported for it.
    names = {kind.__name__ for kind in type(error).__mro__}
    return bool(names & {"MemoryError", "ResourceExhaustedError"})


def run(task: Task, setup: "Setup") -> Ended:
    """Runs a task in this process.

    Args:
        task: The task.
        setup: What its function is called with; None if it needs none.

    Returns:
        How it ended.

    Raises:
        RunError: The function raised it.
        MemoryError: The memory is used up.
    """
    try:
        return Ended(task, task.function(setup, *task.arguments))
    except TaskFailed as error:
        return Ended(task, failure=str(error))
    except RunError:
        raise
    except (Exception, SystemExit) as error:
        if out_of_memory(error):
            # A new one: that of TensorFlow need not survive pickling, and holds its frames' arrays.
            lines = str(error).splitlines() or [type(error).__name__]
            raise MemoryError(lines[0]) from None
        failure = f"{type(error).__name__}: {error}"
        return Ended(task, failure=failure, details=traceback.format_exc())
