"""Folds: no patient in two, every image predicted once a repeat by who did not see it."""

import contextlib
import dataclasses
import json

import keras
import numpy as np
import pytest

from tests.helpers import datasets, trainings
from trainer import cross_validation, fold_assignment
from trainer.cross_validation import as_predictions, out_of_fold, train_fold
from trainer.evaluation import poses, predictions
from trainer.execution import tasks
from trainer.execution.tasks import TaskFailed
from trainer.fold_assignment import ALL, assign_folds
from trainer.input_pipeline import alignment
from trainer.input_pipeline.dataset import joined
from trainer.run import progress, run_dir
from trainer.run.errors import DivergedError, RunError
from trainer.training.loop import train_phases
from trainer.training.setup import set_up
from trainer.training.training import Training

pytestmark = pytest.mark.slow


def made_images(patients: int):
    """Of three classes, one to three images a patient."""
    rng = np.random.default_rng(0)
    rows = [(p % 3, f"p{p}") for p in range(patients) for _ in range(rng.integers(1, 4))]
    return datasets.made([label for label, _ in rows], groups=[group for _, group in rows])


@pytest.mark.parametrize("count", [2, 5, 10])
def test_a_group_is_in_one_fold_and_every_class_in_all(count):
    images = made_images(60)
    fold = assign_folds(images, count, 3, seed=1)
    assert fold.shape == (3, len(images))
    for assigned in fold:
        for group in np.unique(images.groups):
            assert len(set(assigned[images.groups == group])) == 1
        for number in range(count):
            assert set(images.labels[assigned == number]) == {0, 1, 2}


def test_folds_follow_from_the_seed_and_each_repeat_has_the_next():
    images = made_images(60)
    fold = assign_folds(images, 5, 2, seed=1)
    np.testing.assert_array_equal(assign_folds(images, 5, 2, seed=1), fold)
    np.testing.assert_array_equal(assign_folds(images, 5, 1, seed=2)[0], fold[1])
    assert (fold[0] != fold[1]).any()


def test_more_folds_than_groups_of_a_class_is_an_error():
    with pytest.raises(RunError, match=r"healthy has 4\. Give fewer folds"):
        assign_folds(made_images(12), 5, 1, seed=1)


def test_groups_whose_classes_can_not_be_in_every_fold_are_an_error():
    """Of three groups two are in one fold, and each two are all that a class has."""
    images = datasets.made([0, 1, 0, 2, 1, 2], groups=["a", "a", "b", "b", "c", "c"])
    with pytest.raises(RunError, match=r"Fold [12] of 2 has no image of \w+\. Give fewer folds"):
        assign_folds(images, 2, 1, seed=1)


@contextlib.contextmanager
def ready(config):
    """A setup, and its images of train and validation by name."""
    before = keras.config.dtype_policy()
    setup = set_up(config, splits=fold_assignment.SPLITS)
    with contextlib.closing(setup.opened):
        yield setup, {ALL: fold_assignment.images_of_folds(setup)}
    keras.config.set_dtype_policy(before)


@contextlib.contextmanager
def training(config):
    """A training of all images, ready for folds."""
    with ready(config) as (setup, images):
        yield Training(setup, setup.config, images, train=ALL, score=(ALL,))


def predicted(config, fold, **arguments) -> np.ndarray:
    with training(config) as ready:
        return out_of_fold(ready, fold, label="", **arguments)


@pytest.fixture(scope="module")
def config(data_dir):
    return trainings.quick(data_dir, epochs=3, dropout=0.2, learning_rate=1e-2)


@pytest.fixture(scope="module")
def fold(tiny):
    images = joined([tiny.splits[name] for name in fold_assignment.SPLITS])
    return assign_folds(images, 3, 2, seed=1)


@pytest.fixture(scope="module")
def shares(config, fold):
    return predicted(config, fold)


def test_every_image_is_predicted_once_a_repeat(shares, fold):
    assert (shares.dtype, shares.shape) == (np.float32, (*fold.shape, 4))
    np.testing.assert_allclose(shares.sum(axis=2), 1, atol=1e-5)
    assert np.abs(shares[0] - shares[1]).max() > 1e-3


def test_folds_begin_from_the_same_weights_and_a_repeat_is_its_seed(config, fold, shares):
    again = predicted(config, fold[:1])
    np.testing.assert_allclose(again[0], shares[0], atol=1e-5)
    second = predicted(config, fold[1:], seed=2)
    np.testing.assert_allclose(second[0], shares[1], atol=1e-5)
    assert np.abs(predicted(config, fold[:1], seed=2)[0] - shares[0]).max() > 1e-3


