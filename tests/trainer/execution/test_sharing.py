"""A setup and its rows in other processes: restored whole, and nothing is computed twice."""

import contextlib
import dataclasses
import os
import pickle
import subprocess
import sys

import keras
import numpy as np
import pytest

from tests.helpers import commands, trainings
from tests.helpers.sharing import Store, counting, rows
from trainer import cross_validation, fold_assignment
from trainer.augmentation.random import uniform_draws
from trainer.execution import sharing
from trainer.fold_assignment import ALL
from trainer.input_pipeline.stages import square_stage
from trainer.model import precision
from trainer.run.errors import RunError
from trainer.training.setup import set_up
from trainer.training.training import Training

pytestmark = pytest.mark.slow

VIEWS = {"augmentation": "radiograph", "views": 2, "deterministic": True, "align": "chest"}


def of_all(setup, config=None) -> Training:
    images = {ALL: fold_assignment.images_of_folds(setup)}
    return Training(setup, config or setup.config, images, train=ALL, score=(ALL,), quiet=True)


@pytest.fixture(scope="module")
def driver(data_dir, tmp_path_factory):
    """A setup whose cache is in its user's home folder, and the training of all images."""
    home, before = tmp_path_factory.mktemp("driver"), keras.config.dtype_policy()
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("HOME", str(home))
        config = trainings.quick(data_dir, home / "cache", learning_rate=1e-2, **VIEWS)
        setup = set_up(config, splits=fold_assignment.SPLITS)
        yield setup, of_all(setup), home
        setup.opened.close()
    keras.config.set_dtype_policy(before)


@pytest.fixture
def worker(driver, tmp_path, monkeypatch):
    """Restores the driver's setup on an empty cache, with chunks from a store."""
    opened = []

    def restore(store: Store, chunks=(), **arguments):
        value = sharing.packed(driver[0], shares_files=False, **arguments)
        monkeypatch.setenv("HOME", str(tmp_path))
        setup, computed = counting(sharing.unpacked(value, store.fetch))
        monkeypatch.setenv("HOME", str(driver[2]))
        opened.append(setup.opened)
        sharing.add_chunks(setup, chunks)
        return setup, computed

    yield restore
    for each in opened:
        each.close()


def assert_same_rows(one: Training, other: Training) -> None:
    for ours, theirs in zip(rows(one), rows(other), strict=True):
        np.testing.assert_array_equal(ours, theirs)


def assert_rows_computed_again(one: Training, other: Training) -> None:
    """The last bit depends on how cores happen to share a batch, on some processors."""
    for ours, theirs in zip(rows(one), rows(other), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-6)


