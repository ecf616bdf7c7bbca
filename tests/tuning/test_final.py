"""What the closing comparison says of what it found."""

import pytest

from trainer.config import Config
from tuning import final


def found(low: float, high: float) -> dict:
    estimate = {"value": (low + high) / 2, "low": low, "high": high, "n": 270}
    side = {"balanced_accuracy": {"value": 0.8, "low": 0.7, "high": 0.9}, "folds": {"sd": 0.01},
            "epochs": 7}  # fmt: skip
    floor = {"mean": 0.7, "sd": 0.02}
    return {"best": side, "default": side, "difference": estimate, "folds": 5,
            "floor": {"whole_film": floor, "lungs_removed": floor}}  # fmt: skip


@pytest.mark.parametrize(
    ("low", "high", "verdict"),
    [(0.01, 0.05, ""), (-0.02, 0.05, "has not shown a gain"), (-0.09, -0.01, "keep them")],
)
def test_the_verdict_follows_from_the_interval(low, high, verdict):
    text = final.text(found(low, high))
    assert f"[{low:+.3f}, {high:+.3f}]   paired" in text
    for words in ("has not shown a gain", "keep them"):
        assert (words in text) == (words == verdict)


def test_a_fold_ends_where_the_search_kept_the_trial():
    config = Config(epochs=40, early_stopping=3)
    assert final.at_epoch(config, 12.4) == Config(epochs=12)
    assert final.at_epoch(config, None) == config
    tuned = Config(fine_tune_from="block5")
    assert final.at_epoch(tuned, 3.0) == tuned
