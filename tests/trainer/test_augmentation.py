"""The one warp and the exposure, against Keras' ImageDataGenerator and by their properties."""

import keras
import numpy as np
import pytest
from keras.src.legacy.preprocessing.image import ImageDataGenerator

from trainer.augmentation.intensity import expose, shift_channel
from trainer.augmentation.layer import Augmentation, augment, augmentation, flips
from trainer.augmentation.presets import PRESETS, Ranges
from trainer.augmentation.random import DRAWS, Parameters, parameters_from, uniform_draws
from trainer.augmentation.spatial import transforms, warp

SIDE = 61
SEEDS = ("noise_seed", "elastic_seed")
FACTORS = ("zoom_x", "zoom_y", "contrast", "gamma", "cutout_aspect")
NEUTRAL = dict.fromkeys(Parameters._fields, 0.0) | dict.fromkeys(FACTORS, 1.0)


def numpy(tensor):
    return keras.ops.convert_to_numpy(tensor)


def parameters(**changes):
    """Parameters of a batch of one."""
    values = NEUTRAL | changes
    return Parameters(**{k: keras.ops.convert_to_tensor([v], "float32") for k, v in values.items()})


def image(height=SIDE, width=SIDE, seed=0, low=30.0, high=220.0):
    """A smooth picture, so that interpolation is all that two ways of sampling can differ by."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:height, :width] / max(height, width)
    waves = sum(np.sin(9 * (a * x + b * y) + c) for a, b, c in rng.uniform(-1, 1, (6, 3)))
    waves = (waves - waves.min()) / (waves.max() - waves.min())
    return (low + (high - low) * waves).astype("float32")[None, :, :, None]


def warped(picture, **changes):
    _, height, width, _ = picture.shape
    return numpy(warp(picture, transforms(parameters(**changes), height, width)))


def inside(picture, margin=2.0, **changes):
    """Where the source point lies inside the image by some pixels."""
    _, height, width, _ = picture.shape
    a, b, c, d, e, f = numpy(transforms(parameters(**changes), height, width))[0]
    y, x = np.mgrid[:height, :width]
    source_x, source_y = a * x + b * y + c, d * x + e * y + f
    far = (width - 1) / 2 - margin, (height - 1) / 2 - margin
    return (abs(source_x - (width - 1) / 2) < far[0]) & (abs(source_y - (height - 1) / 2) < far[1])


def generator(picture, **changes):
    """What Keras' ImageDataGenerator makes of the same parameters."""
    values = NEUTRAL | changes
    transform = {
        "theta": values["rotation"],
        "tx": values["shift_x"] * picture.shape[2],
        "ty": values["shift_y"] * picture.shape[1],
        "shear": values["shear"],
        "zx": values["zoom_x"],
        "zy": values["zoom_y"],
        "flip_horizontal": bool(values["flip_x"]),
        "flip_vertical": bool(values["flip_y"]),
        "channel_shift_intensity": values["channel_shift"] or None,
    }
    keras_generator = ImageDataGenerator(fill_mode="constant", cval=0.0)
    return keras_generator.apply_transform(picture[0].copy(), transform)[None]


ONE_BY_ONE = [
    {"rotation": 37.0},
    {"rotation": -50.0},
    {"shift_x": 0.13},
    {"shift_y": -0.2},
    {"shear": 0.25},
    {"shear": -20.0},
    {"zoom_x": 0.9},
    {"zoom_y": 1.1},
    {"flip_x": 1.0},
    {"flip_y": 1.0},
    {
        "rotation": 20.0,
        "shift_x": 0.1,
        "shift_y": -0.07,
        "shear": 10.0,
        "zoom_x": 1.1,
        "zoom_y": 0.9,
    },
    {
        "rotation": -48.0,
        "shift_x": -0.2,
        "shear": 0.2,
        "zoom_x": 0.93,
        "zoom_y": 0.97,
        "flip_x": 1.0,
    },
    {
        "rotation": 11.0,
        "shift_y": 0.15,
        "shear": -5.0,
        "zoom_x": 1.04,
        "flip_x": 1.0,
        "flip_y": 1.0,
    },
]


