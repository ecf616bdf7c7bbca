"""Gamma, noise, cutout and elastic: their numbers, their effect, and what they leave alone."""

import dataclasses

import keras
import numpy as np
import pytest

from trainer.augmentation import intensity, presets, random, spatial
from trainer.augmentation.layer import Augmentation, augment, augmentation, flips
from trainer.augmentation.presets import OPTIONS, PRESETS, Ranges
from trainer.augmentation.random import DRAWS, parameters_from, uniform_draws

ALL = "radiograph+gamma+noise+cutout+elastic"
# Pixels of the two images of `test_golden_pixels...`: what a seed gives may not change unseen.
GOLDEN = [
    [[46.546, 73.008, 178.499], [209.585, 0, 102.747], [126.877, 29.59, 171.237],
     [2.133, 0, 191.021]],
    [[19.466, 197.078, 69.787], [14.05, 78.875, 141.025], [66.568, 123.308, 49.495],
     [21.216, 65.716, 131.014]],
]  # fmt: skip


def numpy(tensor):
    return keras.ops.convert_to_numpy(tensor)


def seeds(*values):
    return keras.ops.convert_to_tensor(np.array(values, "uint32"))


def grey(level, batch=1, height=40, width=50):
    return np.full((batch, height, width, 1), level, "float32")


def ramp(height=41, width=51):
    """An image whose grey levels are its coordinates."""
    y, x = np.mgrid[:height, :width].astype("float32")
    return np.stack([x, y])[..., None]


def images(batch=6):
    return np.random.default_rng(0).integers(0, 256, (batch, 40, 50, 1), np.uint8)


def test_the_flag_names_options_in_any_order():
    chosen = presets.ranges("radiograph+noise+elastic")
    want = dataclasses.replace(PRESETS["radiograph"], noise=10.0, elastic=0.05)
    assert chosen == want == presets.ranges("radiograph+elastic+noise")
    assert presets.ranges("radiograph") == PRESETS["radiograph"]
    assert presets.ranges("none") is None
    assert OPTIONS.keys() == {"gamma", "noise", "cutout", "elastic"}
    assert not flips(ALL)


@pytest.mark.parametrize(
    "flag", ["", "radiograph+", "radiograph+blur", "radiograph+gamma+gamma", "article+gamma",
             "none+gamma", "gamma", "radiograph gamma", "radiograph+rotation"],
)  # fmt: skip
def test_what_the_flag_does_not_take(flag):
    with pytest.raises(ValueError, match=r"no augmentation .* Choose one of: none, article, radi"):
        augmentation(flag)


@pytest.mark.parametrize("option", OPTIONS)
def test_each_option_changes_pixels_and_nothing_else_does(option):
    names = list("abcdef")
    draws = uniform_draws(names, 0, 7)
    views = numpy(augmentation(f"radiograph+{option}")(images(), draws))
    plain = numpy(augmentation("radiograph")(images(), draws))
    assert views.dtype == np.float32 and views.min() >= 0 and views.max() <= 255
    assert all((view != other).mean() > 0.01 for view, other in zip(views, plain, strict=True))
    # Alone, it is the only thing that happens; at 0, nothing does.
    alone = numpy(Augmentation(Ranges(**{option: OPTIONS[option]}))(images(), draws))
    assert not np.array_equal(alone, images())
    off = numpy(Augmentation(Ranges(**{option: 0.0}))(images(), draws))
    np.testing.assert_array_equal(off, images())


@pytest.mark.parametrize("flag", [f"radiograph+{option}" for option in OPTIONS] + [ALL])
def test_a_view_is_the_same_in_any_batch_and_order(flag):
    pictures, draws, layer = images(), uniform_draws(list("abcdef"), 1, 2), augmentation(flag)
    whole = numpy(layer(pictures, draws))
    for rows in ([0], [1, 2], [5, 3, 4], [5, 4, 3, 2, 1, 0]):
        np.testing.assert_allclose(
            numpy(layer(pictures[rows], draws[rows])), whole[rows], atol=0.05
        )


def test_golden_pixels_of_all_options_on_every_backend():
    y, x = np.mgrid[:40, :50]
    pictures = np.repeat(((3 * x * y + 5 * x + 7 * y) % 256)[None, :, :, None], 2, axis=0)
    views = numpy(augmentation(ALL)(pictures, uniform_draws(["film 1", "film 2"], 3, 7)))
    np.testing.assert_allclose(views[:, ::13, ::17, 0], GOLDEN, atol=0.02)


def test_views_differ_from_view_to_view_and_seed_to_seed():
    views = [
        numpy(
            augmentation("radiograph+noise+elastic")(images(), uniform_draws("abcdef", view, seed))
        )
        for view, seed in ((0, 1), (1, 1), (0, 2))
    ]
    assert len({picture.tobytes() for batch in views for picture in batch}) == 18


