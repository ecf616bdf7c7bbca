"""What happens to grey levels, by hand and against Keras' ImageDataGenerator."""

import keras
import numpy as np
import pytest
from keras.src.legacy.preprocessing.image import ImageDataGenerator

from tests.helpers.images import radiographs
from trainer.augmentation import intensity

numpy = keras.ops.convert_to_numpy


def one(value):
    """A parameter of a batch of one."""
    return np.array([value], "float32")


def grey(level, batch=1, height=40, width=50):
    return np.full((batch, height, width, 1), level, "float32")


def test_channel_shift_is_imagedatagenerators():
    picture = radiographs(1, (61, 61), low=30, high=220).astype("float32")
    generator = ImageDataGenerator()
    for shift in (20.0, -13.5):
        shifted = numpy(intensity.shift_channel(picture, one(shift)))
        theirs = generator.apply_transform(picture[0], {"channel_shift_intensity": shift})
        np.testing.assert_allclose(shifted[0], theirs, atol=1e-4)
        assert shifted.min() >= picture.min() and shifted.max() <= picture.max()
        assert abs(shifted - picture).mean() > 10


def test_no_shift_and_no_exposure_are_the_same_bits():
    picture = radiographs(1, (45, 60)).astype("float32") * 0.9 + np.float32(0.1234)
    np.testing.assert_array_equal(numpy(intensity.shift_channel(picture, one(0))), picture)
    np.testing.assert_array_equal(numpy(intensity.expose(picture, one(0), one(1))), picture)


def test_exposure_by_hand():
    picture = np.array([0.0, 100.0, 140.0, 240.0], "float32").reshape(1, 2, 2, 1)
    exposed = numpy(intensity.expose(picture, brightness=one(10), contrast=one(1.2)))
    # Mean 120: 0 becomes -24 + 10, clipped; 240 becomes 264 + 10, clipped.
    np.testing.assert_allclose(exposed.ravel(), [0, 106, 154, 255], atol=1e-4)


def test_gamma_by_hand():
    levels = np.array([0.0, 51.0, 127.5, 255.0], "float32").reshape(1, 2, 2, 1)
    darker = numpy(intensity.respond(levels, one(2.0))).ravel()
    np.testing.assert_allclose(darker, [0, 10.2, 63.75, 255], atol=1e-3)
    brighter = numpy(intensity.respond(levels, one(0.5))).ravel()
    np.testing.assert_allclose(brighter, [0, 114.04, 180.31, 255], atol=1e-2)
    same = numpy(intensity.respond(levels, one(1.0))).ravel()
    np.testing.assert_allclose(same, levels.ravel(), atol=1e-3)


def test_gamma_of_a_rounding_below_black_is_black():
    below = np.full((1, 2, 2, 1), -1e-6, "float32")
    assert (numpy(intensity.respond(below, one(0.8))) == 0).all()


def test_noise_has_the_images_own_deviation():
    deviation, seeds = np.array([0.0, 2.0, 10.0], "float32"), np.array([1, 2, 3], "uint32")
    noisy = numpy(intensity.add_noise(grey(128.0, 3, 100, 100), deviation, seeds))
    np.testing.assert_allclose(noisy.std(axis=(1, 2, 3)), deviation, rtol=0.03)
    np.testing.assert_allclose(noisy.mean(axis=(1, 2, 3)), 128, atol=0.3)
    np.testing.assert_array_equal(noisy[0], grey(128.0, 1, 100, 100)[0])


@pytest.mark.parametrize("level", [0.0, 255.0])
def test_noise_is_clipped_to_the_scale(level):
    noisy = numpy(intensity.add_noise(grey(level), one(10), np.array([3], "uint32")))
    assert noisy.min() >= 0 and noisy.max() <= 255
    assert noisy.std() > 1


@pytest.mark.parametrize("aspect", [0.5, 1.0, 2.0])
@pytest.mark.parametrize("place", [(0.0, 0.0), (0.999, 0.999), (0.3, 0.6)])
def test_cutout_is_one_rectangle_of_its_area_inside_the_image(aspect, place):
    area, size = 0.15, (100, 120)
    arguments = map(one, (area, aspect, *place))
    black = numpy(intensity.cover(grey(200.0, 1, *size), *arguments))[0, :, :, 0] == 0
    rows, columns = np.flatnonzero(black.any(axis=1)), np.flatnonzero(black.any(axis=0))
    high, wide = np.ptp(rows) + 1, np.ptp(columns) + 1
    assert black.sum() == high * wide
    assert black.mean() == pytest.approx(area, abs=0.01)
    assert (wide / size[1]) / (high / size[0]) == pytest.approx(aspect, rel=0.06)
    assert rows[0] == pytest.approx(place[1] * (size[0] - high), abs=1)
    assert columns[0] == pytest.approx(place[0] * (size[1] - wide), abs=1)


def test_cutout_of_nothing_and_of_half_the_image():
    none = map(one, (0.0, 1.0, 0.5, 0.5))
    np.testing.assert_array_equal(numpy(intensity.cover(grey(9.0), *none)), grey(9.0))
    half = map(one, (0.5, 2.0, 0.5, 0.5))
    black = numpy(intensity.cover(grey(9.0), *half))[0, :, :, 0] == 0
    assert black.any(axis=0).all() and black.any(axis=1).sum() == 20
