"""The analytic chest: chords against counted volumes, and where things are."""

import dataclasses

import numpy as np
import pytest

from covid_tfds import phantom
from covid_tfds.phantom import chest


def geometry_of(size: int) -> chest.Geometry:
    return chest.Geometry.posed(size, np.random.default_rng(5))


def test_attenuation_follows_the_tables_of_nist():
    assert pytest.approx([chest._SOFT, chest._LUNG, chest._FAT, chest._BONE], abs=5e-4) == [
        0.2048 * 1.06, 0.2053 * 0.26, 0.1974 * 0.95, 0.3148 * 1.92,
    ]  # fmt: skip


def test_chord_of_an_ellipsoid_is_what_marching_along_the_beam_counts():
    geometry = geometry_of(48)
    centre, radii, angle = (2.0, -3.0), (6.0, 4.0, 5.0), -0.6
    depth = np.arange(-6, 6, 0.01)
    dx, dy = geometry.x - centre[0], geometry.y - centre[1]
    along, across = (
        np.array([np.cos(angle), np.sin(angle)]),
        np.array([-np.sin(angle), np.cos(angle)]),
    )
    u, v = dx * along[0] + dy * along[1], dx * across[0] + dy * across[1]
    inside = (u / radii[0])[..., None] ** 2 + (v / radii[1])[..., None] ** 2
    counted = (inside + (depth / radii[2]) ** 2 < 1).sum(-1) * 0.01
    assert chest._chord(geometry, centre, radii, angle) == pytest.approx(counted, abs=0.03)


def test_volume_of_a_tube_and_of_one_thinner_than_a_pixel():
    geometry = geometry_of(224)
    for radius, error in ((0.8, 0.02), (0.05, 0.1)):
        start, end = np.array([[-4.0, -3.0]]), np.array([[3.0, 4.0]])
        drawn = chest._tubes(geometry, start, end, np.array([radius]))
        length = np.hypot(7, 7)
        # Round ends: two half balls, flattened to the drawn width where the tube is thin.
        wide = max(radius, 0.6 * geometry.pixel)
        volume = np.pi * radius**2 * length + 4 / 3 * np.pi * wide * radius**2
        assert drawn.sum() * geometry.pixel**2 == pytest.approx(volume, rel=error)


def test_a_tube_that_leaves_the_image_is_cut_off():
    geometry = geometry_of(64)
    drawn = chest._tubes(geometry, np.array([[0.0, 0.0]]), np.array([[60.0, 0.0]]), np.array([1.0]))
    assert drawn[:, :20].max() == 0
    assert drawn[24:40, -1].max() > 1.5


@pytest.mark.parametrize("number", range(6))
def test_beams_through_a_chest_are_physical(number):
    rng = np.random.default_rng([number, 1])
    geometry = geometry_of(96)
    integral, lungs, vessels = chest.Chest(rng, "MF"[number % 2]).project(
        geometry, chest.Texture(rng)
    )
    assert integral.dtype == lungs.dtype == vessels.dtype == np.float32
    assert integral.min() == 0
    assert integral.max() < 10
    assert 12 < lungs.max() < 24  # cm
    air = lungs.sum() * geometry.pixel**2 / 1000
    assert 3 < air < 9  # litres: an adult's lungs, breathed in
    middle = (np.abs(geometry.x) < 1) & (np.abs(geometry.y) < 8)
    side = (np.abs(np.abs(geometry.x) - 8) < 2) & (np.abs(geometry.y) < 4)
    assert np.median(integral[middle]) > np.median(integral[side]) + 1


def test_texture_moves_with_the_patient():
    texture = chest.Texture(np.random.default_rng(0))
    geometry = geometry_of(128)
    moved = dataclasses.replace(geometry, x=geometry.x + 40.0)  # one period
    assert (
        np.corrcoef(texture.at(geometry, 0.5).ravel(), texture.at(moved, 0.5).ravel())[0, 1] > 0.99
    )
    assert (
        np.corrcoef(texture.at(geometry, 0.5).ravel(), texture.at(geometry, 0.5, 1).ravel())[0, 1]
        < 0.3
    )


@pytest.mark.parametrize("size", [96, 224])
def test_a_pose_is_where_and_how_large_the_chest_is_in_the_image(size):
    geometry = geometry_of(size)
    pose = geometry.pose
    middle = np.hypot(geometry.x, geometry.y).argmin()
    row, column = np.unravel_index(middle, (size, size))
    assert abs(column - (size - 1) / 2 - pose.shift_x * size) <= 0.5
    assert abs(row - (size - 1) / 2 - pose.shift_y * size) <= 0.5
    assert pose.scale == pytest.approx(35 / size / geometry.pixel)
    assert geometry.x[0, 1] - geometry.x[0, 0] == pytest.approx(
        geometry.pixel * np.cos(pose.angle), abs=1e-4
    )


def test_a_visit_has_the_same_pose_at_any_size():
    seen = [geometry_of(size).pose for size in (64, 300)]
    assert dataclasses.astuple(seen[0]) == pytest.approx(dataclasses.astuple(seen[1]))
    assert phantom.pose(0, 3, 0) == phantom.pose(0, 3, 0) != phantom.pose(0, 3, 1)
