"""A whole run on synthetic images: its folder, its numbers, and that every flag has an effect."""

import csv
import dataclasses
import itertools
import json
import pathlib
import subprocess
import sys

import keras
import numpy as np
import pytest
import tensorflow as tf
import tensorflow_datasets as tfds

import covid_tfds
from covid_tfds.records import LABELS
from tests.covid_tfds import made_sources as sources
from trainer import feeds, frozen, train
from trainer.base import Base
from trainer.config import Config
from trainer.input_pipeline import dataset, decode
from trainer.model import precision, vgg16
from trainer.model import weights as weights_lib
from trainer.run import run_dir
from trainer.run.errors import RunError
from trainer.training import callbacks

# Random weights at 64 px: the whole road in seconds.
QUICK = Config(
    dataset="tiny",
    image_size=64,
    batch_size=16,
    epochs=2,
    head_units=8,
    dropout=0.25,
    weights="none",
    precision="float32",
    learning_rate=1e-3,
    deterministic=True,
)


def run(config: Config, data_dir: pathlib.Path, folder: pathlib.Path) -> dict:
    config = dataclasses.replace(
        config,
        data_dir=config.data_dir or str(data_dir),
        cache_dir=config.cache_dir or str(data_dir / "cache"),
    )
    run_dir.prepare(folder, overwrite=True)
    return train.train_and_evaluate(config, folder)


def history(folder: pathlib.Path) -> list[dict[str, str]]:
    """The epochs, without what depends on the machine's mood."""
    moods = {"images_per_second", "input_wait"}
    with open(folder / "history.csv", newline="") as file:
        return [{k: v for k, v in row.items() if k not in moods} for row in csv.DictReader(file)]


@pytest.fixture(scope="module")
def base(data_dir, tmp_path_factory) -> tuple[pathlib.Path, dict]:
    folder = tmp_path_factory.mktemp("base")
    return folder, run(QUICK, data_dir, folder)


def test_the_run_folder_is_complete(base):
    folder, result = base
    names = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    plots = {f"plots/{name}.png" for name in ("curves", "confusion", "roc", "gallery")}
    wanted = {"config.json", "history.csv", "metrics.json", "predictions.csv", "model.keras"}
    assert wanted | plots <= names
    assert any(name.startswith("tensorboard/events") for name in names)
    assert not [name for name in names if "/." in name or name.startswith(".")]
    assert json.loads((folder / "metrics.json").read_text()) == json.loads(json.dumps(result))


def test_config_json_says_what_was_run(base):
    folder, _ = base
    written = json.loads((folder / "config.json").read_text())
    config = Config.read(folder)
    assert (config.image_size, config.dataset) == (64, "tiny")
    assert written["dataset"]["name"] == "covid_tfds/tiny/2.0.0"
    assert len(written["dataset"]["fingerprint"]) == 64
    assert written["packages"]["keras"] == keras.__version__
    assert written["precision"] == "float32"


