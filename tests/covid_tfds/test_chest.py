"""The analytic chest: chords against counted volumes, and where things are."""

import dataclasses

import numpy as np
import pytest

from covid_tfds import chest, phantom


def view_of(size: int) -> chest.View:
    return chest.View.posed(size, np.random.default_rng(5))


def test_attenuation_follows_the_tables_of_nist():
    assert pytest.approx([chest._SOFT, chest._LUNG, chest._FAT, chest._BONE], abs=5e-4) == [
        0.2048 * 1.06, 0.2053 * 0.26, 0.1974 * 0.95, 0.3148 * 1.92,
    ]  # fmt: skip


def test_chord_of_an_ellipsoid_is_what_marching_along_the_beam_counts():
    view = view_of(48)
    centre, radii, angle = (2.0, -3.0), (6.0, 4.0, 5.0), -0.6
    depth = np.arange(-6, 6, 0.01)
    dx, dy = view.x - centre[0], view.y - centre[1]
    along, across = (
        np.array([np.cos(angle), np.sin(angle)]),
        np.array([-np.sin(angle), np.cos(angle)]),
    )
    u, v = dx * along[0] + dy * along[1], dx * across[0] + dy * across[1]
    inside = (u / radii[0])[..., None] ** 2 + (v / radii[1])[..., None] ** 2
    counted = (inside + (depth / radii[2]) ** 2 < 1).sum(-1) * 0.01
    assert chest._chord(view, centre, radii, angle) == pytest.approx(counted, abs=0.03)


def test_volume_of_a_tube_and_of_one_thinner_than_a_pixel():
    view = view_of(224)
    for radius, error in ((0.8, 0.02), (0.05, 0.1)):
        start, end = np.array([[-4.0, -3.0]]), np.array([[3.0, 4.0]])
        drawn = chest._tubes(view, start, end, np.array([radius]))
        length = np.hypot(7, 7)
        # Round ends: two half balls, flattened to the drawn width where the tube is thin.
        wide = max(radius, 0.6 * view.pixel)
        volume = np.pi * radius**2 * length + 4 / 3 * np.pi * wide * radius**2
        assert drawn.sum() * view.pixel**2 == pytest.approx(volume, rel=error)


def test_a_tube_that_leaves_the_film_is_cut_off():
    view = view_of(64)
    drawn = chest._tubes(view, np.array([[0.0, 0.0]]), np.array([[60.0, 0.0]]), np.array([1.0]))
    assert drawn[:, :20].max() == 0
    assert drawn[24:40, -1].max() > 1.5


@pytest.mark.parametrize("number", range(6))
def test_beams_through_a_chest_are_physical(number):
    rng = np.random.default_rng([number, 1])
    view = view_of(96)
    integral, lungs, vessels = chest.Chest(rng, "MF"[number % 2]).project(view, chest.Texture(rng))
    assert integral.dtype == lungs.dtype == vessels.dtype == np.float32
    assert integral.min() == 0
    assert integral.max() < 10
    assert 12 < lungs.max() < 24  # cm
    air = lungs.sum() * view.pixel**2 / 1000
    assert 3 < air < 9  # litres: an adult's lungs, breathed in
    middle = (np.abs(view.x) < 1) & (np.abs(view.y) < 8)
    side = (np.abs(np.abs(view.x) - 8) < 2) & (np.abs(view.y) < 4)
    assert np.median(integral[middle]) > np.median(integral[side]) + 1


def test_texture_moves_with_the_patient():
    texture = chest.Texture(np.random.default_rng(0))
    view = view_of(128)
    moved = dataclasses.replace(view, x=view.x + 40.0)  # one period
    assert np.corrcoef(texture.at(view, 0.5).ravel(), texture.at(moved, 0.5).ravel())[0, 1] > 0.99
    assert np.corrcoef(texture.at(view, 0.5).ravel(), texture.at(view, 0.5, 1).ravel())[0, 1] < 0.3


def test_a_film_looks_the_same_at_any_size():
    large, small = phantom.draw_film(0, 5, 0, size=256), phantom.draw_film(0, 5, 0, size=64)
    shrunk = large.reshape(64, 4, 64, 4).mean((1, 3))
    assert np.corrcoef(shrunk.ravel(), small.ravel())[0, 1] > 0.97


@pytest.mark.parametrize(
    ("arguments", "size", "word"),
    [
        ((-1, 0, 0), 64, "seed -1"),
        ((0, -2, 0), 64, "number -2"),
        ((0, 0, -3), 64, "visit -3"),
        ((0, 0, 0), 31, "size 31"),
    ],
)
def test_bad_requests_are_named(arguments, size, word):
    with pytest.raises(ValueError, match=word):
        phantom.draw_film(*arguments, size=size)


@pytest.mark.parametrize(("rows", "columns"), [(0, 6), (5, 6), (4, 0)])
def test_a_sheet_has_one_to_four_classes(rows, columns):
    with pytest.raises(ValueError, match=f"{rows} x {columns}"):
        phantom.contact_sheet(rows, columns)
