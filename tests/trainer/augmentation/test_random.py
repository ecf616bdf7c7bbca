"""Random numbers that depend on (seed, image, view) alone, and what they become."""

import keras
import numpy as np
import pytest

from trainer.augmentation import presets, random
from trainer.augmentation.presets import PRESETS, Ranges
from trainer.augmentation.random import DRAWS, parameters_from, uniform_draws

numpy = keras.ops.convert_to_numpy
ALL = presets.ranges("radiograph+gamma+noise+cutout+elastic")

# What release 1.0.0 drew for these two names, view 3, seed 7.
GOLDEN = [
    [0.3172379, 0.8360229, 0.06264192, 0.21569985, 0.57863563, 0.45730817, 0.098587394, 0.2607594,
     0.8656778, 0.46081036, 0.33110285, 0.8838451, 0.075377285, 0.7367382, 0.9530313, 0.83755076,
     0.30311984, 0.37323278, 0.3632514],
    [0.95698166, 0.3111838, 0.25229383, 0.24203485, 0.68311816, 0.08601165, 0.5621368, 0.7903539,
     0.6352697, 0.43935293, 0.69283754, 0.7253066, 0.45557535, 0.07348013, 0.7462149, 0.3768782,
     0.13382411, 0.12823707, 0.9686383],
]  # fmt: skip


def seeds(*values):
    return keras.ops.convert_to_tensor(np.array(values, "uint32"))


def grid(count=1001):
    """Draws from 0 to 1, the same for every parameter."""
    return np.linspace(0, 1, count, dtype="float32")[:, None].repeat(DRAWS, 1)


def test_the_numbers_of_a_view_stay_what_they_were():
    draws = uniform_draws(["image 1", "image 2"], 3, 7)
    np.testing.assert_array_equal(draws, np.array(GOLDEN, "float32"))


def test_draws_depend_on_image_view_and_seed_alone():
    names = [f"image {i}" for i in range(50)]
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


def test_names_may_be_a_numpy_array_and_in_any_script():
    names = ["Lungenentzündung/1.png", "肺炎"]
    array = np.array(names, np.dtypes.StringDType())
    np.testing.assert_array_equal(uniform_draws(array, 0, 1), uniform_draws(names, 0, 1))


@pytest.mark.parametrize("preset", PRESETS)
def test_parameters_fill_their_ranges_evenly(preset):
    ranges = PRESETS[preset]
    drawn = parameters_from(grid(), ranges)
    reach = {"rotation": ranges.rotation, "shift_x": ranges.shift, "shift_y": ranges.shift}
    reach |= {"shear": ranges.shear, "zoom_x": ranges.zoom, "zoom_y": ranges.zoom}
    reach |= {k: getattr(ranges, k) for k in ("channel_shift", "brightness", "contrast")}
    for name, far in reach.items():
        middle = 1 if name in ("zoom_x", "zoom_y", "contrast") else 0
        expected = np.linspace(middle - far, middle + far, 1001)
        np.testing.assert_allclose(numpy(getattr(drawn, name)), expected, atol=1e-4)
    for name in ("flip_x", "flip_y"):
        half = 500 / 1001 if getattr(ranges, name) else 0
        assert numpy(getattr(drawn, name)).mean() == pytest.approx(half)


def test_parameters_of_the_options_fill_their_ranges():
    drawn = parameters_from(grid(), ALL)
    gamma, aspect = numpy(drawn.gamma), numpy(drawn.cutout_aspect)
    np.testing.assert_allclose(np.log(gamma), np.linspace(-1, 1, 1001) * np.log(1.3), atol=1e-6)
    np.testing.assert_allclose(aspect[[0, 500, 1000]], [0.5, 1, 2], rtol=1e-5)
    np.testing.assert_allclose(numpy(drawn.noise), np.linspace(0, 10, 1001), atol=1e-5)
    np.testing.assert_allclose(numpy(drawn.cutout_area), np.linspace(0, 0.15, 1001), atol=1e-6)


def test_a_seed_is_all_24_bits_of_its_draw():
    bits = np.array([[0], [1], [2**23 + 1], [2**24 - 1]]).repeat(DRAWS, 1)
    drawn = parameters_from((bits / 2**24).astype("float32"), Ranges())
    np.testing.assert_array_equal(numpy(drawn.noise_seed), bits[:, 0])
    np.testing.assert_array_equal(numpy(drawn.elastic_seed), bits[:, 0])


def test_each_parameter_has_a_draw_of_its_own():
    everything = Ranges(1.0, 1.0, 1.0, 0.5, True, True, 1.0, 1.0, 0.5, 0.3, 1.0, 0.2, 0.1)
    # Row 0 draws .75 for all; row i + 1 draws .25 for parameter i alone.
    draws = np.where(np.eye(DRAWS + 1, DRAWS, -1) == 1, 0.25, 0.75).astype("float32")
    drawn = np.stack([numpy(field) for field in parameters_from(draws, everything)], axis=1)
    np.testing.assert_array_equal(drawn[1:] != drawn[0], np.eye(DRAWS) == 1)


def test_no_ranges_are_no_change_whatever_is_drawn():
    drawn = parameters_from(grid(101)[:-1], Ranges())
    factors = ("zoom_x", "zoom_y", "contrast", "gamma")
    zeros = ("rotation", "shift_x", "shift_y", "shear", "flip_x", "flip_y", "channel_shift",
             "brightness", "noise", "cutout_area")  # fmt: skip
    for name in (*factors, *zeros):
        assert (numpy(getattr(drawn, name)) == (1 if name in factors else 0)).all(), name


def test_hashed_numbers_are_murmurhash3s_and_depend_on_their_seed_alone():
    # Computed with Python's integers from the definition of MurmurHash3's finalizer.
    def mixed(h):
        for shift, factor in ((16, 0x85EBCA6B), (13, 0xC2B2AE35)):
            h = (h ^ h >> shift) * factor % 2**32
        return h ^ h >> 16

    def number(seed, i):
        return ((mixed((i * 0x9E3779B9 + mixed(seed)) % 2**32) >> 9) + 0.5) / 2**23

    expected = [[number(seed, i) for i in range(500)] for seed in (0, 5, 2**32 - 1)]
    numbers = numpy(random.uniform(seeds(0, 5, 2**32 - 1), 500))
    np.testing.assert_array_equal(numbers, np.array(expected, "float32"))
    np.testing.assert_array_equal(numpy(random.uniform(seeds(5), 20))[0], numbers[1, :20])


def test_hashed_numbers_are_uniform():
    numbers = numpy(random.uniform(seeds(*range(40)), 22500))
    assert numbers.min() > 0 and numbers.max() < 1
    counts = np.histogram(numbers, 100, (0, 1))[0]
    # Chi-squared of 99 degrees of freedom: 99 ± 14.
    assert 50 < ((counts - 9000) ** 2 / 9000).sum() < 160


def test_hashed_normal_numbers_are_gaussian_and_unrelated():
    numbers = numpy(random.normal(seeds(*range(40)), 22500))
    assert np.isfinite(numbers).all()
    moments = [numbers.mean(), numbers.std(), (numbers**3).mean(), (numbers**4).mean()]
    np.testing.assert_allclose(moments, [0, 1, 0, 3], atol=0.03)
    # Unrelated along a row of pixels, between rows of an image of 150, and between seeds.
    for lag in (1, 2, 150):
        assert abs((numbers[:, lag:] * numbers[:, :-lag]).mean()) < 0.01
    between = np.corrcoef(numbers) - np.eye(40)
    assert abs(between).max() < 0.04
