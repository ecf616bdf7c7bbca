"""The claims of confounding: when the source gives the class away."""

import numpy as np
import pytest

from tests.helpers.predictions import NAMES
from trainer.evaluation.confounding import confounding


def v(labels, sources):
    return confounding(labels, sources, NAMES)["cramers_v"]


def test_cramers_v_is_that_of_its_definition():
    rng = np.random.default_rng(2)
    labels = rng.integers(0, 4, 300)
    sources = np.where(rng.random(300) < 0.4, labels % 3, rng.integers(0, 3, 300))
    counts = np.zeros((4, 3))
    np.add.at(counts, (labels, sources), 1)
    expected = counts.sum(axis=1, keepdims=True) * counts.sum(axis=0) / 300
    chi_squared = ((counts - expected) ** 2 / expected).sum()
    named = [f"s{i}" for i in sources]
    assert v(labels, named) == pytest.approx(np.sqrt(chi_squared / 300 / 2))


def test_cramers_v_at_its_ends():
    labels = [0, 0, 1, 1, 2, 3]
    assert v(labels, ["k", "k", "c", "c", "k", "k"]) == pytest.approx(1)
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
        "cramers_v": pytest.approx(1),
        "confounded": True,
    }


@pytest.mark.parametrize(
    ("labels", "sources", "confounded"),
    [
        ([0, 0, 1, 1], "kkkk", False),
        ([0, 0, 1, 1], "kckc", False),
        ([1, 1], "kc", False),
        ([0] * 20 + [1] * 20, "k" * 13 + "c" * 7 + "k" * 7 + "c" * 13, True),  # V = .3
        ([0] * 20 + [1] * 20, "k" * 12 + "c" * 8 + "k" * 8 + "c" * 12, False),  # V = .2
    ],
)
def test_confounded_is_an_association_of_3_tenths(labels, sources, confounded):
    assert confounding(labels, list(sources), NAMES)["confounded"] is confounded


def test_one_class_with_its_own_source_is_confounded_however_small_v_is():
    labels = [0] * 13 + [c for c in range(1, 14) for _ in range(13)]
    sources = ["own"] * 13 + [f"shared{i}" for _ in range(13) for i in range(13)]
    result = confounding(labels, sources, [f"class{c}" for c in range(14)])
    assert result["cramers_v"] == pytest.approx(1 / np.sqrt(13))
    assert result["confounded"]


def test_confounding_refuses_what_does_not_fit():
    with pytest.raises(ValueError, match="one name per label"):
        confounding([0, 4], ["k", "c"], NAMES)
    for labels, sources in (([0, 1], ["k"]), ([], [])):
        with pytest.raises(ValueError, match="one source per label"):
            confounding(labels, sources, NAMES)
