"""VGG16 for grey images: its layers, its head, what is frozen, in which precision."""

import ast
import inspect
import sys

import keras
import numpy as np
import pytest

from tests.helpers.images import radiographs
from trainer.augmentation import layer as augmentation
from trainer.input_pipeline import alignment, resize
from trainer.model import networks, vgg16
from trainer.model.vgg16 import BLOCKS, SQUARE, build_model, part, set_trainable
from trainer.model.weights import VGG16_LAYERS, Weights

RANDOM = Weights(None, "", "random numbers")
HEAD = {"head", "last"}


def small(**changes):
    """A network of 5 % of VGG16's channels, unless `width` is given."""
    options = {"classes": 2, "image_size": 32, "head_units": 8, "dropout": 0.5,
               "pooling": "flatten", "weights": RANDOM, "width": 0.05}  # fmt: skip
    return build_model(**(options | changes))


def lively(**changes):
    """The same with larger kernels, so that images differ in their probabilities."""
    keras.utils.set_random_seed(5)
    model = small(**changes)
    for layer in model.layers:
        if isinstance(layer, keras.layers.Conv2D):
            layer.kernel.assign(layer.kernel * 1.2)
    return model


def layer_output(model, name, x):
    part = keras.Model(model.input, model.get_layer(name).output)
    return keras.ops.convert_to_numpy(part(x))


@pytest.fixture(scope="module")
def model():
    return lively()


@pytest.fixture
def mixed_bfloat16():
    keras.config.set_dtype_policy("mixed_bfloat16")
    yield
    keras.config.set_dtype_policy("float32")


@pytest.fixture(scope="module")
def theirs():
    """Keras' own VGG16 with weights that keep the scale of what passes through, and biases."""
    model = keras.applications.VGG16(include_top=False, weights=None, input_shape=(48, 48, 3))
    rng = np.random.default_rng(0)
    for layer in model.layers:
        if layer.weights:
            kernel, bias = layer.get_weights()
            deviation = np.sqrt(2 / np.prod(kernel.shape[:3]))
            layer.set_weights([rng.normal(0, deviation, kernel.shape), bias + 0.1])
    return model


def test_layers_are_named_and_shaped_as_those_of_keras_applications(theirs):
    ours = small(width=1.0, image_size=48)
    for layer in theirs.layers[1:]:
        ours_too = ours.get_layer(layer.name)
        assert type(ours_too) is type(layer)
        assert ours_too.output.shape == layer.output.shape
        assert [w.shape for w in ours_too.weights] == [w.shape for w in layer.weights]
    assert {layer.name for layer in theirs.layers if layer.weights} == set(VGG16_LAYERS)


def test_with_the_same_weights_it_is_the_network_of_keras_applications(theirs):
    layers = {name: tuple(theirs.get_layer(name).get_weights()) for name in VGG16_LAYERS}
    ours = small(width=1.0, image_size=48, weights=Weights(layers, "", "a test"))
    grey = radiographs(3, (48, 48))
    rgb = np.repeat(grey.astype("float32"), 3, axis=-1)
    expected = theirs.predict(keras.applications.vgg16.preprocess_input(rgb), verbose=0)
    assert expected.std() > 1
    np.testing.assert_allclose(
        layer_output(ours, "block5_pool", grey), expected, rtol=1e-4, atol=1e-4 * expected.max()
    )


def test_the_articles_model_has_the_articles_parameters():
    model = small(image_size=150, head_units=256, width=1.0)
    assert model.count_params() == 16_812_353
    assert set_trainable(model, None) == 2_097_665


@pytest.mark.parametrize(
    ("classes", "pooling", "features"),
    [
        (2, "flatten", 2 * 2 * 26),
        (4, "max", 26),
        pytest.param(3, "average", 26, marks=pytest.mark.slow),
        pytest.param(7, "max", 26, marks=pytest.mark.slow),
    ],
)
def test_n_classes_have_n_probabilities_whatever_the_pooling(classes, pooling, features):
    model = lively(classes=classes, pooling=pooling, image_size=64)
    units = 1 if classes == 2 else classes
    assert set_trainable(model, None) == features * 8 + 8 + 8 * units + units
    probabilities = model.predict(radiographs(4, (64, 64)), verbose=0)
    assert probabilities.shape == (4, classes) and probabilities.dtype == np.float32
    assert ((probabilities >= 0) & (probabilities <= 1)).all()
    np.testing.assert_allclose(probabilities.sum(axis=1), 1, rtol=1e-6)
    assert len(np.unique(probabilities[:, 0])) == 4


