import itertools
import os
import subprocess
import sys

import keras
import numpy as np
import pytest
from PIL import Image

from trainer.input_pipeline.resize import WHOLE, Frame, framed, square, squared, weights

# Reductions by 2, 1.5 and 4, which give exact halves; enlarging; long and thin; one pixel. 1,024 to
# 150 and 587 to 32 have sums within a float's error of a half.
SHAPES = [
    (300, 300), (225, 225), (600, 448), (224, 224), (320, 411), (97, 61), (33, 401), (1, 1),
    (1024, 587),
]  # fmt: skip
POLICIES = ["float32", "mixed_bfloat16", "mixed_float16", "bfloat16", "float16"]


@pytest.fixture
def policy():
    before = keras.config.dtype_policy()
    yield keras.config.set_dtype_policy
    keras.config.set_dtype_policy(before)


def _noise(height: int, width: int) -> np.ndarray:
    return np.random.default_rng(height * width).integers(0, 256, (height, width), dtype="uint8")


def _smooth(height: int, width: int) -> np.ndarray:
    y, x = np.mgrid[:height, :width]
    image = 127.5 + 60 * np.sin(y / 17) * np.cos(x / 23) + 60 * np.cos((x + 2 * y) / 61)
    return image.round().astype("uint8")


def _ramp(height: int, width: int) -> np.ndarray:
    return np.add.outer(np.arange(height), np.arange(width)).astype("uint8")


def _checkerboard(height: int, width: int) -> np.ndarray:
    return (np.indices((height, width)).sum(axis=0) % 2 * 255).astype("uint8")


PATTERNS = [_noise, _smooth, _ramp, _checkerboard]


def _model(size: int, **kwargs) -> keras.Model:
    images = keras.Input((None, None, 1), **kwargs)
    return keras.Model(images, squared(images, size))


def _by_model(model: keras.Model, image: np.ndarray) -> np.ndarray:
    return np.asarray(model(image[None, ..., None]))[0, ..., 0]


def _framed_model(size: int) -> keras.Model:
    images, frames = keras.Input((None, None, 1)), keras.Input((4,), dtype="int32")
    return keras.Model([images, frames], framed(images, size, frames))


def _framed_by_model(model: keras.Model, image: np.ndarray, *frames: Frame) -> np.ndarray:
    images = np.repeat(image[None, ..., None], len(frames), axis=0)
    return np.asarray(model([images, np.array(frames, "int32")]))[..., 0]


