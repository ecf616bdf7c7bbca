"""A cluster of several nodes, all on this machine: what dies, joins late, or may not join."""

import collections
import contextlib
import os
import pathlib
import random
import subprocess
import sys
import time

import psutil
import pytest

pytest.importorskip("ray")

from ray._raylet import AuthenticationTokenLoader, Config
from ray.cluster_utils import Cluster

from tests.helpers.commands import ROOT
from trainer.execution.local import executor
from trainer.execution.options import Options
from trainer.execution.ray import connected
from trainer.execution.tasks import Task, progressed
from trainer.run.errors import RunError

pytestmark = pytest.mark.slow

ROUNDS = 10
NODES = 4  # the driver's and three more
TASKS = 12  # of a round
HUNG = 180  # seconds
TOKEN = "token-of-the-tests-0123456789abcdef"


def steps(setup, number, seconds):
    """Takes so long, in steps."""
    for _ in range(10):
        time.sleep(seconds / 10)
        progressed()
    return number**2


def brought(setup):
    """Packages that the driver sent, and the threads of TensorFlow."""
    folders = [pathlib.Path(each) for each in sys.path if "py_modules_files" in each]
    names = [name.name for folder in folders for name in folder.iterdir() if name.is_dir()]
    return sorted(names), os.environ.get("TF_NUM_INTRAOP_THREADS")


@pytest.fixture(scope="module", autouse=True)
def token():
    before = dict(os.environ)
    os.environ |= {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": TOKEN}
    Config.initialize("")
    AuthenticationTokenLoader.instance().reset_cache()
    yield
    os.environ.clear()
    os.environ.update(before)
    Config.initialize("")
    AuthenticationTokenLoader.instance().reset_cache()


@pytest.fixture
def nodes(token):
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1})
    for _ in range(NODES - 1):
        cluster.add_node(num_cpus=1)
    yield cluster
    cluster.shutdown()


def kill_a_worker(rng):
    """Kills a process that runs a task, if one does."""
    running = []
    for process in psutil.Process().children(recursive=True):
        with contextlib.suppress(psutil.Error):  # it has ended meanwhile
            if "ray::run_task" in " ".join(process.cmdline()):
                running.append(process)
    if running:
        rng.choice(sorted(running, key=lambda each: each.pid)).kill()
    return bool(running)


def replace_a_node(rng, nodes):
    lost = rng.choice(sorted(nodes.worker_nodes, key=lambda each: each.unique_id))
    nodes.remove_node(lost, allow_graceful=False)
    nodes.add_node(num_cpus=1, wait=False)


def ended_within(remote, count, between):
    """The next results; `between` is called after each of the first."""
    begin, results = time.monotonic(), []
    while len(results) < count:
        assert time.monotonic() - begin < HUNG, f"{count - len(results)} tasks hang"
        if ended := remote.next():
            results.append(ended)
            between(len(results))
    return results


def test_no_task_is_lost_or_counted_twice_whatever_dies(nodes):
    rng, killed = random.Random(0), 0

    def between(results):
        nonlocal killed
        if results in (2, 5, 8):
            killed += kill_a_worker(rng)
        if results == 4:
            replace_a_node(rng, nodes)

    with connected(Options(cluster=nodes.address)) as cluster, executor(cluster, None) as remote:
        for _ in range(ROUNDS):
            for number in range(TASKS):
                remote.submit(Task(str(number), steps, (number, rng.uniform(0.2, 0.8))))
            results = ended_within(remote, TASKS, between)
            assert [each.failure for each in results] == [""] * TASKS
            names = collections.Counter(each.task.name for each in results)
            assert names == {str(number): 1 for number in range(TASKS)}
            assert all(each.value == int(each.task.name) ** 2 for each in results)
            assert remote.pending == 0
    assert killed > ROUNDS


def test_a_node_that_joins_late_is_used_at_once(nodes):
    with connected(Options(cluster=nodes.address)) as cluster, executor(cluster, None) as remote:
        for number in range(NODES):
            remote.submit(Task(str(number), steps, (number, 12)))
        assert (remote.slots, remote.pending) == (NODES, NODES)
        nodes.add_node(num_cpus=1)
        assert remote.next() is None  # long before a task ends
        assert remote.slots == NODES + 1
        remote.submit(Task("late", steps, (9, 0.1)))
        assert remote.next().task.name == "late"


def test_workers_have_the_drivers_code_and_the_threads_of_their_cores(nodes):
    options = Options(cluster=nodes.address, task_cpus=1)
    with connected(options) as cluster, executor(cluster, None) as remote:
        remote.submit(Task("brought", brought))
        packages, threads = remote.next().value
    assert packages == ["covid_tfds", "trainer", "tuning"]
    assert threads == "1"


@pytest.mark.parametrize(
    "environment",
    [{"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": "another"}, {"RAY_AUTH_MODE": "disabled"}],
    ids=["wrong", "none"],
)
def test_a_wrong_token_is_refused_with_one_sentence(nodes, environment):
    code = (
        "from trainer.execution.options import Options\n"
        "from trainer.execution.ray import connected\n"
        "from trainer.run.errors import RunError\n"
        "try:\n"
        f"    connected(Options(cluster={nodes.address!r})).__enter__()\n"
        "except RunError as error:\n"
        "    print(error)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=HUNG,
        env=os.environ | environment,
    )  # fmt: skip
    assert done.stderr == ""
    expected = f"The cluster at --cluster={nodes.address} refuses this user's token. "
    assert done.stdout.startswith(expected)


def test_gpus_that_no_node_has_are_refused_at_once(nodes):
    with (
        pytest.raises(RunError, match="--task_gpus=1, and no node of the cluster has a GPU"),
        connected(Options(cluster=nodes.address, task_gpus=1)),
    ):
        pass
