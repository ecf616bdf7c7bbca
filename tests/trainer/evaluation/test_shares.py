"""The claims of the limits of shares: published values, quantiles of SciPy, and at their ends."""

import numpy as np
import pytest
from scipy import stats

from trainer.evaluation import effective, shares
from trainer.evaluation.effective import Sums
from trainer.evaluation.shares import Limits


def test_jeffreys_limits_are_the_quantiles_of_its_beta():
    value, low, high = shares.jeffreys(0.85, 20.0)
    quantiles = stats.beta(17.5, 3.5).ppf([0.025, 0.975])
    assert (value, low, high) == pytest.approx((0.85, *quantiles))


@pytest.mark.parametrize("n", [1.0, 2.5, 7.0, 400.0])
def test_where_all_are_right_there_is_one_limit(n):
    low = 0.025 ** (1 / n)
    assert shares.jeffreys(1.0, n) == pytest.approx((1, low, 1))
    assert shares.jeffreys(0.0, n) == pytest.approx((0, 0, 1 - low))


def test_where_all_are_right_the_limit_is_the_exact_one():
    """Of Clopper and Pearson."""
    exact = stats.binomtest(9, 9).proportion_ci(0.95, method="exact")
    assert shares.jeffreys(1.0, 9.0).low == pytest.approx(exact.low)


def test_limits_hold_the_value_and_narrow_with_n():
    share = np.linspace(0, 1, 21)[:, None]
    limits = shares.jeffreys(share, np.array([1.0, 1.7, 3, 10, 100, 1e5]))
    value, low, high = limits
    assert ((low >= 0) & (low <= value) & (value <= high) & (high <= 1)).all()
    assert (np.diff(high - low, axis=1) < 0).all()


def test_what_is_not_defined_stays_so():
    assert np.isnan(shares.jeffreys(np.array(np.nan), np.array(np.nan))).all()


def test_a_mean_has_the_limits_of_mover():
    limits = Limits(np.array([0.9, 0.6]), np.array([0.8, 0.3]), np.array([0.95, 0.8]))
    mean = shares.mean(limits)
    assert mean.value == pytest.approx(0.75)
    assert mean.low == pytest.approx(0.75 - np.hypot(0.1, 0.3) / 2)
    assert mean.high == pytest.approx(0.75 + np.hypot(0.05, 0.2) / 2)


def test_balanced_accuracy_has_the_limits_of_mover():
    sensitivity, n = np.array([0.9, 0.4]), np.array([100.0, 5.0])
    expected = shares.mean(shares.jeffreys(sensitivity, n))
    assert np.array(shares.balanced_accuracy(sensitivity, n)) == pytest.approx(np.array(expected))


def test_its_high_limit_is_no_lower_than_that_of_one_share():
    """Two misses in two of four classes of three images: .948 by MOVER, as one share of 12 .957."""
    sensitivity, n = np.array([1, 1, 2 / 3, 2 / 3]), np.full(4, 3.0)
    balanced = shares.balanced_accuracy(sensitivity, n)
    plain, as_one = shares.mean(shares.jeffreys(sensitivity, n)), shares.jeffreys(10 / 12, 12.0)
    assert balanced.high == pytest.approx(as_one.high)
    assert balanced.low == plain.low
    assert plain.high < 0.95 < balanced.high
    both = shares.balanced_accuracy(np.stack((sensitivity, [0.5, 1, 1, 1])), n)
    assert both.high[0] == pytest.approx(balanced.high)


def test_and_no_higher_than_its_classes_allow():
    sensitivity, n = np.array([0.5, 1.0]), np.array([50.0, 5.0])
    limits = shares.jeffreys(sensitivity, n)
    balanced = shares.balanced_accuracy(sensitivity, n)
    assert balanced.high <= limits.high.mean() + 1e-12
    assert shares.jeffreys(0.75, 400 / 44).high > balanced.high


