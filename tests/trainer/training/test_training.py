"""A training's rows: what is computed, and that they train as the images themselves do."""

import contextlib
import dataclasses
import itertools

import keras
import numpy as np
import pytest
import tensorflow as tf

from tests.helpers import trainings
from trainer.augmentation import random
from trainer.augmentation.layer import Augmentation
from trainer.input_pipeline import batches, cache_folders
from trainer.input_pipeline.stages import OpenStages, square_stage
from trainer.model import vgg16
from trainer.training import training as training_lib
from trainer.training.loop import train_phases
from trainer.training.steps import Steps

SQUARES_ONLY = 1e-4  # GiB: 100 squares of 1 KiB fit, and hardly anything else
VIEWS = {"augmentation": "radiograph", "views": 2}
FROM_BLOCK_4 = {**trainings.TUNED, "fine_tune_from": "block4"}


@pytest.fixture
def fresh(data_dir, tmp_path):
    """Trainings of the tiny network with a cache of their own, closed at the end."""
    with contextlib.ExitStack() as opened:

        def make(images=None, **changes):
            config = trainings.quick(data_dir, tmp_path / "cache", **changes)
            return opened.enter_context(trainings.training(config, images))

        yield make


@pytest.fixture
def computed(monkeypatch):
    """Rows that each training computes from now on."""
    counts, fill = [], training_lib.fill

    def counted(*arguments):
        counts.append(fill(*arguments))
        return counts[-1]

    monkeypatch.setattr(training_lib, "fill", counted)
    return counts


@pytest.mark.slow
def test_what_is_cached_is_not_computed_again(fresh, computed, tiny):
    train, scored = (sum(len(tiny.splits[name]) for name in names)
                     for names in (("train",), ("validation", "test")))  # fmt: skip
    fresh(**VIEWS, epochs=3)
    fresh(**VIEWS, epochs=3)
    fresh(**VIEWS | {"views": 3}, epochs=3)
    fresh(**VIEWS | {"views": 8}, epochs=2)  # of which two are used
    fresh(**VIEWS | {"views": 1}, epochs=3)
    assert computed == [2 * train + scored, 0, train, 0, 0]


@pytest.mark.slow
def test_a_new_image_computes_itself_only(fresh, computed, tiny):
    fewer = {**tiny.splits, "train": tiny.splits["train"].take(range(1, 68))}
    fresh(fewer, **VIEWS)
    fresh(**VIEWS)
    assert computed[1] == 2


@pytest.mark.slow
def test_rows_are_what_the_network_computes_of_the_augmented_views(ready):
    training = ready(**VIEWS)
    images, some = training.images["train"].take([7, 3, 11]), np.array([7, 3, 11])
    squares = training._opened.rows(square_stage(32)).read(images.digests, 0)
    part = vgg16.part(training.networks.trained, vgg16.SQUARE, "block5_pool")
    plan = training.plan.phases[0]
    rows = training.rows(plan.train, "train", plan.views)
    for view in (0, 1):
        draws = random.uniform_draws(images.image_ids, view, training.config.seed)
        views = Augmentation(training.config.augmentation_ranges)(squares, draws)
        wanted = np.asarray(part.predict_on_batch(views))
        np.testing.assert_allclose(rows.read(view, some), wanted, atol=1e-4, rtol=1e-5)
    assert np.abs(rows.read(0, some) - rows.read(1, some)).max() > 1e-2


