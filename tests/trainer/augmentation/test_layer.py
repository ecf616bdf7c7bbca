"""Augmented views: golden pixels, the same in any batch and graph, on every backend."""

import functools

import keras
import numpy as np
import pytest

from tests.helpers.images import radiographs
from trainer.augmentation import presets
from trainer.augmentation.layer import Augmentation, augment, augmentation
from trainer.augmentation.presets import OPTIONS, PRESETS, Ranges
from trainer.augmentation.random import DRAWS, uniform_draws

numpy = keras.ops.convert_to_numpy
ALL = "radiograph+gamma+noise+cutout+elastic"
FLAGS = [*PRESETS, *(f"radiograph+{option}" for option in OPTIONS), ALL]

# Pixels of the views that release 1.0.0 made of two images, rows [::13], columns [::17].
GOLDEN = {
    ALL: [
        [[6.751, 6.475, 5.325], [145.405, 0, 55.064], [61.36, 133.101, 55.093],
         [175.375, 86.785, 119.361]],
        [[3.806, 34.942, 77.971], [0, 0, 91.104], [0, 163.328, 120.092], [0, 252.398, 142.757]],
    ],
    "article": [
        [[14.627, 189.226, 104.362], [14.627, 161.786, 140.605], [14.627, 171.91, 90.159],
         [14.627, 14.627, 14.627]],
        [[5.411, 5.411, 145.465], [5.411, 160.704, 96.777], [19.331, 224.244, 84.292],
         [5.411, 81.82, 182.054]],
    ],
    "radiograph": [
        [[7.128, 6.304, 6.304], [132.114, 133.323, 64.166], [87.78, 119.93, 53.637],
         [132.258, 28.434, 110.324]],
        [[0, 13.884, 147.96], [15.816, 204.886, 152.108], [0, 238.914, 109.065],
         [0, 123.024, 126.191]],
    ],
}  # fmt: skip


# Made once: each is compiled for each shape of a batch.
layer = functools.cache(augmentation)


def images(batch=6, height=40, width=50):
    return radiographs(batch, (height, width), low=20, high=235)


def patterned():
    """The two images of the golden pixels."""
    y, x = np.mgrid[:40, :50]
    return np.repeat(((3 * x * y + 5 * x + 7 * y) % 256)[None, :, :, None], 2, axis=0)


@pytest.mark.parametrize("flag", GOLDEN)
def test_views_stay_what_they_were_on_every_backend(flag):
    views = numpy(layer(flag)(patterned(), uniform_draws(["image 1", "image 2"], 3, 7)))
    np.testing.assert_allclose(views[:, ::13, ::17, 0], GOLDEN[flag], atol=0.02)


@pytest.mark.parametrize("flag", [*PRESETS, ALL])
@pytest.mark.parametrize("dtype", ["uint8", "float32", "float16"])
def test_views_keep_shape_and_range_and_are_float32(flag, dtype):
    pictures = images().astype(dtype)
    views = numpy(layer(flag)(pictures, uniform_draws("abcdef", 0, 7)))
    assert views.shape == pictures.shape and views.dtype == np.float32
    assert views.min() >= 0 and views.max() <= 255
    assert all((view != image).mean() > 0.5 for view, image in zip(views, pictures, strict=True))


@pytest.mark.parametrize("option", OPTIONS)
def test_each_option_changes_pixels_and_nothing_else_does(option):
    pictures, draws = images().astype("float32"), uniform_draws("abcdef", 0, 7)

    def views(ranges):
        return numpy(augment(pictures, draws, ranges))

    with_it, plain = (views(presets.ranges(f"radiograph{each}")) for each in (f"+{option}", ""))
    assert all((view != other).mean() > 0.01 for view, other in zip(with_it, plain, strict=True))
    # Alone, it is the only thing that happens; at 0, nothing does.
    assert not np.array_equal(views(Ranges(**{option: OPTIONS[option]})), pictures)
    np.testing.assert_array_equal(views(Ranges(**{option: 0.0})), pictures)


