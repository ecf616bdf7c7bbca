"""The claims of the alignment's plot: who is shown, why, and before beside after."""

import dataclasses

import numpy as np
import pytest

from tests.helpers.pictures import TITLE, check_picture, saved
from tests.helpers.predictions import NAMES, poses_of
from trainer.evaluation import plots
from trainer.evaluation.alignment_plots import choose, sheet


@pytest.fixture
def drawn(monkeypatch):
    return saved(monkeypatch, plots)


def test_the_sheet_has_images_of_each_class_and_those_most_in_doubt():
    table, labels = poses_of(80), np.arange(80) % 4
    choices = choose(table, labels, NAMES, seed=1)
    assert len({choice.at for choice in choices}) == len(choices)
    for label, name in enumerate(NAMES):
        drawn_ = [choice.at for choice in choices if choice.why == name]
        assert len(drawn_) == 2 and (labels[drawn_] == label).all()
    lowest = [choice.at for choice in choices if choice.why == "lowest correlation"]
    others = np.setdiff1d(np.arange(80), [choice.at for choice in choices])
    assert len(lowest) == 4
    assert table.poses[lowest, -1].max() < table.poses[others, -1].min()
    assert [choice.at for choice in choices if choice.why == "at bounds"] == [0]
    assert choices == choose(table, labels, NAMES, seed=1) != choose(table, labels, NAMES, seed=2)


@pytest.mark.parametrize(("n", "at_bounds"), [(1, 1), (3, 0), (80, 40)])
def test_the_sheet_shows_the_template_and_each_image_before_and_after(
    drawn, tmp_path, n, at_bounds
):
    table = dataclasses.replace(poses_of(n), at_bounds=np.arange(n) < at_bounds)
    choices = choose(table, np.arange(n) % 4, NAMES, seed=1)
    rng = np.random.default_rng(0)
    before, after = rng.integers(0, 256, (2, len(choices), 50, 50), dtype=np.uint8)
    path = tmp_path / "alignment.png"
    sheet(np.eye(64, dtype=np.float32), choices, before, after, table, path, title=TITLE)
    weak = min(n, 2)
    check_picture(
        path, drawn[0], f"n = {n} image{'s' * (n > 1)}, {len(choices)} shown, {at_bounds} at the "
        f"bounds of the pose, {weak} of weak correlation",
    )  # fmt: skip
    template, *tiles = [axes for axes in drawn[0].axes if axes.images]
    np.testing.assert_array_equal(template.images[0].get_array(), np.eye(64))
    assert len(tiles) == len(choices)
    for tile, choice, one, other in zip(tiles, choices, before, after, strict=True):
        shown = tile.images[0].get_array()
        np.testing.assert_array_equal(shown[:, :50], one)
        np.testing.assert_array_equal(shown[:, -50:], other)
        assert tile.get_title() == f"{choice.why}, r = {table.poses[choice.at, -1]:.2f}"


def test_long_names_of_classes_do_not_meet(drawn, tmp_path):
    names = [f"a class of a very long name, number {i}" for i in range(7)]
    table = poses_of(60)
    choices = choose(table, np.arange(60) % 7, names, seed=1)
    squares = np.zeros((len(choices), 32, 32), np.uint8)
    path = tmp_path / "alignment.png"
    sheet(np.eye(64), choices, squares, squares, table, path, title=TITLE)
    check_picture(
        path, drawn[0], f"n = 60 images, {len(choices)} shown, 1 at the bounds of the pose, 2 of "
        "weak correlation",
    )  # fmt: skip