@pytest.mark.slow
def test_a_later_cut_goes_on_from_the_earlier_one(fresh):
    rows = []
    for changes in ({}, FROM_BLOCK_4):
        training = fresh(**VIEWS, **changes)
        plan = training.plan.phases[0]
        rows.append(training.rows(plan.train, "train", plan.views).read(1, np.arange(9)))
        names = {each.key["name"] for each in cache_folders.entries(training._opened.cache_dir)}
        below = {"block3_pool"} if changes else set()
        assert names == {"square", "block5_pool"} | below
        training._opened.close()
        for each in cache_folders.entries(training._opened.cache_dir):
            if each.key["name"] != "square":
                cache_folders.remove(each.folder)
    np.testing.assert_allclose(*rows, atol=1e-4, rtol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize(
    "changes",
    [
        {},
        VIEWS,
        FROM_BLOCK_4,
        {**VIEWS, **FROM_BLOCK_4},
    ],
    ids=["images", "augmented views", "images, fine-tuned", "augmented views, fine-tuned"],
)
def test_training_from_activations_equals_training_from_squares(fresh, changes):
    """The same views, order and steps: only what the frozen part does again is spared."""
    ends = []
    for gib in (SQUARES_ONLY, 1.0):
        training = fresh(**changes, epochs=3, cache_gib=gib)
        stages = {plan.train.spec.name for plan in training.plan.phases}
        assert (stages == {"square"}) is (gib < 1)
        before = training.networks.trained.get_weights()
        train_phases(training, seed=1)
        ends.append(training.networks.trained.get_weights())
        training._opened.close()
    for one, other in zip(*ends, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-4)
    assert max(np.abs(a - b).max() for a, b in zip(before, ends[0], strict=True)) > 5e-3


@pytest.mark.parametrize("changes", [{}, VIEWS], ids=["images", "augmented views"])
@pytest.mark.slow
def test_where_only_the_heads_rows_fit_they_are_those_of_a_cache_with_room(fresh, changes):
    """The rows that fine-tuning would train from do not: the head's are computed from squares."""
    changes = {**changes, **FROM_BLOCK_4, "epochs": 3}
    training = fresh(**changes)
    plan, at = training.plan.phases[0], np.arange(9)
    wanted = [training.rows(plan.train, "train", (view,)).read(0, at) for view in plan.views]
    training._opened.close()
    entries = cache_folders.entries(training._opened.cache_dir)
    taken = sum(entry.bytes for entry in entries)
    spared = training.plan.phases[1].train.spec.row_bytes * len(training.images["train"]) // 2
    for entry in entries:
        cache_folders.remove(entry.folder)
    training = fresh(**changes, cache_gib=(taken - spared) / 2**30)
    names = [plan.train.spec.name for plan in training.plan.phases]
    assert names == ["block5_pool", "square"]
    rows = [training.rows(plan.train, "train", (view,)).read(0, at) for view in plan.views]
    np.testing.assert_array_equal(rows, wanted)


def test_a_cache_without_room_is_described(fresh, capsys):
    fresh(cache_gib=SQUARES_ONLY, **VIEWS)
    printed = " ".join(capsys.readouterr().out.split())
    assert "MiB of activations do not fit into the cache (--cache_gib=0.0001, and " in printed


@pytest.mark.slow
def test_rows_that_are_used_do_not_count_as_room(fresh):
    """Those of two views are cached; two more go over what the cache may take."""
    training = fresh(**VIEWS, epochs=2, head_units=4)
    cache_dir, row = training._opened.cache_dir, training.plan.fills[0].stage.spec.row_bytes
    views = 2 * row * len(training.images["train"])
    taken = sum(entry.bytes for entry in cache_folders.entries(cache_dir))
    training._opened.close()
    most = taken + views // 2
    more = {**VIEWS, "views": 4}
    plan = fresh(**more, epochs=4, cache_gib=most / 2**30).plan
    assert plan.rejected_bytes and not plan.missing_bytes
    assert sum(entry.bytes for entry in cache_folders.entries(cache_dir)) <= most


@pytest.mark.slow
def test_what_is_cached_and_what_is_to_compute_is_described(fresh, capsys, tiny):
    count = sum(map(len, tiny.splits.values()))
    fresh()
    fresh()
    printed = capsys.readouterr().out
    assert "Devices" not in printed  # there is one
    lines = [line for line in printed.splitlines() if "to compute" in line]
    assert lines == [
        f"Activations up to block5_pool: 0 of {count} are cached, {count} to compute.",
        f"Activations up to block5_pool: {count} of {count} are cached, 0 to compute.",
    ]


def test_the_heads_own_rate_is_of_its_layers_alone(ready):
    training = ready(**trainings.TUNED, fine_tune_head_learning_rate=4e-3)  # 4 times the other
    steps = training.steps(training.plan.phases[1])
    of_blocks, of_head = steps.optimizer.factors[:-4], steps.optimizer.factors[-4:]
    assert of_blocks and set(of_blocks) == {1.0} and of_head == pytest.approx([4.0] * 4)


@pytest.mark.slow
@pytest.mark.parametrize("views", [3, 0])
def test_views_are_taken_in_turn(ready, views):
    """Equal views give equal losses at a rate that moves hardly anything."""
    training, losses = ready(augmentation="article", views=views, epochs=4, learning_rate=1e-7), []
    keep = keras.callbacks.LambdaCallback(on_epoch_end=lambda e, logs: losses.append(logs["loss"]))
    train_phases(training, [keep], seed=1)
    for a, b in itertools.combinations(range(4), 2):
        assert (abs(losses[a] - losses[b]) < 3e-4) == ((b - a) % (views or 4) == 0)


@pytest.mark.slow
def test_as_many_views_as_epochs_are_new_views_in_each(ready):
    drawn = {}
    for views in (0, 3):
        training = ready(augmentation="radiograph", views=views, epochs=3)
        drawn[views] = np.stack([training._draws(epoch, np.arange(9)) for epoch in range(3)])
    np.testing.assert_array_equal(drawn[0], drawn[3])
    assert len(np.unique(drawn[0][:, 0, 0])) == 3


@pytest.mark.slow
def test_logits_of_a_view_are_those_of_the_augmented_images_where_none_is_cached(ready):
    training, some = ready(augmentation="radiograph", views=0), np.array([7, 3, 11])
    plan = training.plan.phases[0]
    squares = training.rows(plan.train, "validation", (0,)).read(0, some)
    images, config = training.images["validation"].take(some), training.config
    part = vgg16.part(training.networks.trained, vgg16.SQUARE, "block5_pool")
    for epoch in (0, 1):
        draws = random.uniform_draws(images.image_ids, epoch, config.seed)
        views = Augmentation(config.augmentation_ranges)(squares, draws)
        wanted = training.networks.logits("block5_pool").predict_on_batch(
            part.predict_on_batch(views)
        )
        got = training.logits_of_view(epoch, "validation", some)
        np.testing.assert_allclose(got, wanted, atol=1e-4, rtol=1e-4)
    assert np.abs(got - training.logits_of_view(0, "validation", some)).max() > 1e-3


def test_rows_of_bfloat16_are_trained_on_and_scored_ones_are_float32(ready):
    plan = ready(precision="mixed_bfloat16").plan.phases[0]
    assert (plan.train.spec.dtype, plan.score.spec.dtype) == ("bfloat16", "float32")


@pytest.mark.bfloat16
def test_probabilities_are_those_of_the_served_network_in_the_order_of_the_images(ready):
    training = ready(precision="mixed_bfloat16")
    images, plan = training.images["validation"], training.plan.phases[0]
    squares = training._opened.rows(square_stage(32)).read(images.digests, 0)
    wanted = np.asarray(training.networks.served.predict_on_batch(squares.astype(np.float32)))
    every = training.probabilities(plan, "validation")
    np.testing.assert_allclose(every, wanted, atol=1e-5)
    some = np.array([5, 0, 5])
    np.testing.assert_allclose(training.probabilities(plan, "validation", some), wanted[some],
                               atol=1e-5)  # fmt: skip
    assert wanted.std(axis=0).max() > 1e-3


def test_scored_rows_may_be_too_many_to_hold(ready, monkeypatch):
    training = ready()
    plan = training.plan.phases[0]
    held = training.probabilities(plan, "validation")
    monkeypatch.setattr(batches, "MEMORY", 0)
    np.testing.assert_array_equal(training.probabilities(plan, "validation"), held)


def test_each_call_of_steps_and_each_scored_batch_is_progress(ready, monkeypatch):
    training, calls = ready(), []
    monkeypatch.setattr(training, "on_progress", lambda: calls.append(1))
    ended = keras.callbacks.LambdaCallback(on_train_batch_end=lambda batch, logs: calls.append(0))
    train_phases(training.on(np.arange(20)), [ended], seed=1)
    assert calls == [0, 1] * calls.count(0) and calls
    del calls[:]
    training.probabilities(training.plan.phases[0], "validation")
    assert calls and set(calls) == {1}


def test_some_images_alone_are_trained_on(ready):
    training = ready(class_weights="balanced")
    at = np.flatnonzero(training.labels < 2)
    other = training.on(at)
    assert other.steps_per_epoch == -(-len(at) // 16)
    plan = other.plan.phases[0]
    truth = np.concatenate([t for _, t in other.batches(plan, range(1), 1).as_numpy_iterator()])
    assert sorted(truth) == sorted(training.labels[at])
    assert len(training.train_at) == 68
    counts = np.bincount(other.labels, minlength=4)
    wanted = [len(at) / (4 * max(count, 1)) for count in counts]
    assert other.class_weights == pytest.approx(wanted)
    assert np.dot(other.class_weights[:2], counts[:2]) == pytest.approx(len(at) / 2)


@pytest.mark.slow
def test_all_folds_share_one_traced_step(fresh, monkeypatch):
    traces, step = [], Steps._step

    @tf.autograph.experimental.do_not_convert
    def counted(self, *arguments):
        traces.append(1)
        return step(self, *arguments)

    monkeypatch.setattr(Steps, "_step", counted)
    training = fresh()
    for at in (np.arange(0, 50), np.arange(20, 68), np.arange(1, 64)):
        train_phases(training.on(at), seed=1)
    assert len(traces) == 1


def test_the_trained_part_begins_where_the_lowest_phase_does(ready):
    names = [layer.name for layer in ready().trained_part.layers]
    assert "block5_conv1" not in names and "head" in names
    tuned = ready(**trainings.TUNED).trained_part
    assert "block5_conv1" in [layer.name for layer in tuned.layers]
    assert "block4_conv1" not in [layer.name for layer in tuned.layers]
    all_blocks = ready(**{**trainings.TUNED, "fine_tune_from": "block1"}).trained_part
    assert "block1_conv1" in [layer.name for layer in all_blocks.layers]


def test_advice_is_on_what_the_phase_reads(ready, monkeypatch):
    cached, made = ready(**VIEWS), ready(augmentation="radiograph", views=0)
    assert "--batch_size" in cached.advice(cached.plan.phases[0])
    monkeypatch.setattr(batches, "MEMORY", 0)
    assert "fewer --views" in cached.advice(cached.plan.phases[0])
    assert "--views=8" in made.advice(made.plan.phases[0])
    made.plan = dataclasses.replace(made.plan, rejected_bytes=1)
    assert "--cache_gib" in made.advice(made.plan.phases[0])
    unseen = dataclasses.replace(cached.plan.phases[0], views=())  # no view is drawn at all
    assert cached.advice(unseen) == ""


@pytest.mark.slow
def test_the_least_recently_used_stage_makes_room(fresh, data_dir, tmp_path):
    first = fresh()
    row_bytes = first.plan.phases[0].train.spec.row_bytes
    first._opened.close()
    old = next(each.folder for each in cache_folders.entries(tmp_path / "cache")
               if each.key["name"] == "block5_pool")  # fmt: skip
    squares = sum(each.bytes for each in cache_folders.entries(tmp_path / "cache")
                  if each.key["name"] == "square")  # fmt: skip
    gib = (squares + 100 * row_bytes + 5_000) / 2**30
    second = fresh(seed=2, cache_gib=gib)
    assert second.plan.phases[0].train.spec.name == "block5_pool"
    assert not old.exists()


@pytest.mark.slow
def test_the_stages_of_a_run_stay_while_it_lasts(fresh):
    training = fresh()
    folders = [training._opened.rows(stage).folder for stage in training._chains.train]
    assert not any(cache_folders.remove(folder) for folder in folders)
    assert dataclasses.is_dataclass(training.plan)
    assert isinstance(training._opened, OpenStages)