@pytest.mark.parametrize("flag", [ALL, pytest.param("article", marks=pytest.mark.slow)])
def test_a_view_is_the_same_in_any_batch_and_order(flag):
    pictures, draws = images(), uniform_draws("abcdef", 1, 2)
    whole = numpy(layer(flag)(pictures, draws))
    for rows in ([0], [1, 2], [5, 4, 3, 2, 1, 0]):
        some = numpy(layer(flag)(pictures[rows], draws[rows]))
        np.testing.assert_array_equal(some, whole[rows])


@pytest.mark.parametrize("flag", ["article", ALL])
def test_views_differ_from_image_to_image_view_to_view_and_seed_to_seed(flag):
    same = np.repeat(images(1), 6, axis=0)
    views = [
        numpy(layer(flag)(same, uniform_draws("abcdef", view, seed)))
        for view, seed in ((0, 1), (1, 1), (0, 2))
    ]
    assert len({picture.tobytes() for batch in views for picture in batch}) == 18


def test_the_layer_is_the_pure_function_of_its_draws():
    draws = uniform_draws("abcdef", 0, 5)
    for flag in ("article", ALL):
        expected = numpy(augment(images().astype("float32"), draws, presets.ranges(flag)))
        np.testing.assert_allclose(numpy(layer(flag)(images(), draws)), expected, atol=0.05)


def test_no_ranges_is_no_change():
    unchanged = Augmentation(Ranges())(images(), uniform_draws("abcdef", 0, 1))
    np.testing.assert_array_equal(numpy(unchanged), images())


def test_a_bfloat16_policy_does_not_touch_the_pixels():
    draws = uniform_draws("abcdef", 0, 5)
    expected = numpy(layer("article")(images(), draws))
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        views = augmentation("article")(images(), draws)
    finally:
        keras.config.set_dtype_policy("float32")
    np.testing.assert_array_equal(numpy(views), expected)


@pytest.mark.slow
@pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="of TensorFlow's graphs")
@pytest.mark.parametrize("jit_compile", [False, True])
@pytest.mark.parametrize("flag", [ALL, "article"])
def test_in_a_graph_of_open_batch_as_eagerly(flag, jit_compile):
    import tensorflow as tf

    ranges = presets.ranges(flag)
    graph = tf.function(
        lambda pictures, draws: augment(pictures, draws, ranges),
        input_signature=[tf.TensorSpec((None, 40, 50, 1)), tf.TensorSpec((None, DRAWS))],
        jit_compile=jit_compile,
    )
    for batch in (4, 3):
        pictures, draws = images(batch).astype("float32"), uniform_draws("abcd"[:batch], 0, 1)
        expected = numpy(augment(pictures, draws, ranges))
        np.testing.assert_allclose(numpy(graph(pictures, draws)), expected, atol=0.05)


@pytest.mark.slow
def test_in_a_model_of_images_and_draws():
    draws = uniform_draws("abcdef", 0, 1)
    inputs = [keras.Input((40, 50, 1)), keras.Input((DRAWS,))]
    model = keras.Model(inputs, layer(ALL)(*inputs))
    assert model.output.shape == (None, 40, 50, 1)
    expected = numpy(layer(ALL)(images(), draws))
    np.testing.assert_allclose(model.predict([images(), draws], verbose=0), expected, atol=0.05)


@pytest.mark.parametrize("shape", [(2, 20, 20, 3), (20, 20, 1)])
def test_images_that_are_not_grey_batches_are_refused(shape):
    with pytest.raises(
        ValueError, match=r"Give it grey images of shape \[batch, height, width, 1\]"
    ):
        augmentation("radiograph")(np.zeros(shape, "float32"), np.zeros((2, DRAWS), "float32"))


def test_a_flag_becomes_a_layer_or_none():
    assert augmentation("none") is None
    assert augmentation("radiograph+gamma").ranges == presets.ranges("radiograph+gamma")
    with pytest.raises(ValueError, match="There is no augmentation 'strong'"):
        augmentation("strong")
