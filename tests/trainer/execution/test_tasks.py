"""What tasks raise, and what becomes of it."""

import pytest
import tensorflow as tf

from trainer.execution import tasks
from trainer.execution.tasks import Ended, Task, TaskFailed
from trainer.run.errors import ConfigError, DivergedError, RunError


def raises(setup, error):
    raise error


def adds(setup, a, b):
    return setup + a + b


def ended(error):
    task = Task("one", raises, (error,))
    ended = tasks.run(task, None)
    assert ended.task is task
    return ended


def test_the_function_is_called_with_the_setup_and_its_arguments():
    task = Task("sum", adds, (1, 2))
    assert tasks.run(task, 10) == Ended(task, 13)


def test_a_failed_task_has_its_reason_and_no_traceback():
    failed = ended(TaskFailed("It diverged."))
    assert (failed.value, failed.failure, failed.details) == (None, "It diverged.", "")


@pytest.mark.parametrize("error", [TypeError("no"), ConfigError("no"), SystemExit("no")])
def test_an_unexpected_error_fails_the_task_with_a_traceback(error):
    failed = ended(error)
    assert failed.failure == f"{type(error).__name__}: no"
    assert "in raises" in failed.details


@pytest.mark.parametrize("error", [RunError("wrong"), DivergedError("wrong"), KeyboardInterrupt()])
def test_what_is_wrong_for_every_task_is_raised(error):
    with pytest.raises(type(error)):
        ended(error)


@pytest.mark.parametrize(
    "error",
    [MemoryError("8 GiB\nmore"), tf.errors.ResourceExhaustedError(None, None, "8 GiB\nmore")],
    ids=["host", "device"],
)
def test_memory_that_is_used_up_is_one_error_with_one_line(error):
    assert tasks.out_of_memory(error)
    with pytest.raises(MemoryError, match=r"^8 GiB$"):
        ended(error)


def test_other_errors_are_not_of_memory():
    assert not tasks.out_of_memory(ValueError("memory"))


def test_progress_calls_what_is_set_and_nothing_before_and_after():
    steps = []
    tasks.progressed()
    tasks.set_on_progress(steps.append)
    try:
        tasks.progressed()
        tasks.progressed("epoch 3 of 10")
    finally:
        tasks.set_on_progress(None)
    tasks.progressed()
    assert steps == ["", "epoch 3 of 10"]


def test_how_far_a_task_is_comes_by_its_name_to_who_shows_it():
    shown = []
    tasks.report("trial 7", "epoch 1 of 2")
    with tasks.reported_to(lambda *both: shown.append(both)):
        tasks.report("trial 7", "epoch 2 of 2")
        tasks.report("trial 7", "")
    tasks.report("trial 7", "epoch 1 of 2")
    assert shown == [("trial 7", "epoch 2 of 2")]


class Growing:
    """An executor of one slot, and of two when nothing had ended for a while."""

    slots = 1

    def __init__(self) -> None:
        self._running = []

    @property
    def pending(self) -> int:
        return len(self._running)

    def submit(self, task):
        self._running.append(task)

    def next(self):
        if self.slots == 1:
            self.slots = 2
            return None
        return Ended(self._running.pop(0), self.pending)


def test_where_slots_are_added_more_tasks_run_at_once():
    results = list(tasks.run_all(Growing(), [Task(name, adds) for name in "abc"]))
    assert [each.task.name for each in results] == ["a", "b", "c"]
    assert [each.value for each in results] == [1, 1, 0]  # that ran beside it
