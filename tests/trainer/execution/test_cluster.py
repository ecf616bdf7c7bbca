"""A cluster of several nodes, all on this machine: what dies, joins late, or may not join."""

import collections
import contextlib
import dataclasses
import os
import pathlib
import random
import subprocess
import sys
import time

import keras
import numpy as np
import pytest

pytest.importorskip("ray")

from tests.helpers import clusters, trainings
from tests.helpers.commands import ROOT
from tests.helpers.sharing import counting
from trainer import cross_validation, fold_assignment
from trainer.execution import sharing
from trainer.execution.local import executor
from trainer.execution.options import Options
from trainer.execution.ray import connected
from trainer.execution.tasks import Task, progressed
from trainer.fold_assignment import ALL
from trainer.run.errors import RunError
from trainer.training.setup import set_up
from trainer.training.training import Training

pytestmark = pytest.mark.slow

ROUNDS = 2
NODES = 4  # the driver's and three more
TASKS = 12  # of a round
HUNG = 900  # seconds
STORE = 150 * 2**20  # bytes that a node's object store holds


def steps(setup, number, seconds):
    """Takes so long, in steps."""
    for _ in range(10):
        time.sleep(seconds / 10)
        progressed()
    return number**2


def held(setup, file):
    """Runs until there is a file."""
    clusters.wait_until(pathlib.Path(file).exists, HUNG, file)


def brought(setup):
    """Packages that the driver sent, and the threads of TensorFlow."""
    folders = [pathlib.Path(each) for each in sys.path if "py_modules_files" in each]
    names = [name.name for folder in folders for name in folder.iterdir() if name.is_dir()]
    return sorted(names), os.environ.get("TF_NUM_INTRAOP_THREADS")


def trained(setup, fold, mark):
    """The user's home here, rows that had to be computed here, probabilities of a fold."""
    home = pathlib.Path.home()
    (home / mark).touch()  # and waits, so that every node has a task
    clusters.wait_until(
        lambda: len([*home.parent.glob(f"*/{mark}")]) >= NODES - 1, HUNG, "a task on every node"
    )
    counted, computed = counting(setup)
    probabilities = cross_validation.train_fold(counted, setup.config, fold, 0, setup.config.seed)
    return os.environ["HOME"], computed, probabilities


def read_right(setup, references):
    """How many parts are what was put."""
    import ray

    return sum(
        bool((ray.get(reference) == number).all()) for number, reference in enumerate(references)
    )


@pytest.fixture(scope="module")
def nodes(tmp_path_factory):
    with (
        clusters.token(),
        clusters.nodes(tmp_path_factory.mktemp("homes"), NODES, object_store_memory=STORE) as all_,
    ):
        yield all_


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
            killed += clusters.kill_a_worker(rng)
        if results == 4:
            nodes.replace(rng)

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
    assert killed


def test_a_node_that_joins_late_is_used_at_once(nodes, tmp_path):
    nodes.wait()  # for those of an earlier test
    release = tmp_path / "release"
    with connected(Options(cluster=nodes.address)) as cluster, executor(cluster, None) as remote:
        for number in range(slots := remote.slots):
            remote.submit(Task(str(number), held, (str(release),)))
        nodes.add()
        assert remote.next() is None  # while all tasks run
        assert remote.slots == slots + 1
        remote.submit(Task("late", steps, (9, 0.1)))
        assert remote.next().task.name == "late"
        release.touch()
        assert {remote.next().failure for _ in range(slots)} == {""}


@pytest.fixture
def running_here(monkeypatch):
    """Has Ray find no other clusters on this machine than these, if they are there."""
    from ray._private import services

    find = services._find_address_from_flag

    def only(*addresses):
        def found(flag):
            return find(flag) & {*addresses} if flag == "--gcs-address" else find(flag)

        monkeypatch.setattr(services, "_find_address_from_flag", found)
        # Nor the one that was started last.
        monkeypatch.setattr("ray._private.utils.read_ray_address", lambda folder=None: None)
        services.find_gcs_addresses.cache_clear()

    yield only
    services.find_gcs_addresses.cache_clear()


def joined_by_auto() -> str:
    """The address of the cluster that --cluster=auto joins."""
    import ray

    with connected(Options(cluster="auto")):
        return ray.get_runtime_context().gcs_address


