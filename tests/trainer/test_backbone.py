"""VGG16 for grey images: what it holds, what it takes, what is frozen, in which precision."""

import keras
import numpy as np
import pytest
from PIL import Image

from trainer.model.precision import choose_precision, precision_for
from trainer.model.vgg16 import (
    BLOCKS,
    build_model,
    set_trainable,
)
from trainer.model.weights import VGG16_LAYERS, Weights

RANDOM = Weights(None, "", "random numbers")


def small(**changes):
    options = {
        "classes": 2,
        "image_size": 32,
        "head_units": 8,
        "dropout": 0.5,
        "pooling": "flatten",
    }
    return build_model(**(options | {"weights": RANDOM} | changes))


def images(size=32, batch=2, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (batch, size, size, 1), np.uint8)


def layer_output(model, name, x):
    return keras.Model(model.input, model.get_layer(name).output).predict(x, verbose=0)


@pytest.fixture(scope="module")
def model():
    return small()


@pytest.fixture
def mixed_bfloat16():
    keras.config.set_dtype_policy("mixed_bfloat16")
    yield
    keras.config.set_dtype_policy("float32")


def test_the_articles_model_has_the_articles_parameters():
    model = small(image_size=150, head_units=256)
    assert model.count_params() == 16_812_353
    assert set_trainable(model, None) == 2_097_665


@pytest.mark.parametrize(
    ("classes", "pooling", "features"),
    [(2, "flatten", 2 * 2 * 512), (3, "average", 512), (4, "max", 512)],
)
def test_head_by_classes_and_pooling(classes, pooling, features):
    model = small(classes=classes, pooling=pooling, image_size=64)
    units = 1 if classes == 2 else classes
    assert set_trainable(model, None) == features * 8 + 8 + 8 * units + units
    probabilities = model.predict(images(64), verbose=0)
    assert probabilities.shape == (2, units) and probabilities.dtype == np.float32
    assert ((probabilities >= 0) & (probabilities <= 1)).all()
    if classes > 2:
        np.testing.assert_allclose(probabilities.sum(axis=1), 1, rtol=1e-6)


def test_the_graph_is_flat_and_every_layer_is_keras_own(model):
    assert {f"{block}_pool" for block in BLOCKS} < {layer.name for layer in model.layers}
    for layer in model.layers:
        assert not isinstance(layer, keras.Model)
        assert type(layer).__module__.startswith("keras.")
    assert model.input.shape == (None, None, None, 1)


def test_preprocessing_is_keras_own_for_vgg16(model):
    x = images()
    rgb = np.repeat(x.astype("float32"), 3, axis=-1)
    want = keras.applications.vgg16.preprocess_input(rgb)
    np.testing.assert_allclose(layer_output(model, "subtract_mean", x), want, atol=1e-5)


def test_images_of_the_models_size_pass_bit_for_bit(model):
    x = images().astype("float32") + np.float32(0.3)
    np.testing.assert_array_equal(layer_output(model, "resize", x), x)


@pytest.mark.parametrize("shape", [(97, 64), (20, 51)])
def test_other_sizes_are_resized_as_pillow_does(shape, model):
    x = images(128)[:1, : shape[0], : shape[1]].astype("float32")
    want = Image.fromarray(x[0, :, :, 0]).resize((32, 32), Image.Resampling.BILINEAR)
    np.testing.assert_allclose(
        layer_output(model, "resize", x)[0, :, :, 0], np.asarray(want), atol=0.01
    )


def test_uint8_and_float_images_give_the_same(model):
    x = images(50)
    first = model.predict(x, verbose=0)
    np.testing.assert_array_equal(first, model.predict(x.astype("float32"), verbose=0))
    np.testing.assert_array_equal(first, model.predict(x.astype("float64"), verbose=0))


def test_given_weights_are_in_the_model():
    rng = np.random.default_rng(0)
    layers = {
        name: (
            rng.normal(0, 0.01, (3, 3, before, after)).astype("float32"),
            rng.normal(0, 0.01, after).astype("float32"),
        )
        for name, (before, after, *_) in VGG16_LAYERS.items()
    }
    model = small(weights=Weights(layers, "", "a test"))
    for name, arrays in layers.items():
        for inside, given in zip(model.get_layer(name).get_weights(), arrays, strict=True):
            np.testing.assert_array_equal(inside, given)


