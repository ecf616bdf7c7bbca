"""Steps train as Keras' `fit` does, and measure what they wait for."""

import time

import keras
import numpy as np
import pytest
import tensorflow as tf
from tensorflow.python.framework import config as tf_config

from trainer.training.steps import Steps

IMAGES, BATCH, EPOCHS = 27, 8, 5  # 4 batches an epoch, the last one of 3 images: 20 steps
STEPS = -(-IMAGES // BATCH)
RATE = 1e-2


class Counted(keras.layers.Layer):
    """Changes nothing, and counts how often it is traced."""

    count = 0

    def call(self, inputs):
        type(self).count += 1
        return inputs


def network(classes: int, l2: float = 0.0, seed: int = 3) -> keras.Model:
    """From 6 numbers to logits; with two classes, those of one unit beside 0."""
    keras.utils.set_random_seed(seed)
    penalty = keras.regularizers.L2(l2) if l2 else None
    inputs = keras.Input((6,))
    x = keras.layers.Dense(8, "relu", kernel_regularizer=penalty)(inputs)
    x = keras.layers.Dense(1 if classes == 2 else classes, kernel_regularizer=penalty)(x)
    x = keras.layers.Activation("linear", dtype="float32", name="last")(x)
    if classes == 2:
        x = keras.layers.Concatenate(dtype="float32")([keras.ops.zeros_like(x), x])
    return keras.Model(inputs, x)


def data(classes: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    return rng.normal(size=(IMAGES, 6)).astype(np.float32), rng.integers(0, classes, IMAGES)


def epochs(classes: int, count: int = EPOCHS, together: int = 1):
    """Batches of some epochs, some of them an element."""
    return iter(
        tf.data.Dataset.from_tensor_slices(data(classes)).batch(together * BATCH).repeat(count)
    )


def trained(steps: Steps, classes: int, class_weights=None) -> list[dict[str, float]]:
    """Runs all epochs; some steps by one call, some by several. The means of each."""
    batches, means = epochs(classes, together=STEPS - 1), []
    steps.reset(class_weights or [1.0] * classes)
    for _ in range(EPOCHS):
        steps.start_epoch()
        steps.run(batches, BATCH)
        steps.run(batches, BATCH)
        means.append(steps.means())
    return means


def fitted(model: keras.Model, classes: int, smoothing: float, class_weights: list[float],
           optimizer: keras.optimizers.Optimizer | None = None):  # fmt: skip
    """Keras' own training of the same steps: one sigmoid unit where there are two classes."""
    inputs, labels = data(classes)
    # Keras divides by the number of images: weights whose mean is 1 in every batch.
    weights = np.take(class_weights, labels)
    for first in range(0, IMAGES, BATCH):
        weights[first : first + BATCH] /= weights[first : first + BATCH].mean()
    if classes == 2:
        model = keras.Model(model.input, model.get_layer("last").output)
        loss = keras.losses.BinaryCrossentropy(from_logits=True, label_smoothing=smoothing)
        targets = labels[:, None].astype(np.float32)
    else:
        loss = keras.losses.CategoricalCrossentropy(from_logits=True, label_smoothing=smoothing)
        targets = keras.utils.to_categorical(labels, classes)
    model.compile(optimizer or keras.optimizers.Adam(RATE), loss)
    return model.fit(inputs, targets, batch_size=BATCH, epochs=EPOCHS, shuffle=False, verbose=0,
                     sample_weight=weights).history["loss"]  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize(
    "classes,l2,smoothing,weighted",
    [
        (2, 0.0, 0.0, False),
        (2, 0.0, 0.2, False),
        (2, 0.03, 0.2, True),
        (4, 0.0, 0.0, False),
        (4, 0.03, 0.0, False),
        (4, 0.0, 0.2, True),
    ],
)
def test_twenty_steps_equal_those_of_keras_fit(classes, l2, smoothing, weighted):
    class_weights = [0.4, 2.5, 1.0, 1.7][:classes] if weighted else [1.0] * classes
    ours, theirs = network(classes, l2), network(classes, l2)
    before = ours.get_weights()
    steps = Steps(ours, RATE, classes=classes, label_smoothing=smoothing)
    means = trained(steps, classes, class_weights)
    losses = fitted(theirs, classes, smoothing, class_weights)
    for one, other, old in zip(ours.get_weights(), theirs.get_weights(), before, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-5)
        assert np.abs(one - old).max() > 0.05
    np.testing.assert_allclose([each["loss"] for each in means], losses, atol=1e-5)


PEERS = {
    "adam": lambda decay: keras.optimizers.AdamW(RATE, weight_decay=decay),
    "sgd": lambda decay: keras.optimizers.SGD(
        RATE, momentum=0.9, nesterov=True, weight_decay=decay
    ),
}
ONE_LONG = ["adam", pytest.param("sgd", marks=pytest.mark.slow)]


@pytest.mark.slow
@pytest.mark.parametrize("optimizer", ONE_LONG)
def test_twenty_steps_of_each_optimizer_with_decay_equal_those_of_keras(optimizer):
    ours, theirs = network(4), network(4)
    peer = PEERS[optimizer](0.5)
    peer.exclude_from_weight_decay(var_names=["bias"])
    steps = Steps(ours, RATE, classes=4, optimizer=optimizer, weight_decay=0.5)
    means = trained(steps, 4)
    losses = fitted(theirs, 4, 0.0, [1.0] * 4, peer)
    for one, other in zip(ours.get_weights(), theirs.get_weights(), strict=True):
        np.testing.assert_allclose(one, other, atol=1e-5)
    np.testing.assert_allclose([each["loss"] for each in means], losses, atol=1e-5)


def test_accuracy_is_the_share_of_all_images_of_the_epoch():
    model = network(4)
    steps = Steps(model, 1e-30, classes=4)  # nothing moves
    inputs, labels = data(4)
    right = (model.predict(inputs, verbose=0).argmax(axis=1) == labels).mean()
    assert [each["accuracy"] for each in trained(steps, 4)] == pytest.approx([right] * EPOCHS)


def test_frozen_layers_stay_as_they_are():
    model = network(4)
    model.layers[1].trainable = False
    before = model.get_weights()
    trained(Steps(model, RATE, classes=4), 4)
    still = [np.array_equal(a, b) for a, b in zip(before, model.get_weights(), strict=True)]
    assert still == [True, True, False, False]


def test_reset_gives_the_same_training_again():
    model = network(4)
    begin, steps = model.get_weights(), Steps(model, RATE, classes=4)
    ends = []
    for _ in range(2):
        model.set_weights(begin)
        means = trained(steps, 4, [1.0, 2.0, 1.0, 1.0])
        steps.optimizer.learning_rate = 1e-5  # as a callback does
        ends.append((means, [each.tobytes() for each in model.get_weights()]))
    assert ends[0] == ends[1]
    model.set_weights(begin)
    assert trained(steps, 4) != ends[0][0]  # the class weights are those of the last reset


def rates(steps: Steps, count: int) -> list[float]:
    """The learning rate of each step of a phase, and that behind the last."""
    steps.reset([1.0] * 4, count)
    batches, seen = epochs(4, -(-count // STEPS)), []
    for _ in range(count):
        seen.append(float(steps.optimizer.learning_rate))
        steps.run(batches, BATCH)
    return [*seen, float(steps.optimizer.learning_rate)]


@pytest.mark.parametrize("optimizer", ONE_LONG)
def test_a_cosine_rises_in_a_line_and_falls_to_0_with_the_last_step(optimizer):
    steps = Steps(network(4), RATE, classes=4, optimizer=optimizer, warmup=4)
    wanted = {0: 0.0, 1: 0.25, 2: 0.5, 4: 1.0, 8: 0.75, 10: 0.5, 12: 0.25, 16: 0.0}
    seen = rates(steps, 16)
    assert [seen[at] / RATE for at in wanted] == pytest.approx(list(wanted.values()), abs=1e-6)
    assert max(seen) == seen[4] == pytest.approx(RATE)


@pytest.mark.slow
def test_a_warm_up_takes_at_most_half_of_the_steps_and_none_may_be_given():
    steps = Steps(network(4), RATE, classes=4, warmup=100)
    assert np.argmax(rates(steps, 10)) == 5
    assert np.argmax(rates(steps, 6)) == 3  # of another fold: the same traced steps
    assert np.argmax(rates(Steps(network(4), RATE, classes=4, warmup=0), 6)) == 0


def test_a_step_moves_by_the_rate_that_it_has():
    model = network(4)
    steps, moved = Steps(model, RATE, classes=4, warmup=5), []
    steps.reset([1.0] * 4, 10)
    batches = epochs(4)
    for _ in range(10):
        before = model.get_weights()
        steps.run(batches, BATCH)
        after = model.get_weights()
        moved.append(max(np.abs(a - b).max() for a, b in zip(after, before, strict=True)))
    assert moved[0] == 0 < moved[1] < moved[3] < moved[5]
    assert moved[9] < 0.2 * moved[5]


@pytest.mark.parametrize("optimizer", ONE_LONG)
def test_variables_of_another_rate_train_as_under_that_rate(optimizer):
    """One step, so that the layers do not depend on each other's; kernels decay by it, too."""
    ends = {}
    for name, rate, factors in (("slow", RATE, ()), ("fast", 3 * RATE, ()),
                                ("both", RATE, [1, 1, 3, 3])):  # fmt: skip
        model = network(4)
        steps = Steps(model, rate, classes=4, optimizer=optimizer, weight_decay=0.5,
                      factors=factors)  # fmt: skip
        steps.reset([1.0] * 4)
        steps.run(epochs(4), BATCH)
        ends[name] = model.get_weights()
    for one, other in zip(ends["both"], [*ends["slow"][:2], *ends["fast"][2:]], strict=True):
        np.testing.assert_allclose(one, other, atol=1e-7, rtol=0)
    assert not np.allclose(ends["slow"][2], ends["fast"][2])


def test_steps_are_traced_once_whatever_the_number_of_images():
    inputs = keras.Input((6,))
    model = keras.Model(inputs, keras.layers.Dense(4)(Counted()(inputs)))
    steps, Counted.count = Steps(model, RATE, classes=4), 0
    for count in (27, 26, 8):
        part = tuple(each[:count] for each in data(4))
        steps.reset([1.0] * 4)
        steps.run(iter(tf.data.Dataset.from_tensor_slices(part).batch(IMAGES)), BATCH)
    assert Counted.count == 1


@pytest.fixture
def float16():
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy("mixed_float16")
    yield
    keras.config.set_dtype_policy(before)


@pytest.mark.slow
def test_float16_scales_its_loss_and_trains_as_float32_does(float16):
    ours = network(4)
    steps = Steps(ours, RATE, classes=4)
    assert isinstance(steps.optimizer, keras.optimizers.LossScaleOptimizer)
    means = trained(steps, 4)
    keras.config.set_dtype_policy("float32")
    theirs = network(4)
    wanted = trained(Steps(theirs, RATE, classes=4), 4)
    for one, other in zip(means, wanted, strict=True):
        assert one["loss"] == pytest.approx(other["loss"], abs=1e-2)
    for one, other in zip(ours.get_weights(), theirs.get_weights(), strict=True):
        np.testing.assert_allclose(one, other, atol=2e-2)


def test_float16_skips_a_step_that_overflows_and_begins_again_with_its_scale(float16):
    model = network(4)
    steps = Steps(model, RATE, classes=4)
    steps.reset([1.0] * 4)
    before, scale = model.get_weights(), float(steps.optimizer.dynamic_scale)
    assert scale > 1
    large = (np.full((4, 6), 6e4, np.float32), np.arange(4))
    steps.run(iter(tf.data.Dataset.from_tensors(large)), BATCH)
    for one, other in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)
    assert float(steps.optimizer.dynamic_scale) == scale / 2
    steps.reset([1.0] * 4)
    assert float(steps.optimizer.dynamic_scale) == scale


@pytest.mark.slow
@pytest.mark.parametrize("optimizer", PEERS)
def test_decay_is_the_same_in_float16(float16, optimizer):
    ours = network(4)
    steps = Steps(ours, RATE, classes=4, optimizer=optimizer, weight_decay=1.0)
    trained(steps, 4)
    keras.config.set_dtype_policy("float32")
    decayed, plain = network(4), network(4)
    trained(Steps(decayed, RATE, classes=4, optimizer=optimizer, weight_decay=1.0), 4)
    trained(Steps(plain, RATE, classes=4, optimizer=optimizer), 4)
    for one, other in zip(ours.get_weights(), decayed.get_weights(), strict=True):
        np.testing.assert_allclose(one, other, atol=2e-2)
    assert np.abs(ours.get_weights()[0] - plain.get_weights()[0]).max() > 0.05


@pytest.mark.slow
def test_a_rate_that_is_lowered_counts_in_float16_too(float16):
    model = network(4)
    steps = Steps(model, RATE, classes=4)
    trained(steps, 4)
    steps.optimizer.learning_rate = 0.0
    before = model.get_weights()
    steps.run(epochs(4, together=STEPS), BATCH)
    for one, other in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.slow
def test_a_schedule_counts_in_float16_too(float16):
    seen = rates(Steps(network(4), RATE, classes=4, warmup=4), 8)
    assert (seen[0], seen[4]) == (0, pytest.approx(RATE))
    assert seen[8] == pytest.approx(0, abs=1e-9)


@pytest.mark.slow
@pytest.mark.parametrize("deterministic", [True, False])
def test_what_a_slow_dataset_takes_was_waited_for(deterministic):
    slept = []

    def slow():
        for inputs, label in zip(*data(4), strict=True):
            begin = time.time()
            time.sleep(0.01)
            slept.append(time.time() - begin)
            yield inputs, label

    signature = (tf.TensorSpec([6]), tf.TensorSpec([], tf.int64))
    batches = tf.data.Dataset.from_generator(slow, output_signature=signature).batch(IMAGES)
    if deterministic:
        tf.config.experimental.enable_op_determinism()
    try:
        steps = Steps(network(4), RATE, classes=4)
        steps.start_epoch()
        assert steps.waited == 0
        steps.run(iter(batches), BATCH)
    finally:
        tf_config.disable_op_determinism()
    assert len(slept) == IMAGES
    assert steps.waited >= sum(slept)
    steps.start_epoch()
    assert steps.waited == 0


@pytest.mark.parametrize(("bad", "named"), [(0, range(1)), (1, range(2)), (2, range(1, 3))])
def test_a_step_that_is_not_finite_is_named_with_the_one_before(bad, named):
    """Which may have made the weights of which the loss shows it."""
    part = keras.Sequential([keras.Input((6,)), keras.layers.Dense(3)])
    rows, labels = data(3)
    rows[bad * BATCH] = np.nan
    steps = Steps(part, RATE, classes=3)
    steps.reset([1.0] * 3)
    steps.start_epoch()
    steps.run(iter(tf.data.Dataset.from_tensors((rows, labels))), BATCH)
    assert steps.not_finite() == named
    assert steps.not_finite(now=False) is None  # the call before it


@pytest.mark.parametrize("calls", [1, 2, 3, 4])
def test_weights_that_are_not_finite_are_of_the_steps_of_the_call_that_made_them(calls):
    hidden = keras.layers.Dense(2, activation="relu")
    part = keras.Sequential([keras.Input((6,)), hidden, keras.layers.Dense(3)])
    steps = Steps(part, RATE, classes=3)
    steps.reset([1.0] * 3)
    steps.start_epoch()
    for call in range(calls):
        if call == calls - 1:
            hidden.bias.assign([-np.inf, 0.0])  # the activation makes 0 of it: a finite loss
        steps.run(iter(tf.data.Dataset.from_tensors(data(3))), BATCH)
        assert steps.not_finite(now=False) is None
    each = -(-IMAGES // BATCH)
    named = range((calls - 1) * each, calls * each)
    assert steps.not_finite() == named
    steps.run(iter(tf.data.Dataset.from_tensors(data(3))), BATCH)
    assert steps.not_finite(now=False) == named


def test_the_accuracy_of_an_ensemble_is_that_of_its_mean_probabilities():
    """One member is sure of class 1, the other nearly evenly for 0 and 2: logits add up to 0."""
    inputs = keras.Input((6,))
    members = [keras.layers.Dense(3) for _ in range(2)]
    part = keras.Model(inputs, [member(inputs) for member in members])
    for member, logits in zip(members, ([0.0, 9.0, 0.0], [1.0, -9.0, 0.9]), strict=True):
        member.set_weights([np.zeros((6, 3)), np.array(logits)])
    steps = Steps(part, RATE, classes=3)
    steps.reset([1.0] * 3)
    steps.start_epoch()
    rows, labels = np.zeros((BATCH, 6), np.float32), np.ones(BATCH, np.int64)
    steps.run(iter(tf.data.Dataset.from_tensors((rows, labels))), BATCH)
    assert steps.means()["accuracy"] == 1
