"""A whole run on synthetic images: its folder, its numbers, its phases."""

import contextlib
import csv
import dataclasses
import io
import json
import pathlib

import keras
import numpy as np
import pytest
import tensorflow_datasets as tfds

import covid_tfds
from covid_tfds.records import LABELS
from tests.covid_tfds import made_sources as sources
from tests.helpers import commands, trainings
from tests.helpers.trainings import epochs, quick, run
from trainer.config import Config
from trainer.evaluation import heatmaps, images_used, notes, predictions
from trainer.input_pipeline.dataset import open_dataset
from trainer.model import about, precision, saved
from trainer.run.manifest import Manifest
from trainer.run.text import estimate

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("undrawn_here")]  # but `base` has pictures

# A run that has something of everything.
FULL = {"augmentation": "radiograph", "views": 2, "dropout": 0.25, **trainings.TUNED}


@pytest.fixture(scope="module")
def made(data_dir, tmp_path_factory) -> tuple[pathlib.Path, dict, str]:
    """The folder of a run, its numbers, and what it printed; its cache is beside it."""
    folder, printed = tmp_path_factory.mktemp("base"), io.StringIO()
    config = dataclasses.replace(quick(data_dir, **FULL), cache_dir=folder / "cache")  # a path
    with contextlib.redirect_stdout(printed):
        result = run(config, folder / "run")
    return folder / "run", result, printed.getvalue()


@pytest.fixture(scope="module")
def base(made) -> tuple[pathlib.Path, dict]:
    return made[:2]


def test_the_run_folder_is_complete(base):
    folder, result = base
    names = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    plots = {f"plots/{name}.png" for name in ("curves", "confusion", "roc", "gallery")}
    wanted = {"config.json", "flags.txt", "history.csv", "metrics.json", "predictions.csv",
              "stressed.csv", "images_used.csv", "model.keras", "checkpoints/state",
              "manifest.json", "report.html", "times.json", "heatmaps.npz"}  # fmt: skip
    assert wanted | plots <= names
    assert any(name.startswith("tensorboard/events") for name in names)
    assert not [name for name in names if "/." in name or name.startswith(".")]
    assert json.loads((folder / "metrics.json").read_text()) == json.loads(json.dumps(result))


def test_the_report_is_of_this_run(base, tiny):
    folder, result = base
    text = (folder / "report.html").read_text()
    assert estimate(result["splits"]["test"]["balanced_accuracy"]) in text
    images = sum(map(len, tiny.splits.values()))
    for name in ("found by the build of the dataset", "in the dataset", "read by the run"):
        assert f'>{name}</th><td class="number">{images}</td>' in text
    drawn = heatmaps.read(folder / "heatmaps.npz")
    assert text.count("with its heatmap of the class") == len(drawn.image_ids)
    assert "opening the dataset, decoding" in text
    assert "report.html" in Manifest.read(folder).files


def test_config_json_says_what_was_run(base):
    folder, _ = base
    written = json.loads((folder / "config.json").read_text())
    config = Config.read(folder)
    assert (config.image_size, config.dataset) == (32, "tiny")
    assert written["dataset"]["name"] == "covid_tfds/tiny/2.0.0"
    assert written["dataset"]["class_names"] == list(LABELS)
    assert len(written["dataset"]["fingerprint"]) == 64
    assert written["packages"]["keras"] == keras.__version__
    assert written["precision"] == "float32"
    assert (folder / "flags.txt").read_text() == config.to_flags()


def test_images_used_holds_every_image_that_the_run_was_given(base, tiny):
    columns = images_used.read(base[0] / "images_used.csv")
    for name, images in tiny.splits.items():
        rows = [i for i, split in enumerate(columns["split"]) if split == name]
        digests = dict(zip(images.image_ids, images.sha256, strict=True))
        assert sorted(columns["image_id"][i] for i in rows) == sorted(images.image_ids)
        for i in rows:
            assert columns["image_sha256"][i] == digests[columns["image_id"][i]].tobytes().hex()


def test_every_image_is_scored_once(base, tiny):
    folder, result = base
    table = predictions.read(folder / "predictions.csv")
    assert table.split_names == ["validation", "test"]
    for name in table.split_names:
        rows = table.of_split(name)
        assert sorted(rows.image_ids) == sorted(tiny.splits[name].image_ids)
        labels = dict(zip(tiny.splits[name].image_ids, tiny.splits[name].labels, strict=True))
        assert rows.labels.tolist() == [labels[image_id] for image_id in rows.image_ids]
        scores = result["splits"][name]
        assert scores["n"] == len(rows.image_ids)
        right = (rows.predicted == rows.labels).mean()
        assert scores["accuracy"]["value"] == pytest.approx(right)


