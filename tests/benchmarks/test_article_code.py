"""The article's code trains on a folder of images; no time is judged."""

import numpy as np
import pytest
from PIL import Image

from benchmarks import article_code


@pytest.mark.slow
def test_it_trains_on_a_folder(tmp_path):
    rng = np.random.default_rng(0)
    for label in range(3):
        folder = tmp_path / "train" / f"{label}"
        folder.mkdir(parents=True)
        for i in range(5):
            Image.fromarray(rng.integers(0, 255, (60, 70), np.uint8)).save(folder / f"{i}.png")
    seconds = article_code.train(str(tmp_path), classes=3, epochs=2, weights="none", size=32)
    assert seconds["before"] > 0
    assert len(seconds["epochs"]) == 2 and min(seconds["epochs"]) > 0
