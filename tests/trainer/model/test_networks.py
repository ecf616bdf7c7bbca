"""The trained network and the served one: equal at the start, and whenever weights are copied."""

import dataclasses
import gc
import weakref

import keras
import numpy as np
import pytest

from tests.helpers.images import radiographs
from trainer.augmentation.layer import augmentation
from trainer.augmentation.random import uniform_draws
from trainer.config import PRECISIONS, Config
from trainer.model import networks, normalization
from trainer.model.head import reset_head
from trainer.model.networks import Networks
from trainer.model.precision import Precision
from trainer.model.weights import Weights

QUICK = Config(image_size=32, align="none", width=0.05, weights="none", head_units=6, dropout=0.5)
RANDOM = Weights(None, "", "random numbers")
POLICIES = [policy for policy in PRECISIONS if policy != "auto"]
ONE_LONG = [
    *POLICIES[:2],
    *(pytest.param(policy, marks=pytest.mark.slow) for policy in POLICIES[2:]),
]


def build(policy="mixed_bfloat16", fitted=None, **changes) -> Networks:
    config = dataclasses.replace(QUICK, **changes)
    return networks.build(config, Precision(policy, False, ""), RANDOM, fitted)


def build_heads(whole: Networks, policy="mixed_bfloat16", **changes) -> Networks:
    config = dataclasses.replace(QUICK, **changes)
    return networks.build_heads(config, Precision(policy, False, ""), whole)


def equal(one, other) -> bool:
    return all(
        np.array_equal(a, b) for a, b in zip(one.get_weights(), other.get_weights(), strict=True)
    )


def grow(model, names):
    """Adds 1 to the biases of some layers, as a training might."""
    for name in names:
        bias = model.get_layer(name).bias
        bias.assign(bias + 1)


@pytest.mark.parametrize("policy", ONE_LONG)
def test_both_begin_with_the_same_weights_and_the_served_one_is_float32(policy):
    nets = build(policy)
    assert (nets.trained is nets.served) == (policy == "float32")
    assert equal(nets.trained, nets.served)
    assert nets.trained.get_layer("block1_conv1").dtype_policy.name == policy
    assert {layer.compute_dtype for layer in nets.served.layers} == {"float32"}


@pytest.mark.parametrize("policy", ONE_LONG)
def test_heads_begin_with_the_same_weights_too(policy):
    heads = build_heads(build(policy), policy, head_units=9)
    assert (heads.trained is heads.served) == (policy == "float32")
    assert heads.trained.get_layer("head").units == 9
    assert heads.trained.get_layer("head").dtype_policy.name == policy
    assert equal(heads.trained, heads.served)
    assert {layer.compute_dtype for layer in heads.served.layers} == {"float32"}


@pytest.mark.parametrize("kind", ["featurewise", "zca"])
def test_both_hold_what_was_fitted_on_the_train_images(kind):
    nets = build(fitted=normalization.fit(kind, radiographs(6)[..., 0]))
    assert equal(nets.trained, nets.served)
    both = [model.get_layer("standardise").get_config() for model in (nets.trained, nets.served)]
    assert both[0] == both[1]


@pytest.mark.slow
def test_weights_follow_from_the_seed_whatever_was_drawn_before():
    keras.utils.set_random_seed(17)
    first = build(seed=3)
    keras.random.normal((5,))
    assert equal(build(seed=3).trained, first.trained)
    assert not equal(build(seed=4).trained, first.trained)
    heads = build_heads(first, seed=3)
    keras.random.normal((5,))
    assert equal(build_heads(first, seed=3).trained, heads.trained)
    assert not equal(build_heads(first, seed=4).trained, heads.trained)


def test_building_leaves_the_global_policy_alone():
    before = keras.config.dtype_policy().name
    build_heads(build())
    assert keras.config.dtype_policy().name == before


@pytest.mark.parametrize("policy", ONE_LONG[1:])
def test_serve_copies_what_is_trained(policy):
    nets = build(policy)
    nets.train_from("block5")
    grow(nets.trained, ["block5_conv2", "head", "last"])
    assert not equal(nets.trained, nets.served)
    nets.serve()
    assert equal(nets.trained, nets.served)


def test_serve_copies_what_was_trained_before_and_is_frozen_again():
    nets = build()
    nets.train_from("block4")
    grow(nets.trained, ["block4_conv1"])
    nets.train_from(None)
    grow(nets.trained, ["last"])
    nets.serve()
    assert equal(nets.trained, nets.served)


@pytest.mark.slow
def test_serve_leaves_alone_what_was_never_trained():
    nets = build()
    nets.train_from(None)
    grow(nets.trained, ["block1_conv1", "head"])
    nets.serve()
    copied = {
        name: equal(nets.trained.get_layer(name), nets.served.get_layer(name))
        for name in ("block1_conv1", "head")
    }
    assert copied == {"block1_conv1": False, "head": True}