def test_no_number_without_interval_and_shortcut_baseline(base):
    for scores in base[1]["splits"].values():
        for key in ("accuracy", "balanced_accuracy", "loss"):
            assert scores[key]["low"] <= scores[key]["value"] <= scores[key]["high"]
            assert scores[key]["n"] == scores["n"]
        assert set(scores["shortcut_baseline"]) == {"full_image", "lungs_masked"}


def test_the_best_epoch_is_what_was_scored(base):
    folder, result = base
    rows = epochs(folder)
    best = max(rows, key=lambda row: (row["val_balanced_accuracy"], -row["val_loss"]))
    assert best["best"]
    assert [row["best"] for row in rows].count(True) == 1
    assert result["best_epoch"] == best["epoch"]
    scores = result["splits"]["validation"]
    assert scores["balanced_accuracy"]["value"] == pytest.approx(best["val_balanced_accuracy"])
    assert scores["loss"]["value"] == pytest.approx(best["val_loss"], abs=1e-6)


def test_the_history_has_a_row_an_epoch_of_each_phase(base):
    rows = epochs(base[0])
    assert [row["phase"] for row in rows] == ["head", "head", "fine_tune"]
    assert [row["epoch"] for row in rows] == [1, 2, 3]


def test_the_saved_model_carries_its_class_names(base):
    model = keras.saving.load_model(base[0] / "model.keras")
    assert saved.class_names_of(model) == LABELS


def test_the_saved_model_says_what_its_answers_are_worth(base):
    folder, result = base
    says = about.read(folder / "model.keras")
    assert (says.class_names, says.image_size) == (LABELS, 32)
    assert says.align == Config.read(folder).align
    assert (says.dataset, says.synthetic) == ("covid_tfds/tiny/2.0.0", True)
    assert says.fingerprint == result["dataset"]["fingerprint"]
    assert says.notes == notes.notes_of(result)
    assert says.scores == notes.scores_of(json.loads(json.dumps(result)))


def test_the_last_lines_say_synthetic_not_for_diagnosis_and_how_fast(made):
    for words in ("synthetic", "trained on", "shortcut baseline", "images/s",
                  "the device waited for input", "Research use, not for diagnosis",
                  str(made[0])):  # fmt: skip
        assert words in made[2]


def test_further_callbacks_see_every_epoch_and_can_end_the_run(data_dir, tmp_path):
    seen = []

    def end(epoch, logs):
        seen.append(sorted(logs))
        stop.model.stop_training = True

    stop = keras.callbacks.LambdaCallback(on_epoch_end=end)
    run(quick(data_dir, epochs=9), tmp_path / "run", callbacks=[stop])
    assert len(epochs(tmp_path / "run")) == len(seen) == 1
    assert {"loss", "val_loss", "val_balanced_accuracy", "best"} <= set(seen[0])


def test_deterministic_runs_are_bit_equal(data_dir, tmp_path):
    for name in ("one", "two"):
        run(quick(data_dir, deterministic=True, **FULL), tmp_path / name)
    assert epochs(tmp_path / "one") == epochs(tmp_path / "two")
    texts = [(tmp_path / name / "predictions.csv").read_text() for name in ("one", "two")]
    assert texts[0] == texts[1]


def test_flags_txt_repeats_the_run_bit_for_bit(data_dir, tmp_path):
    config = quick(data_dir, tmp_path / "cache", deterministic=True, **FULL)
    (tmp_path / "given.txt").write_text(config.to_flags())
    for name, flagfile in (("one", tmp_path / "given.txt"), ("two", tmp_path / "one/flags.txt")):
        ended = commands.process(
            "trainer.main", f"--flagfile={flagfile}", f"--run_dir={tmp_path / name}"
        )
        assert ended.status == 0, ended.err
    assert epochs(tmp_path / "one") == epochs(tmp_path / "two")
    for name in ("predictions.csv", "images_used.csv", "flags.txt"):
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()
    models = [keras.saving.load_model(tmp_path / name / "model.keras") for name in ("one", "two")]
    for one, other in zip(*(model.get_weights() for model in models), strict=True):
        np.testing.assert_array_equal(one, other)


