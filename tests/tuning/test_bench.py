"""What trials share: rows computed once, and no way to the test split."""

import dataclasses
import gc
import types

import pytest
import tensorflow as tf

from tests.tuning.trials import Trials, opened
from trainer import features, frozen
from trainer.config import BLOCKS
from trainer.input_pipeline import dataset

HEADS = ["--search=head_units,learning_rate,dropout,batch_size,l2,label_smoothing,pooling"]
ONE, OTHER = (
    {"head_units": 64, "dropout": 0.3, "batch_size": 16},
    {"head_units": 128, "dropout": 0.1, "batch_size": 32, "l2": 1e-3, "pooling": "average"},
)


@pytest.fixture(scope="module")
def trained(quick) -> Trials:
    return opened(*quick, *HEADS)


@pytest.fixture(scope="module")
def one(trained) -> dict[str, float]:
    return trained(**ONE)


def shards(cache_dir) -> dict:
    """When each shard was written."""
    return {p: p.stat().st_mtime_ns for p in (cache_dir / features.FOLDER).glob("*/*.shard")}


@pytest.mark.parametrize("flags", [[], ["--folds=2"]])
def test_heads_compute_no_row_after_the_first(flags, quick, tmp_path):
    trials = opened(*quick, *HEADS, *flags, "--weights=none", f"--cache_dir={tmp_path}",
                    "--epochs=1")  # fmt: skip
    assert not shards(tmp_path)
    trials(**ONE)
    written = shards(tmp_path)
    rows = [key for path in written for key in features.read_shard(path).images]
    images = trials.bench.images
    assert sorted(rows) == sorted(images["train"].keys + images["validation"].keys)
    trials(**OTHER)
    assert shards(tmp_path) == written


def test_heads_are_all_that_is_built_where_the_rest_is_kept(trained):
    bench, space = trained.bench, trained.space
    heads = [bench.base(space.config(values)) for values in (ONE, OTHER)]
    for base in heads:
        assert not {layer.name for layer in base.model.layers} & {f"{b}_conv1" for b in BLOCKS}
        assert base.part(None, frozen.cut(None)) is heads[0].part(None, frozen.cut(None))


def test_rows_that_find_no_room_give_the_same_numbers(trained, one):
    """A network that passes every image in every epoch."""
    assert opened(*trained.argv, "--cache_gib=0")(**ONE) == pytest.approx(one, rel=1e-4)


# The test split


@pytest.fixture
def without_test(data_dir, monkeypatch):
    """What is opened has no test split."""
    whole = dataset.open_dataset("tiny", str(data_dir), 4)
    splits = {name: images for name, images in whole.splits.items() if name != "test"}
    less = dataclasses.replace(whole, splits=splits)
    monkeypatch.setattr(dataset, "open_dataset", lambda *_: less)


def test_no_trial_needs_the_test_split(trained, one, without_test):
    assert opened(*trained.argv)(**ONE) == one


def test_folds_are_made_of_the_other_splits(trained, without_test):
    bench = opened(*trained.argv, "--folds=3").bench
    assert bench.images.keys() == {"train", "validation"}
    ids = [image_id for images in bench.images.values() for image_id in images.image_ids]
    assert bench.everyone.image_ids == ids


def reached(root: object) -> list[object]:
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


@pytest.mark.parametrize("split", ["train", "validation", "test"])
def test_a_trial_reaches_train_and_validation_and_no_other_image(split, trained, one, data_dir):
    images = dataset.open_dataset("tiny", str(data_dir), 4).splits[split]
    known = {*images.image_ids, *images.encoded}
    found = {each for each in reached(trained.model) if isinstance(each, str | bytes)} & known
    assert found == (set() if split == "test" else known)