def test_serve_copies_heads():
    heads = build_heads(build())
    heads.train_from(None)
    grow(heads.trained, ["head", "last"])
    heads.serve()
    assert equal(heads.trained, heads.served)


@pytest.mark.parametrize("block", [None, "block3"])
def test_train_from_frees_a_block_and_what_is_above(block):
    nets = build()
    nets.train_from(block)
    freed = {layer.name for layer in nets.trained.layers if layer.trainable_weights}
    assert {name[:6] for name in freed - {"head", "last"}} == (
        {"block3", "block4", "block5"} if block else set()
    )


@pytest.mark.slow
@pytest.mark.bfloat16
def test_logits_are_of_the_runs_precision_and_probabilities_of_float32():
    nets, squares = build(), radiographs().astype("float32")
    logits = nets.logits("square").predict(squares, verbose=0)
    probabilities = nets.probabilities("square").predict(squares, verbose=0)
    np.testing.assert_array_equal(probabilities, nets.served.predict(squares, verbose=0))
    np.testing.assert_allclose(keras.ops.softmax(logits), probabilities, atol=0.02)
    assert not np.array_equal(keras.ops.softmax(logits), probabilities)


def test_a_part_is_made_once_for_each_stage_below():
    nets = build("float32")
    for stage in ("square", "block4_pool"):
        assert nets.logits(stage) is nets.logits(stage)
        assert nets.probabilities(stage) is nets.probabilities(stage)
        assert nets.logits(stage) is not nets.probabilities(stage)
    assert nets.logits("square") is not nets.logits("block4_pool")


@pytest.mark.parametrize(
    ("pooling", "classes", "policy"),
    [
        ("flatten", 2, "mixed_bfloat16"),
        pytest.param("average", 3, "float32", marks=pytest.mark.slow),
        pytest.param("max", 4, "mixed_bfloat16", marks=pytest.mark.slow),
    ],
)
@pytest.mark.slow
def test_a_head_alone_is_the_head_of_the_whole_network(pooling, classes, policy):
    options = {"classes": classes, "pooling": pooling, "l2": 0.1}
    whole = build(policy, **options)
    alone = build_heads(whole, policy, **options)
    assert equal(alone.trained, whole.logits("block5_pool"))
    rows = np.random.default_rng(0).exponential(8, (12, 1, 1, 26)).astype("float32")
    for make in ("logits", "probabilities"):
        one, other = (getattr(nets, make)("block5_pool") for nets in (alone, whole))
        np.testing.assert_array_equal(one.predict(rows, verbose=0), other.predict(rows, verbose=0))
    # Dropout and penalty, too.
    one, other = alone.logits("block5_pool"), whole.logits("block5_pool")
    np.testing.assert_array_equal(one(rows, training=True), other(rows, training=True))
    np.testing.assert_allclose(sum(one.losses), sum(other.losses), rtol=1e-6)


def test_resetting_a_head_begins_its_dropout_again():
    head = build_heads(build("float32"), "float32").trained
    rows = np.random.default_rng(0).exponential(8, (12, 1, 1, 26)).astype("float32")
    reset_head(head, 3)
    first, second = head(rows, training=True), head(rows, training=True)
    assert not np.allclose(first, second)
    reset_head(head, 3)
    np.testing.assert_array_equal(head(rows, training=True), first)
    np.testing.assert_array_equal(head(rows, training=True), second)
    weights = head.get_weights()
    reset_head(head, 4)
    # Not the weights alone: the same weights drop others of their units.
    head.set_weights(weights)
    assert not np.allclose(head(rows, training=True), first)


def test_a_head_without_dropout_can_be_reset():
    head = build_heads(build("float32"), "float32", dropout=0.0).trained
    reset_head(head, 3)
    first = head.get_weights()
    grow(head, ["head", "last"])
    reset_head(head, 4)
    assert not np.array_equal(first[0], head.get_weights()[0])
    reset_head(head, 3)
    for weights, before in zip(head.get_weights(), first, strict=True):
        np.testing.assert_array_equal(weights, before)


@pytest.mark.slow
def test_augmented_logits_are_those_of_the_augmented_views():
    nets, layer = build("float32"), augmentation("article")
    squares, draws = radiographs(), uniform_draws("abcd", 2, 1)
    views = layer(squares, draws)
    expected = nets.logits("square").predict_on_batch(views)
    logits = nets.augmented_logits(layer, 32).predict_on_batch([squares, draws])
    np.testing.assert_allclose(logits, expected, atol=1e-4)
    plain = nets.logits("square").predict_on_batch(squares.astype("float32"))
    assert abs(plain - expected).max() > 1e-3


@pytest.mark.slow
def test_networks_are_freed_with_their_last_user():
    nets = build()
    nets.logits("square"), nets.probabilities("square")
    weights = weakref.ref(nets.served.get_layer("head").kernel)
    del nets
    gc.collect()
    assert weights() is None
