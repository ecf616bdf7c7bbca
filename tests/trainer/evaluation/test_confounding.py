"""The claims of confounding: when the source gives the class away."""

import numpy as np
import pytest

from tests.helpers.predictions import NAMES
from trainer.evaluation.confounding import confounding


def v(labels, sources):
    return confounding(labels, sources, NAMES)["cramers_v"]


def test_cramers_v_is_that_of_its_definition_less_its_bias():
    rng = np.random.default_rng(2)
    labels = rng.integers(0, 4, 300)
    sources = np.where(rng.random(300) < 0.4, labels % 3, rng.integers(0, 3, 300))
    counts = np.zeros((4, 3))
    np.add.at(counts, (labels, sources), 1)
    expected = counts.sum(axis=1, keepdims=True) * counts.sum(axis=0) / 300
    chi_squared = ((counts - expected) ** 2 / expected).sum()
    named = [f"s{i}" for i in sources]
    # Bergsma (2013), equations 4 to 6.
    unbiased = chi_squared / 300 - (4 - 1) * (3 - 1) / 299
    rows, columns = 4 - (4 - 1) ** 2 / 299, 3 - (3 - 1) ** 2 / 299
    assert v(labels, named) == pytest.approx(np.sqrt(unbiased / (min(rows, columns) - 1)))


@pytest.mark.parametrize("images,sources", [(400, 100), (200, 20), (60, 6), (30, 3)])
def test_many_sources_that_tell_nothing_are_rarely_called_confounded(images, sources):
    rng = np.random.default_rng(images)
    drawn = [
        confounding(
            rng.integers(0, 2, images), [f"s{i}" for i in rng.integers(0, sources, images)], NAMES
        )
        for _ in range(100)
    ]
    assert np.mean([each["cramers_v"] for each in drawn]) < 0.15
    assert sum(each["confounded"] for each in drawn) <= 20


def test_cramers_v_at_its_ends():
    labels = [0, 0, 1, 1, 2, 3]
    assert v(labels * 500, ["k", "k", "c", "c", "k", "k"] * 500) == pytest.approx(1, abs=1e-3)
    assert v([0, 1], ["k", "c"]) == 0  # two images show nothing
    assert v([0, 0, 1, 1], ["k", "c", "k", "c"]) == 0
    assert v(labels, ["k"] * 6) == 0
    assert v([1, 1], ["k", "c"]) == 0


def test_confounding_of_two_sources():
    labels, sources = [0, 0, 1, 2], ["kaggle", "kaggle", "cohen", "kaggle"]
    assert confounding(labels, sources, NAMES) == {
        "table": {
            "healthy": {"cohen": 0, "kaggle": 2},
            "covid19": {"cohen": 1, "kaggle": 0},
            "bacterial": {"cohen": 0, "kaggle": 1},
            "viral": {"cohen": 0, "kaggle": 0},
        },
        "cramers_v": pytest.approx(np.sqrt(0.5)),  # of four images
        "confounded": True,
    }


@pytest.mark.parametrize(
    ("labels", "sources", "confounded"),
    [
        ([0, 0, 1, 1], "kkkk", False),
        ([0, 0, 1, 1], "kckc", False),
        ([1, 1], "kc", False),
        ([0] * 40 + [1] * 40, "k" * 27 + "c" * 13 + "k" * 13 + "c" * 27, True),  # V = .33
        ([0] * 40 + [1] * 40, "k" * 25 + "c" * 15 + "k" * 15 + "c" * 25, False),  # V = .23
    ],
)
def test_confounded_is_an_association_of_3_tenths(labels, sources, confounded):
    assert confounding(labels, list(sources), NAMES)["confounded"] is confounded


def test_one_class_with_its_own_source_is_confounded_however_small_v_is():
    labels = [0] * 13 + [c for c in range(1, 14) for _ in range(13)]
    sources = ["own"] * 13 + [f"shared{i}" for _ in range(13) for i in range(13)]
    result = confounding(labels, sources, [f"class{c}" for c in range(14)])
    assert result["cramers_v"] < 0.3
    assert result["confounded"]


def test_confounding_refuses_what_does_not_fit():
    with pytest.raises(ValueError, match="one name per label"):
        confounding([0, 4], ["k", "c"], NAMES)
    for labels, sources in (([0, 1], ["k"]), ([], [])):
        with pytest.raises(ValueError, match="one source per label"):
            confounding(labels, sources, NAMES)