def ppv(prevalence, sensitivity, specificity, n=(50.0, 200.0)):
    both = (
        shares.jeffreys(each, of) for each, of in zip((sensitivity, specificity), n, strict=True)
    )
    return shares.ppv_at(prevalence, *both)


def test_ppv_is_bayes_rule_within_its_limits():
    value, low, high = ppv(0.05, 0.9, 0.8)
    assert value == pytest.approx(0.045 / (0.045 + 0.19))
    assert 0 < low < value < high < 1
    more = ppv(0.05, 0.9, 0.8, (500.0, 2000.0))
    assert low < more.low < value < more.high < high


def test_the_ratio_of_ppv_is_that_of_the_published_formula():
    """Donner & Zou 2012, with the root's plain numerator."""
    b, low_b, high_b = shares.jeffreys(0.9, 50.0)
    a, low_a, high_a = shares.jeffreys(0.2, 200.0)
    root = np.sqrt((a * b) ** 2 - low_a * high_b * (2 * a - low_a) * (2 * b - high_b))
    least = (a * b - root) / (high_b * (2 * b - high_b))
    root = np.sqrt((a * b) ** 2 - high_a * low_b * (2 * a - high_a) * (2 * b - low_b))
    most = (a * b + root) / (low_b * (2 * b - low_b))
    assert ppv(0.3, 0.9, 0.8).high == pytest.approx(0.3 / (0.3 + 0.7 * least))
    assert ppv(0.3, 0.9, 0.8).low == pytest.approx(0.3 / (0.3 + 0.7 * most))


def test_a_specificity_that_was_measured_as_1_leaves_the_ppv_a_low_limit():
    value, low, high = ppv(0.01, 0.9, 1.0)
    assert value == high == 1
    assert 0 < low < 0.5
    assert ppv(0.01, 1.0, 0.9).low > 0
    assert np.isnan(ppv(0.01, 0.0, 0.9)).all()
    # A sensitivity of half its high limit makes 0 / 0 of the formula as it is printed.
    half = Limits(np.array(0.25), np.array(0.05), np.array(0.5))
    assert np.isfinite(shares.ppv_at(0.1, half, shares.jeffreys(0.9, 30.0))).all()


def test_estimates_that_err_together_have_limits_that_add_up():
    limits = Limits(np.array([0.9, 0.6]), np.array([0.8, 0.3]), np.array([0.95, 0.8]))
    apart, half, together = (shares.mean(limits, times) for times in (1.0, 1.5, 2.0))
    assert apart.value == half.value == together.value
    assert together.low < half.low < apart.low and apart.high < half.high <= together.high
    assert half.low == pytest.approx(0.75 - np.sqrt(1.5) * np.hypot(0.1, 0.3) / 2)
    for times in (2.0, 9.0):  # no farther than all limits at once
        assert shares.mean(limits, times).low >= limits.low.mean() - 1e-12
        assert shares.mean(limits, times).high <= limits.high.mean() + 1e-12


@pytest.mark.parametrize("classes", [2, 4])
@pytest.mark.parametrize("images", [1, 3])
def test_persons_with_images_in_all_classes_are_covered(classes, images):
    """40 persons of whom a fifth is called wrong in most images, whatever the class."""
    rng, sets = np.random.default_rng(0), 1500
    chance = np.where(rng.random((sets, 1, 40)) < 0.2, 0.2, 0.98)
    right = rng.binomial(images, np.repeat(chance, classes, axis=1)).astype(float)
    of_classes = Sums(np.full(right.shape, float(images)), right, right)
    n, times = effective.of_share(of_classes), effective.shared_between(of_classes)
    truth = 0.8 * 0.98 + 0.2 * 0.2

    def covered(limits: Limits) -> float:
        return ((limits.low <= truth) & (truth <= limits.high)).mean()

    assert covered(shares.balanced_accuracy(of_classes.mean, n)) < 0.9  # as if they were others
    assert covered(shares.balanced_accuracy(of_classes.mean, n, times)) > 0.93
