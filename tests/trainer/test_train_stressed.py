"""Validation in other frames: what a run writes of it, and that its numbers are those of the table.

And the shortcut baselines beside it, which are fitted to the same images once.
"""

import json
import pathlib

import keras
import numpy as np
import pytest
from sklearn.metrics import balanced_accuracy_score

from tests.helpers.trainings import TUNED, epochs, quick, run
from trainer import train
from trainer.evaluation import predictions
from trainer.input_pipeline import decode, stress
from trainer.run.manifest import Manifest
from trainer.training.setup import set_up

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("undrawn")]

FULL = {"augmentation": "radiograph", "views": 2, "deterministic": True, **TUNED}


@pytest.fixture(scope="module")
def cache_dir(tmp_path_factory) -> pathlib.Path:
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="module")
def base(data_dir, cache_dir, tmp_path_factory) -> tuple[pathlib.Path, dict]:
    folder = tmp_path_factory.mktemp("stressed") / "run"
    return folder, run(quick(data_dir, cache_dir, **FULL), folder)


@pytest.fixture(scope="module")
def table(base) -> predictions.Predictions:
    return predictions.read(base[0] / "stressed.csv")


def test_every_validation_image_is_scored_in_two_frames(base, table, tiny):
    images = tiny.splits["validation"]
    assert set(table.splits) == {"validation"} and table.folds is None
    for draw in range(2):
        rows = np.flatnonzero(table.repeats == draw)
        assert [table.image_ids[i] for i in rows] == images.image_ids.tolist()
        assert [table.groups[i] for i in rows] == images.groups.tolist()
        assert table.labels[rows].tolist() == images.labels.tolist()
    assert len(table.labels) == 2 * len(images)
    assert "stressed.csv" in Manifest.read(base[0]).files


def test_probabilities_are_those_of_the_saved_model_on_the_reframed_images(base, table, tiny):
    images = stress.stressed(tiny.splits["validation"])
    model = keras.saving.load_model(base[0] / "model.keras")
    for index, encoded in list(tiny.encoded(images))[::5]:
        whole = decode.pixels(encoded, images.image_ids[index])
        image = stress.reframed(whole, images.frames[index])[None, ..., None]
        (own,) = keras.ops.convert_to_numpy(model(image))
        np.testing.assert_allclose(table.probabilities[index], own, atol=1e-5)
    plain = predictions.read(base[0] / "predictions.csv").of_split("validation").probabilities
    assert np.abs(table.probabilities[: len(plain)] - plain).max() > 1e-4


def test_its_numbers_count_an_image_once(base, table, tiny):
    scores = base[1]["splits"]["validation"]["stressed"]
    plain = base[1]["splits"]["validation"]
    assert scores.keys() == {
        "n", "patients", "groups", "draws", "accuracy", "balanced_accuracy", "loss",
    }  # fmt: skip
    assert scores["draws"] == 2
    for name in ("n", "patients", "groups"):
        assert scores[name] == plain[name]
    by_draw = [
        balanced_accuracy_score(table.labels[rows], table.predicted[rows])
        for rows in (table.repeats == 0, table.repeats == 1)
    ]
    assert scores["balanced_accuracy"]["value"] == pytest.approx(np.mean(by_draw))
    right = table.predicted == table.labels
    assert scores["accuracy"]["value"] == pytest.approx(right.mean())
    losses = -np.log(table.probabilities[np.arange(len(right)), table.labels])
    assert scores["loss"]["value"] == pytest.approx(losses.mean(), rel=1e-4)
    for name in ("accuracy", "balanced_accuracy", "loss"):
        assert scores[name]["low"] <= scores[name]["value"] <= scores[name]["high"]
        assert scores[name]["n"] == plain["n"]


def test_without_test_it_is_the_same(base, data_dir, cache_dir, tmp_path):
    result = run(quick(data_dir, cache_dir, **FULL, test=False), tmp_path / "run")
    assert not any(result["opened"].values())
    of_base = base[1]["splits"]["validation"]["stressed"]
    assert result["splits"]["validation"]["stressed"] == of_base
    written = [(folder / "stressed.csv").read_bytes() for folder in (base[0], tmp_path / "run")]
    assert written[0] == written[1]


def test_another_seed_scores_the_same_frames_from_the_same_cache(
    base, data_dir, cache_dir, tmp_path, capsys
):
    """And fits no baseline again, which is a fact of the images."""
    result = run(quick(data_dir, cache_dir, **{**FULL, "seed": 9, "views": 3}), tmp_path / "run")
    err = capsys.readouterr().err
    assert "decoding" not in err and "fitting the shortcut baseline" not in err
    for split in ("validation", "test"):
        baselines = [each["splits"][split]["shortcut_baseline"] for each in (base[1], result)]
        assert json.loads(json.dumps(baselines[0])) == json.loads(json.dumps(baselines[1]))
    other = predictions.read(tmp_path / "run" / "stressed.csv")
    assert other.image_ids == predictions.read(base[0] / "stressed.csv").image_ids


def test_no_epoch_is_chosen_by_it(base):
    assert not [name for row in epochs(base[0]) for name in row if "stressed" in name]


def test_all_that_it_reads_is_planned_and_cached(data_dir, cache_dir, base):
    config = quick(data_dir, cache_dir, **FULL)
    setup = set_up(config, stressed=True)
    try:
        training = train.training_of(setup)
        reads = [(stage.spec.name, name) for stage, name, _ in training.reads]
        assert {stage for stage, name in reads if name == stress.NAME} == {
            "square", "block4_pool", "block5_pool",
        }  # fmt: skip
        assert training.plan.missing_bytes == 0
    finally:
        setup.opened.close()
