"""Heatmaps.npz: which images are shown, and that what is written is read."""

import numpy as np
import pytest

from tests.helpers.predictions import make, random_predictions
from trainer.evaluation import heatmaps
from trainer.evaluation.heatmaps import Heatmaps, overlay, select


def some(n=5):
    rng = np.random.default_rng(0)
    return Heatmaps(
        split="validation",
        image_ids=[f"image {i} é" for i in range(n)],
        kinds=["worst"] * n,
        squares=rng.integers(0, 256, (n, 32, 32), np.uint8),
        maps=rng.uniform(size=(n, 2, 2)).astype(np.float32),
    )


def test_no_image_is_shown_twice():
    for seed in range(5):
        chosen = select(random_predictions(n=30, seed=seed))
        rows = np.concatenate(list(chosen.values()))
        assert tuple(chosen) == heatmaps.KINDS
        assert len(set(rows.tolist())) == len(rows)
        assert max(map(len, chosen.values())) <= heatmaps.SHOWN


def test_the_worst_are_the_most_probable_wrong_calls():
    table = random_predictions(n=400)
    rows = select(table)["worst"]
    highest = table.probabilities.max(axis=1)
    wrong = table.predicted != table.labels
    assert wrong[rows].all()
    np.testing.assert_array_equal(highest[rows], np.sort(highest[wrong])[::-1][:6])


def test_the_least_certain_have_two_classes_that_are_close():
    table = random_predictions(n=400)
    ordered = np.sort(table.probabilities, axis=1)
    gaps = ordered[:, -1] - ordered[:, -2]
    np.testing.assert_array_equal(gaps[select(table)["least_certain"]], np.sort(gaps)[:6])


def test_the_best_are_right_and_of_every_class_in_turn():
    table = random_predictions(n=400)
    rows = select(table)["best"]
    assert (table.predicted == table.labels)[rows].all()
    assert set(table.labels[rows[:4]].tolist()) == {0, 1, 2, 3}
    for label in range(4):
        of_class = (table.labels == label) & (table.predicted == label)
        highest = table.probabilities[of_class].max()
        first = rows[table.labels[rows] == label][0]
        assert table.probabilities[first].max() == highest


def test_a_network_that_is_always_right_has_no_worst_images():
    chosen = select(make([0, 1, 0], [[0.9, 0.1], [0.2, 0.8], [0.6, 0.4]]), most=1)
    assert [rows.tolist() for rows in chosen.values()] == [[], [2], [0]]


def test_what_is_written_is_read_and_equal_heatmaps_are_equal_files(tmp_path):
    for name in ("a.npz", "b.npz"):
        heatmaps.write(tmp_path / name, some())
    assert (tmp_path / "a.npz").read_bytes() == (tmp_path / "b.npz").read_bytes()
    there = heatmaps.read(tmp_path / "a.npz")
    assert (there.split, there.image_ids, there.kinds) == ("validation", some().image_ids,
                                                           ["worst"] * 5)  # fmt: skip
    np.testing.assert_array_equal(there.squares, some().squares)
    np.testing.assert_array_equal(there.maps, some().maps)


def test_no_image_at_all_is_written_and_read(tmp_path):
    heatmaps.write(tmp_path / "a.npz", some(0))
    assert heatmaps.read(tmp_path / "a.npz").image_ids == []


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04torn", b"text"])
def test_another_file_is_refused(tmp_path, content):
    (tmp_path / "a.npz").write_bytes(content)
    with pytest.raises(ValueError, match="is not what a run writes"):
        heatmaps.read(tmp_path / "a.npz")
    np.savez(tmp_path / "a.npz", squares=np.zeros(3))
    with pytest.raises(ValueError, match="is not what a run writes"):
        heatmaps.read(tmp_path / "a.npz")


def test_where_a_map_is_0_its_square_shows_as_it_is():
    square = some().squares[0]
    plain = overlay(square, np.zeros((2, 2)))
    assert plain.dtype == np.uint8 and plain.shape == (32, 32, 3)
    np.testing.assert_array_equal(plain, np.repeat(square[..., None], 3, axis=2))
    warm = overlay(square, np.float32([[0, 0], [0, 1]])).astype(int)
    np.testing.assert_array_equal(warm[:8, :8], plain[:8, :8])
    assert (warm[-8:, -8:, 0] - warm[-8:, -8:, 2]).min() > 50  # yellow