@pytest.mark.parametrize("changes", ONE_BY_ONE)
def test_geometry_is_imagedatagenerators_inside_the_border(changes):
    picture = image()
    where = inside(picture, **changes)
    assert where.mean() > 0.4
    ours, theirs = warped(picture, **changes)[0, :, :, 0], generator(picture, **changes)[0, :, :, 0]
    np.testing.assert_allclose(ours[where], theirs[where], atol=0.02)
    # Each of these moves the picture: a parameter that did nothing would agree with nothing done.
    assert abs(ours - picture[0, :, :, 0])[where].mean() > (0.05 if "shear" in changes else 1)


def test_outside_the_image_is_black_in_both():
    changes = {"rotation": 30.0, "shift_x": 0.2}
    picture = image()
    outside = ~inside(picture, margin=-1.01, **changes)
    assert outside.mean() > 0.1
    for result in (warped(picture, **changes), generator(picture, **changes)):
        assert (result[0, :, :, 0][outside] == 0).all()


@pytest.mark.parametrize("shape", [(40, 57), (57, 40), (33, 33)])
def test_sampling_is_keras_affine_transform_up_to_the_border(shape):
    rng = np.random.default_rng(1)
    picture = rng.uniform(0, 255, (5, *shape, 1)).astype("float32")
    draws = rng.uniform(0, 1, (5, DRAWS)).astype("float32")
    matrices = transforms(parameters_from(draws, PRESETS["article"]), *shape)
    keras_matrices = keras.ops.pad(matrices, ((0, 0), (0, 2)))
    want = keras.ops.image.affine_transform(picture, keras_matrices, "bilinear", "constant", 0)
    np.testing.assert_allclose(numpy(warp(picture, matrices)), numpy(want), atol=0.02)


def test_no_change_is_the_same_bits():
    picture = image(height=45, width=60) + np.float32(0.1234)
    np.testing.assert_array_equal(warped(picture), picture)
    np.testing.assert_array_equal(
        numpy(shift_channel(picture, parameters().channel_shift)), picture
    )
    neutral = parameters()
    np.testing.assert_array_equal(
        numpy(expose(picture, neutral.brightness, neutral.contrast)), picture
    )


@pytest.mark.parametrize(("flips", "axes"), [((1, 0), 2), ((0, 1), 1), ((1, 1), (1, 2))])
def test_flips_are_exact(flips, axes):
    picture = image(height=45, width=60)
    flipped = warped(picture, flip_x=float(flips[0]), flip_y=float(flips[1]))
    np.testing.assert_array_equal(flipped, np.flip(picture, axes))


def test_shift_by_whole_pixels_moves_pixels_and_leaves_black():
    picture = image(height=40, width=50)
    moved = warped(picture, shift_x=10 / 50, shift_y=-4 / 40)
    np.testing.assert_allclose(moved[:, 4:, :-10], picture[:, :-4, 10:], atol=0.01)
    # A source column within rounding of the edge is still the image's.
    assert (moved[:, :3] == 0).all() and (moved[:, :, -9:] == 0).all()


def test_a_quarter_turn_is_exact_within_rounding():
    picture = image(height=41, width=41)
    np.testing.assert_allclose(
        warped(picture, rotation=90.0), np.rot90(picture, 1, (1, 2)), atol=0.01
    )


def test_channel_shift_is_imagedatagenerators():
    picture = image()
    for shift in (20.0, -13.5):
        ours = numpy(shift_channel(picture, parameters(channel_shift=shift).channel_shift))
        np.testing.assert_allclose(ours, generator(picture, channel_shift=shift), atol=1e-4)
        assert ours.min() >= picture.min() and ours.max() <= picture.max()


def test_exposure_by_hand():
    picture = np.array([0.0, 100.0, 140.0, 240.0], "float32").reshape(1, 2, 2, 1)
    neutral = parameters(brightness=10.0, contrast=1.2)
    exposed = numpy(expose(picture, neutral.brightness, neutral.contrast))
    # Mean 120: 0 becomes -24 + 10, clipped; 240 becomes 264 + 10, clipped.
    np.testing.assert_allclose(exposed.ravel(), [0, 106, 154, 255], atol=1e-4)