def test_parameters_of_the_options_fill_their_ranges():
    grid = np.linspace(0, 1, 1001, dtype="float32")[:, None].repeat(DRAWS, 1)
    drawn = parameters_from(grid, presets.ranges(ALL))
    gamma, aspect = numpy(drawn.gamma), numpy(drawn.cutout_aspect)
    np.testing.assert_allclose(np.log(gamma), np.linspace(-1, 1, 1001) * np.log(1.3), atol=1e-6)
    np.testing.assert_allclose(aspect[[0, 500, 1000]], [0.5, 1, 2], rtol=1e-5)
    np.testing.assert_allclose(numpy(drawn.noise), np.linspace(0, 10, 1001), atol=1e-5)
    np.testing.assert_allclose(numpy(drawn.cutout_area), np.linspace(0, 0.15, 1001), atol=1e-6)
    # A seed is the draw's 24 bits, all of them.
    bits = np.array([[0], [1], [2**23 + 1], [2**24 - 1]]).repeat(DRAWS, 1)
    drawn = parameters_from((bits / 2**24).astype("float32"), Ranges())
    np.testing.assert_array_equal(numpy(drawn.noise_seed), bits[:, 0])
    np.testing.assert_array_equal(numpy(drawn.elastic_seed), bits[:, 0])


def test_hashed_numbers_are_golden_and_depend_on_their_seed_alone():
    # Computed with Python's integers from the definition of MurmurHash3's finalizer.
    def mixed(h):
        for shift, factor in ((16, 0x85EBCA6B), (13, 0xC2B2AE35)):
            h = (h ^ h >> shift) * factor % 2**32
        return h ^ h >> 16

    def number(seed, i):
        return ((mixed((i * 0x9E3779B9 + mixed(seed)) % 2**32) >> 9) + 0.5) / 2**23

    want = [[number(seed, i) for i in range(500)] for seed in (0, 5, 2**32 - 1)]
    found = numpy(random.uniform(seeds(0, 5, 2**32 - 1), 500))
    np.testing.assert_array_equal(found, np.array(want, "float32"))
    np.testing.assert_array_equal(numpy(random.uniform(seeds(5), 20))[0], found[1, :20])


def test_hashed_numbers_are_uniform_gaussian_and_unrelated():
    flat = numpy(random.uniform(seeds(*range(40)), 22500))
    assert flat.min() > 0 and flat.max() < 1
    counts = np.histogram(flat, 100, (0, 1))[0]
    # Chi-squared of 99 degrees of freedom: 99 ± 14.
    assert 50 < ((counts - 9000) ** 2 / 9000).sum() < 160
    bell = numpy(random.normal(seeds(*range(40)), 22500))
    assert np.isfinite(bell).all()
    moments = [bell.mean(), bell.std(), (bell**3).mean(), (bell**4).mean()]
    np.testing.assert_allclose(moments, [0, 1, 0, 3], atol=0.03)
    # Neither neighbouring pixels, nor neighbouring rows, nor neighbouring seeds know each other.
    for lag in (1, 2, 150):
        assert abs((bell[:, lag:] * bell[:, :-lag]).mean()) < 0.01
    between = np.corrcoef(bell) - np.eye(40)
    assert abs(between).max() < 0.04


def test_gamma_by_hand():
    levels = np.array([0.0, 51.0, 127.5, 255.0], "float32").reshape(1, 2, 2, 1)
    darker = numpy(intensity.respond(levels, np.array([2.0], "float32"))).ravel()
    np.testing.assert_allclose(darker, [0, 10.2, 63.75, 255], atol=1e-3)
    brighter = numpy(intensity.respond(levels, np.array([0.5], "float32"))).ravel()
    np.testing.assert_allclose(brighter, [0, 114.04, 180.31, 255], atol=1e-2)
    same = numpy(intensity.respond(levels, np.array([1.0], "float32"))).ravel()
    np.testing.assert_allclose(same, levels.ravel(), atol=1e-3)


def test_gamma_of_a_rounding_below_black_is_black():
    below = np.full((1, 2, 2, 1), -1e-6, "float32")
    assert (numpy(intensity.respond(below, np.array([0.8], "float32"))) == 0).all()


