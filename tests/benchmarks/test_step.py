"""The benchmark runs to its line on a few small images; no time is judged."""

import pytest

from benchmarks import step
from trainer.config import Config
from trainer.run.libraries import keras_settings


@pytest.mark.slow
def test_each_way_has_a_real_and_a_resident_side_and_a_claim(data_dir, tmp_path):
    config = Config(dataset="tiny", data_dir=data_dir, cache_dir=tmp_path, image_size=32,
                    weights="none", width=0.05)  # fmt: skip
    with keras_settings():
        line = step.measure(config, rounds=1)
    ways = ("on the fly", "cached, head", "cached, block 5 and head")
    assert list(line["figures"]) == [
        f"{way}, {side}, images/s" for way in ways for side in ("real", "resident")
    ]
    assert all(figure["median"] > 0 for figure in line["figures"].values())
    assert list(line["claims"]) == [f"{way}: share of the resident step's speed" for way in ways]
    assert line["claims"].keys() == line["spreads"].keys()
