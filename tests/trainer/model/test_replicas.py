"""Several devices train, fill and score as one does; two devices are two of the CPU's.

TensorFlow divides a CPU before it is first used, so this happens in a process of its own.
"""

import concurrent.futures
import functools
import gc
import multiprocessing
import weakref

import keras
import numpy as np
import pytest
import tensorflow as tf

from tests.helpers import trainings
from trainer.config import Config
from trainer.model import networks, replicas, saved
from trainer.model.precision import Precision
from trainer.model.weights import Weights
from trainer.training.steps import Steps

WAYS = ("none", "mirrored")
RATE = 1e-2
# 68 images in batches of 13, the last one of 3: neither divides by two.
TRAINED = {
    "batch_size": 13, "epochs": 6, "fine_tune_from": "block5", "fine_tune_epochs": 3,
    "fine_tune_learning_rate": 1e-4, "label_smoothing": 0.1, "l2": 0.01, "weight_decay": 0.1,
    "class_weights": "balanced", "augmentation": "radiograph", "views": 2,
    "fine_tune_schedule": "cosine", "fine_tune_warmup": 2, "fine_tune_head_learning_rate": 3e-4,
}  # fmt: skip


def divide_cpu():
    device = tf.config.LogicalDeviceConfiguration()
    tf.config.set_logical_device_configuration(
        tf.config.list_physical_devices("CPU")[0], [device, device]
    )


@pytest.fixture(scope="module")
def on_two():
    """Calls a function of this module where there are two devices."""
    spawned = multiprocessing.get_context("spawn")
    with concurrent.futures.ProcessPoolExecutor(1, spawned, initializer=divide_cpu) as pool:
        yield lambda function, *arguments: pool.submit(function, *arguments).result(timeout=240)


def network(distribute: str, dropout: float = 0.0) -> keras.Model:
    """From 6 numbers to 4 logits, with L2."""
    keras.utils.set_random_seed(3)
    penalty = keras.regularizers.L2(0.03)
    with replicas.strategy(distribute).scope():
        inputs = keras.Input((6,))
        x = keras.layers.Dense(8, "relu", kernel_regularizer=penalty)(inputs)
        x = keras.layers.Dropout(dropout, seed=5)(x)
        x = keras.layers.Dense(4, kernel_regularizer=penalty)(x)
        return keras.Model(inputs, keras.layers.Activation("linear", dtype="float32")(x))


def data(images: int = 27) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    return rng.normal(size=(images, 6)).astype(np.float32), rng.integers(0, 4, images)


def steps_of(distribute, batch_size, optimizer="adam", dropout=0.0, policy="float32"):
    """Weights and means after 3 epochs of steps."""
    keras.config.set_dtype_policy(policy)
    model = network(distribute, dropout)
    steps = Steps(model, RATE, classes=4, optimizer=optimizer, weight_decay=0.5)
    keras.config.set_dtype_policy("float32")
    steps.reset([0.4, 2.5, 1.0, 1.7])
    batches = iter(tf.data.Dataset.from_tensors(data()).repeat(3))
    steps.start_epoch()
    for _ in range(3):
        steps.run(batches, batch_size)
    assert float(steps.optimizer.learning_rate) == pytest.approx(RATE)  # as callbacks read it
    return model.get_weights(), steps.means(), [each.numpy() for each in steps.variables]


def whole(data_dir, cache_dir, distribute, members):
    """A training of two phases: its rows, its weights and what it gives of images."""
    settings = {**TRAINED, "distribute": distribute, "ensemble": members}
    config = trainings.quick(data_dir, cache_dir, **settings)
    with trainings.training(config) as training:
        before = training.networks.trained.get_weights()
        done = 0
        for plan in training.plan.phases:
            steps, count = training.steps(plan), len(plan.phase.epochs) * training.steps_per_epoch
            steps.reset(training.class_weights, count)
            batches = iter(training.batches(plan, plan.phase.epochs, config.seed))
            for _ in plan.phase.epochs:
                for _ in range(0, training.steps_per_epoch, training.steps_per_call(plan)):
                    steps.run(batches, config.batch_size)
            done += count
        training.networks.serve()
        head, tuned = training.plan.phases
        at = np.arange(len(training.labels))
        return {
            "devices": training.networks.trained.distribute_strategy.num_replicas_in_sync,
            "steps": done,
            "before": before,
            "rows": [training.rows(plan.train, "train", plan.views).read(1, at)
                     for plan in (head, tuned)],
            "weights": training.networks.trained.get_weights(),
            "logits": [] if members > 1 else training.logits_of_view(0, "train", at),
            "scores": [training.probabilities(head, "validation"),
                       training.probabilities(tuned, "validation"),
                       training.probabilities(tuned, "validation", np.array([5, 0, 5]))],
        }  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("members", [1, 2])
