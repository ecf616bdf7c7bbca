"""The head alone: its loss, its penalty, the same head within the whole network, drawn anew."""

import dataclasses

import keras
import numpy as np
import pytest
import tensorflow as tf

from trainer import frozen, train
from trainer.config import Config
from trainer.model import vgg16
from trainer.model.weights import Weights
from trainer.training.setup import head

RANDOM = Weights(None, "", "random numbers")
QUICK = Config(image_size=64, head_units=6, dropout=0.5)
KERNELS = ("head", "predictions")


@pytest.fixture(autouse=True)
def float32():
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy("float32")
    yield
    keras.config.set_dtype_policy(before)


def rows(seed: int = 0, count: int = 12) -> np.ndarray:
    """What block 5 might give of images of 64 pixels."""
    return np.random.default_rng(seed).exponential(8, (count, 2, 2, 512)).astype(np.float32)


def drawn(config: Config, seed: int = 3) -> keras.Model:
    model = vgg16.build_head(keras.KerasTensor((None, 2, 2, 512)), **head(config))
    vgg16.reset_head(model, seed)
    return model


def loss(model: keras.Model, config: Config, labels: np.ndarray) -> float:
    """What training minimises, without dropout."""
    train.compiled(model, config, 1e-3, 1)
    batches = tf.data.Dataset.from_tensors((rows(count=len(labels)), labels))
    return model.evaluate(train.smoothed(batches, config), verbose=0, return_dict=True)["loss"]


@pytest.mark.parametrize("classes", [2, 4])
@pytest.mark.parametrize("share", [0.0, 0.2])
def test_smoothing_spreads_a_share_of_each_label_over_all_classes(classes, share):
    config = dataclasses.replace(QUICK, classes=classes, label_smoothing=share)
    labels, model = np.arange(12) % classes, drawn(config)
    found = model.predict(rows(), verbose=0)
    found = np.concatenate([1 - found, found], axis=1) if classes == 2 else found
    smooth = np.eye(classes)[labels] * (1 - share) + share / classes
    wanted = keras.losses.CategoricalCrossentropy()(smooth, found)
    assert loss(model, config, labels) == pytest.approx(float(wanted), rel=1e-5)


@pytest.mark.parametrize("classes", [2, 4])
def test_l2_adds_the_squares_of_both_kernels_and_of_nothing_else(classes):
    labels = np.arange(12) % classes
    plain = dataclasses.replace(QUICK, classes=classes)
    weighed = dataclasses.replace(plain, l2=0.25)
    one, other = drawn(plain), drawn(weighed)
    for model in (one, other):
        for name in KERNELS:
            model.get_layer(name).bias.assign_add(keras.ops.ones_like(model.get_layer(name).bias))
    squares = sum(np.square(other.get_layer(name).kernel).sum() for name in KERNELS)
    grown = loss(other, weighed, labels) - loss(one, plain, labels)
    assert grown == pytest.approx(0.25 * squares, rel=1e-4)


@pytest.mark.parametrize(("pooling", "classes"), [("flatten", 2), ("average", 3), ("max", 4)])
def test_a_head_alone_is_the_head_of_the_whole_network(pooling, classes):
    config = dataclasses.replace(QUICK, classes=classes, pooling=pooling, l2=0.1)
    whole = vgg16.build_model(image_size=64, weights=RANDOM, **head(config))
    above = frozen.part(whole, frozen.cut(None), None)
    alone = vgg16.build_head(frozen.part(whole, None, frozen.cut(None)).output, **head(config))
    for model in (whole, alone):
        vgg16.reset_head(model, 5)
    found, wanted = (model.predict(rows(), verbose=0) for model in (alone, above))
    np.testing.assert_array_equal(found, wanted)
    # Dropout and penalty, too.
    np.testing.assert_array_equal(alone(rows(), training=True), above(rows(), training=True))
    np.testing.assert_allclose(sum(alone.losses), sum(above.losses), rtol=1e-6)


def test_reset_head_makes_dropout_begin_again():
    model, images = drawn(QUICK, seed=3), rows()
    first, second = model(images, training=True), model(images, training=True)
    assert not np.allclose(first, second)
    vgg16.reset_head(model, 3)
    np.testing.assert_array_equal(model(images, training=True), first)
    np.testing.assert_array_equal(model(images, training=True), second)
    kept = model.get_weights()
    vgg16.reset_head(model, 4)
    # Not the weights alone: the same weights drop others of their units.
    model.set_weights(kept)
    assert not np.allclose(model(images, training=True), first)


def test_a_head_without_dropout_can_be_drawn_anew():
    config = dataclasses.replace(QUICK, dropout=0.0)
    model = drawn(config, seed=3)
    before = model.predict(rows(), verbose=0)
    vgg16.reset_head(model, 4)
    assert not np.allclose(model.predict(rows(), verbose=0), before)
    vgg16.reset_head(model, 3)
    np.testing.assert_array_equal(model.predict(rows(), verbose=0), before)