@pytest.mark.parametrize("from_block", [None, *BLOCKS])
def test_the_cut_frees_the_block_and_what_is_above(from_block):
    model = small()
    first = len(BLOCKS) if from_block is None else BLOCKS.index(from_block)
    freed = {name for name in VGG16_LAYERS if int(name[5]) > first}
    count = set_trainable(model, from_block)
    trained = {layer.name for layer in model.layers if layer.trainable_weights}
    assert trained == freed | {"head", "predictions"}
    convolutions = sum(
        9 * VGG16_LAYERS[n][0] * VGG16_LAYERS[n][1] + VGG16_LAYERS[n][1] for n in freed
    )
    assert count == convolutions + 512 * 8 + 8 + 8 + 1


def test_the_cut_can_be_moved_both_ways(model):
    counts = [set_trainable(model, block) for block in (None, "block5", None)]
    assert counts[0] == counts[2] < counts[1]


def test_training_moves_what_is_above_the_cut_and_nothing_below():
    model = small(dropout=0.0)
    set_trainable(model, "block5")
    before = {layer.name: layer.get_weights() for layer in model.layers if layer.weights}
    model.compile(keras.optimizers.SGD(0.1), "binary_crossentropy")
    model.fit(images(batch=4), np.array([0.0, 1.0, 1.0, 1.0]), epochs=1, verbose=0)
    for name, arrays in before.items():
        moved = not np.array_equal(arrays[0], model.get_layer(name).get_weights()[0])
        assert moved == (name.startswith("block5") or name in ("head", "predictions"))


def test_a_saved_model_loads_without_this_code_and_agrees(model, tmp_path):
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    x = images(77)
    np.testing.assert_array_equal(loaded.predict(x, verbose=0), model.predict(x, verbose=0))


def test_mixed_precision_keeps_pixels_and_probabilities_in_float32(mixed_bfloat16, model):
    mixed = small()
    mixed.set_weights(model.get_weights())
    x = images(97).astype("float32") + np.float32(0.3)
    np.testing.assert_array_equal(
        layer_output(mixed, "subtract_mean", x), layer_output(model, "subtract_mean", x)
    )
    assert mixed.get_layer("block1_conv1").compute_dtype == "bfloat16"
    assert mixed.get_layer("head").compute_dtype == "bfloat16"
    assert mixed.output.dtype == "float32"
    np.testing.assert_allclose(mixed.predict(x, verbose=0), model.predict(x, verbose=0), atol=0.02)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"classes": 1}, "There are 1 classes. Give 2 or more"),
        ({"image_size": 31}, "image size of 31 is too small for VGG16. Give 32"),
        ({"pooling": "mean"}, "no pooling 'mean'. Choose one of: flatten, average, max"),
    ],
)
def test_arguments_out_of_bounds(changes, said):
    with pytest.raises(ValueError, match=said):
        small(**changes)


def test_a_block_that_vgg16_does_not_have(model):
    with pytest.raises(ValueError, match=r"no block 'block6'\. Choose one of: block1"):
        set_trainable(model, "block6")


@pytest.mark.parametrize(
    ("cpu", "gpu", "policy", "reason"),
    [
        ({"avx2"}, None, "float32", "CPU without"),
        ({"avx512_bf16"}, None, "mixed_bfloat16", "CPU with avx512_bf16"),
        ({"amx_bf16", "avx512_bf16"}, None, "mixed_bfloat16", "CPU with amx_bf16"),
        ({"avx512_bf16"}, 6.1, "float32", "GPU of compute capability 6.1"),
        ({"avx2"}, 7.5, "mixed_float16", "GPU of compute capability 7.5"),
        ({"avx2"}, 8.0, "mixed_bfloat16", "GPU of compute capability 8.0"),
        ({"avx2"}, 12.0, "mixed_bfloat16", "GPU of compute capability 12.0"),
    ],
)
def test_auto_precision_follows_the_hardware(cpu, gpu, policy, reason):
    chosen, why = precision_for("auto", frozenset(cpu), gpu)
    assert chosen == policy and why.startswith(reason)


@pytest.mark.parametrize("choice", ["float32", "mixed_bfloat16", "mixed_float16"])
def test_an_explicit_precision_is_kept(choice):
    assert precision_for(choice, frozenset(), 7.0) == (choice, "as asked for")


def test_float16_without_a_gpu_is_refused():
    with pytest.raises(ValueError, match="mixed_float16 needs a GPU, and there is none"):
        precision_for("mixed_float16", frozenset({"avx512_fp16"}), None)


def test_precision_of_this_machine_is_one_that_keras_knows():
    policy, reason = choose_precision("auto")
    assert keras.DTypePolicy(policy).name in ("float32", "mixed_bfloat16", "mixed_float16")
    assert reason
    with pytest.raises(ValueError, match=r"no precision 'float64'\. Choose one of: auto"):
        choose_precision("float64")