@pytest.mark.parametrize("preset", PRESETS)
def test_parameters_fill_their_ranges_evenly(preset):
    ranges = PRESETS[preset]
    grid = np.linspace(0, 1, 1001, dtype="float32")
    drawn = parameters_from(np.repeat(grid[:, None], DRAWS, 1), ranges)
    reach = {"rotation": ranges.rotation, "shift_x": ranges.shift, "shift_y": ranges.shift}
    reach |= {"shear": ranges.shear, "zoom_x": ranges.zoom, "zoom_y": ranges.zoom}
    reach |= {k: getattr(ranges, k) for k in ("channel_shift", "brightness", "contrast")}
    for name, far in reach.items():
        middle = NEUTRAL[name]
        want = np.linspace(middle - far, middle + far, 1001)
        np.testing.assert_allclose(numpy(getattr(drawn, name)), want, atol=1e-4)
    for name in ("flip_x", "flip_y"):
        half = 500 / 1001 if getattr(ranges, name) else 0
        assert numpy(getattr(drawn, name)).mean() == pytest.approx(half)


def test_each_parameter_has_a_draw_of_its_own():
    everything = Ranges(1.0, 1.0, 1.0, 0.5, True, True, 1.0, 1.0, 0.5, 0.3, 1.0, 0.2, 0.1)
    count = DRAWS
    # Row 0 draws .75 for all; row i + 1 draws .25 for parameter i alone.
    draws = np.where(np.eye(count + 1, count, -1) == 1, 0.25, 0.75).astype("float32")
    drawn = np.stack([numpy(field) for field in parameters_from(draws, everything)], axis=1)
    np.testing.assert_array_equal(drawn[1:] != drawn[0], np.eye(count) == 1)


def test_views_of_earlier_versions_stay_as_they_were():
    """Golden numbers of the version that drew eleven numbers a view."""
    draws = uniform_draws(["film 1", "film 2"], 3, 7)
    golden = [
        [0.368681, 0.70217264, 0.91337276, 0.91381025, 0.3447047, 0.39508867, 0.108261526,
         0.46854126, 0.70376265, 0.7964457, 0.9357442],
        [0.2166624, 0.014322281, 0.7379348, 0.36014444, 0.49646765, 0.075155556, 0.4354505,
         0.60444695, 0.8470605, 0.47225696, 0.07105714],
    ]  # fmt: skip
    np.testing.assert_array_equal(draws[:, :11], np.array(golden, "float32"))
    y, x = np.mgrid[:40, :50]
    images = np.repeat(((3 * x * y + 5 * x + 7 * y) % 256)[None, :, :, None], 2, axis=0)
    pixels = {
        "article": [[169.143, 137.29, 91.638, 198.913], [177.948, 141.406, 163.375, 152.563]],
        "radiograph": [[146.454, 107.058, 93.379, 185.228], [84.154, 108.832, 198.182, 81.124]],
    }
    for preset, golden in pixels.items():
        views = numpy(augmentation(preset)(images, draws))
        np.testing.assert_allclose(views[:, 13:27:13, 17:35:17].reshape(2, 4), golden, atol=0.01)


def test_presets_are_those_of_the_article_and_of_a_chest():
    article, radiograph = PRESETS["article"], PRESETS["radiograph"]
    assert (article.rotation, article.shift, article.shear, article.zoom) == (50, 0.2, 0.25, 0.1)
    assert (article.flip_x, article.flip_y, article.channel_shift) == (True, True, 20)
    assert (article.brightness, article.contrast) == (0, 0)
    assert (radiograph.rotation, radiograph.shift, radiograph.zoom) == (10, 0.06, 0.1)
    assert (radiograph.flip_x, radiograph.flip_y) == (False, False)
    assert (radiograph.brightness, radiograph.contrast) == (20, 0.2)
    assert augmentation("none") is None


@pytest.mark.parametrize("preset", PRESETS)
@pytest.mark.parametrize("dtype", ["uint8", "float32", "float16"])
def test_views_keep_shape_and_range_and_are_float32(preset, dtype):
    images = np.random.default_rng(0).integers(0, 256, (6, 40, 50, 1)).astype(dtype)
    views = numpy(augmentation(preset)(images, uniform_draws(list("abcdef"), 0, 7)))
    assert views.shape == images.shape and views.dtype == np.float32
    assert views.min() >= 0 and views.max() <= 255
    assert not np.array_equal(views, images.astype("float32"))


