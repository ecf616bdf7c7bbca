"""A trial measures what the trainer measures, the same each time, and every value counts."""

import io
import operator
import statistics
import types

import h5py
import numpy as np
import psutil
import pytest

from tests.helpers import searches
from tests.helpers.searches import Trials, open_trials
from trainer import cross_validation, train
from trainer.config import BELONGING
from trainer.evaluation import history, predictions
from trainer.execution.tasks import TaskFailed
from trainer.input_pipeline import cache_folders
from trainer.run import run_dir
from tuning import trainings
from tuning.space import USUAL
from tuning.trial import TrialResult

pytestmark = pytest.mark.slow

SIZED = ("image_size", "views")  # fixed here: each has a test of its own
ALL = [f"--search={','.join(name for name in USUAL if name not in SIZED)}",
       "--learning_rate=1e-6:1:log", "--head_units=8:64:8", "--views=1", "--fine_tune_epochs=3",
       "--fine_tune_learning_rate=1e-5"]  # fmt: skip
ONE = {"head_units": 16, "learning_rate": 1e-3, "dropout": 0.3, "batch_size": 16}
OTHER = {"head_units": 8, "learning_rate": 3e-3, "dropout": 0.1, "l2": 1e-2, "pooling": "max",
         "batch_size": 8, "label_smoothing": 0.2, "augmentation": "radiograph",
         "optimizer": "sgd", "weight_decay": 1e-2, "shift": 0.12, "zoom": 0.2,
         "contrast": 0.4, "align": "none"}  # fmt: skip
AUGMENTED = {**ONE, "augmentation": "radiograph"}
TUNED = {**ONE, "fine_tune_from": "block5"}
SCORES = ("val_loss", "val_accuracy", "val_balanced_accuracy")


@pytest.fixture(scope="module")
def trials(quick) -> Trials:
    return open_trials(*quick, *ALL)


@pytest.fixture(scope="module")
def one(trials) -> dict[str, float]:
    return trials(**ONE)


@pytest.fixture(scope="module")
def tuned(trials) -> TrialResult:
    return trials.result(**TUNED)


@pytest.fixture(scope="module")
def large(quick) -> Trials:
    """Images whose block 5 has more than one place to pool."""
    return open_trials(*quick, *ALL, "--image_size=64", "--epochs=1")


def test_a_trial_is_the_epoch_that_the_trainer_keeps(trials, one, tmp_path):
    train.train_and_evaluate(trials.space.config(ONE), run_dir.plain(tmp_path))
    (best,) = (row for row in history.read(tmp_path / "history.csv") if row["best"])
    for name in ("epoch", "loss", "accuracy", *SCORES):
        assert one[name] == pytest.approx(best[name], rel=1e-6), name


def test_a_trial_in_folds_is_the_trainers_cross_validation(quick, tmp_path):
    trials = open_trials(*quick, *ALL, "--folds=2", "--executions_per_trial=2", "--epochs=4")
    values = {**ONE, "head_units": 64, "learning_rate": 3e-3}
    measured = trials(**values)
    result = cross_validation.cross_validate(
        trials.space.config(values), 2, 2, run_dir.plain(tmp_path)
    )
    pooled, by_fold = result["pooled"]["balanced_accuracy"], result["by_fold"]
    for end, name in (("", "value"), ("_low", "low"), ("_high", "high")):
        assert measured[f"val_balanced_accuracy{end}"] == pytest.approx(pooled[name])
    assert measured["val_balanced_accuracy_sd"] == pytest.approx(by_fold["sd"])
    assert by_fold["sd"] > 0
    table = predictions.read(tmp_path / "predictions.csv")
    right = table.probabilities[np.arange(len(table.labels)), table.labels]
    losses = [
        -np.log(right[(table.repeats == repeat) & (table.folds == fold)]).mean()
        for repeat in range(2)
        for fold in range(2)
    ]
    assert measured["val_loss"] == pytest.approx(-np.log(right).mean(), rel=1e-4)
    assert measured["val_loss_sd"] == pytest.approx(np.std(losses, ddof=1), rel=1e-3)
    assert measured["val_images"] == len(set(table.image_ids))
    assert measured["val_groups"] == len(set(table.groups))


def test_a_trials_shortcut_baseline_has_the_images_aligned_as_it_has_them(trials, quick):
    def baselines(of: Trials, **values) -> dict:
        return trainings.shortcut_baselines(of.setup, of.settings, of.space.config(values))

    plain = open_trials(*quick, "--align=none")
    assert baselines(trials, **ONE, align="none") == baselines(plain)
    assert baselines(trials, **ONE, align="none") != baselines(trials, **ONE, align="chest")


@pytest.mark.parametrize(
    "name",
    sorted(OTHER.keys() - {"pooling", *BELONGING["augmentation"]}),
)
def test_every_parameter_counts(name, trials, one):
    assert differs(trials(**{**ONE, name: OTHER[name]}), one)


def test_views_that_no_trial_shares_any_more_can_be_evicted(quick, tmp_path):
    trials = open_trials(*quick, *ALL, "--epochs=1", f"--cache_dir={tmp_path}")
    for shift in (0.02, 0.04, 0.06, 0.08):
        trials(**{**AUGMENTED, "shift": shift})
    held = {True: 0, False: 0}
    for entry in cache_folders.entries(tmp_path):
        if entry.key["name"].startswith("block"):
            held[entry.own] += 1
    assert held == {True: 3, False: 2}  # views of the last two trials, and the images as they are


@pytest.mark.parametrize("name", ["shift", "zoom", "contrast"])
def test_every_strength_of_augmentation_counts(name, trials):
    assert differs(trials(**{**AUGMENTED, name: OTHER[name]}), trials(**AUGMENTED))