def test_a_fold_is_predicted_by_a_network_that_did_not_see_it(config, fold, shares):
    """Images of a fold with other labels change the other folds' predictions, not its own."""
    with training(config) as ready:
        images = ready.images[ALL]
        held = fold[0] == 1
        labels = np.where(held, (images.labels + 1) % 4, images.labels)
        ready.images[ALL] = dataclasses.replace(images, labels=labels)
        again = out_of_fold(ready, fold[:1], label="")
    same = np.isclose(again[0], shares[0], atol=1e-5).all(axis=1)
    assert same[held].all()
    assert not same[~held].any()


@pytest.mark.parametrize(
    "tuned",
    [{}, trainings.TUNED],
    ids=["head", "fine-tuned"],
)
def test_a_folds_network_is_that_of_a_run_on_its_images(config, fold, tuned):
    """The same seed and the same images: the same probabilities."""
    config = dataclasses.replace(config, **tuned)
    at, held = np.flatnonzero(fold[0] != 0), np.flatnonzero(fold[0] == 0)
    with training(config) as ready:
        of_fold = out_of_fold(ready, fold[:1], label="")[0, held]
        images = ready.images[ALL]
    run = {"train": images.take(at), "held out": images.take(held)}
    setup = set_up(config)
    with contextlib.closing(setup.opened):
        alone = Training(setup, config, run, train="train", score=("held out",))
        train_phases(alone, seed=config.seed)
        wanted = alone.probabilities(alone.plan.phases[-1], "held out")
    np.testing.assert_allclose(of_fold, wanted, atol=1e-5)
    assert wanted.std(axis=0).max() > 1e-4


def test_fine_tuning_is_undone_between_folds(config, fold):
    config = dataclasses.replace(config, **trainings.TUNED)
    both = predicted(config, fold)
    second = predicted(config, fold[1:], seed=2)
    np.testing.assert_allclose(second[0], both[1], atol=1e-5)


def test_folds_are_alike_where_rows_find_no_room(config, fold, shares, tmp_path):
    # 85 squares of 1 KiB fit, and hardly anything else.
    small = dataclasses.replace(config, cache_gib=8.5e-5, cache_dir=str(tmp_path))
    with training(small) as ready:
        assert ready.plan.phases[0].train.spec.name == "square"
        passed = out_of_fold(ready, fold[:1], label="")
    np.testing.assert_allclose(passed[0], shares[0], atol=1e-3)


def test_callbacks_run_in_every_fold(config, fold):
    epochs = []
    count = keras.callbacks.LambdaCallback(on_epoch_end=lambda epoch, logs: epochs.append(epoch))
    predicted(config, fold[:1], callbacks=lambda: [count])
    assert epochs == [0, 1, 2] * 3


def test_a_network_that_diverged_is_an_error(config, fold):
    with training(config) as ready:
        broken = keras.callbacks.LambdaCallback(
            on_train_end=lambda logs: ready.networks.trained.get_layer("last").bias.assign(
                [np.nan] * 4
            )
        )
        with pytest.raises(
            DivergedError, match=r"finite probabilities\. Lower --learning_rate=0\.01"
        ):
            out_of_fold(ready, fold[:1], label="", callbacks=lambda: [broken])


# Folds as tasks


def test_tasks_give_what_the_loop_gives(config, fold, shares):
    """One after the other in this process: the same training, every fold from the same weights."""
    with ready(config) as (setup, _):
        for repeat, number in ((1, 2), (0, 0), (1, 0)):
            seed = config.seed + repeat
            of_fold = train_fold(setup, setup.config, fold[repeat], number, seed)
            held_out = fold[repeat] == number
            np.testing.assert_allclose(of_fold, shares[repeat, held_out], atol=1e-5)
        assert len(setup.kept) == 1


def test_a_task_that_fails_ends_the_cross_validation_with_its_reason(config, monkeypatch):
    def failing(*arguments):
        raise TaskFailed("Out of coffee.")

    monkeypatch.setattr(cross_validation, "train_fold", failing)
    before = keras.config.dtype_policy()
    with pytest.raises(RunError, match=r"Fold 1 of repeat 1 failed: Out of coffee\."):
        cross_validation.cross_validate(config, 3, 1)
    keras.config.set_dtype_policy(before)