def test_fifty_steps_on_two_devices_are_those_of_one(members, on_two, data_dir, tmp_path):
    one, two = (on_two(whole, data_dir, tmp_path / way, way, members) for way in WAYS)
    assert (one["devices"], two["devices"]) == (1, 2)
    assert one["steps"] == two["steps"] == 54
    for name, within in {"weights": 1e-6, "rows": 1e-5, "logits": 1e-4, "scores": 1e-5}.items():
        for a, b in zip(one[name], two[name], strict=True):
            scale = 1 if name == "weights" else np.abs(a).max()
            np.testing.assert_allclose(a, b, atol=within * scale, rtol=0, err_msg=name)
    moved = [np.abs(a - b).max() for a, b in zip(one["before"], one["weights"], strict=True)]
    # Kernels and biases of block 5 and the head.
    assert sum(each > 1e-4 for each in moved) == 10 * members
    every, _, some = two["scores"]
    np.testing.assert_allclose(some, two["scores"][1][[5, 0, 5]], atol=1e-6)
    assert len(every) == len(one["scores"][0])


@pytest.mark.slow
@pytest.mark.parametrize("optimizer", ["adam", "sgd"])
@pytest.mark.parametrize("batch_size", [1, 8, 13])
def test_a_batch_of_any_size_is_divided(on_two, batch_size, optimizer):
    (weights, means, variables), other = (
        on_two(steps_of, way, batch_size, optimizer) for way in WAYS
    )
    for a, b in zip(weights, other[0], strict=True):
        np.testing.assert_allclose(a, b, atol=1e-6)
    assert other[1] == pytest.approx(means, abs=1e-6)
    for a, b in zip(variables, other[2], strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-6, atol=1e-5)


@pytest.mark.slow
def test_float16_scales_the_loss_of_all_replicas(on_two):
    one, two = (on_two(steps_of, way, 8, "adam", 0.0, "mixed_float16") for way in WAYS)
    for a, b in zip(one[0], two[0], strict=True):
        np.testing.assert_allclose(a, b, atol=2e-3)


def overflow(last):
    """What changes of weights and scale where one image of two is too large for float16."""
    keras.config.set_dtype_policy("mixed_float16")
    model = network("mirrored")
    steps = Steps(model, RATE, classes=4)
    keras.config.set_dtype_policy("float32")
    steps.reset([1.0] * 4)
    before, scale = model.get_weights(), float(steps.optimizer.dynamic_scale.numpy())
    inputs = np.array([[1.0] * 6, [6e4] * 6], np.float32)[:: 1 if last else -1]
    steps.run(iter(tf.data.Dataset.from_tensors((inputs, np.array([1, 2])))), 2)
    return before, model.get_weights(), float(steps.optimizer.dynamic_scale.numpy()) / scale


@pytest.mark.slow
@pytest.mark.parametrize("last", [False, True])
def test_an_overflow_on_any_replica_skips_the_step_on_all(on_two, last):
    before, after, scaled = on_two(overflow, last)
    for a, b in zip(before, after, strict=True):
        np.testing.assert_array_equal(a, b)
    assert scaled == 0.5


def kept_units(distribute, images):
    """How many of some equal images keep each of 64 units in a step, in units of one."""
    with replicas.strategy(distribute).scope():
        inputs = keras.Input((64,))
        x = keras.layers.Dropout(0.5, seed=5)(inputs)
        model = keras.Model(inputs, keras.layers.Dense(2, kernel_initializer="zeros")(x))
    steps = Steps(model, 1.0, classes=2, optimizer="sgd")
    steps.reset([1.0, 1.0])
    batch = np.ones((images, 64), np.float32), np.zeros(images, np.int64)
    steps.run(iter(tf.data.Dataset.from_tensors(batch)), images)
    (state,) = (each for each in model.variables if each.name == "seed_generator_state")
    moved = model.get_weights()[0][:, 0]
    counts = replicas.strategy(distribute).experimental_local_results(state.value)
    return np.rint(moved / moved.max() * images), [each.numpy().tolist() for each in counts]


@pytest.mark.slow
def test_each_replica_drops_units_of_its_own(on_two):
    kept, counts = on_two(kept_units, "mirrored", 2)
    assert set(kept) == {0, 1, 2}  # with equal masks, no unit is kept once
    assert counts == [[5, 2], [5, 2]]  # so that the one which is saved is that of all
    assert set(on_two(kept_units, "none", 1)[0]) == {0, 1}