def test_every_image_is_scored_once(base, data_dir):
    folder, result = base
    images = dataset.open_dataset("tiny", str(data_dir), 4)
    with open(folder / "predictions.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    for split in ("validation", "test"):
        ids = [row["image_id"] for row in rows if row["split"] == split]
        assert sorted(ids) == sorted(images.splits[split].image_ids)
        assert result["splits"][split]["n"] == len(ids)
        right = [r["label"] == r["predicted"] for r in rows if r["split"] == split]
        assert result["splits"][split]["accuracy"]["value"] == pytest.approx(np.mean(right))


def test_no_number_without_interval_and_floor(base):
    _, result = base
    for scores in result["splits"].values():
        for key in ("accuracy", "balanced_accuracy", "loss"):
            assert scores[key]["low"] <= scores[key]["value"] <= scores[key]["high"]
            assert scores[key]["n"] == scores["n"]
        assert set(scores["floor"]) == {"whole_image", "lungs_removed"}


def test_the_best_epoch_is_kept_and_is_what_was_judged(base):
    folder, result = base
    rows = history(folder)
    best = max(rows, key=lambda r: (float(r["val_balanced_accuracy"]), -float(r["val_loss"])))
    assert best["kept"] == "True"
    assert result["kept_epoch"] == int(best["epoch"])
    measured = result["splits"]["validation"]["balanced_accuracy"]["value"]
    assert measured == pytest.approx(float(best["val_balanced_accuracy"]), abs=1e-6)


def test_the_saved_model_takes_images_of_any_size_and_is_what_was_judged(base, data_dir):
    folder, _ = base
    model = keras.models.load_model(folder / "model.keras")
    images = dataset.open_dataset("tiny", str(data_dir), 4).splits["test"]
    with open(folder / "predictions.csv", newline="") as file:
        rows = {r["image_id"]: r for r in csv.DictReader(file) if r["split"] == "test"}
    for image_id, encoded in zip(images.image_ids[:6], images.encoded[:6], strict=True):
        judged = [float(rows[image_id][f"p_{name}"]) for name in LABELS]
        image = decode.square(encoded, 64)[None, ..., None]
        np.testing.assert_allclose(model(image).numpy()[0], judged, atol=1e-5)
        # Scaled inside the model, an image keeps the fractions that uint8 rounds.
        image = tf.io.decode_jpeg(encoded, channels=1)[None]
        np.testing.assert_allclose(model(image).numpy()[0], judged, atol=1e-3)


def test_the_last_screen_says_synthetic_and_not_for_diagnosis(data_dir, tmp_path, capsys):
    run(dataclasses.replace(QUICK, epochs=1), data_dir, tmp_path / "run")
    printed = capsys.readouterr().out
    for words in ("synthetic", "trained on", "floor", "Research use, not for diagnosis",
                  str(tmp_path / "run")):  # fmt: skip
        assert words in printed


# One change a flag; each has to show in the epochs, the folder or an error.
CHANGES = {
    "classes": 3,
    "image_size": 80,
    "batch_size": 8,
    "epochs": 1,
    "learning_rate": 1e-2,
    "head_units": 16,
    "pooling": "average",
    "dropout": 0.6,
    "l2": 1e-2,
    "label_smoothing": 0.1,
    "augmentation": "radiograph",
    "normalization": "zca",
    "weights": "imagenet",
    "precision": "mixed_bfloat16",
    "class_weights": "balanced",
    "seed": 2,
}


@pytest.mark.parametrize("name", CHANGES)
def test_every_flag_has_an_effect(name, base, data_dir, tmp_path):
    run(dataclasses.replace(QUICK, **{name: CHANGES[name]}), data_dir, tmp_path / "run")
    assert history(tmp_path / "run") != history(base[0])


def test_every_flag_is_covered():
    elsewhere = {"views", "dataset", "data_dir", "cache_dir", "cache_gib", "deterministic",
                 "as_published", "autotune", "early_stopping", "fine_tune_from", "fine_tune_epochs",
                 "fine_tune_learning_rate"}  # fmt: skip
    assert {field.name for field in dataclasses.fields(Config)} == elsewhere | set(CHANGES)


@pytest.mark.parametrize("views", [0, 3])
def test_views_are_taken_in_turn(data_dir, tmp_path, views):
    """At a rate that moves hardly anything, equal views give equal losses."""
    config = dataclasses.replace(QUICK, augmentation="article", epochs=4, dropout=0.0, views=views,
                                 learning_rate=1e-7)  # fmt: skip
    run(config, data_dir, tmp_path / "run")
    losses = [float(row["loss"]) for row in history(tmp_path / "run")]
    period = views or 4
    for a, b in itertools.combinations(range(4), 2):
        assert (abs(losses[a] - losses[b]) < 2e-5) == ((b - a) % period == 0)


def test_as_many_views_as_epochs_are_fresh_augmentation_in_each(data_dir):
    model, images = model_and_images(data_dir)
    ids = images.splits["train"].image_ids
    drawn = {}
    for views in (0, 3):
        config = dataclasses.replace(QUICK, augmentation="radiograph", views=views)
        source = feeds.Feeds(Base(config, model), images.splits)
        drawn[views] = np.stack([source._draws(ids, epoch) for epoch in range(3)])
    np.testing.assert_array_equal(drawn[0], drawn[3])
    assert len(np.unique(drawn[0][:, 0, 0])) == 3


def test_deterministic_runs_are_bit_equal(data_dir, tmp_path):
    config = dataclasses.replace(QUICK, augmentation="radiograph", fine_tune_from="block5",
                                 fine_tune_epochs=1, fine_tune_learning_rate=1e-3)  # fmt: skip
    for name in ("one", "two"):
        run(config, data_dir, tmp_path / name)
    assert history(tmp_path / "one") == history(tmp_path / "two")
    texts = [(tmp_path / name / "predictions.csv").read_text() for name in ("one", "two")]
    assert texts[0] == texts[1]


def test_cache_dir_takes_the_converted_weights(data_dir, tmp_path):
    config = dataclasses.replace(QUICK, weights="imagenet", epochs=1, cache_dir=str(tmp_path / "c"))
    run(config, data_dir, tmp_path / "run")
    kept = sorted(path.suffix or path.name for path in (tmp_path / "c").iterdir())
    assert kept == [".npz", "features"]


def test_autotune_takes_what_it_measured_fastest(data_dir, tmp_path, capsys):
    config = dataclasses.replace(QUICK, autotune=True, epochs=1, precision="auto")
    run(config, data_dir, tmp_path / "run")
    said = next(line for line in capsys.readouterr().out.splitlines() if "measured" in line)
    taken, _, measured = said.partition(": measured, images/s through the frozen part: ")
    trials = [words.rsplit(" ", 1) for words in measured.rstrip(".").split(", ")]
    assert {name for name, _ in trials} == {
        policy + xla for policy in precision.candidates("auto") for xla in ("", " with XLA")
    }
    rates = [float(rate.replace(",", "")) for _, rate in trials]
    assert rates == sorted(rates, reverse=True)
    assert taken == "Precision " + trials[0][0].removesuffix(" with XLA")
    assert keras.config.dtype_policy().name == trials[0][0].removesuffix(" with XLA")
    assert precision.candidates("float32") == ["float32"]


def test_early_stopping_ends_a_phase(data_dir, tmp_path):
    config = dataclasses.replace(QUICK, epochs=40, early_stopping=2, learning_rate=1e-2)
    run(config, data_dir, tmp_path / "run")
    rows = history(tmp_path / "run")
    kept = next(int(row["epoch"]) for row in rows if row["kept"] == "True")
    assert len(rows) == kept + 2 < 40


@pytest.mark.parametrize("block", ["block1", "block4"])
def test_fine_tuning_is_a_phase_that_moves_its_weights(data_dir, tmp_path, block):
    # A higher rate kills the few units of the head, and with them all gradients below.
    config = dataclasses.replace(QUICK, epochs=1, learning_rate=1e-4, fine_tune_from=block,
                                 fine_tune_epochs=1, fine_tune_learning_rate=1e-3)  # fmt: skip
    run(config, data_dir, tmp_path / "run")
    rows = history(tmp_path / "run")
    assert [row["phase"] for row in rows] == ["head", "fine_tune"]
    assert [row["epoch"] for row in rows] == ["1", "2"]


def test_a_phase_that_moves_nothing_is_an_error(data_dir, tmp_path):
    config = dataclasses.replace(QUICK, epochs=1, learning_rate=1e-30)
    with pytest.raises(RunError, match=r"The phase head left .* as it was"):
        run(config, data_dir, tmp_path / "run")


def test_as_published_reads_the_tests_first_images_and_augmented_validation(data_dir, tmp_path):
    config = dataclasses.replace(QUICK, augmentation="article", as_published=True, batch_size=5)
    result = run(config, data_dir, tmp_path / "run")
    old = result["as_published"]
    scored = result["splits"]["test"]["n"]
    assert old["test_accuracy"]["n"] == -(-scored // 5) < scored
    rows = history(tmp_path / "run")
    values = [float(row["published_val_accuracy"]) for row in rows]
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
    config = dataclasses.replace(QUICK, dataset="full", image_size=32, epochs=1)
    result = run(config, tmp_path, tmp_path / "run")
    images = dataset.open_dataset("full", str(tmp_path), 4).splits
    assert result["control"]["n"] == len(images["control"].image_ids) == 5
    assert not set(images["control"].image_ids) & set(images["train"].image_ids)
    with open(tmp_path / "run" / "predictions.csv", newline="") as file:
        called = [r["predicted"] for r in csv.DictReader(file) if r["split"] == "control"]
    right = np.mean([name != "covid19" for name in called])
    specificity = result["control"]["classes"]["covid19"]["specificity"]
    assert specificity["value"] == pytest.approx(right)


def test_two_classes_have_one_sigmoid_unit(data_dir, tmp_path):
    run(dataclasses.replace(QUICK, classes=2, class_weights="balanced"), data_dir, tmp_path / "run")
    model = keras.models.load_model(tmp_path / "run" / "model.keras")
    assert model.output_shape == (None, 1)
    with open(tmp_path / "run" / "predictions.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert {row["label"] for row in rows} == set(LABELS[:2])
    assert all(float(r["p_healthy"]) + float(r["p_covid19"]) == pytest.approx(1) for r in rows)


def model_and_images(data_dir: pathlib.Path):
    keras.config.set_dtype_policy("float32")
    keras.utils.set_random_seed(3)
    weights = weights_lib.vgg16_weights("none", pathlib.Path())
    model = vgg16.build_model(classes=4, image_size=64, head_units=8, dropout=0.0,
                                 pooling="flatten", weights=weights)  # fmt: skip
    return model, dataset.open_dataset("tiny", str(data_dir), 4)


@pytest.mark.parametrize("preset", ["none", "radiograph"])
@pytest.mark.parametrize("lowest,block", [("none", None), ("block4", None), ("block4", "block4")])
def test_training_on_activations_equals_training_on_images(
    data_dir, tmp_path, lowest, block, preset
):
    """Same views, same order, same steps: only what the frozen part does again is spared."""
    views = {} if preset == "none" else {"views": 2}
    ends = []
    for gib in (0.0, 1.0):
        config = dataclasses.replace(QUICK, augmentation=preset, fine_tune_from=lowest, **views,
                                     cache_dir=str(tmp_path), cache_gib=gib)  # fmt: skip
        model, images = model_and_images(data_dir)
        vgg16.set_trainable(model, block)
        feed = feeds.Feeds(Base(config, model), images.splits).feed(block, range(3))
        assert (feed.scored is model) == (gib == 0)
        feed.trained.compile(keras.optimizers.SGD(0.01), "sparse_categorical_crossentropy")
        steps = -(-len(images.splits["train"].labels) // config.batch_size)
        feed.trained.fit(feed.train, epochs=3, steps_per_epoch=steps, shuffle=False, verbose=0)
        ends.append([keras.ops.convert_to_numpy(weight) for weight in model.trainable_weights])
    for one, other in zip(*ends, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-4)


def test_all_blocks_can_be_trained(data_dir, tmp_path):
    model, images = model_and_images(data_dir)
    config = dataclasses.replace(QUICK, fine_tune_from="block1", cache_dir=str(tmp_path))
    assert frozen.cut("block1") is None
    assert feeds.Feeds(Base(config, model), images.splits).feed("block1", range(1)).trained is model


def test_the_last_lines_say_how_fast_and_how_long_the_device_waited(base, data_dir, capsys):
    folder, _ = base
    run(dataclasses.replace(QUICK, epochs=1), data_dir, folder.parent / "again")
    assert "the device waited for input" in capsys.readouterr().out
    with open(folder / "history.csv", newline="") as file:
        assert all(0 <= float(row["input_wait"]) < 1 for row in csv.DictReader(file))


@pytest.mark.parametrize("deterministic", [False, True])
def test_the_meter_measures_what_a_batch_is_waited_for(deterministic):
    """In a process of its own: determinism, once on, stays on."""
    script = f"""
import time, tensorflow as tf
from trainer.training.meter import Meter
if {deterministic}:
    tf.config.experimental.enable_op_determinism()
def slowly(i):
    time.sleep(0.05)
    return i
slow = tf.data.Dataset.range(4).map(lambda i: tf.numpy_function(slowly, [i], tf.int64))
clock = Meter({deterministic})
assert list(clock.measured(slow).as_numpy_iterator()) == [0, 1, 2, 3]
print(clock.seconds)
"""
    done = subprocess.run([sys.executable, "-c", script], cwd=pathlib.Path(__file__).parents[2],
                          capture_output=True, text=True, timeout=120, check=True)  # fmt: skip
    assert float(done.stdout) >= 0.2


@pytest.mark.parametrize("steps,most,wanted", [(155, 32, 31), (7, 32, 7), (157, 32, 1), (8, 1, 1)])
def test_steps_at_once_divide_an_epoch(steps, most, wanted):
    assert train.at_once(steps, most) == wanted


def test_a_network_that_diverged_is_an_error_that_says_so(tmp_path):
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2, "softmax")])
    model.compile(keras.optimizers.Adam(0.5), "sparse_categorical_crossentropy")
    model.set_weights([np.full((3, 2), np.nan), np.zeros(2)])
    validation = callbacks.Validation(model, np.zeros(4, int), tmp_path / "best.weights.h5")
    validation.set_model(model)
    validation.look_at(model, tf.data.Dataset.from_tensors(np.ones((4, 3), np.float32)))
    with pytest.raises(RunError, match=r"In epoch 3 .* Lower the learning rate \(0\.5\)"):
        validation.on_epoch_end(2, {})
