"""The claims of the limits of a loss: the gamma quantiles of SciPy, Student's t, and the bound."""

import numpy as np
import pytest
from scipy import stats

from trainer.evaluation.losses import mean_loss

BOUND = 16.118


def test_without_a_miss_the_low_limit_is_students_t_and_the_high_one_holds_one_miss():
    rest = np.random.default_rng(0).uniform(0, 0.5, 40)
    ones = np.ones(40)
    value, low, high = mean_loss(ones, 0 * ones, rest, 4.0, BOUND)
    t = stats.t.interval(0.95, 39, rest.mean(), stats.sem(rest))
    assert (value, low) == pytest.approx((rest.mean(), t[0]))
    unseen = stats.expon.ppf(0.975) * 4.0 / 40  # a gamma of one event
    assert high == pytest.approx(value + np.hypot(t[1] - value, unseen))


def test_equal_misses_alone_have_the_exact_limits_of_a_poisson_count():
    missed = np.where(np.arange(50) < 6, 2.0, 0.0)
    value, low, high = mean_loss(np.ones(50), missed, np.zeros(50), 2.0, BOUND)
    assert value == pytest.approx(6 * 2 / 50)
    assert low == pytest.approx(stats.chi2.ppf(0.025, 12) / 2 * 2 / 50)  # Garwood 1936
    assert high == pytest.approx(stats.chi2.ppf(0.975, 14) / 2 * 2 / 50)


def test_limits_hold_the_value_and_stay_within_the_bound():
    rng = np.random.default_rng(1)
    for groups in (1, 2, 5, 60):
        size = rng.integers(1, 5, groups).astype(float)
        missed = rng.exponential(2, groups) * (rng.random(groups) < 0.3)
        value, low, high = mean_loss(size, missed, rng.random(groups), 9.0, BOUND)
        assert 0 <= low <= value <= high <= BOUND
    assert mean_loss(np.ones(1), np.zeros(1), np.full(1, 0.2), 3.0, BOUND).high == BOUND


def test_images_of_the_same_groups_narrow_nothing():
    rest, missed = np.random.default_rng(2).random((2, 30))
    once = mean_loss(np.ones(30), missed, rest, 5.0, BOUND)
    four = mean_loss(np.full(30, 4.0), 4 * missed, 4 * rest, 5.0, BOUND)
    assert four == pytest.approx(once)


def test_many_data_sets_are_those_of_each():
    rest, missed = np.random.default_rng(3).random((2, 6, 30))
    missed[2] = 0
    size, worst = np.random.default_rng(4).integers(1, 4, (6, 30)) * 1.0, np.arange(1.0, 7)
    at_once = mean_loss(size, missed, rest, worst, BOUND)
    for i in range(6):
        one = mean_loss(size[i], missed[i], rest[i], worst[i], BOUND)
        assert [each[i] for each in at_once] == pytest.approx(one)
