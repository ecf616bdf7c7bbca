"""What the driver makes of tasks that Ray lost, and of nodes that come and go."""

import types

import pytest

pytest.importorskip("ray")

import ray
from ray import exceptions

from trainer.execution import ray_executor
from trainer.execution.ray import Cluster
from trainer.execution.ray_executor import RayExecutor, _Submitted
from trainer.execution.tasks import Ended, Task
from trainer.execution.worker import Mark
from trainer.run.errors import ConfigFailedError

# Ray's own words, shortened: the processes of a node when its memory was used up.
OUT_OF_MEMORY = (
    "Task was killed due to the node running low on memory.\n"
    "(pid=11, actual memory used=3.50GB, worker ID: a)\n"
    "(pid=12, actual memory used=0.75GB, worker ID: b)"
)


def raises(setup, error):
    raise error


@pytest.fixture
def remote():
    """An executor of no cluster: what Ray would say is said by each test."""
    made = RayExecutor.__new__(RayExecutor)
    made._cluster = Cluster(1, 0, 600, shares_files=True)
    made._running, made._slots, made._every = [], 1, 5.0
    made._marks = types.SimpleNamespace(read=types.SimpleNamespace(remote=lambda keys: None))
    return made


@pytest.fixture
def submitted(remote, monkeypatch):
    """A task that runs nowhere; it is told how often it was submitted."""
    each = _Submitted(Task("one", raises))
    each.key, each.times = 7, 0

    def again(same):
        same.times += 1
        return same

    monkeypatch.setattr(remote, "_submitted", again)
    return each


def marked(remote, monkeypatch, pid):
    marks = {} if pid is None else {7: Mark(0.0, True, pid, "")}
    monkeypatch.setattr(remote, "_read_marks", lambda among: marks)


def killed(remote, each, monkeypatch, text) -> None:
    def get(reference):
        raise exceptions.OutOfMemoryError(text)

    monkeypatch.setattr(ray, "get", get)
    assert remote._settled(each) is None


@pytest.mark.parametrize(
    ("pid", "text", "why"),
    [(11, OUT_OF_MEMORY, "memory"), (12, OUT_OF_MEMORY, "lost"), (None, OUT_OF_MEMORY, "memory"),
     (12, "Task was killed.", "memory")],
    ids=["it had the most", "another had", "its process is not known", "no sizes are"],
)  # fmt: skip
def test_of_tasks_killed_for_memory_the_largest_has_one_more_try(
    pid, text, why, remote, submitted, monkeypatch
):
    marked(remote, monkeypatch, pid)
    killed(remote, submitted, monkeypatch, text)
    assert (dict(submitted.tries), submitted.times) == ({why: 1}, 1)


def test_while_what_holds_the_marks_begins_again_there_are_none(remote, submitted, monkeypatch):
    def get(reference, timeout):
        raise exceptions.ActorUnavailableError("It is restarting.", None)

    monkeypatch.setattr(ray, "get", get)
    assert remote._read_marks([submitted]) == {}


def test_the_time_in_which_the_driver_was_stopped_makes_no_task_silent(
    remote, submitted, monkeypatch
):
    def silent(now: float) -> bool:
        monkeypatch.setattr(ray_executor, "time", types.SimpleNamespace(monotonic=lambda: now))
        return remote._silent([submitted]) == [submitted]

    remote._looked = 0.0
    marked(remote, monkeypatch, 11)
    assert not silent(10)  # the task's first mark, which stays its only one
    assert not silent(1010)
    assert next(now for now in range(1020, 9999, 10) if silent(now)) == 1600


def test_rows_that_a_worker_can_not_compute_fail_their_configuration(remote, monkeypatch):
    task = Task("rows of block5_pool", raises)
    looks = iter([None, Ended(task, failure="No room.")])
    monkeypatch.setattr(remote, "_look", lambda among: next(looks))
    reason = r"The rows of block5_pool could not be computed: No room\."
    with pytest.raises(ConfigFailedError, match=reason):
        remote._rows([_Submitted(task)])


def test_without_a_node_tasks_wait_until_one_joins(remote, monkeypatch):
    slots = iter([0, 0, 0, 2, 3])
    monkeypatch.setattr(ray_executor, "_LOOK", 0.001)
    monkeypatch.setattr(Cluster, "slots", lambda cluster: next(slots))
    assert remote.slots == 0
    assert remote.next() is None
    assert next(slots) == 3  # it came back with two


@pytest.mark.parametrize(("gpus", "grows"), [(0, None), (0.5, "true"), (1, None)])
def test_tasks_that_share_a_gpu_take_its_memory_as_they_need_it(gpus, grows):
    variables = ray_executor._variables(2, Cluster(2, gpus, 600, shares_files=True))
    assert variables.get("TF_FORCE_GPU_ALLOW_GROWTH") == grows
    assert variables["OMP_NUM_THREADS"] == "2"
