"""The claims of a paired difference: its value, its symmetry, and a Dirichlet drawn at random."""

import numpy as np
import pytest

from trainer.evaluation import paired
from trainer.evaluation.paired import paired_difference


def width(difference):
    return difference["high"] - difference["low"]


def test_it_is_that_of_the_balanced_accuracies():
    rng = np.random.default_rng(3)
    labels, groups = rng.integers(0, 3, 90), np.arange(90) // 2
    ours, peers = rng.integers(0, 2, 90) * 1.0, rng.random(90).round(1)

    def balanced(right: np.ndarray) -> float:
        return np.mean([right[labels == c].mean() for c in range(3)])

    difference = paired_difference(labels, groups, ours, peers)
    assert difference["value"] == pytest.approx(balanced(ours) - balanced(peers))
    assert difference["low"] < difference["value"] < difference["high"]
    assert (difference["n"], difference["groups"]) == (90, 45)
    back = paired_difference(labels, groups, peers, ours)
    assert (back["low"], back["high"]) == pytest.approx((-difference["high"], -difference["low"]))
    assert back["discordant"] == dict(
        zip(("peers", "ours"), difference["discordant"].values(), strict=True)
    )


def test_what_makes_images_hard_for_both_cancels_out():
    rng = np.random.default_rng(4)
    labels, groups = np.arange(200) % 2, np.arange(200)
    ours = rng.integers(0, 2, 200) * 1.0
    worse = ours.copy()
    worse[:8] = 0  # wrong on a few more images, right on the same others
    close = paired_difference(labels, groups, ours, worse)
    apart = paired_difference(labels, groups, ours, rng.permutation(worse))
    assert width(close) < width(apart) / 2
    assert close["discordant"] == {"ours": int(ours[:8].sum()), "peers": 0}


def test_two_that_agree_on_every_image_still_have_an_interval():
    labels, groups = np.arange(20) % 2, np.arange(20)
    right = (np.arange(20) < 15) * 1.0
    same = paired_difference(labels, groups, right, right)
    assert same["value"] == 0
    assert -0.3 < same["low"] < 0 < same["high"] < 0.3
    assert same["low"] == pytest.approx(-same["high"])
    assert same["discordant"] == {"ours": 0, "peers": 0}


def test_the_quantiles_are_those_of_random_draws():
    ours, theirs, n = np.array(0.2), np.array(0.05), np.array(24.0)
    rng = np.random.default_rng(0)
    draws = rng.dirichlet([0.2 * 24 + 0.5, 0.05 * 24 + 0.5, 0.75 * 24 + 0.5], 400_000)
    expected = np.quantile(draws[:, 0] - draws[:, 1], (0.025, 0.975))
    limits = paired.limits_of(ours, theirs, n)
    assert limits.value == pytest.approx(0.15)
    assert (limits.low, limits.high) == pytest.approx(expected, abs=0.003)


def test_a_difference_of_everything_reaches_its_end():
    limits = paired.limits_of(np.array([1.0, 0.0]), np.array([0.0, 1.0]), np.array([9.0, 9.0]))
    assert (limits.high[0], limits.low[1]) == (1, -1)
    assert limits.low[0] == pytest.approx(-limits.high[1])


@pytest.mark.parametrize("images", [2, 3])
def test_images_of_the_same_groups_narrow_nothing_if_they_agree(images):
    rng = np.random.default_rng(5)
    labels, ours, peers = np.arange(40) % 2, *rng.integers(0, 2, (2, 40)).astype(float)
    once = paired_difference(labels, np.arange(40), ours, peers)
    labels, ours, peers = (np.repeat(each, images) for each in (labels, ours, peers))
    several = paired_difference(labels, np.repeat(np.arange(40), images), ours, peers)
    assert several["value"] == pytest.approx(once["value"])
    assert width(several) > 0.95 * width(once)
    strangers = paired_difference(labels, np.arange(40 * images), ours, peers)
    assert width(strangers) < 1.2 / images**0.5 * width(once)


def test_only_groups_of_several_images_say_whether_images_of_a_group_are_alike():
    rng = np.random.default_rng(6)
    pairs = paired_difference(
        np.zeros(200, int), np.arange(200) // 2, *rng.integers(0, 2, (2, 200)).astype(float)
    )
    assert 170 < pairs["n_effective"] <= 200  # drawn apart, and there are enough of them to say so
    groups, ours = np.array([0, 0, 1, 2, 3, 4, 5, 6]), np.array([1.0, 0, 1, 0, 1, 0, 1, 0])
    one_pair = paired_difference(np.zeros(8, int), groups, ours, 1 - ours)
    # One pair is half of what is needed for a correlation of 0, however many images are single.
    mean_size = (6 * 1 + 1 * 2**2) / 8
    assert one_pair["n_effective"] == pytest.approx(8 / (1 + (mean_size - 1) / 2))


def test_persons_in_several_classes_widen_it():
    rng = np.random.default_rng(5)
    of_person = rng.choice([1.0, -1.0, 0.0], p=[0.2, 0.2, 0.6], size=50)
    labels, persons = np.repeat(np.arange(4), 50), np.tile(np.arange(50), 4)
    ours, peers = (np.tile(each, 4) for each in (of_person.clip(0), (-of_person).clip(0)))
    same = paired_difference(labels, persons, ours, peers)
    others = paired_difference(labels, np.arange(200), ours, peers)
    assert same["value"] == others["value"]
    assert width(same) == pytest.approx(2 * width(others), rel=0.1)
    assert same["n_effective"] == pytest.approx(others["n_effective"] / 4, rel=0.1)