def test_noise_has_the_images_own_deviation():
    deviation = np.array([0.0, 2.0, 10.0], "float32")
    noisy = numpy(intensity.add_noise(grey(128.0, 3, 100, 100), deviation, seeds(1, 2, 3)))
    np.testing.assert_allclose(noisy.std(axis=(1, 2, 3)), deviation, rtol=0.03)
    np.testing.assert_allclose(noisy.mean(axis=(1, 2, 3)), 128, atol=0.3)
    np.testing.assert_array_equal(noisy[0], grey(128.0, 1, 100, 100)[0])
    for level in (0.0, 255.0):
        clipped = numpy(intensity.add_noise(grey(level), deviation[2:], seeds(3)))
        assert clipped.min() >= 0 and clipped.max() <= 255


@pytest.mark.parametrize("aspect", [0.5, 1.0, 2.0])
@pytest.mark.parametrize("place", [(0.0, 0.0), (0.999, 0.999), (0.3, 0.6)])
def test_cutout_is_one_rectangle_of_its_area_inside_the_image(aspect, place):
    area, size = 0.15, (100, 120)
    arguments = (np.array([value], "float32") for value in (area, aspect, *place))
    black = numpy(intensity.cover(grey(200.0, 1, *size), *arguments))[0, :, :, 0] == 0
    rows, columns = np.flatnonzero(black.any(axis=1)), np.flatnonzero(black.any(axis=0))
    high, wide = np.ptp(rows) + 1, np.ptp(columns) + 1
    assert black.sum() == high * wide
    assert black.mean() == pytest.approx(area, abs=0.01)
    assert (wide / size[1]) / (high / size[0]) == pytest.approx(aspect, rel=0.06)
    assert rows[0] == pytest.approx(place[1] * (size[0] - high), abs=1)
    assert columns[0] == pytest.approx(place[0] * (size[1] - wide), abs=1)


def test_cutout_at_its_bounds():
    none = (np.array([value], "float32") for value in (0.0, 1.0, 0.5, 0.5))
    np.testing.assert_array_equal(numpy(intensity.cover(grey(9.0), *none)), grey(9.0))
    half = (np.array([value], "float32") for value in (0.5, 2.0, 0.5, 0.5))
    black = numpy(intensity.cover(grey(9.0), *half))[0, :, :, 0] == 0
    assert black.any(axis=0).all() and black.any(axis=1).sum() == 20


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
    knots, found = np.arange(-3, 8), numpy(spatial.bends(seeds(8), reach, height, width))[0]
    for axis, side in enumerate((width, height)):
        down = interpolate.BSpline(knots, moves[axis], 3)(np.linspace(0, 4, height))
        want = interpolate.BSpline(knots, down.T, 3)(np.linspace(0, 4, width)).T
        np.testing.assert_allclose(found[axis], reach * side * want, atol=1e-4)


def test_the_warp_reads_where_the_bend_says():
    pictures = ramp()
    identity = np.array([[1, 0, 0, 0, 1, 0]] * 2, "float32")
    bend = numpy(spatial.bends(seeds(4, 4), 0.05, 41, 51))
    found = numpy(spatial.warp(pictures, identity, bend))[..., 0]
    x, y = ramp()[..., 0]
    want = np.stack([x + bend[0, 0], y + bend[0, 1]])
    inside = (want[0] > 0) & (want[0] < 50) & (want[1] > 0) & (want[1] < 40)
    assert inside.mean() > 0.8
    np.testing.assert_allclose(found[:, inside], want[:, inside], atol=1e-3)
    still = numpy(spatial.warp(pictures, identity, np.zeros_like(bend)))
    np.testing.assert_array_equal(still, pictures)


@pytest.mark.parametrize("jit_compile", [False, True])
def test_in_a_graph_of_open_batch_as_eagerly(jit_compile):
    tf = pytest.importorskip("tensorflow")
    if keras.backend.backend() != "tensorflow":
        pytest.skip("tf.function runs layers of the TensorFlow backend only")
    chosen = presets.ranges(ALL)
    graph = tf.function(
        lambda pictures, draws: augment(pictures, draws, chosen),
        input_signature=[tf.TensorSpec((None, 40, 50, 1)), tf.TensorSpec((None, DRAWS))],
        jit_compile=jit_compile,
    )
    for batch in (4, 3):
        pictures, draws = images(batch).astype("float32"), uniform_draws("abcd"[:batch], 0, 1)
        want = numpy(augment(pictures, draws, chosen))
        np.testing.assert_allclose(numpy(graph(pictures, draws)), want, atol=0.05)


def test_in_a_model_of_images_and_draws():
    draws = uniform_draws("abcd", 0, 1)
    inputs = [keras.Input((40, 50, 1)), keras.Input((DRAWS,))]
    model = keras.Model(inputs, augmentation(ALL)(*inputs))
    want = numpy(augmentation(ALL)(images(4), draws))
    np.testing.assert_allclose(model.predict([images(4), draws], verbose=0), want, atol=0.05)