def _literally(length: int, size: int, scale: int, shift: int) -> np.ndarray:
    """The weights of one axis of a frame, as the docstrings have them, a row at a time."""
    rows = np.zeros((size, length))
    for i in range(size):
        centre = scale * (2 * i + 1 - size) * length + 48 * size * length
        centre += 3 * shift * length * size // 4
        centre = -centre if centre < 0 else centre
        centre = min(centre, 2 * 96 * size * length - centre)
        half = max(2 * scale * length, 96 * size)
        parts = [max(half - abs(centre - (2 * j + 1) * 48 * size), 0) // 16 for j in range(length)]
        until = list(itertools.accumulate(parts, initial=0))
        shares = [(4096 * one + until[-1]) // (2 * until[-1]) for one in until]
        rows[i] = np.diff(shares) / 2048
    return rows


def _full_precision(image: np.ndarray, size: int) -> np.ndarray:
    layer = keras.layers.Resizing(size, size, "bilinear", antialias=True, dtype="float32")
    return np.asarray(layer(image[None, ..., None].astype("float32")))[0, ..., 0]


@pytest.mark.parametrize("size", [32, 150, 224])
@pytest.mark.parametrize("length", [1, 31, 150, 151, 224, 300, 411, 1300, 5000])
def test_weights_are_multiples_of_a_2048th_of_which_each_row_sums_to_1(length, size):
    rows = weights(length, size)
    assert rows.shape == (size, length)
    assert rows.dtype == np.float32
    assert (rows >= 0).all()
    assert (rows.sum(axis=1) == 1).all()
    assert (rows * 2048 == np.round(rows * 2048)).all()


def test_weights_of_the_same_length_are_the_identity():
    assert (weights(150, 150) == np.eye(150)).all()


def test_weights_of_half_the_length_are_the_triangle():
    inner = weights(8, 4)[1]
    assert inner.tolist() == [0, 1 / 8, 3 / 8, 3 / 8, 1 / 8, 0, 0, 0]


@pytest.mark.parametrize("size", [32, 150])
@pytest.mark.parametrize("pattern", PATTERNS)
def test_both_forms_give_the_same_pixels(pattern, size):
    model = _model(size)
    for shape in SHAPES:
        image = pattern(*shape)
        assert (_by_model(model, image) == square(image, size)).all(), shape


def test_both_forms_give_the_same_pixels_at_any_length():
    model = _model(32)
    for length in range(1, 400, 19):
        image = _noise(length, 401 - length)
        assert (_by_model(model, image) == square(image, 32)).all(), length


@pytest.mark.slow
def test_a_compiled_model_gives_the_same_pixels():
    """XLA knows the sides, and folds what follows from them by arithmetic of its own."""
    import tensorflow as tf

    model = _model(150)
    compiled = tf.function(model, jit_compile=True)
    for shape in ((300, 300), (1024, 587)):
        image = _noise(*shape)
        by_model = compiled(tf.constant(image[None, ..., None], "float32"))
        assert (by_model.numpy()[0, ..., 0] == square(image, 150)).all(), shape


@pytest.mark.parametrize("name", POLICIES)
def test_the_model_resizes_in_float32_under_any_policy(name, policy):
    policy(name)
    model = _model(64)
    assert model.output.dtype == "float32"
    image = _noise(211, 150)
    assert (_by_model(model, image) == square(image, 64)).all()


@pytest.mark.parametrize("dtype", ["uint8", "int32", "float32"])
def test_the_model_takes_images_of_any_type(dtype):
    image = _noise(211, 150)
    model = _model(64, dtype=dtype)
    assert (_by_model(model, image.astype(dtype)) == square(image, 64)).all()


def test_the_model_resizes_each_image_of_a_batch_as_alone():
    images = np.stack([pattern(211, 150) for pattern in PATTERNS])
    by_model = _model(64).predict(images[..., None], verbose=0)
    assert by_model.shape == (4, 64, 64, 1)
    assert (by_model[..., 0] == np.stack([square(image, 64) for image in images])).all()


def test_the_model_resizes_a_batch_of_none():
    assert _model(64)(np.zeros((0, 90, 70, 1), "float32")).shape == (0, 64, 64, 1)


def test_the_model_has_operations_of_keras_alone():
    operations = _model(64).operations
    assert {type(one).__module__.partition(".")[0] for one in operations} == {"keras"}
    assert [type(one).__name__ for one in operations if isinstance(one, keras.Layer)] == [
        "InputLayer"
    ]


@pytest.mark.parametrize("pattern", PATTERNS)
def test_pixels_of_an_image_that_has_the_size_stay_as_they_are(pattern):
    image = pattern(150, 150)
    assert (square(image, 150) == image).all()
    assert (_by_model(_model(150), image) == image).all()


def test_a_square_shares_no_memory_with_its_image():
    image = _noise(150, 150)
    assert not np.shares_memory(square(image, 150), image)


@pytest.mark.parametrize("grey", [0, 1, 77, 128, 254, 255])
def test_a_constant_image_stays_constant(grey):
    for shape in SHAPES:
        assert (square(np.full(shape, grey, "uint8"), 150) == grey).all(), shape


@pytest.mark.parametrize("pattern", [_noise, _smooth])
def test_squares_are_those_of_keras_within_the_rounding(pattern):
    """A half of a level from rounding, and what the two grids cost."""
    for shape, size in itertools.product(SHAPES, (32, 150)):
        image = pattern(*shape)
        precise = _full_precision(image, size)
        assert np.abs(square(image, size) - precise).max() < 0.7, (shape, size)
        other = (square(image, size) != np.floor(precise + 0.5)).mean()
        assert other < 0.05, (shape, size)


@pytest.mark.parametrize("pattern", [_noise, _smooth])
def test_squares_are_those_of_pillow_within_a_level(pattern):
    for shape, size in itertools.product(SHAPES, (32, 150)):
        image = pattern(*shape)
        pillow = np.asarray(Image.fromarray(image).resize((size, size), Image.Resampling.BILINEAR))
        assert np.abs(square(image, size) - pillow.astype(int)).max() <= 1, (shape, size)


def test_an_image_that_is_no_row_major_array_is_resized_all_the_same():
    image = _noise(301, 200)
    assert (square(np.asfortranarray(image), 150) == square(image, 150)).all()
    assert (square(image[::-1, ::-1], 150) == square(image[::-1, ::-1].copy(), 150)).all()


@pytest.mark.parametrize(
    "image",
    [np.zeros((9, 9), "float32"), np.zeros((9, 9, 1), "uint8"), np.zeros((0, 9), "uint8")],
    ids=["float", "channel", "empty"],
)
def test_what_is_no_image_is_refused(image):
    with pytest.raises(ValueError, match=r"Give it uint8 of shape \[height, width\]"):
        square(image, 150)


FRAMES = [
    WHOLE, Frame(28, 56, -20, 20), Frame(56, 28, 20, -20), Frame(41, 41, 0, 0), Frame(37, 50, 3, -7)
]  # fmt: skip


@pytest.mark.parametrize("frame", FRAMES)
def test_a_framed_square_is_two_products_of_its_triangles(frame):
    for (height, width), size in itertools.product([(60, 44), (33, 121), (1, 1)], (32, 50)):
        image = _noise(height, width)
        rows = _literally(height, size, frame.scale_y, frame.shift_y)
        columns = _literally(width, size, frame.scale_x, frame.shift_x)
        between = np.floor(rows @ image * 8 + 0.5) / 8
        expected = np.floor(between @ columns.T + 0.5)
        assert (square(image, size, frame) == expected).all(), (height, width, size)


@pytest.mark.parametrize("size", [32, 150])
def test_both_forms_show_the_same_in_each_frame_of_a_batch(size):
    model = _framed_model(size)
    for height, width in SHAPES:
        image = _noise(height, width)
        expected = np.stack([square(image, size, frame) for frame in FRAMES])
        assert (_framed_by_model(model, image, *FRAMES) == expected).all(), (height, width)


@pytest.mark.parametrize(
    "size",
    [32, pytest.param(128, marks=pytest.mark.slow), pytest.param(1024, marks=pytest.mark.slow)],
)
def test_frames_of_the_largest_images_do_not_overflow(size):
    """In a graph, which frees what it is done with: weights of 16,000 by 1,024 take 66 MB each."""
    import tensorflow as tf

    image, model = np.tile(_noise(16_000, 1), (1, 2)), _framed_model(size)
    compute = tf.function(model)
    for frame in (Frame(28, 56, 20, -20), Frame(28, 56, -20, 20), Frame(28, 28, 0, 20)):
        framed_ = compute([tf.constant(image[None, ..., None]), tf.constant([frame], "int32")])
        assert (framed_.numpy()[0, ..., 0] == square(image, size, frame)).all(), frame


def test_the_whole_frame_is_the_square():
    model = _framed_model(64)
    for height, width in SHAPES:
        image = _noise(height, width)
        assert (_framed_by_model(model, image, WHOLE)[0] == square(image, 64)).all()


def test_a_frame_of_half_the_sides_is_the_middle():
    image = _noise(300, 300)
    assert (square(image, 150, Frame(24, 24, 0, 0)) == image[75:225, 75:225]).all()


def test_a_moved_frame_shows_the_image_mirrored_at_its_edges():
    image = _noise(128, 128)
    padded = np.pad(image, 20, mode="symmetric")
    for x, y in ((5, -3), (-20, 20), (0, 1)):
        moved = padded[20 + y : 148 + y, 20 + x : 148 + x]
        assert (square(image, 128, Frame(48, 48, x, y)) == moved).all(), (x, y)


@pytest.mark.slow
def test_compiled_frames_show_the_same():
    import tensorflow as tf

    image, model = _noise(301, 200), _framed_model(150)
    compiled = tf.function(model, jit_compile=True)
    images = np.repeat(image[None, ..., None], len(FRAMES), axis=0).astype("float32")
    by_model = compiled([tf.constant(images), tf.constant(FRAMES, "int32")]).numpy()[..., 0]
    assert (by_model == np.stack([square(image, 150, frame) for frame in FRAMES])).all()


_ON_JAX = """
import sys
import keras, numpy as np
from trainer.input_pipeline.resize import squared
assert keras.backend.backend() == "jax"
images = np.load(sys.argv[1])
results = {}
for name, image in images.items():
    x = keras.Input((None, None, 1))
    model = keras.Model(x, squared(x, 150))
    results[name] = model.predict(image[None, ..., None], verbose=0)[0, ..., 0]
np.savez(sys.argv[2], **results)
"""


@pytest.mark.slow
def test_the_jax_backend_gives_the_same_pixels(tmp_path):
    pytest.importorskip("jax")
    images = {f"{h} x {w}": _noise(h, w) for h, w in SHAPES}
    np.savez(tmp_path / "images.npz", **images)
    subprocess.run(
        [sys.executable, "-c", _ON_JAX, tmp_path / "images.npz", tmp_path / "squares.npz"],
        env=os.environ | {"KERAS_BACKEND": "jax"}, check=True,
    )  # fmt: skip
    squares = np.load(tmp_path / "squares.npz")
    for name, image in images.items():
        assert (squares[name] == square(image, 150)).all(), name