def test_two_classes_are_the_sigmoid_of_one_unit(model):
    x = radiographs(4)
    unit = layer_output(model, "last", x)
    assert unit.shape == (4, 1)
    p = keras.ops.convert_to_numpy(keras.ops.sigmoid(unit))
    np.testing.assert_allclose(model.predict(x, verbose=0), np.hstack([1 - p, p]), atol=1e-6)
    np.testing.assert_array_equal(layer_output(model, "logits", x), np.hstack([0 * unit, unit]))


@pytest.mark.parametrize(
    ("classes", "names"),
    [(2, ["last", "two_logits"]), pytest.param(4, ["last"], marks=pytest.mark.slow)],
)
def test_the_head_ends_in_logits_and_their_softmax(classes, names):
    model = lively(classes=classes)
    last = [layer.name for layer in model.layers if "ops" not in type(layer).__module__]
    assert last[last.index("head") :] == ["head", "dropout", *names, "logits", "probabilities"]
    x = radiographs()
    logits = keras.ops.softmax(layer_output(model, "logits", x))
    np.testing.assert_allclose(model.predict(x, verbose=0), logits, atol=1e-6)


def test_width_is_a_share_of_the_channels():
    channels = [layer.filters for layer in small(width=0.1).layers if hasattr(layer, "filters")]
    assert channels == [6] * 2 + [13] * 2 + [26] * 3 + [51] * 6
    thin = small(width=0.001)
    assert {layer.filters for layer in thin.layers if hasattr(layer, "filters")} == {1}


def test_the_graph_is_flat_and_every_layer_is_keras_own(model):
    assert {f"{block}_pool" for block in BLOCKS} < {layer.name for layer in model.layers}
    for layer in model.layers:
        assert not isinstance(layer, keras.Model)
        assert type(layer).__module__.startswith("keras.")
    assert model.input.shape == (None, None, None, 1)


def test_preprocessing_is_keras_own_for_vgg16(model):
    x = radiographs()
    rgb = np.repeat(x.astype("float32"), 3, axis=-1)
    expected = keras.applications.vgg16.preprocess_input(rgb)
    np.testing.assert_allclose(layer_output(model, "subtract_mean", x), expected, atol=1e-5)


@pytest.mark.parametrize("shape", [(32, 32), (97, 64), (20, 51)])
def test_an_image_of_any_size_becomes_the_square_that_is_cached(shape, model):
    (image,) = radiographs(1, shape)
    squares = layer_output(model, SQUARE, image[None])
    np.testing.assert_array_equal(squares[0, :, :, 0], resize.square(image[:, :, 0], 32))


def test_an_aligned_model_gives_the_squares_that_are_cached_and_their_poses():
    aligned, aligner = lively(align="chest"), alignment.Aligner([32])
    assert aligned.output_shape == (None, 2)
    first = keras.Model(
        aligned.input, [aligned.get_layer(each).output for each in (SQUARE, "pose")]
    )
    for shape in ((97, 64), (64, 64)):
        images = radiographs(3, shape)
        squares, poses = map(keras.ops.convert_to_numpy, first(images))
        for image, square, pose in zip(images, squares, poses, strict=True):
            wanted, wanted_pose = aligner(image[..., 0])
            np.testing.assert_array_equal(square[..., 0], wanted[32])
            np.testing.assert_allclose(pose, wanted_pose, atol=1e-5)


@pytest.mark.parametrize("from_block", [None, "block1"])
def test_what_aligns_images_is_never_trained(from_block):
    counts = [set_trainable(small(align=align), from_block) for align in ("none", "chest")]
    assert counts[0] == counts[1]


@pytest.mark.slow
def test_uint8_and_float_images_give_the_same(model):
    x = radiographs(3, (50, 41))
    first = model.predict(x, verbose=0)
    for dtype in ("float32", "float64", "int32"):
        np.testing.assert_array_equal(first, model.predict(x.astype(dtype), verbose=0))


@pytest.mark.slow
def test_xla_compiles_the_whole_model(model):
    x = radiographs(3, (50, 41))
    expected = model.predict(x, verbose=0)
    compiled = keras.models.clone_model(model)
    compiled.set_weights(model.get_weights())
    compiled.compile(jit_compile=True)
    np.testing.assert_allclose(compiled.predict(x, verbose=0), expected, atol=1e-5)


@pytest.fixture(scope="module")
def movable():
    """A network whose cut is moved."""
    return small()


@pytest.mark.parametrize("from_block", [None, *BLOCKS])
def test_the_cut_frees_the_block_and_what_is_above(from_block, movable):
    model = movable
    first = len(BLOCKS) if from_block is None else BLOCKS.index(from_block)
    freed = {name for name in VGG16_LAYERS if int(name[5]) > first}
    count = set_trainable(model, from_block)
    assert {layer.name for layer in model.layers if layer.trainable_weights} == freed | HEAD
    assert count == sum(model.get_layer(name).count_params() for name in freed | HEAD)


