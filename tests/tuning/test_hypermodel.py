"""A trial measures what the trainer measures, the same each time, and every value counts."""

import csv
import statistics
import time

import keras_tuner
import numpy as np
import pytest

from tests.trainer.test_weights import write_notop
from tests.tuning.trials import Trials, opened
from trainer import cross_validation, features, train
from trainer.config import ConfigError
from trainer.model.weights import VGG16_LAYERS
from trainer.run import run_dir
from tuning.hypermodel import ClassifierHyperModel
from tuning.pulse import Pulse
from tuning.space import USUAL

ALL = [f"--search={','.join(USUAL)}", "--learning_rate=1e-4:1:log", "--head_units=8:16:8",
       "--views=1", "--fine_tune_epochs=2", "--fine_tune_learning_rate=3e-5"]  # fmt: skip
ONE = {"head_units": 16, "learning_rate": 1e-3, "dropout": 0.3, "batch_size": 16}
OTHER = {"head_units": 8, "learning_rate": 3e-3, "dropout": 0.1, "l2": 1e-2, "pooling": "max",
         "batch_size": 8, "label_smoothing": 0.2, "augmentation": "radiograph"}  # fmt: skip
TUNES = "fine_tune_from"
TUNED = {**ONE, TUNES: "block5"}
SCORES = ("val_loss", "val_accuracy", "val_balanced_accuracy")


@pytest.fixture(scope="module")
def trials(quick) -> Trials:
    return opened(*quick, *ALL)


@pytest.fixture(scope="module")
def one(trials) -> dict[str, float]:
    return trials(**ONE)


@pytest.fixture(scope="module")
def tuned(trials) -> dict[str, float]:
    return trials(**TUNED)


@pytest.fixture(scope="module")
def large(quick) -> Trials:
    """Images whose block 5 has more than one place to pool."""
    return opened(*quick, *ALL, "--image_size=64", "--epochs=1")


def of_main(trials: Trials, folder) -> list[dict[str, float]]:
    """The epochs of the same run by the trainer, and which was kept."""
    run_dir.prepare(folder, overwrite=True)
    train.train_and_evaluate(trials.space.config(ONE), folder)
    with open(folder / "history.csv", newline="") as file:
        return list(csv.DictReader(file))


def test_a_trial_is_the_epoch_that_the_trainer_keeps(trials, one, tmp_path):
    (kept,) = (row for row in of_main(trials, tmp_path) if row["kept"] == "True")
    for name in ("epoch", "loss", "accuracy", *SCORES):
        assert one[name] == pytest.approx(float(kept[name]), rel=1e-6), name


def test_a_trial_in_folds_is_the_trainers_cross_validation(quick):
    trials = opened(*quick, *ALL, "--folds=2", "--executions_per_trial=2")
    found = trials(**ONE)
    crossed = cross_validation.cross_validate(trials.space.config(ONE), 2, 2)
    wanted = crossed.scores["folds"]
    assert found["val_balanced_accuracy"] == pytest.approx(wanted["mean"])
    assert found["val_balanced_accuracy_sd"] == pytest.approx(wanted["sd"])
    assert wanted["sd"] > 0
    labels = crossed.images.labels
    losses = [
        -np.log(crossed.probabilities[r][at, labels[at]]).mean()
        for r in range(2)
        for at in (np.flatnonzero(crossed.fold[r] == k) for k in range(2))
    ]
    assert found["val_loss"] == pytest.approx(np.mean(losses), rel=1e-5)
    assert found["val_loss_sd"] == pytest.approx(np.std(losses, ddof=1), rel=1e-4)
    assert found["val_images"] == len(labels)
    assert found["val_patients"] == len(set(crossed.images.groups))


@pytest.mark.parametrize("name", [name for name in USUAL if name not in ("pooling", TUNES)])
def test_every_parameter_counts(name, trials, one):
    assert differs(trials(**{**ONE, name: OTHER[name]}), one)


def test_pooling_counts(large):
    assert differs(large(**ONE, pooling="max"), large(**ONE))


def test_fine_tuning_counts(one, tuned):
    assert differs(tuned, one)
    assert tuned["parameters"] > one["parameters"]


def differs(other: dict[str, float], one: dict[str, float]) -> bool:
    """Whether other scores were measured, of the same images."""
    assert other.keys() == one.keys()
    for name in ("val_images", "val_patients"):
        assert other[name] == one[name]
    return [other[score] for score in SCORES] != [one[score] for score in SCORES]


def test_a_trial_again_after_others_gives_the_same(trials, one, tuned):
    assert trials(**TUNED) == tuned
    assert trials(**ONE) == one
    # In a process that ran others, opened anew, as after a kill.
    assert opened(*trials.argv)(**ONE) == one