# What is written


@pytest.fixture(scope="module")
def written(config, tmp_path_factory):
    folder = tmp_path_factory.mktemp("crossval")
    before = keras.config.dtype_policy()
    result = cross_validation.cross_validate(config, 3, 2, run_dir.plain(folder))
    keras.config.set_dtype_policy(before)
    return folder, result


def test_what_is_written_are_the_folds_of_each_repeat_with_its_own_seed(written, fold, shares):
    table = predictions.read(written[0] / "predictions.csv")
    np.testing.assert_array_equal(table.folds.reshape(fold.shape), fold)
    np.testing.assert_allclose(table.probabilities.reshape(shares.shape), shares, atol=1e-4)
    assert np.abs(shares[0] - shares[1]).max() > 1e-2


def test_the_table_has_every_image_of_train_and_validation_once_a_repeat(written, tiny):
    table = predictions.read(written[0] / "predictions.csv")
    wanted = [i for name in fold_assignment.SPLITS for i in tiny.splits[name].image_ids]
    assert table.image_ids == wanted * 2
    assert set(table.splits) == {"train", "validation"}
    assert table.repeats.tolist() == [0] * len(wanted) + [1] * len(wanted)
    assert set(table.folds) == {0, 1, 2}


def test_the_written_scores_are_those_of_the_predictions(written):
    folder, result = written
    scores = json.loads((folder / "crossval.json").read_text())
    assert scores == json.loads(json.dumps(result))
    table = predictions.read(folder / "predictions.csv")

    def balanced(rows) -> float:
        labels, right = table.labels[rows], (table.predicted == table.labels)[rows]
        return np.mean([right[labels == label].mean() for label in np.unique(labels)])

    values = [[balanced((table.repeats == r) & (table.folds == k)) for k in range(3)]
              for r in range(2)]  # fmt: skip
    np.testing.assert_allclose(scores["by_fold"]["values"], values)
    assert scores["by_fold"]["mean"] == pytest.approx(np.mean(values))
    assert scores["by_fold"]["sd"] == pytest.approx(np.std(values, ddof=1))
    assert scores["by_fold"]["min"] == pytest.approx(np.min(values))
    pooled = scores["pooled"]["balanced_accuracy"]
    assert pooled["low"] <= pooled["value"] <= pooled["high"]
    assert set(scores["shortcut_baseline"]) == {"full_image", "lungs_masked"}
    assert scores["n"] == len(table.labels) // 2


def test_folds_of_aligned_images_have_a_table_of_their_poses(data_dir, tiny, tmp_path):
    before = keras.config.dtype_policy()
    config = trainings.quick(data_dir, align="chest", epochs=1)
    result = cross_validation.cross_validate(config, 2, 1, run_dir.plain(tmp_path))
    keras.config.set_dtype_policy(before)
    table = poses.read(tmp_path / "alignment.csv")
    wanted = [i for name in fold_assignment.SPLITS for i in tiny.splits[name].image_ids]
    assert table.image_ids == wanted
    assert result["alignment"] == {"template": alignment.FORMULA, **table.counts()}


def test_nothing_is_written_without_a_folder(config, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    cross_validation.cross_validate(config, 2, 1)
    keras.config.set_dtype_policy("float32")
    assert list(tmp_path.iterdir()) == []
    assert "fold" not in capsys.readouterr().out


def test_a_table_of_out_of_fold_predictions_repeats_the_images():
    images = made_images(6)
    fold = np.stack([np.arange(len(images)) % 2, 1 - np.arange(len(images)) % 2])
    shares = np.full((2, len(images), 3), 1 / 3, np.float32)
    table = as_predictions(images, fold, shares)
    assert table.image_ids == images.image_ids.tolist() * 2
    assert table.folds.tolist() == fold.reshape(-1).tolist()


def test_how_far_a_fold_is_is_shown_beside_the_folds_that_have_ended():
    shown = []
    with (
        progress.shown_by(shown.append),
        cross_validation._shown(4, 1, "training") as fold_ended,
    ):
        tasks.report("fold 2", "epoch 1 of 5")
        assert "fold 2, epoch 1 of 5" in shown[-1] and "1 of 4 folds" in shown[-1]
        fold_ended()
        tasks.report("fold 3", "epoch 1 of 5")
        assert "fold 3, epoch 1 of 5" in shown[-1] and "2 of 4 folds" in shown[-1]