def test_a_fresh_process_has_all_rows_and_trains_as_the_driver_does(driver, tmp_path):
    setup, training, _ = driver
    store = Store()
    chunks = sharing.chunks(training, store.put, set())
    fold = fold_assignment.assign_folds(training.images[ALL], 3, 1, seed=1)[0]
    value = sharing.packed(setup, shares_files=False)
    (tmp_path / "given").write_bytes(pickle.dumps((value, store.values, chunks, fold)))
    done = subprocess.run(
        [sys.executable, "-m", "tests.helpers.sharing", tmp_path / "given", tmp_path / "result"],
        cwd=commands.ROOT, env={**os.environ, "HOME": str(tmp_path)}, check=False,
        capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    got = pickle.loads((tmp_path / "result").read_bytes())
    assert (got["policy"], got["cache_dir"]) == ("float32", f"{tmp_path}/cache")
    assert got["computed"] == []
    for ours, theirs in zip(rows(training), got["rows"], strict=True):
        np.testing.assert_array_equal(ours, theirs)
    np.testing.assert_array_equal(got["squares"], setup.squares(training.images[ALL], 32))
    wanted = cross_validation.train_fold(setup, setup.config, fold, 0, setup.config.seed)
    np.testing.assert_array_equal(got["probabilities"], wanted)
    assert wanted.std(axis=0).max() > 1e-4


def test_no_process_takes_what_its_machine_has(driver, worker):
    store = Store()
    chunks = sharing.chunks(driver[1], store.put, set())
    first, _ = worker(store, chunks)
    assert_same_rows(of_all(first), driver[1])
    assert len(store.fetched) == len(set(store.fetched)) > 0
    second, computed = worker(store, chunks)
    before = list(store.fetched)
    assert_same_rows(of_all(second), driver[1])
    assert store.fetched == before
    assert computed == []


def test_a_part_that_another_process_takes_meanwhile_is_not_taken_twice(driver, tmp_path):
    store = Store()
    chunks = sharing.chunks(driver[1], store.put, set())
    stage, name, views = driver[1].reads[-1]
    images = driver[1].images[name]

    class Late(sharing.SharedStages):
        """The other process is quicker, once this one has seen that rows are missing."""

        def _make_room(self, *needed):
            assert quicker.missing(stage, images, views) == 0
            return super()._make_room(*needed)

    quicker, late = (kind(tmp_path, 2**30, store.fetch) for kind in (sharing.SharedStages, Late))
    for each in (quicker, late):
        each.add(chunks)
    assert late.missing(stage, images, views) == 0
    assert len(store.fetched) == len(set(store.fetched)) > 0
    quicker.close()
    late.close()


def test_a_process_with_the_drivers_cache_takes_nothing(driver):
    store = Store()
    chunks = sharing.chunks(driver[1], store.put, set())
    value = sharing.packed(driver[0], shares_files=True)
    setup, computed = counting(sharing.unpacked(value, store.fetch))
    with contextlib.closing(setup.opened):
        sharing.add_chunks(setup, chunks)
        assert_same_rows(of_all(setup), driver[1])
    assert (store.fetched, computed) == ([], [])


def test_a_lost_part_is_computed(driver, worker):
    store, training = Store(), driver[1]
    chunks = sharing.chunks(training, store.put, set())
    lost = training.plan.fills[0].stage.spec.folder_name()
    for folder_name, view, reference in chunks:
        if (folder_name, view) == (lost, training.plan.fills[0].views[0]):
            del store.values[reference]
    setup, computed = worker(store, chunks)
    assert_rows_computed_again(of_all(setup), training)
    assert sum(computed) == len(training.images[ALL])


def test_lost_squares_are_an_error_where_they_are_read(driver, worker):
    setup, _ = worker(Store(), [])
    with pytest.raises(RunError, match=r"The squares of 85 images can't be had .* --cache_dir"):
        of_all(setup)


def test_rows_that_find_no_room_stay_away(driver, tmp_path):
    training, store = driver[1], Store()
    opened = sharing.SharedStages(tmp_path, 10_000, store.fetch)
    opened.add(sharing.chunks(training, store.put, set()))
    stage, name, views = training.reads[-1]
    images = training.images[name]
    assert opened.missing(stage, images, views) == len(views) * len(images)
    assert store.fetched == []
    with pytest.raises(RunError, match="find no room"):
        opened.rows_of(square_stage(32, "chest"), images, (0,))
    opened.close()


def test_parts_are_small(driver, worker, monkeypatch):
    assert sharing.PART <= 64 * 2**20
    monkeypatch.setattr(sharing, "PART", 5_000)
    store = Store()
    chunks = sharing.chunks(driver[1], store.put, set())
    sizes = [data.nbytes for _, data in store.values.values()]
    assert max(sizes) <= 5_000
    total = sum(each.nbytes for each in rows(driver[1]))
    assert sum(sizes) == total
    assert len(pickle.dumps(chunks[0])) < 200
    setup, computed = worker(store, chunks)
    assert_same_rows(of_all(setup), driver[1])
    assert computed == []


def test_what_was_put_is_not_put_again(driver):
    setup, training, _ = driver
    store, known = Store(), set()
    assert len(sharing.chunks(training, store.put, known)) == len(store.values)
    assert sharing.chunks(training, store.put, known) == []
    # The same images under other names, and one stage more.
    tuned = dataclasses.replace(setup.config, **trainings.TUNED)
    more = Training(setup, tuned, setup.dataset.splits, train="train", score=("validation",),
                    quiet=True)  # fmt: skip
    new = sharing.chunks(more, store.put, known)
    top = training.plan.fills[0].stage.spec.name
    lower = {stage.spec.folder_name() for stage, _, _ in more.reads if stage.spec.name != top}
    assert {folder_name for folder_name, _, _ in new} <= lower
    assert new


def test_rows_in_bfloat16_come_back_as_they_are(driver, tmp_path):
    setup, before = driver[0], keras.config.dtype_policy()
    policy = precision.Precision("mixed_bfloat16", False, "")
    with precision.global_policy("mixed_bfloat16"):
        training = of_all(dataclasses.replace(setup, precision=policy))
    store = Store()
    opened = sharing.SharedStages(tmp_path, 2**30, store.fetch)
    opened.add(sharing.chunks(training, store.put, set()))
    stage, name, views = next(each for each in training.reads if each[0].augmented)
    cached = opened.rows_of(stage, training.images[name], views)
    ours, theirs = (each.read(training.images[name].digests, 1)
                    for each in (cached, setup.opened.rows(stage)))  # fmt: skip
    assert ours.dtype == "bfloat16"
    np.testing.assert_array_equal(ours, theirs)
    opened.close()
    assert keras.config.dtype_policy() == before


# Rows that are computed by tasks


def test_rows_do_not_depend_on_where_or_in_what_batches_they_are_computed(driver):
    setup, training, _ = driver
    squares = setup.squares(training.images[ALL], 32)
    for fill in training.plan.fills:
        draws = None
        if fill.stage.seed is not None:
            draws = uniform_draws(training.images[ALL].image_ids, 0, 1)
        name = fill.stage.spec.folder_name()
        whole = sharing.compute_rows(setup, setup.config, name, squares, draws, True)
        parts = [
            fill.stage.compute(squares[at], None if draws is None else draws[at])
            for at in (slice(0, 64), slice(64, None))
        ]
        np.testing.assert_allclose(whole, np.concatenate(parts), rtol=1e-5, atol=1e-6)
    assert len(setup.kept["stages"]) == 2


def test_a_cache_filled_by_tasks_is_that_of_one_process(driver, tmp_path):
    setup = driver[0]

    def compute(config, stage, batches):
        for lower, draws in batches:
            name = stage.spec.folder_name()
            yield sharing.compute_rows(setup, config, name, lower, draws, stage.takes_squares)

    other = set_up(
        dataclasses.replace(setup.config, cache_dir=str(tmp_path)), splits=fold_assignment.SPLITS
    )
    with contextlib.closing(other.opened):
        trained = of_all(dataclasses.replace(other, compute=compute))
        assert_rows_computed_again(trained, driver[1])


def test_a_network_that_is_not_the_drivers_is_an_error(driver):
    with pytest.raises(RunError, match="Install the same release on all machines"):
        squares = np.zeros((1, 32, 32, 1))
        sharing.compute_rows(driver[0], driver[0].config, "0" * 16, squares, None, False)


# A dataset that the workers have


def test_workers_that_have_the_dataset_decode_their_own_squares(driver, worker, data_dir):
    store, training = Store(), driver[1]
    chunks = sharing.chunks(training, store.put, set(), squares=False)
    squares = {square_stage(32, "chest").spec.folder_name()}
    assert not squares & {folder_name for folder_name, _, _ in chunks}
    setup, computed = worker(store, chunks, worker_data_dir=str(data_dir))
    assert_same_rows(of_all(setup), training)
    assert computed == []


def test_another_dataset_of_the_workers_is_refused(driver, data_dir):
    other = dataclasses.replace(driver[0].dataset, fingerprint="f" * 64)
    value = sharing.packed(
        dataclasses.replace(driver[0], dataset=other), shares_files=True,
        worker_data_dir=str(data_dir),
    )  # fmt: skip
    with pytest.raises(RunError, match=r"--worker_data_dir=.*fingerprint is .*, not ffff"):
        sharing.unpacked(value, Store().fetch)


def test_a_precision_that_a_worker_can_not_have_is_refused(driver, monkeypatch):
    monkeypatch.setattr(precision, "gpu_capability", lambda: None)
    setup = driver[0]
    half = dataclasses.replace(setup.precision, policy="mixed_float16")
    value = sharing.packed(dataclasses.replace(setup, precision=half), shares_files=True)
    with pytest.raises(RunError, match=r"mixed_float16 needs a GPU, and there is none: .* Use"):
        sharing.unpacked(value, Store().fetch)


def test_tasks_without_a_setup_get_none():
    assert sharing.unpacked(sharing.packed(None, shares_files=True), Store().fetch) is None


def test_a_dataset_that_a_worker_can_not_open_is_named_by_the_flag(driver, tmp_path):
    with pytest.raises(
        RunError, match=r"--worker_data_dir=.*none can't be used on a worker: --data"
    ):
        sharing._own_dataset(driver[0], str(tmp_path / "none"))


def test_what_a_store_has_is_noted_once(tmp_path):
    stages = sharing.SharedStages(tmp_path, 0, None, None)
    stages.add([("a", 0, "one"), ("a", 0, "two")])
    stages.add([("a", 0, "two"), ("a", 1, "three")])
    assert stages._chunks == {("a", 0): ["one", "two"], ("a", 1): ["three"]}
    stages.close()


def test_squares_of_the_baseline_are_handed_over_where_the_networks_are_larger(data_dir, tmp_path):
    config = trainings.quick(data_dir, tmp_path, image_size=40)
    with trainings.training(config) as training:
        reads = [(stage.spec.name, stage.spec.shape[:1], name) for stage, name, _ in
                 sharing._reads(training)]  # fmt: skip
    assert {name for *of, name in reads if of == ["square", (32,)]} >= {"train", "validation"}
