"""The benchmarks of training run to their line on a few small images; no time is judged."""

import json
import pathlib
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from benchmarks import article_race, gpu

ROOT = pathlib.Path(__file__).parents[2]


def line(*command: str) -> dict:
    done = subprocess.run([sys.executable, "-m", *command], cwd=ROOT, capture_output=True,
                          text=True, timeout=300, check=False)  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    return json.loads(done.stdout.splitlines()[-1])


@pytest.fixture(scope="module")
def tiny(tmp_path_factory) -> tuple[str, ...]:
    import covid_tfds
    from covid_tfds.config import CovidConfig

    folder = tmp_path_factory.mktemp("data")
    config = CovidConfig(name="tiny", images="phantom", patients=72)
    covid_tfds.Builder(config=config, data_dir=folder).download_and_prepare()
    return ("--dataset=tiny", f"--data_dir={folder}", f"--cache_dir={folder}/cache",
            "--image_size=32", "--weights=none", "--rounds=1")  # fmt: skip


def test_the_optimizers_line():
    found = line("benchmarks.optimizer", "--rounds=1", "--steps=16", "--head_units=8")
    assert set(found["figures"]) == {f"{side}, 8 units, steps/s" for side in ("ours", "keras")}
    assert len(found["claims"]) == 1


@pytest.mark.parametrize("name,claims", [("step", 3), ("fine_tune", 1)])
def test_the_line_has_its_claims_with_their_spreads(name, claims, tiny):
    found = line(f"benchmarks.{name}", *tiny)
    assert found["benchmark"] == name
    assert len(found["claims"]) == claims
    assert set(found["claims"]) == set(found["spreads"])


def test_the_articles_code_trains_on_a_folder(tmp_path):
    rng = np.random.default_rng(0)
    for label in range(3):
        folder = tmp_path / "train" / f"{label}"
        folder.mkdir(parents=True)
        for i in range(5):
            Image.fromarray(rng.integers(0, 255, (60, 70), np.uint8)).save(folder / f"{i}.jpg")
    found = line("benchmarks.article_code", f"--folder={tmp_path}", "--classes=3", "--epochs=2",
                 "--weights=none")  # fmt: skip
    assert found["before"] > 0
    assert len(found["epochs"]) == 2


def test_views_of_the_peer_are_the_articles_and_differ(tmp_path):
    image = np.random.default_rng(1).uniform(0, 255, (2, 40, 40, 3)).astype(np.float32)
    one, again, other = (article_race._views(image, seed) for seed in (1, 1, 2))
    np.testing.assert_array_equal(one, again)
    assert not np.allclose(one, other)
    assert one.min() >= 0 and one.max() <= 1


def test_operations_are_those_of_vgg16():
    # 15,346,630,656 multiply-adds in the convolutions at 224 px, as is widely printed.
    assert gpu.operations(224, None) == 2 * 15_346_630_656
    block5 = 2 * 3 * 14 * 14 * 9 * 512 * 512
    assert gpu.operations(224, "block5") == gpu.operations(224, None) + 2 * block5