def test_auto_joins_the_cluster_that_runs_on_this_machine(nodes, running_here, monkeypatch):
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    running_here(nodes.address)
    assert joined_by_auto() == nodes.address


def test_auto_joins_the_cluster_that_the_environment_names(nodes, running_here, monkeypatch):
    monkeypatch.setenv("RAY_ADDRESS", nodes.address)
    running_here()
    assert joined_by_auto() == nodes.address


def test_auto_where_no_cluster_is_to_be_found_is_a_sentence(running_here, monkeypatch):
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    running_here()
    with pytest.raises(RunError, match=r"--cluster=auto can't be joined \(Could not find any run"):
        joined_by_auto()


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
    assert done.stderr.splitlines() == ["joining the cluster ...", "leaving the cluster ..."]
    expected = f"The cluster at --cluster={nodes.address} refuses this user's token. "
    assert done.stdout.startswith(expected)


def test_gpus_that_no_node_has_are_refused_at_once(nodes):
    with (
        pytest.raises(RunError, match="--task_gpus=1, and no node of the cluster has a GPU"),
        connected(Options(cluster=nodes.address, task_gpus=1)),
    ):
        pass


def test_parts_that_the_stores_can_not_hold_are_spilled_and_come_back(nodes):
    import ray

    parts = 2 * STORE // sharing.PART + 1
    with connected(Options(cluster=nodes.address)) as cluster, executor(cluster, None) as remote:
        references = [ray.put(np.full(sharing.PART, number, np.uint8)) for number in range(parts)]
        remote.submit(Task("read", read_right, (references,)))
        assert remote.next().value == parts


# Rows on machines that share nothing


@pytest.fixture
def setup(data_dir, tmp_path, monkeypatch):
    """The driver's, whose cache is in its user's home."""
    before = keras.config.dtype_policy()
    monkeypatch.setenv("HOME", str(tmp_path / "driver"))
    config = dataclasses.replace(trainings.quick(data_dir, deterministic=True), cache_dir="")
    opened = set_up(config, splits=fold_assignment.SPLITS)
    with contextlib.closing(opened.opened):
        yield opened
    keras.config.set_dtype_policy(before)


def of_all(setup) -> Training:
    images = {ALL: fold_assignment.images_of_folds(setup)}
    return Training(setup, setup.config, images, train=ALL, score=(ALL,), quiet=True)


@pytest.mark.parametrize("has_dataset", [False, True], ids=["nothing", "dataset"])
def test_rows_are_computed_once_a_cluster_and_reach_homes_without_any(
    has_dataset, nodes, setup, data_dir
):
    options = Options(cluster=nodes.address, worker_data_dir=str(data_dir) if has_dataset else "")
    with connected(options) as cluster, executor(cluster, setup) as remote:
        computed = []

        def compute(config, stage, batches):
            for rows in remote.setup.compute(config, stage, batches):
                computed.append(len(rows))
                yield rows

        training = of_all(dataclasses.replace(remote.setup, compute=compute))
        images = training.images[ALL]
        assert sum(computed) == len(images)
        remote.provide(training)
        fold = fold_assignment.assign_folds(images, 3, 1, seed=1)[0]
        for number in range(remote.slots):
            remote.submit(Task(str(number), trained, (fold, f"began-{has_dataset}")))
        results = [each.value for each in ended_within(remote, remote.pending, lambda _: None)]
    assert len({home for home, _, _ in results}) >= NODES - 1
    assert all(rows == [] for _, rows, _ in results)
    wanted = cross_validation.train_fold(setup, setup.config, fold, 0, setup.config.seed)
    for _, _, probabilities in results:
        np.testing.assert_array_equal(probabilities, wanted)
    assert pathlib.Path.home() not in {pathlib.Path(home) for home, _, _ in results}


def test_workers_with_another_dataset_are_refused(nodes, setup, tmp_path):
    import covid_tfds
    from covid_tfds.config import CovidConfig

    other = CovidConfig(name="tiny", images="phantom", patients=80)
    covid_tfds.Builder(config=other, data_dir=tmp_path / "other").download_and_prepare()
    options = Options(cluster=nodes.address, worker_data_dir=str(tmp_path / "other"))
    with connected(options) as cluster, executor(cluster, setup) as remote:
        remote.submit(Task("one", trained, (None, "began")))
        with pytest.raises(RunError, match=r"--worker_data_dir=.* holds another .*tiny"):
            while not remote.next():
                pass
