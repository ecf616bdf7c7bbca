"""The benchmark runs to its line on a few small images; no time is judged."""

import pytest

from benchmarks import checkpoint
from trainer.config import Config
from trainer.run.libraries import keras_settings


@pytest.mark.slow
def test_each_way_has_two_sides_the_size_of_a_state_a_claim_and_a_ratio(
    data_dir, tmp_path, monkeypatch
):
    tuned = {"epochs": 1, "fine_tune_from": "block5", "fine_tune_epochs": 1}
    ways = {"head": {"epochs": 2}, "block 5 and head": tuned}
    monkeypatch.setattr(checkpoint, "_WAYS", ways)
    config = Config(dataset="tiny", data_dir=data_dir, cache_dir=tmp_path, image_size=32,
                    weights="none", width=0.05)  # fmt: skip
    with keras_settings():
        line = checkpoint.measure(config, rounds=1)
    claims = [f"{way}: share of the time that states leave" for way in ways]
    assert list(line["claims"]) == claims
    assert all(0 < line["claims"][claim]["measured"] < 1 for claim in claims)
    assert list(line["ratios"]) == [f"{way}: with states / without" for way in ways]
    assert line["every"] == 60
    assert line["claims"].keys() == line["spreads"].keys()
    for way, phases in (("head", 1), ("block 5 and head", 2)):
        assert line["figures"][f"{way}, seconds to save a state"]["rounds"] == phases
        assert line["figures"][f"{way}, MB of a state"] > 0
