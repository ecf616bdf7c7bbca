"""The claims of the alignment's plot: who is shown, why, and before beside after."""

import dataclasses

import numpy as np
import pytest

from tests.helpers.pictures import TITLE, check_picture, saved
from tests.helpers.predictions import NAMES, poses_of
from trainer.evaluation import drawing
from trainer.evaluation.alignment_plots import Choice, choose, sheet

TEMPLATE = np.zeros((64, 64), np.float32)
TEMPLATE[20:44, 16:24] = TEMPLATE[20:44, 40:48] = -1


@pytest.fixture
def drawn(monkeypatch):
    return saved(monkeypatch, drawing)


def test_the_sheet_has_images_of_each_class_and_those_most_in_doubt():
    table, labels = poses_of(80), np.arange(80) % 4
    choices = choose(table, labels, NAMES, seed=1)
    assert len({choice.at for choice in choices}) == len(choices)
    for label, name in enumerate(NAMES):
        drawn_ = [each.at for each in choices if (each.why, each.name) == ("at random", name)]
        assert len(drawn_) == 2 and (labels[drawn_] == label).all()
    assert all(choice.name == NAMES[labels[choice.at]] for choice in choices)
    lowest = [choice.at for choice in choices if choice.why == "lowest correlation"]
    others = np.setdiff1d(np.arange(80), [choice.at for choice in choices])
    assert len(lowest) == 4
    assert table.poses[lowest, -1].max() < table.poses[others, -1].min()
    assert [choice.at for choice in choices if choice.why == "at bounds"] == [0]
    assert choices == choose(table, labels, NAMES, seed=1) != choose(table, labels, NAMES, seed=2)


@pytest.mark.parametrize(("n", "at_bounds"), [(1, 1), (3, 0), (80, 40)])
@pytest.mark.slow
def test_the_sheet_shows_the_template_and_each_image_before_and_after(
    drawn, tmp_path, n, at_bounds
):
    table = dataclasses.replace(poses_of(n), at_bounds=np.arange(n) < at_bounds)
    choices = choose(table, np.arange(n) % 4, NAMES, seed=1)
    rng = np.random.default_rng(0)
    before, after = rng.integers(0, 256, (2, len(choices), 50, 50), dtype=np.uint8)
    path = tmp_path / "alignment.png"
    parts = rng.uniform(-0.2, 1.2, (len(choices), 4))
    sheet(TEMPLATE, choices, before, after, parts, table, path, title=TITLE)
    weak = min(n, 2)
    check_picture(
        path, drawn[0], f"n = {n} image{'s' * (n > 1)}, {len(choices)} shown, {at_bounds} at the "
        f"bounds of the pose, {weak} of weak correlation",
    )  # fmt: skip
    template, *tiles = [axes for axes in drawn[0].axes if axes.images]
    np.testing.assert_array_equal(template.images[0].get_array(), TEMPLATE)
    assert len(tiles) == len(choices)
    for tile, *pair, part in zip(tiles, before, after, parts, strict=True):
        shown = [each.get_array() for each in tile.images]
        np.testing.assert_array_equal(shown, pair)
        np.testing.assert_allclose(tile.patches[0].get_bbox().extents, np.clip(part, 0, 1))


def test_the_outline_of_the_lungs_is_at_one_place_of_each_aligned_image(drawn, tmp_path):
    table, squares = poses_of(3), np.zeros((3, 32, 32), np.uint8)
    choices = choose(table, np.arange(3), NAMES, seed=1)
    path, parts = tmp_path / "alignment.png", np.zeros((3, 4))
    sheet(TEMPLATE, choices, squares, squares, parts, table, path, title=TITLE)
    template, *tiles = [axes for axes in drawn[0].axes if axes.images]
    outlines = []
    for tile, image in [(template, 0), *((tile, 1) for tile in tiles)]:
        left, right, bottom, top = tile.images[image].get_extent()
        assert (right - left, bottom - top) == pytest.approx((1, 1))
        outlines.append(tile.collections[0].get_paths()[0].vertices - (left, top))
    x, y = outlines[0].T  # of both lungs of the template, which are at its middle rows
    assert 0.2 < x.min() < x.max() < 0.8 and 0.3 < y.min() < y.max() < 0.7
    for other in outlines[1:]:
        np.testing.assert_allclose(other, outlines[0])


def test_poses_in_doubt_are_marked(drawn, tmp_path):
    table, squares = poses_of(4), np.zeros((4, 32, 32), np.uint8)
    choices = [Choice(at, "at random", "viral") for at in range(4)]
    path, parts = tmp_path / "alignment.png", np.zeros((4, 4))
    sheet(TEMPLATE, choices, squares, squares, parts, table, path, title=TITLE)
    titles = [axes.title for axes in drawn[0].axes if axes.images][1:]
    correlations = [f"at random: viral\nr = {r:.2f}" for r in table.poses[:, -1]]
    assert [title.get_text() for title in titles] == [
        f"{correlations[0]}, at bounds", correlations[1],
        f"{correlations[2]}, weak", f"{correlations[3]}, weak",
    ]  # fmt: skip
    marked = [title.get_color() == drawing.VERMILLION for title in titles]
    assert marked == [True, False, True, True]


@pytest.mark.slow
def test_long_names_of_classes_do_not_meet(drawn, tmp_path):
    names = [f"a class of a very long name, number {i}" for i in range(7)]
    table = poses_of(60)
    choices = choose(table, np.arange(60) % 7, names, seed=1)
    squares = np.zeros((len(choices), 32, 32), np.uint8)
    path = tmp_path / "alignment.png"
    parts = np.zeros((len(choices), 4))
    sheet(TEMPLATE, choices, squares, squares, parts, table, path, title=TITLE)
    check_picture(
        path, drawn[0], f"n = 60 images, {len(choices)} shown, 1 at the bounds of the pose, 2 of "
        "weak correlation",
    )  # fmt: skip
