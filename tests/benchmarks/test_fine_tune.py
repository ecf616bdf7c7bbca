"""The benchmark runs to its line on a few small images; no time is judged."""

import pytest

from benchmarks import fine_tune
from trainer.config import Config
from trainer.run.libraries import keras_settings


@pytest.mark.slow
def test_ours_is_compared_with_keras_in_both_precisions(data_dir, tmp_path):
    config = Config(dataset="tiny", data_dir=data_dir, cache_dir=tmp_path, image_size=32,
                    weights="none", width=0.05)  # fmt: skip
    with keras_settings():
        line = fine_tune.measure(config, rounds=1, images=40, peer_images=8)
    peers = ["Keras' fit in float32", "Keras' fit in mixed_bfloat16"]
    assert list(line["figures"]) == [f"{side}, images/s" for side in ("ours", *peers)]
    assert list(line["ratios"]) == [f"images/s, times {peer}" for peer in peers]
    assert line["images"] == 32  # whole batches
    (claim,) = line["claims"].values()
    assert claim["measured"] == min(ratio["median"] for ratio in line["ratios"].values())
