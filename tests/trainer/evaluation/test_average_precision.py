"""The claims of average precision: scikit-learn's values, true derivatives, both sides count."""

import numpy as np
import pytest
from sklearn import metrics

from tests.trainer.evaluation.test_areas import ranked
from trainer.evaluation.average_precision import limits_of, precision

_OTHERS = 10**6  # from here on, groups of the negatives alone


def limits(own, others, groups_own, groups_others):
    return limits_of(precision(own, others), np.float64(len(own)), groups_own, groups_others)[0]


def alone(own, others):
    """Every image of a patient of its own."""
    return limits(own, others, np.arange(len(own)), _OTHERS + np.arange(len(others)))


def weighted(own, others, weights_own, weights_others) -> float:
    """Scikit-learn's, with as many positives and negatives as without weights."""
    sides = (weights_own * len(own) / weights_own.sum(), weights_others)
    labels = np.repeat([1, 0], (len(own), len(others)))
    scores = np.concatenate((own, others))
    return metrics.average_precision_score(labels, scores, sample_weight=np.concatenate(sides))


@pytest.mark.parametrize("ties", [None, 2])
def test_the_value_is_that_of_scikit_learn(ties):
    own, others = ranked(ties=ties)
    ones = np.ones(30), np.ones(50)
    assert precision(own, others).value == pytest.approx(weighted(own, others, *ones))
    both = precision(np.stack((own, -own)), np.stack((others, -others)))
    for place, of in enumerate((precision(own, others), precision(-own, -others))):
        for found, wanted in zip(both, of, strict=True):
            np.testing.assert_allclose(found[place], wanted)


@pytest.mark.parametrize("ties", [None, 2])
def test_what_an_image_adds_is_the_derivative_by_its_weight(ties):
    own, others = ranked(positives=8, negatives=12, ties=ties)
    of, little = precision(own, others), 1e-6
    for place in range(8):
        more = np.ones(8)
        more[place] += little
        moved = weighted(own, others, more, np.ones(12)) - of.value
        assert of.positives[place] == pytest.approx(8 * moved / little, abs=1e-4)
    for place in range(12):
        more = np.ones(12)
        more[place] += little
        moved = weighted(own, others, np.ones(8), more * 12 / more.sum()) - of.value
        assert of.negatives[place] == pytest.approx(12 * moved / little, abs=1e-4)
    more = np.append(np.ones(12), little)
    moved = weighted(own, np.append(others, 99), np.ones(8), more * 12 / more.sum()) - of.value
    assert of.foremost == pytest.approx(12 * moved / little, abs=1e-4)


def test_few_negatives_make_it_wide_where_all_are_below():
    own = np.arange(1, 201) / 200
    few, many = (alone(own, np.linspace(-1, 0, count)) for count in (3, 300))
    assert few.value == few.high == many.value == many.high == 1
    of_positives_alone = 0.025 ** (1 / 200)
    assert few.low < many.low - 0.01 < many.low < of_positives_alone
    assert many.low == pytest.approx(of_positives_alone, abs=0.01)


@pytest.mark.parametrize("side", ["positives", "negatives"])
def test_images_of_fewer_patients_make_it_wider(side):
    own, others = ranked()
    groups = {"positives": np.arange(30), "negatives": _OTHERS + np.arange(50)}
    apart = limits(own, others, *groups.values())
    order = np.argsort(own if side == "positives" else others)  # alike within a patient
    groups[side][order] = groups[side][order] // 10
    together = limits(own, others, *groups.values())
    assert together.high - together.low > 1.1 * (apart.high - apart.low)


def test_persons_on_both_sides_count_once():
    """A person whose images are high in both classes, or low in both, is one draw, not two."""
    rng = np.random.default_rng(0)
    person = rng.normal(0, 1, 40)
    own, others = person + 0.5, person
    shared = limits(own, others, np.arange(40), np.arange(40))
    apart = alone(own, others)
    assert shared.high - shared.low >= apart.high - apart.low


def test_one_patient_of_a_side_gives_limits_all_the_same():
    own, others = ranked(positives=5, negatives=50)
    of = limits(own, others, np.zeros(5, int), _OTHERS + np.arange(50))
    assert 0 <= of.low < of.value <= of.high <= 1
