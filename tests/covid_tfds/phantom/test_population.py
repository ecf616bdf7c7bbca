"""Synthetic patients: classes take turns, and the controls bear the markers of other classes."""

import collections

import numpy as np
import pytest

from covid_tfds import phantom
from covid_tfds.records import LABELS


def people(numbers: range) -> list[phantom.Patient]:
    return [phantom.patient(0, number) for number in numbers]


def controls(numbers: range) -> list[phantom.Patient]:
    return [who for who in people(numbers) if phantom.is_control(who)]


def test_classes_take_turns_and_some_patients_return():
    population = people(range(400))
    assert [who.label for who in population[:4]] == list(LABELS)
    assert {who.images for who in population} == {1, 2}
    assert 0.35 < np.mean([who.images == 2 for who in population]) < 0.55
    assert {who.sex for who in population} == {"M", "F"}
    assert all(18 <= who.age < 90 for who in population)
    assert len({who.key for who in population}) == 400


def test_patients_are_those_of_version_1():
    described = [(who.key, who.images, who.sex, who.age) for who in people(range(4))]
    assert described == [
        ("phantom-000000", 1, "F", 37.0),
        ("phantom-000001", 1, "F", 58.0),
        ("phantom-000002", 2, "M", 46.0),
        ("phantom-000003", 1, "F", 79.0),
    ]


@pytest.mark.parametrize("patients", [40, 80, 400, 4000])
def test_one_patient_of_ten_is_a_control_in_every_class(patients):
    counted = collections.Counter(who.label for who in controls(range(patients)))
    assert counted == dict.fromkeys(LABELS, patients // 40)


def test_controls_are_spread_over_their_ten():
    places = collections.Counter(who.number // 4 % 10 for who in controls(range(8000)))
    assert set(places) == set(range(10))
    assert max(places.values()) < 2 * min(places.values())


def test_a_patient_is_a_control_whatever_the_seed_and_however_many_there_are():
    few = [who.number for who in controls(range(400))]
    assert [who.number for who in controls(range(1000)) if who.number < 400] == few
    assert [n for n in range(400) if phantom.is_control(phantom.patient(9, n))] == few
    backwards = [who.number for who in controls(range(399, -1, -1))]
    assert backwards == few[::-1]


@pytest.mark.parametrize("patients", [120, 1200])
def test_controls_of_a_class_bear_each_other_class_s_marker_equally_often(patients):
    borne = collections.Counter((w.label, phantom.control_marker(w)) for w in controls(
        range(patients)))  # fmt: skip
    pairs = [(own, other) for own in LABELS for other in LABELS if other != own]
    assert borne == dict.fromkeys(pairs, patients // 120)


def test_no_patient_s_control_marker_is_that_of_its_own_class():
    assert all(phantom.control_marker(who) != who.label for who in people(range(2000)))


def test_in_the_smallest_control_split_each_marker_is_there_once():
    """Else a class could be guessed from a marker's frequency."""
    assert sorted(map(phantom.control_marker, controls(range(40)))) == sorted(LABELS)
