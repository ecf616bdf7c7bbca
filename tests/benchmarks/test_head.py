"""The benchmark runs to its line on a few rows; no time is judged."""

import pytest

from benchmarks import head
from trainer.run.libraries import keras_settings


@pytest.mark.slow
def test_the_claim_is_against_the_fastest_way_of_keras():
    with keras_settings():
        line = head.measure(images=40, units=4, epochs=1, rounds=1)
    assert len(line["figures"]) == 5 and len(line["ratios"]) == 4
    assert all(figure["median"] > 0 for figure in line["figures"].values())
    (claim,) = line["claims"].values()
    assert claim["measured"] == min(ratio["median"] for ratio in line["ratios"].values())
