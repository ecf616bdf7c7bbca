"""The claims of the effective number: against its formulas written out, and at its ends."""

import numpy as np
import pytest

from trainer.evaluation import effective
from trainer.evaluation.effective import Sums


def sums(size, right):
    """Groups with so many images, so many of them right."""
    size, right = np.asarray(size, float), np.asarray(right, float)
    return Sums(size, right, right)


def by_hand(size, right):
    """n* group by group, image by image."""
    values = [[1] * hits + [0] * (n - hits) for n, hits in zip(size, right, strict=True)]
    n, m = sum(size), len(size)
    share = sum(right) / n
    q = sum(s * s for s in size) / n
    rho = 1.0
    if m > 1 and n > m:
        between = sum(s * (np.mean(v) - share) ** 2 for s, v in zip(size, values, strict=True))
        within = sum(((np.array(v) - np.mean(v)) ** 2).sum() for v in values)
        msb, msw, s0 = between / (m - 1), within / (n - m), (n - q) / (m - 1)
        if msb + (s0 - 1) * msw > 0:
            rho = min(max((msb - msw) / (msb + (s0 - 1) * msw), 0), 1)
    missed = sum(s > 1 and y < s for s, y in zip(size, right, strict=True))
    hit = sum(s > 1 and y > 0 for s, y in zip(size, right, strict=True))
    informative = min(missed, hit)
    n1 = n / (1 + (q - 1) * (informative * rho + 1) / (informative + 1))
    spread = sum((y - share * s) ** 2 for s, y in zip(size, right, strict=True))
    return min(n1, share * (1 - share) * n * n / spread) if spread else n1


@pytest.mark.parametrize("seed", range(20))
def test_it_is_the_formula_written_out(seed):
    rng = np.random.default_rng(seed)
    size = np.minimum(rng.geometric(0.4, rng.integers(2, 15)), 9)
    right = rng.binomial(size, rng.beta(2, 1, len(size)))
    assert effective.of_share(sums(size, right)) == pytest.approx(by_hand(size, right))


def test_single_images_are_worth_themselves():
    assert effective.of_share(sums(np.ones(17), [1] * 12 + [0] * 5)) == pytest.approx(17)


def test_where_all_are_right_the_groups_count_by_kish():
    size = [5, 2, 1]
    expected = 64 / 30
    assert effective.of_share(sums(size, size)) == pytest.approx(expected)
    assert effective.of_share(sums(size, [0, 0, 0])) == pytest.approx(expected)
    assert effective.kish(np.array(size, float)) == pytest.approx(expected)


def test_the_images_of_one_group_are_worth_one():
    assert effective.of_share(sums([7], [5])) == pytest.approx(1)


def test_groups_that_are_alike_within_are_worth_less_than_mixed_ones():
    size = np.full(12, 4)
    alike = effective.of_share(sums(size, [4, 0] * 6))
    mixed = effective.of_share(sums(size, [2] * 12))
    assert alike == pytest.approx(12, rel=0.05)
    assert mixed > 2 * alike


def test_the_order_and_absent_groups_are_nothing():
    size, right = np.array([3, 1, 6, 2, 2]), np.array([2, 1, 3, 0, 2])
    one = effective.of_share(sums(size, right))
    assert effective.of_share(sums(size[::-1], right[::-1])) == pytest.approx(one)
    assert effective.of_share(sums([*size, 0, 0], [*right, 0, 0])) == pytest.approx(one)


def test_many_denominators_are_those_of_each():
    rng = np.random.default_rng(1)
    size = rng.integers(0, 5, (6, 4, 9))
    right = rng.binomial(size, 0.7)
    at_once = effective.of_share(sums(size, right))
    for at in np.ndindex(6, 4):
        assert at_once[at] == pytest.approx(effective.of_share(sums(size[at], right[at])))
    assert np.isnan(effective.of_share(sums([0, 0], [0, 0])))


def test_sums_of_groups_are_weighted_sums_over_images():
    weights, values = np.array([[1, 0.5, 0, 1]]), np.array([[1, 0.5, 1, 0]])
    groups = np.array([2, 0, 1, 0])
    of = Sums.of_groups(weights, values, groups)
    np.testing.assert_allclose(of.size, [[1.5, 0, 1]])
    np.testing.assert_allclose(of.total, [[0.25, 0, 1]])
    np.testing.assert_allclose(of.squares, [[0.125, 0, 1]])
    assert of.groups == [2]
    assert of.mean == pytest.approx(0.5)


def test_a_mean_of_equal_shares_has_the_variance_of_all_images():
    assert effective.of_mean(np.full(4, 3.0)) == pytest.approx(12)
    assert effective.of_mean(np.array([[50, 5], [8, 8]])) == pytest.approx([4 / 0.22, 16])


def test_a_weight_below_one_is_never_worth_more_than_its_image():
    half = effective.of_share(Sums(*np.array([[0.5, 0.5, 0.5], [0.5, 0, 0.5], [0.5, 0, 0.5]])))
    assert 0 < half <= 1.5


def test_groups_in_one_share_each_leave_a_mean_as_it_is():
    apart = sums([[1, 2, 2, 0, 0], [0, 0, 0, 3, 2]], [[1, 0, 2, 0, 0], [0, 0, 0, 3, 1]])
    assert effective.shared_between(apart) == 1


def test_groups_that_err_in_all_shares_count_as_often_as_there_are_shares():
    right = [1, 1, 0, 1, 0, 2]
    size = [1, 2, 1, 1, 2, 2]
    for classes in (2, 4):
        together = sums([size] * classes, [right] * classes)
        assert effective.shared_between(together) == pytest.approx(classes)


def test_what_shared_groups_add_is_the_formula_written_out():
    right, size = [[1, 0, 2], [2, 1, 0]], [[2, 1, 2], [2, 2, 1]]
    parts = [
        [(y - sum(r) / sum(s) * n) / sum(s) for y, n in zip(r, s, strict=True)]
        for r, s in zip(right, size, strict=True)
    ]
    apart = sum(part**2 for of_class in parts for part in of_class)
    together = sum(sum(of_group) ** 2 for of_group in zip(*parts, strict=True))
    assert effective.shared_between(sums(size, right)) == pytest.approx(max(1, together / apart))
    # Who errs in one class only makes a mean more certain, of which no interval takes advantage.
    assert effective.shared_between(sums([[1] * 3] * 2, [[1, 0, 1], [0, 1, 0]])) == 1


def test_where_all_are_right_nothing_is_known_of_it():
    assert effective.shared_between(sums([[1, 1], [1, 1]], [[1, 1], [1, 1]])) == 1