def test_executions_are_means_over_seeds_with_their_deviation(trials, tuned):
    """The second begins with the blocks that the first began with."""
    both = opened(*trials.argv, "--executions_per_trial=2", bench=trials.bench)(**TUNED)
    second = opened(*trials.argv, "--seed=2", bench=trials.bench)(**TUNED)
    assert tuned["val_loss"] != second["val_loss"]
    # Both keep an epoch in which blocks were trained.
    assert min(tuned["epoch"], second["epoch"]) > trials.space.fixed["epochs"]
    for name in (*SCORES, "loss", "accuracy", "epoch"):
        assert both[name] == pytest.approx(statistics.fmean([tuned[name], second[name]]))
    for name in SCORES:
        assert both[f"{name}_sd"] == pytest.approx(statistics.stdev([tuned[name], second[name]]))
    assert both["parameters"] == tuned["parameters"]
    assert not [name for name in tuned if name.endswith("_sd")]


def test_trials_on_random_weights_begin_from_the_same(quick):
    fixed = ["--weights=none", "--augmentation=article", "--views=0"]  # no rows can be kept
    trials = opened(*quick, "--search=head_units", *fixed)
    bases = [trials.bench.base(trials.space.config({})) for _ in range(2)]
    one, other = (base.model.get_layer("block1_conv1").kernel for base in bases)
    np.testing.assert_array_equal(one, other)


def test_images_are_counted_up_to_where_the_training_stopped(quick):
    flags = ["--early_stopping=1", "--epochs=90", "--learning_rate=1e-2:1e-1:log"]
    asked = opened(*quick, *flags)
    hp = keras_tuner.HyperParameters()
    asked.space.declare(hp)
    found = asked.model.fit(hp, asked.model.build(hp))
    images = found["images_per_second"] * found["seconds"]
    assert images / len(asked.bench.images["train"].labels) == pytest.approx(found["epoch"] + 1)
    assert found["epoch"] < 89


class Counted(Pulse):
    beats = 0

    def beat(self):
        self.beats += 1
        super().beat()


def test_a_trial_that_computes_rows_is_watched_and_beats_with_each_batch(
    quick, tmp_path, monkeypatch
):
    asked = opened(*quick, *ALL, f"--cache_dir={tmp_path}")
    pulse, add, seen = Counted(), features.Store.add, []

    def noted(store, view, images, rows):
        time.sleep(0.01)
        seen.append((pulse.beats, pulse.age() > 0))
        add(store, view, images, rows)

    monkeypatch.setattr(features.Store, "add", noted)
    hp = keras_tuner.HyperParameters()
    hp.values = {**OTHER, TUNES: "none"}
    ClassifierHyperModel(asked.space, asked.settings, asked.bench, pulse).build(hp)
    assert len(seen) > 1
    assert seen == [(1 + done, True) for done in range(len(seen))]
    assert pulse.age() == 0  # nothing is expected any more


@pytest.mark.parametrize("flag", ["--folds=0", "--folds=2"])
def test_numbers_that_are_none_fail_the_trial_with_a_reason(flag, quick, tmp_path):
    """Convolutions that bring images to the brink of float32, and a head beyond."""
    rng = np.random.default_rng(0)
    layers = {
        name: (rng.normal(0, (2 / (9 * before)) ** 0.5, (3, 3, before, after)), np.zeros(after))
        for name, (before, after, *_) in VGG16_LAYERS.items()
    }
    kernel, bias = layers["block1_conv1"]
    write_notop(tmp_path / "w.h5", layers | {"block1_conv1": (kernel * 1e35, bias)})
    trials = opened(*quick, *ALL, f"--weights={tmp_path / 'w.h5'}", flag)
    with pytest.raises(keras_tuner.errors.FailedTrialError) as failed:
        trials(**ONE)
    assert "gives no finite probabilities any more. Lower the learning rate (0.001)" in str(
        failed.value
    )


# The objective

OBJECTIVES = {
    "Choose from: accuracy, epoch, loss, val_accuracy, val_balanced_accuracy, val_loss.": [],
    "Choose from: val_accuracy, val_balanced_accuracy, val_loss.": ["--folds=2"],
}


@pytest.mark.parametrize("choices", OBJECTIVES)
def test_an_objective_that_is_no_metric_is_told_with_the_choices(choices, trials):
    flags = ["--objective=val_auc", "--direction=max", *OBJECTIVES[choices]]
    searched = opened(*trials.argv, *flags, bench=trials.bench)
    with pytest.raises(ConfigError) as refused:
        searched.model.check_objective()
    assert str(refused.value) == f"--objective=val_auc is no metric of a trial. {choices}"


def test_an_objective_that_is_a_metric_is_found(trials):
    opened(*trials.argv, "--objective=accuracy", bench=trials.bench).model.check_objective()


def test_the_objective_is_looked_for_whatever_classes_the_first_batch_holds(quick, trials):
    flags = ["--search=l2", "--batch_size=2", "--class_weights=balanced"]
    opened(*quick, *flags, bench=trials.bench).model.check_objective()