def test_early_stopping_ends_a_phase(data_dir, tmp_path):
    config = quick(data_dir, epochs=40, early_stopping=2, learning_rate=0.1)
    run(config, tmp_path / "run")
    rows = epochs(tmp_path / "run")
    best = next(row["epoch"] for row in rows if row["best"])
    assert len(rows) == best + 2 < 40


@pytest.mark.parametrize("block", ["block1", "block4"])
def test_fine_tuning_begins_at_any_block(data_dir, tmp_path, block):
    config = quick(data_dir, epochs=1, **{**trainings.TUNED, "fine_tune_from": block})
    run(config, tmp_path / "run")
    assert [row["phase"] for row in epochs(tmp_path / "run")] == ["head", "fine_tune"]


def test_as_published_reads_the_tests_first_images_and_augmented_validation(data_dir, tmp_path):
    config = quick(data_dir, augmentation="article", as_published=True, batch_size=5)
    old = (result := run(config, tmp_path / "run"))["as_published"]
    scored = result["splits"]["test"]["n"]
    assert old["test_accuracy"]["n"] == -(-scored // 5) < scored
    values = [row["published_val_accuracy"] for row in epochs(tmp_path / "run")]
    assert old["validation_accuracy_last_10"] == pytest.approx(np.mean(values))


def test_control_is_scored_and_never_trained_on(tmp_path):
    names = [f"train/NORMAL/IM-{i:04d}-0001.jpeg" for i in range(30)]
    names += [f"train/PNEUMONIA/person{i}_{c}_1.jpeg" for c in ("bacteria", "virus")
              for i in range(30)]  # fmt: skip
    names += ["test/NORMAL/IM-0900-0001.jpeg", "test/PNEUMONIA/person900_virus_1.jpeg"]
    sources.write_kaggle(tmp_path / "manual", names)
    rows = [sources.row(f"{i}.png", str(i)) for i in range(40)]
    rows += [sources.row(f"sars{i}.png", f"s{i}", finding="SARS") for i in range(5)]
    sources.write_cohen(tmp_path / "manual", rows)
    download = tfds.download.DownloadConfig(manual_dir=tmp_path / "manual")
    covid_tfds.Builder(config="full", data_dir=tmp_path).download_and_prepare(
        download_config=download
    )
    result = run(quick(tmp_path, dataset="full", epochs=1), tmp_path / "run")
    images = open_dataset("full", str(tmp_path), 4).splits
    assert result["control"]["n"] == len(images["control"]) == 5
    assert not set(images["control"].image_ids) & set(images["train"].image_ids)
    table = predictions.read(tmp_path / "run" / "predictions.csv").of_split("control")
    right = np.mean(table.predicted != LABELS.index("covid19"))
    specificity = result["control"]["classes"]["covid19"]["specificity"]
    assert specificity["value"] == pytest.approx(right)


def test_two_classes_have_one_unit_and_two_probabilities(data_dir, tmp_path):
    run(quick(data_dir, epochs=1, classes=2, class_weights="balanced"), tmp_path / "run")
    model = keras.saving.load_model(tmp_path / "run" / "model.keras")
    assert model.output_shape == (None, 2)
    assert model.get_layer("last").units == 1
    with open(tmp_path / "run" / "predictions.csv", newline="") as file:
        assert {row["label"] for row in csv.DictReader(file)} == set(LABELS[:2])


def test_cache_dir_takes_squares_activations_baselines_and_nothing_else(base):
    beside = base[0].parent
    assert sorted(path.name for path in beside.iterdir()) == ["cache", "run"]
    names = sorted(path.name for path in (beside / "cache").iterdir())
    assert names == ["baselines", "stages"]


def test_autotune_takes_what_it_measured_fastest(data_dir, tmp_path, capsys):
    run(quick(data_dir, autotune=True, epochs=1, precision="auto"), tmp_path / "run")
    line = next(line for line in capsys.readouterr().out.splitlines() if "measured" in line)
    taken, _, measured = line.partition(": measured, images/s through the frozen part: ")
    trials = [words.rsplit(" ", 1) for words in measured.rstrip(".").split(", ")]
    assert {name for name, _ in trials} == {
        policy + xla for policy in precision.candidates("auto") for xla in ("", " with XLA")
    }
    rates = [float(rate.replace(",", "")) for _, rate in trials]
    assert rates == sorted(rates, reverse=True)
    assert taken == "Precision " + trials[0][0].removesuffix(" with XLA")
    written = json.loads((tmp_path / "run" / "config.json").read_text())
    assert written["precision"] == trials[0][0].removesuffix(" with XLA")
