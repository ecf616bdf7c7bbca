"""The claims of tuning.layout: the order of trials, the scale of an axis, places of labels."""

import itertools
import math

import numpy as np
import pytest

from tuning import layout
from tuning.plots import Axis, Point

VIEWS = Axis("augmentation", False, ("none", "radiograph+gamma+noise", "article"))
ONE = Axis("optimizer", False, ("adam",))


def scored(*scores):
    return [Point(number, {"x": number}, score, None) for number, score in enumerate(scores)]


def test_good_trials_come_first():
    points = scored(0.5, None, 0.9, math.nan, 0.7)
    assert [p.number for p in layout.good_first(points, "max")] == [2, 4, 0]
    assert [p.number for p in layout.good_first(points, "min")] == [0, 4, 2]


@pytest.mark.parametrize("direction", ["max", "min"])
def test_equal_trials_stay_in_their_order(direction):
    points = scored(0.5, 0.5, 0.5)[::-1]
    assert [p.number for p in layout.good_first(points, direction)] == [2, 1, 0]


LOG, LINEAR = Axis("x", True, ()), Axis("x", False, ())
SIXTHS = {"0": 0, **{f"0.{i}": i / 6 for i in range(1, 7)}}
EVERY_OTHER = ("1e-09", "1e-07", "1e-05", "1e-03", "1e-01", "1e+01")
DECADES = {"1e-05": 0, "1e-04": 1 / 3, "1e-03": 2 / 3, "1e-02": 1}


@pytest.mark.parametrize(
    ("axis", "values", "expected"),
    [
        (LOG, [256, 64, 128, 64], {"64": 0, "128": 0.5, "256": 1}),
        (LINEAR, [0, 1, 4], {"0": 0, "1": 0.25, "4": 1}),
        (LOG, [3.2e-5, 1.234e-3, 7.7e-3], DECADES),
        (LOG, [1e-5, 1e-2], {"1e-05": 0, "1e-02": 1}),
        (
            LOG,
            [3.3e-9, 0.123],
            dict(zip(EVERY_OTHER, (0, 0.2, 0.4, 0.6, 0.8, 1), strict=True)),
        ),
        (LOG, [0.0123456, 0.0876], {"0.01": 0, "0.02": 0.30103, "0.05": 0.69897, "0.1": 1}),
        (LINEAR, [0.512345, 0.03111], SIXTHS),
        (LINEAR, list(range(33, 500)), {str(x): x / 500 for x in range(0, 501, 100)}),
        (LINEAR, [0.1, 0.101, 0.9], None),  # two ticks would be one over the other
        (LINEAR, [0.900012, 0.900013], None),
        (LOG, [1.02345, 1.03456], None),
        (LINEAR, [0.87312345], {"0.8731": 0.5}),
        (LINEAR, [-12.3456789, 400.2], None),
        (LINEAR, [0], {"0": 0.5}),
        (VIEWS, ["article"], {"none": 0, "radiograph+\ngamma+noise": 0.5, "article": 1}),
        (ONE, ["adam"], {"adam": 0.5}),
        (Axis("x", False, ("64", "8", "True")), [8, True], {"64": 0, "8": 0.5, "True": 1}),
    ],
)
def test_the_scale_of_an_axis(axis, values, expected):
    scale = layout.scale_of(axis, values)
    labels, places = scale.labels, scale.places
    assert len(set(labels)) == len(labels) <= 8
    assert all(0 <= scale.at(value) <= 1 for value in values)
    assert places == sorted(places)
    assert min((b - a for a, b in itertools.pairwise(places)), default=1) > 0.07
    if expected is not None:
        shown = dict(zip(labels, places, strict=True))
        assert shown == pytest.approx(expected, abs=1e-5)
    if not axis.choices and len(labels) > 1:
        taken = [scale.at(value) for value in values]
        assert max(taken) - min(taken) > 0.4  # the axis is not mostly empty
        # A label is the number at its place.
        read = [scale.at(float(label)) for label in labels]
        np.testing.assert_allclose(read, places, atol=1e-3)


def test_places_between_the_ticks():
    decades = layout.scale_of(LOG, [3.2e-5, 1.234e-3, 7.7e-3])
    assert decades.at(math.sqrt(1e-3 * 1e-4)) == pytest.approx(0.5)
    assert layout.scale_of(VIEWS, []).at("radiograph+gamma+noise") == 0.5
    assert layout.scale_of(Axis("x", False, ("64", "8")), [8]).at(8) == 1


@pytest.mark.parametrize(
    ("places", "expected"),
    [
        ([0.5], [0.5]),
        ([0, 0.2, 1], [0, 0.2, 1]),
        ([0.5, 0.5], [0.47, 0.53]),
        ([1, 0, 1, 0.5, 1], [0.97, 0, 1, 0.5, 1.03]),
        ([0, 0.04, 0, 0.04], [-0.01, 0.03, 0.01, 0.05]),  # not as far as the neighbours
    ],
)
def test_trials_that_share_a_place_stand_beside_each_other(places, expected):
    assert layout.fanned(places) == pytest.approx(expected)


def test_names_break_behind_their_marks():
    assert layout.wrapped("fine_tune_learning_rate") == "fine_tune_\nlearning_rate"
    assert layout.wrapped("dropout (log)") == "dropout (log)"
    assert layout.wrapped("a" * 20) == "a" * 16 + "\n" + "a" * 4
