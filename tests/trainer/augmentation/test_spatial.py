"""The one warp, against Keras' ImageDataGenerator and scipy, and by its properties."""

import keras
import numpy as np
import pytest
from keras.src.legacy.preprocessing.image import ImageDataGenerator

from tests.helpers.images import radiograph
from trainer.augmentation import random, spatial
from trainer.augmentation.presets import PRESETS
from trainer.augmentation.random import DRAWS, Parameters, parameters_from
from trainer.augmentation.spatial import transforms, warp

numpy = keras.ops.convert_to_numpy
NEUTRAL = dict.fromkeys(Parameters._fields, 0.0) | {"zoom_x": 1.0, "zoom_y": 1.0}


def parameters(**changes):
    """Parameters of a batch of one."""
    values = NEUTRAL | changes
    return Parameters(**{k: keras.ops.convert_to_tensor([v], "float32") for k, v in values.items()})


def image(height=61, width=61):
    """A batch of one smooth image, float32, none of whose pixels is black."""
    return 30 + 0.75 * radiograph(0, (height, width)).astype("float32")[None, :, :, None]


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
    }
    keras_generator = ImageDataGenerator(fill_mode="constant", cval=0.0)
    return keras_generator.apply_transform(picture[0].copy(), transform)[None]


def seeds(*values):
    return keras.ops.convert_to_tensor(np.array(values, "uint32"))


def ramp(height=41, width=51):
    """Two images whose grey levels are their pixels' coordinates, x and y."""
    y, x = np.mgrid[:height, :width].astype("float32")
    return np.stack([x, y])[..., None]


GEOMETRIES = [
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
    {"rotation": 20.0, "shift_x": 0.1, "shift_y": -0.07, "shear": 10.0, "zoom_x": 1.1,
     "zoom_y": 0.9},
    {"rotation": -48.0, "shift_x": -0.2, "shear": 0.2, "zoom_x": 0.93, "zoom_y": 0.97,
     "flip_x": 1.0},
    {"rotation": 11.0, "shift_y": 0.15, "shear": -5.0, "zoom_x": 1.04, "flip_x": 1.0,
     "flip_y": 1.0},
]  # fmt: skip


@pytest.mark.parametrize("changes", GEOMETRIES)
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
    theirs = keras.ops.image.affine_transform(picture, keras_matrices, "bilinear", "constant", 0)
    np.testing.assert_allclose(numpy(warp(picture, matrices)), numpy(theirs), atol=0.02)


def test_no_change_is_the_same_bits():
    picture = image(height=45, width=60) + np.float32(0.1234)
    np.testing.assert_array_equal(warped(picture), picture)


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


def test_bends_are_smooth_within_reach_and_do_not_fold():
    reach, height, width = 0.05, 120, 150
    bend = numpy(spatial.bends(seeds(*range(200)), reach, height, width))
    assert bend.shape == (200, 2, height, width) and bend.dtype == np.float32
    shares = bend / np.array([width, height])[None, :, None, None]
    assert 0.5 * reach < abs(shares).max() <= reach
    assert abs(shares.mean()) < 0.1 * reach
    assert 0.2 * reach < shares.std() < 0.4 * reach
    # Two bends of one image are unrelated: x does not follow y.
    assert abs(np.corrcoef(shares[:, 0].ravel(), shares[:, 1].ravel())[0, 1]) < 0.15
    along_y, along_x = np.gradient(bend, axis=(2, 3))
    # The determinant of the map's Jacobian: an area that turned over would be negative.
    area = (1 + along_x[:, 0]) * (1 + along_y[:, 1]) - along_x[:, 1] * along_y[:, 0]
    assert area.min() > 0.2
    assert abs(np.diff(bend, 2, axis=3)).max() < 0.05


def test_bends_are_the_splines_that_scipy_evaluates():
    interpolate = pytest.importorskip("scipy.interpolate")
    height, width, reach = 31, 45, 0.1
    moves = 2 * numpy(random.uniform(seeds(8), 98)).reshape(2, 7, 7) - 1
    # Knots -1 .. 5 in units of their distance; the image spans 0 .. 4.
    knots, bend = np.arange(-3, 8), numpy(spatial.bends(seeds(8), reach, height, width))[0]
    for axis, side in enumerate((width, height)):
        down = interpolate.BSpline(knots, moves[axis], 3)(np.linspace(0, 4, height))
        across = interpolate.BSpline(knots, down.T, 3)(np.linspace(0, 4, width)).T
        np.testing.assert_allclose(bend[axis], reach * side * across, atol=1e-4)


def test_the_warp_reads_where_the_bend_says():
    pictures = ramp()
    identity = np.array([[1, 0, 0, 0, 1, 0]] * 2, "float32")
    bend = numpy(spatial.bends(seeds(4, 4), 0.05, 41, 51))
    bent = numpy(spatial.warp(pictures, identity, bend))[..., 0]
    x, y = pictures[..., 0]
    expected = np.stack([x + bend[0, 0], y + bend[0, 1]])
    where = (expected[0] > 0) & (expected[0] < 50) & (expected[1] > 0) & (expected[1] < 40)
    assert where.mean() > 0.8
    np.testing.assert_allclose(bent[:, where], expected[:, where], atol=1e-3)
    still = numpy(spatial.warp(pictures, identity, np.zeros_like(bend)))
    np.testing.assert_array_equal(still, pictures)