def test_the_number_of_views_counts(quick):
    trials = open_trials(*quick, "--augmentation=radiograph", "--views=1,2")
    assert differs(trials(views=2), trials(views=1))


def test_the_size_of_images_counts(quick):
    trials = open_trials(*quick, "--image_size=32,64", "--epochs=1")
    assert differs(trials(image_size=64), trials(image_size=32))


def test_pooling_counts(large):
    assert differs(large(**ONE, pooling="max"), large(**ONE))


def test_fine_tuning_counts(trials, one, tuned):
    assert tuned.metrics["parameters"] > one["parameters"]
    (curve,), (other,) = tuned.curves, faster(trials).curves
    head = trials.space.fixed["epochs"]
    assert scored(curve[:head]) == scored(other[:head])
    assert all(map(operator.ne, scored(curve[head:]), scored(other[head:])))
    assert len(curve) == head + trials.space.fixed["fine_tune_epochs"]


def faster(trials: Trials) -> TrialResult:
    """`TUNED`, at another rate of fine-tuning."""
    flags = [*trials.argv, "--fine_tune_learning_rate=1e-4"]
    return open_trials(*flags, setup=trials.setup).result(**TUNED)


def scored(curve: list[dict]) -> list[tuple]:
    """What was measured at the ends of epochs, whichever is the best."""
    return [tuple(logs[name] for name in ("loss", *SCORES)) for logs in curve]


def differs(other: dict[str, float], one: dict[str, float]) -> bool:
    """Whether other scores were measured, of the same images."""
    assert other.keys() == one.keys()
    for name in ("val_images", "val_groups"):
        assert other[name] == one[name]
    return [other[score] for score in SCORES] != [one[score] for score in SCORES]


def test_a_trial_again_after_others_gives_the_same(trials, one, tuned):
    again = trials.result(**TUNED)
    assert list(map(scored, again.curves)) == list(map(scored, tuned.curves))
    assert trials(**ONE) == one
    # In a process that ran others, opened again, as after a kill.
    assert open_trials(*trials.argv)(**ONE) == one


def test_executions_are_means_over_seeds_with_their_deviation(trials, tuned):
    """The second begins with the blocks that the first began with."""
    flags = [*trials.argv, "--executions_per_trial=2"]
    both = open_trials(*flags, setup=trials.setup).result(**TUNED)
    second = open_trials(*trials.argv, "--seed=2", setup=trials.setup).result(**TUNED)
    curves = [scored(each.curves[0]) for each in (tuned, second)]
    assert curves[0] != curves[1] and list(map(scored, both.curves)) == curves
    measured = [each.metrics for each in (tuned, second)]
    for name in (*SCORES, "loss", "accuracy", "epoch"):
        mean = statistics.fmean(each[name] for each in measured)
        assert both.metrics[name] == pytest.approx(mean)
    for name in SCORES:
        deviation = statistics.stdev(each[name] for each in measured)
        assert both.metrics[f"{name}_sd"] == pytest.approx(deviation)
    assert both.metrics["parameters"] == tuned.metrics["parameters"]
    assert not [name for name in tuned.metrics if name.endswith("_sd")]


def test_images_are_counted_up_to_where_the_training_stopped(quick):
    flags = ["--early_stopping=1", "--epochs=90", "--learning_rate=1e-2:1e-1:log"]
    trials = open_trials(*quick, *flags)
    measured = trials.result().metrics
    images = measured["images_per_second"] * measured["seconds"]
    assert images / len(trials.setup.dataset.splits["train"]) == pytest.approx(
        measured["epoch"] + 1
    )
    assert measured["epoch"] < 89


def arrays_in(weights: bytes) -> list[np.ndarray]:
    """All arrays of a file .weights.h5, in its order."""
    found = []
    with h5py.File(io.BytesIO(weights)) as stored:
        stored.visititems(lambda _, each: found.append(each))
        return [each[()] for each in found if isinstance(each, h5py.Dataset)]


@pytest.mark.parametrize("values", [ONE, TUNED])
def test_the_network_of_the_first_execution_is_kept(values, quick):
    one, two = (
        arrays_in(open_trials(*quick, *ALL, "--keep_best=1", executions).result(**values).weights)
        for executions in ("--executions_per_trial=1", "--executions_per_trial=2")
    )
    assert len(one) > 4
    for first, again in zip(one, two, strict=True):
        np.testing.assert_allclose(again, first, atol=1e-5)


@pytest.mark.parametrize("flag", ["--folds=0", "--folds=2"])
def test_numbers_that_are_none_fail_the_trial_with_a_reason(flag, quick, monkeypatch):
    """Convolutions that bring images to the brink of float32, and a head beyond."""
    searches.fix_random_weights(monkeypatch, first=1e36)
    trials = open_trials(*quick, *ALL, flag)
    with pytest.raises(TaskFailed) as failed:
        trials(**ONE)
    assert "the loss or a weight of the network was not finite any more" in str(failed.value)
    assert "Lower --learning_rate=0.001" in str(failed.value)


def test_a_trial_whose_head_learns_nothing_fails_alone(trials):
    with pytest.raises(TaskFailed, match=r"The phase head left .* as it was\."):
        trials.result(**{**ONE, "learning_rate": 1e-30})


def test_a_trial_that_the_memory_has_no_room_for_fails_alone(trials, monkeypatch):
    there = types.SimpleNamespace(total=2**10)
    monkeypatch.setattr(psutil, "virtual_memory", lambda: there)
    with pytest.raises(TaskFailed, match=r"this machine has 0\.0 GiB of memory"):
        trials.result(**{**TUNED, "batch_size": 32})