@pytest.mark.slow
def test_dropout_follows_from_its_seed(on_two):
    first, second = (on_two(steps_of, "mirrored", 8, "adam", 0.5) for _ in range(2))
    undropped = on_two(steps_of, "mirrored", 8)
    for a, b in zip(first[0], second[0], strict=True):
        np.testing.assert_array_equal(a, b)
    assert np.abs(first[0][0] - undropped[0][0]).max() > 1e-3


def freed(distribute):
    model = network(distribute)
    steps = Steps(model, RATE, classes=4)
    steps.reset([1.0] * 4)
    steps.run(iter(tf.data.Dataset.from_tensors(data())), 8)
    kernel = weakref.ref(model.layers[1].kernel)
    del model, steps
    gc.collect()
    return kernel() is None


@pytest.mark.slow
def test_networks_are_freed_with_their_steps(on_two):
    assert [on_two(freed, way) for way in WAYS] == [True, True]


def predicted(distribute, rows):
    return replicas.predict(network(distribute), data(rows)[0])


@pytest.mark.slow
def test_each_row_is_predicted_once(on_two):
    for rows in (1, 2, 5, 27):
        one, two = (on_two(predicted, way, rows) for way in WAYS)
        assert len(two) == rows
        np.testing.assert_allclose(one, two, atol=1e-6)


def built(distribute, policy):
    config = Config(
        image_size=32, align="none", width=0.05, weights="none", head_units=6, distribute=distribute
    )
    return networks.build(config, Precision(policy, False, ""), Weights(None, "", "random"), None)


def served(path, policy):
    """Weights that were trained, served and saved; and what the saved model gives."""
    nets = built("mirrored", policy)
    nets.train_from(None)
    bias = nets.trained.get_layer("last").bias
    bias.assign(bias + 1)
    nets.serve()
    saved.save(nets.served, path, ("a", "b", "c", "d"))
    images = np.random.default_rng(0).integers(0, 256, (3, 32, 32, 1)).astype(np.float32)
    probabilities = replicas.predict(nets.probabilities("square"), images)
    return nets.trained.get_weights(), nets.served.get_weights(), images, probabilities


@pytest.mark.slow
@pytest.mark.parametrize("policy", ["float32", "mixed_bfloat16"])
def test_what_is_served_is_saved_as_of_one_device(on_two, tmp_path, policy):
    trained, ours, images, probabilities = on_two(served, tmp_path / "model.keras", policy)
    alone = keras.models.load_model(tmp_path / "model.keras")
    begin = built("none", policy).served.get_weights()
    for *same, before in zip(trained, ours, alone.get_weights(), begin, strict=True):
        np.testing.assert_array_equal(*same[:2])
        np.testing.assert_array_equal(*same[1:])
        assert np.abs(same[0] - before).max() in (0, 1)  # drawn as for one device; the bias grew
    np.testing.assert_allclose(alone.predict(images, verbose=0), probabilities, atol=1e-6)


def chosen():
    counts = {each: replicas.strategy(each).num_replicas_in_sync for each in ("auto", *WAYS)}
    return counts, [replicas.describe(network(each), 13) for each in WAYS]


@pytest.mark.slow
def test_only_mirrored_takes_several_cpu_devices(on_two):
    counts, lines = on_two(chosen)
    assert counts == {"auto": 1, "none": 1, "mirrored": 2}
    assert lines == [
        "Devices: 1 CPU, batches of 13 images.",
        "Devices: 2 CPUs, 7 images of a batch of 13 each.",
    ]


def test_several_gpus_are_mirrored_unless_none_is_chosen(monkeypatch):
    monkeypatch.setattr(tf.config, "list_logical_devices", lambda kind: [f"{kind}:0", f"{kind}:1"])
    mirrored = {each: replicas.strategy(each) for each in ("auto", *WAYS)}
    assert isinstance(mirrored["auto"], tf.distribute.MirroredStrategy)
    assert mirrored["auto"] is mirrored["mirrored"]
    assert mirrored["none"] is tf.distribute.get_strategy()


def test_one_device_is_one_replica_whatever_is_chosen():
    assert len({replicas.strategy(each) for each in ("auto", *WAYS)}) == 1
    assert chosen()[1] == ["Devices: 1 CPU, batches of 13 images."] * 2
    assert replicas.strategy("mirrored") is tf.distribute.get_strategy()
    divide = functools.partial(replicas.divided, replicas.strategy("mirrored"))
    batch, real = divide({"a": np.arange(3)})
    np.testing.assert_array_equal(batch["a"], np.arange(3))
    np.testing.assert_array_equal(real, np.ones(3))
