"""The benchmark runs to its line on a small head; no time is judged."""

import pytest

from benchmarks import optimizer
from trainer.run.libraries import keras_settings


@pytest.mark.slow
def test_both_sides_of_each_size_are_timed():
    with keras_settings():
        line = optimizer.measure(units=[4, 8], steps=16, rounds=1)
    assert set(line["figures"]) == {
        f"{side}, {units} units, steps/s" for side in ("ours", "keras") for units in (4, 8)
    }
    (claim,) = line["claims"].values()
    assert claim["measured"] == line["ratios"]["4 units"]["median"]
