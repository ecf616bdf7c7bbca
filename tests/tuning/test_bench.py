"""What trials share: rows computed once, and no way to the test split."""

import dataclasses
import gc
import types

import numpy as np
import pytest
import tensorflow as tf

from tests.helpers import searches
from tests.helpers.searches import Trials, open_trials
from trainer.config import BLOCKS
from trainer.input_pipeline import cache_folders, dataset
from trainer.input_pipeline.stages import OpenStages, square_stage
from trainer.model import vgg16

HEADS = ["--search=head_units,learning_rate,dropout,batch_size,l2,label_smoothing,pooling"]
ONE, OTHER = (
    {"head_units": 64, "dropout": 0.3, "batch_size": 16},
    {"head_units": 128, "dropout": 0.1, "batch_size": 32, "l2": 1e-3, "pooling": "average"},
)


@pytest.fixture(scope="module")
def trained(quick) -> Trials:
    return open_trials(*quick, *HEADS)


@pytest.fixture(scope="module")
def one(trained) -> dict[str, float]:
    return trained(**ONE)


def rows(cache_dir) -> dict[str, tuple[int, int]]:
    """How many rows there are of each stage, and when the last of them was written."""
    return {
        entry.key["name"]: (entry.rows, (entry.folder / "rows.bin").stat().st_mtime_ns)
        for entry in cache_folders.entries(cache_dir)
    }


@pytest.mark.parametrize("flags", [[], ["--folds=2"]])
def test_heads_compute_no_row_after_the_first(flags, quick, tmp_path):
    trials = open_trials(*quick, *HEADS, *flags, f"--cache_dir={tmp_path}", "--epochs=1")
    assert rows(tmp_path).keys() == {"square"}
    trials(**ONE)
    written = rows(tmp_path)
    assert written["block5_pool"][0] == len(trials.bench.everyone)
    trials(**OTHER)
    assert rows(tmp_path) == written


def test_heads_are_all_that_is_built_where_the_rest_is_cached(trained):
    trainings = [trained.bench.training(trained.space.config(each)) for each in (ONE, OTHER)]
    read = []
    for training in trainings:
        names = {layer.name for layer in training.networks.trained.layers}
        assert not names & {f"{block}_conv1" for block in BLOCKS}
        (plan,) = training.plan.phases
        read.append(training.rows(plan.train, "train", plan.views))
    assert read[0] is read[1]


def test_rows_that_find_no_room_give_the_same_numbers(trained, one, tmp_path):
    """A network that passes every image in every epoch."""
    squares = 32 * 32 * len(trained.bench.everyone)
    room = [f"--cache_dir={tmp_path}", f"--cache_gib={1.03 * squares / 2**30}"]
    tight = open_trials(*trained.argv, *room)
    assert tight(**ONE) == pytest.approx(one, rel=1e-4)
    assert rows(tmp_path).get("block5_pool", (0, 0))[0] == 0


def test_trials_on_random_weights_begin_from_the_same(quick, monkeypatch):
    monkeypatch.setattr(vgg16, "build_model", searches.BUILD_MODEL)
    fixed = ["--augmentation=article", "--views=0"]  # no rows can be cached
    trials = open_trials(*quick, "--search=head_units", *fixed)
    nets = [trials.bench.training(trials.space.config({})).networks for _ in range(2)]
    one, other = (each.trained.get_layer("block1_conv1").kernel for each in nets)
    assert one is not other
    np.testing.assert_array_equal(one, other)


# The test split


@pytest.fixture
def without_test(data_dir, monkeypatch):
    """What is opened has no test split."""
    whole = dataset.open_dataset("tiny", str(data_dir), 4)
    splits = {name: images for name, images in whole.splits.items() if name != "test"}
    less = dataclasses.replace(whole, splits=splits)
    monkeypatch.setattr(dataset, "open_dataset", lambda *_: less)


def test_no_trial_needs_the_test_split(trained, one, without_test):
    assert open_trials(*trained.argv)(**ONE) == one


def test_folds_are_made_of_the_other_splits(trained, without_test):
    bench = open_trials(*trained.argv, "--folds=3").bench
    assert bench.images.keys() == {"train", "validation"}
    ids = [image_id for images in bench.images.values() for image_id in images.image_ids]
    assert bench.everyone.image_ids.tolist() == ids


def reachable(root: object) -> list[object]:
    """All objects that another one leads to, but for what belongs to the process as a whole.

    That is Python's modules and TensorFlow's outermost graph, which remembers functions of all
    that ever ran in the process: of other tests, too.
    """
    graph = tf.compat.v1.get_default_graph()
    seen, ahead = {id(graph): graph}, [root]
    while ahead:
        each = ahead.pop()
        if id(each) in seen or isinstance(each, type | types.ModuleType):
            continue
        seen[id(each)] = each
        if isinstance(each, types.FunctionType):  # its globals are its module's
            ahead += [each.__closure__, each.__defaults__, each.__kwdefaults__, each.__dict__]
        else:
            ahead += gc.get_referents(each)
    return list(seen.values())


def strings(objects: list[object]) -> set[str]:
    """Those that are strings, and those that arrays of strings hold."""
    arrays = [each for each in objects if isinstance(each, np.ndarray)]
    held = {each for array in arrays if array.dtype.kind == "T" for each in array.ravel().tolist()}
    return held | {each for each in objects if isinstance(each, str)}


@pytest.mark.parametrize("split", ["train", "validation", "test"])
def test_a_trial_reaches_train_and_validation_and_no_other_image(split, trained, one, data_dir):
    images = dataset.open_dataset("tiny", str(data_dir), 4).splits[split]
    known = set(images.image_ids.tolist())
    assert strings(reachable(trained.model)) & known == (set() if split == "test" else known)


def test_no_image_of_the_test_split_is_decoded(quick, data_dir, tmp_path):
    open_trials(*quick, *HEADS, f"--cache_dir={tmp_path}")
    opened = OpenStages(tmp_path)
    missing = {
        name: opened.missing(square_stage(32), images, (0,)) / len(images)
        for name, images in dataset.open_dataset("tiny", str(data_dir), 4).splits.items()
    }
    assert missing == {"train": 0, "validation": 0, "test": 1}
