"""Occlusion maps: which patches are covered, with what, and what is said of it."""

import numpy as np
import pytest

from trainer.inference import occlusion

GRID = occlusion.GRID


def seen(place):
    """A network that sees the brightness of one pixel, and how often it was used."""
    used = []

    def probabilities(squares):
        used.append(len(squares))
        share = 0.1 + 0.8 * squares[:, place[0], place[1], 0] / 255
        return np.stack([1 - share, share], axis=1).astype(np.float32)

    return probabilities, used


def bright_at(place, size=64):
    square = np.full((1, size, size, 1), 40, np.uint8)
    square[0, place[0], place[1], 0] = 255
    return square


@pytest.mark.parametrize("size", [64, 32, 150, 224])
@pytest.mark.parametrize("place", [(0, 0), (0.5, 0.3), (0.99, 0.99)])
def test_the_patches_over_what_the_network_sees_and_no_others_make_it_fall(size, place):
    at = tuple(int(size * share) for share in place)
    probabilities, used = seen(at)
    fallen = occlusion.maps(probabilities, bright_at(at, size), [1])[0]
    assert used == [1, GRID**2]
    assert fallen.shape == (GRID, GRID)
    rows, columns = np.nonzero(fallen > 0.1)
    assert 1 <= len(rows) <= 9 and (fallen > -1e-6).all()
    for row, column in zip(rows, columns, strict=True):  # each within a patch of the pixel
        middle = (np.array([row, column]) + 0.5) * size / GRID
        assert (np.abs(middle - at) <= size / GRID + 1).all()
    assert np.abs(fallen[fallen < 0.1]).max() < 1e-6


def test_it_is_the_fall_of_the_log_odds_in_nats():
    probabilities, _ = seen((32, 32))
    square = bright_at((32, 32))
    fill = round(float(square.mean()))
    before, after = 0.9, 0.1 + 0.8 * fill / 255
    odds = [share / (1 - share) for share in (before, after)]
    fallen = occlusion.maps(probabilities, square, [1])[0]
    assert fallen.max() == pytest.approx(np.log(odds[0] / odds[1]), abs=1e-4)
    of_other = occlusion.maps(probabilities, square, [0])[0]
    np.testing.assert_allclose(of_other, -fallen, atol=1e-4)


def test_a_square_of_one_grey_has_nothing_to_cover():
    probabilities, _ = seen((5, 5))
    assert not occlusion.maps(probabilities, np.full((1, 64, 64, 1), 90, np.uint8), [1]).any()


def test_every_pixel_is_covered_by_a_patch():
    square = np.tile(np.array([[0, 255]], np.uint8), (50, 25))[..., None]
    covered = np.stack(list(occlusion._covered(square))) != square
    assert covered.any(axis=0).all()


def test_a_probability_of_1_falls_by_something_finite():
    def certain(squares):
        return np.tile(np.float32([0, 1]), (len(squares), 1))

    assert not occlusion.maps(certain, bright_at((9, 9)), [1]).any()


def test_progress_counts_images():
    counted = []
    probabilities, _ = seen((5, 5))
    squares = np.concatenate([bright_at((5, 5))] * 3)
    occlusion.maps(probabilities, squares, [1, 0, 1], counted.append)
    assert counted == [1, 1, 1]
