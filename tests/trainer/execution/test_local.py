"""Tasks in this process."""

import contextlib
import signal
import types

import pytest

from trainer.execution import local as local_lib
from trainer.execution.local import LocalExecutor, executor
from trainer.execution.tasks import Ended, Task, TaskFailed
from trainer.run import command
from trainer.run.errors import RunError


def returns(setup, value):
    return value


def raises(setup, error):
    raise error


def interrupted(setup):
    signal.raise_signal(signal.SIGTERM)
    return "done"


def runs_out_of_memory(setup, times, calls):
    calls.append(dict(setup.kept))
    setup.kept["network"] = "large"
    if len(calls) <= times:
        raise MemoryError("8 GiB")
    return "done"


@pytest.fixture
def local():
    with executor(None, types.SimpleNamespace(kept={})) as chosen:
        assert isinstance(chosen, LocalExecutor)
        yield chosen


def test_tasks_run_in_the_order_in_which_they_came(local):
    names = [str(number) for number in range(5)]
    for name in names:
        local.submit(Task(name, returns, (name,)))
    assert (local.slots, local.pending) == (1, 5)
    assert [local.next().value for _ in names] == names
    assert local.pending == 0


def test_a_failed_task_does_not_keep_others_from_running(local):
    failing, good = Task("a", raises, (TaskFailed("Bad."),)), Task("b", returns, (2,))
    local.submit(failing)
    local.submit(good)
    assert local.next() == Ended(failing, failure="Bad.")
    assert local.next() == Ended(good, 2)


def test_an_error_of_every_task_is_raised(local):
    local.submit(Task("a", raises, (RunError("Wrong."),)))
    with pytest.raises(RunError, match="Wrong"):
        local.next()


def test_a_task_out_of_memory_runs_once_more_without_what_earlier_ones_kept(local):
    calls = []
    local.submit(Task("a", runs_out_of_memory, (1, calls)))
    assert local.next().value == "done"
    assert calls == [{}, {}]


def test_a_task_out_of_memory_twice_fails(local):
    calls = []
    local.submit(Task("a", runs_out_of_memory, (9, calls)))
    assert local.next().failure == "Out of memory, twice: 8 GiB"
    assert len(calls) == 2


def test_an_interrupt_that_got_lost_is_raised(local, monkeypatch):
    monkeypatch.setattr(command, "_interrupted", True)
    local.submit(Task("a", returns, (1,)))
    with pytest.raises(KeyboardInterrupt):
        local.next()
    assert local.pending == 1


def test_a_task_that_ended_when_the_signal_came_is_not_lost(local):
    for name in ("a", "b"):
        local.submit(Task(name, interrupted, ()))
    with pytest.raises(SystemExit), command.stopped(""), command.deferred():
        assert local.next() == Ended(Task("a", interrupted, ()), "done")
        local.next()
    assert local.pending == 1


def test_what_did_not_run_is_dropped_at_the_end(local):
    local.submit(Task("a", returns, (1,)))
    local.close()
    assert local.pending == 0


def test_without_a_task_there_is_none_to_wait_for(local):
    assert local.next() is None


def test_a_task_out_of_memory_without_a_setup_fails_too():
    with executor(None, None) as alone:
        alone.submit(Task("a", raises, (MemoryError("8 GiB"),)))
        assert alone.next().failure == "Out of memory, twice: 8 GiB"


# GPUs


@pytest.fixture
def visible(monkeypatch):
    """What happens to the GPUs of a driver, and when its setup is opened; a function opens it."""
    import tensorflow as tf

    seen, setup = [], types.SimpleNamespace(opened=types.SimpleNamespace(close=lambda: None))
    monkeypatch.setattr(
        tf.config, "set_visible_devices", lambda devices, kind: seen.append((devices, kind))
    )
    monkeypatch.setattr(
        local_lib, "executor", lambda cluster, setup: contextlib.nullcontext(cluster)
    )

    def opened(cluster):
        with local_lib.opened_executor(cluster, lambda: seen.append("opened") or setup):
            return seen

    return opened


@pytest.mark.slow
def test_a_driver_of_workers_hides_the_gpus_from_itself_before_it_opens_anything(visible):
    assert visible("cluster") == [([], "GPU"), "opened"]


@pytest.mark.slow
def test_a_process_that_runs_its_tasks_itself_keeps_its_gpus(visible):
    assert visible(None) == ["opened"]


@pytest.mark.slow
def test_gpus_that_a_notebook_has_used_before_are_no_error(visible, monkeypatch):
    import tensorflow as tf

    def used(devices, kind):
        raise RuntimeError("Visible devices cannot be modified after being initialized")

    monkeypatch.setattr(tf.config, "set_visible_devices", used)
    assert visible("cluster") == ["opened"]