def test_the_cut_can_be_moved_both_ways(movable):
    counts = [set_trainable(movable, block) for block in (None, "block5", None)]
    assert counts[0] == counts[2] < counts[1]


@pytest.mark.slow
def test_training_moves_what_is_above_the_cut_and_nothing_below():
    model = lively(dropout=0.0, classes=3)
    set_trainable(model, "block5")
    before = {layer.name: layer.get_weights() for layer in model.layers if layer.weights}
    model.compile(keras.optimizers.SGD(0.1), "sparse_categorical_crossentropy")
    model.fit(radiographs(), np.array([0, 1, 1, 2]), epochs=1, verbose=0)
    for name, arrays in before.items():
        moved = not np.array_equal(arrays[0], model.get_layer(name).get_weights()[0])
        assert moved == (name.startswith("block5") or name in HEAD), name


@pytest.mark.slow
def test_a_saved_model_loads_without_this_code_and_agrees(model, tmp_path):
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    x = radiographs(2, (77, 60))
    np.testing.assert_array_equal(loaded.predict(x, verbose=0), model.predict(x, verbose=0))


@pytest.mark.bfloat16
@pytest.mark.slow
def test_mixed_precision_keeps_pixels_and_probabilities_in_float32(mixed_bfloat16, model):
    mixed = small()
    mixed.set_weights(model.get_weights())
    x = radiographs(2, (97, 60))
    np.testing.assert_array_equal(
        layer_output(mixed, "subtract_mean", x), layer_output(model, "subtract_mean", x)
    )
    for name in ("block1_conv1", "block5_pool", "head"):
        assert mixed.get_layer(name).compute_dtype == "bfloat16"
    for name in ("last", "logits", "probabilities"):
        assert mixed.get_layer(name).output.dtype == "float32"
    np.testing.assert_allclose(mixed.predict(x, verbose=0), model.predict(x, verbose=0), atol=0.02)


@pytest.mark.parametrize("cut", ["block1_pool", "block5_pool"])
def test_two_parts_are_the_whole(cut, model):
    squares = radiographs()
    below, above = part(model, SQUARE, cut), part(model, cut, "probabilities")
    rows = below.predict(squares.astype("float32"), verbose=0)
    np.testing.assert_allclose(
        above.predict(rows, verbose=0), model.predict(squares, verbose=0), atol=1e-6
    )
    assert {id(w) for w in below.weights + above.weights} == {id(w) for w in model.weights}
    assert not below.jit_compile and part(model, SQUARE, cut, True).jit_compile


def test_the_digest_is_of_settings_and_weights_and_not_of_what_is_trained():
    def digest(model):
        return vgg16.digest(part(model, SQUARE, "block2_pool"))

    model = lively()
    first = digest(model)
    assert digest(lively()) == first
    set_trainable(model, None)
    model.get_layer("block3_conv1").kernel.assign_add(model.get_layer("block3_conv1").kernel)
    assert digest(model) == first
    bias = model.get_layer("block2_conv2").bias
    bias.assign(np.ones(bias.shape))
    assert digest(model) != first


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"classes": 1}, "There are 1 classes. Give 2 or more"),
        ({"image_size": 31}, "image size of 31 is too small for VGG16. Give 32"),
        ({"pooling": "mean"}, "no pooling 'mean'. Choose one of: flatten, average, max"),
    ],
)
def test_arguments_out_of_bounds_are_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        small(**changes)


def test_a_block_that_vgg16_does_not_have_is_refused(model):
    with pytest.raises(ValueError, match=r"no block 'block6'\. Choose one of: block1"):
        set_trainable(model, "block6")


def test_a_network_and_its_augmentation_need_no_tensorflow():
    """Keras may run on JAX: no module on the way imports TensorFlow when it is imported."""
    modules, packages = [networks.__name__, augmentation.__name__], set()
    for module in modules:  # grows
        for node in ast.parse(inspect.getsource(sys.modules[module])).body:
            names = [alias.name for alias in getattr(node, "names", [])]
            if isinstance(node, ast.ImportFrom):
                names = [node.module, *(f"{node.module}.{name}" for name in names)]
            packages |= {name.split(".")[0] for name in names}
            known = {name for name in names if name.startswith("trainer.") and name in sys.modules}
            modules += sorted(known - set(modules))
    assert {"trainer.model.vgg16", "trainer.augmentation.random"} < set(modules)
    assert "keras" in packages and "tensorflow" not in packages
