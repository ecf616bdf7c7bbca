"""The claims of the areas: scikit-learn's values, DeLong's variance, wider with fewer groups."""

import numpy as np
import pytest
from sklearn import metrics

from trainer.evaluation import areas


def ranked(seed=0, positives=30, negatives=50, shift=1.5, ties=None):
    rng = np.random.default_rng(seed)
    own, others = rng.normal(shift, 1, positives), rng.normal(0, 1, negatives)
    return (
        (own, others)
        if ties is None
        else (np.round(own * ties) / ties, np.round(others * ties) / ties)
    )


_OTHERS = 10**6  # from here on, groups of the negatives alone


def area_of(own, others, groups_own=None, groups_others=None):
    above, below = areas.placements(own, others), 1 - areas.placements(others, own)
    own_groups = np.arange(len(own)) if groups_own is None else groups_own
    other_groups = np.arange(len(others)) if groups_others is None else groups_others
    return areas.roc_area(above, below, own_groups, _OTHERS + other_groups)


@pytest.mark.parametrize("ties", [None, 2])
def test_values_are_those_of_scikit_learn(ties):
    own, others = ranked(ties=ties)
    labels, scores = np.r_[np.ones(30), np.zeros(50)], np.r_[own, others]
    area = area_of(own, others)
    assert area.limits.value == pytest.approx(metrics.roc_auc_score(labels, scores))


def test_placements_count_pair_by_pair():
    own, others = ranked(ties=2)
    pairs = (own[:, None] > others) + 0.5 * (own[:, None] == others)
    np.testing.assert_allclose(areas.placements(own, others), pairs.mean(axis=1))
    both = areas.placements(np.stack((own, -own)), np.stack((others, -others)))
    np.testing.assert_allclose(both[0], pairs.mean(axis=1))


def test_independent_images_have_newcombes_interval():
    """The roots of its equation, where DeLong's variance does not ask for more."""
    own, others = ranked(positives=40, negatives=40, seed=3)
    (value, low, high), positives, n = area_of(own, others)
    assert (positives, n) == pytest.approx((40, 40), rel=0.1)
    for end in (low, high):
        q = (1 - end) / (2 - end) + end / (1 + end)
        variance = end * (1 - end) / n**2 * (1 + (n - 1) * q)
        assert abs(value - end) == pytest.approx(1.959964 * np.sqrt(variance), rel=1e-4)


def test_the_interval_is_no_narrower_than_delongs_variance():
    # Positives in two heaps: far above all negatives, and in their midst.
    own, others = np.r_[np.full(20, 9.0), np.full(10, 0.0)], ranked(negatives=300)[1]
    (_, low, high), _, n = area_of(own, others)
    assert n < 30
    deviation = areas.placements(own, others).std(ddof=1) / np.sqrt(30)
    assert high - low > 2 * 1.96 * deviation * 0.95


def test_images_of_one_group_widen_it():
    own, others = ranked()
    apart = area_of(own, others).limits
    together = area_of(np.repeat(own[:10], 3), others, np.repeat(np.arange(10), 3)).limits
    alone = area_of(own[:10], others).limits
    assert together.high - together.low > apart.high - apart.low
    assert together.low == pytest.approx(alone.low, abs=0.02)


def test_a_perfect_ranking_has_a_low_limit():
    own, others = np.full(6, 2.0), np.zeros(60)
    (value, low, high), *_ = area_of(own, others)
    assert (value, high) == (1, 1)
    assert 0.5 < low < 0.99
    assert area_of(own, others, np.zeros(6, int)).limits.low < low
    (value, low, high), *_ = area_of(-own, others)
    assert (value, low) == (0, 0)
    assert high < 0.5


def test_many_rankings_are_those_of_each():
    tables = [ranked(seed) for seed in range(5)]
    own, others = (np.stack(each) for each in zip(*tables, strict=True))
    groups = np.arange(30) // 2, np.arange(50) // 3
    at_once = areas.roc_area(
        areas.placements(own, others), 1 - areas.placements(others, own), groups[0],
        _OTHERS + groups[1],
    )  # fmt: skip
    for i, table in enumerate(tables):
        one = area_of(*table, *groups)
        assert [each[i] for each in at_once.limits] == pytest.approx(np.array(one.limits))


def test_persons_on_both_sides_are_covered():
    """100 persons with an image on each side; both images of a fifth look like the other side."""
    rng, sets, persons = np.random.default_rng(0), 300, np.arange(100)

    def ranked_persons(sets: int, count: int):
        like = np.where(rng.random((sets, count)) < 0.2, -1.0, 1.0)
        own = rng.normal(size=(sets, count)) + like
        others = rng.normal(size=(sets, count)) - like
        return areas.placements(own, others), 1 - areas.placements(others, own)

    truth = ranked_persons(100, 400)[0].mean()
    above, below = ranked_persons(sets, 100)
    covered = [
        ((limits.low <= truth) & (truth <= limits.high)).mean()
        for limits in (
            areas.roc_area(above, below, persons, persons + apart).limits for apart in (0, _OTHERS)
        )
    ]
    assert covered[0] > 0.92 > covered[1]