def test_draws_depend_on_image_view_and_seed_alone():
    names = [f"film {i}" for i in range(50)]
    rows = uniform_draws(names, 3, 7)
    assert rows.shape == (50, DRAWS) and rows.dtype == np.float32
    assert rows.min() >= 0 and rows.max() < 1
    np.testing.assert_array_equal(uniform_draws(names[::-1], 3, 7), rows[::-1])
    np.testing.assert_array_equal(uniform_draws(names[10:12], 3, 7), rows[10:12])
    for other in (uniform_draws(names, 4, 7), uniform_draws(names, 3, 8)):
        # Of 950 numbers of 24 bits, two may be equal by chance.
        assert np.isin(other, rows).mean() < 0.01
    assert np.unique(rows).size > 49 * DRAWS
    assert rows.mean() == pytest.approx(0.5, abs=0.05)


@pytest.mark.parametrize("preset", PRESETS)
def test_a_view_is_the_same_in_any_batch(preset):
    images = np.concatenate([image(40, 40) for _ in range(6)])
    numbers = uniform_draws(list("abcdef"), 1, 2)
    layer = augmentation(preset)
    whole = numpy(layer(images, numbers))
    parts = [numpy(layer(images[i : i + 2], numbers[i : i + 2])) for i in (0, 2, 4)]
    np.testing.assert_allclose(np.concatenate(parts), whole, atol=0.01)
    assert len({view.tobytes() for view in whole}) == 6


def test_layer_is_the_pure_function_of_its_draws():
    images = np.repeat(image(40, 40), 4, axis=0)
    numbers = uniform_draws(list("abcd"), 0, 5)
    want = numpy(augment(images, numbers, PRESETS["article"]))
    np.testing.assert_allclose(numpy(augmentation("article")(images, numbers)), want, atol=0.05)


def test_no_ranges_is_no_change():
    picture = image(40, 40)
    unchanged = Augmentation(Ranges())(picture, uniform_draws(["a"], 0, 1))
    np.testing.assert_array_equal(numpy(unchanged), picture)


def test_bfloat16_policy_does_not_touch_the_pixels():
    images, numbers = np.repeat(image(40, 40), 2, axis=0), uniform_draws(["a", "b"], 0, 5)
    want = numpy(augmentation("article")(images, numbers))
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        views = augmentation("article")(images, numbers)
    finally:
        keras.config.set_dtype_policy("float32")
    np.testing.assert_array_equal(numpy(views), want)


@pytest.mark.parametrize("jit_compile", [False, True])
def test_in_a_graph_of_open_batch_as_eagerly(jit_compile):
    tf = pytest.importorskip("tensorflow")
    if keras.backend.backend() != "tensorflow":
        pytest.skip("tf.function runs layers of the TensorFlow backend only")
    graph = tf.function(
        lambda images, draws: augment(images, draws, PRESETS["article"]),
        input_signature=[tf.TensorSpec((None, 40, 40, 1)), tf.TensorSpec((None, DRAWS))],
        jit_compile=jit_compile,
    )
    for batch in (4, 3):
        images = np.repeat(image(40, 40), batch, axis=0)
        draws = np.random.default_rng(batch).uniform(0, 1, (batch, DRAWS)).astype("float32")
        want = numpy(augment(images, draws, PRESETS["article"]))
        np.testing.assert_allclose(numpy(graph(images, draws)), want, atol=0.05)


def test_in_a_model_of_images_and_draws():
    images, numbers = np.repeat(image(32, 32), 4, axis=0), uniform_draws(list("abcd"), 0, 1)
    inputs = [keras.Input((32, 32, 1)), keras.Input((DRAWS,))]
    model = keras.Model(inputs, augmentation("radiograph")(*inputs))
    want = numpy(augment(images, numbers, PRESETS["radiograph"]))
    np.testing.assert_allclose(model.predict([images, numbers], verbose=0), want, atol=0.05)


@pytest.mark.parametrize("shape", [(2, 20, 20, 3), (20, 20, 1)])
def test_images_that_are_not_grey_batches_are_refused(shape):
    with pytest.raises(
        ValueError, match=r"Give it grey images of shape \[batch, height, width, 1\]"
    ):
        augmentation("article")(np.zeros(shape, "float32"), np.zeros((2, DRAWS), "float32"))


def test_an_unknown_preset_lists_the_known():
    with pytest.raises(
        ValueError, match=r"no augmentation 'strong'\. Choose one of: none, article"
    ):
        augmentation("strong")


def test_flips_are_known():
    assert [flips(preset) for preset in ("none", "article", "radiograph")] == [False, True, False]
