"""The benchmark runs to its line on a few small images; no time is judged."""

import pytest

from benchmarks import replicas
from trainer.config import Config
from trainer.run.libraries import keras_settings


@pytest.mark.slow
def test_each_way_is_trained_on_one_device_and_on_all_and_nothing_is_claimed(data_dir, tmp_path):
    config = Config(dataset="tiny", data_dir=data_dir, cache_dir=tmp_path, image_size=32,
                    weights="none", width=0.05)  # fmt: skip
    with keras_settings():
        line = replicas.measure(config, rounds=1, images=64)
    ways = ("head", "block 5 and head")
    assert list(line["figures"]) == [
        f"{way}, {side}, images/s" for way in ways for side in ("one device", "all devices")
    ]
    assert list(line["ratios"]) == [f"{way}: all devices / one" for way in ways]
    assert line["claims"] == {}
    assert line["devices"] == "Devices: 1 CPU, batches of 32 images."
