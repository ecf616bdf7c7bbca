"""What TensorBoard shows of a run, read back from its files."""

import contextlib
import dataclasses
import itertools
import zipfile

import keras
import numpy as np
import pytest

import trainer
from tests.helpers import events, trainings
from trainer import board
from trainer.training import curves
from trainer.training.setup import set_up
from trainer.training.training import Training

pytestmark = pytest.mark.slow

CHANGES = {"augmentation": "radiograph", "views": 2, "deterministic": True, "seed": 3,
           "align": "chest"}  # fmt: skip
CLASSES = ("healthy", "covid19", "bacterial", "viral")


@pytest.fixture(scope="module")
def run(data_dir, tmp_path_factory):
    """A run with pictures of every new best epoch: its folder and its numbers."""
    folder = tmp_path_factory.mktemp("board") / "run"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(curves, "_BETWEEN_PICTURES", 0.0)
        patch.setattr(curves, "_LONGEST_SHARE", np.inf)
        result = trainings.run(trainings.quick(data_dir, epochs=3, **CHANGES), folder)
    return folder, result


@pytest.fixture(scope="module")
def shown(run):
    return events.values(run[0])


def best_epochs(folder) -> list[int]:
    """Epochs that were the best when they ended."""
    rows, best = trainings.epochs(folder), []
    for row in rows:
        rank = (row["val_balanced_accuracy"], -row["val_loss"])
        if not best or rank > best[-1][1]:
            best.append((row["epoch"], rank))
    return [epoch for epoch, _ in best]


def test_samples_are_shown_as_stored_aligned_and_augmented(shown):
    sheets = [events.picture(shown[f"images/{name}"][0][1])
              for name in ("stored", "aligned", "augmented")]  # fmt: skip
    assert len({each.shape for each in sheets}) == 1
    assert all((one != other).any() for one, other in itertools.pairwise(sheets))
    captions = [each[-28:] for each in sheets]  # below the last row: the same labels
    assert (captions[0] == captions[1]).all() and (captions[0] == captions[2]).all()
    assert (captions[0] < 128).any()


def test_every_new_best_epoch_has_its_pictures_once(run, shown):
    best = best_epochs(run[0])
    assert best[-1] == run[1]["best_epoch"]
    for tag in ("validation/confusion", "validation/misclassified", "validation/gradcam",
                *(f"validation_pr/{name}/pr_curves" for name in CLASSES)):  # fmt: skip
        assert [step for step, _ in shown[tag]] == best


def test_precision_and_recall_are_those_of_the_validation_images(run, shown):
    """At threshold 0 all images are called, so that all of a class are, and precision is theirs."""
    counts = run[1]["splits"]["validation"]["classes"]
    total = run[1]["splits"]["validation"]["n"]
    for name in CLASSES:
        hits, false_calls, _, misses, precision, recall = np.array(
            shown[f"validation_pr/{name}/pr_curves"][-1][1]
        )[:, 0]
        n = counts[name]["n"]
        assert (hits, false_calls, misses, recall) == (n, total - n, 0, 1)
        assert precision == pytest.approx(n / total)


def test_areas_and_sensitivities_of_the_best_epoch_are_those_of_the_metrics(run, shown):
    scores, best = run[1]["splits"]["validation"], run[1]["best_epoch"]
    for name in CLASSES:
        for tag, key in (("auc", "roc_auc"), ("sensitivity", "sensitivity")):
            value = dict(shown[f"validation_{tag}/{name}"])[best]
            assert value == pytest.approx(scores["classes"][name][key]["value"], abs=1e-3)


def test_texts_have_the_flags_the_dataset_and_what_goes_with_the_scores(run, shown):
    texts = {name: shown[f"run/{name}"][0][1].decode() for name in ("config", "dataset", "notes")}
    assert "**`--image_size`** | **32**" in texts["config"]
    assert "| `--batch_size` | 32 |" not in texts["config"]
    assert "covid_tfds/tiny" in texts["dataset"] and "Synthetic images" in texts["dataset"]
    counts = [run[1]["splits"]["validation"]["classes"][name]["n"] for name in CLASSES]
    assert f"| {' | '.join(map(str, counts))} |" in texts["dataset"]
    assert f"Best epoch: {run[1]['best_epoch']}." in texts["notes"]
    assert "* SYNTHETIC: " in texts["notes"]


def test_the_graph_shows_the_layers_of_the_network(run):
    names = {node.name.partition("/")[0] for node in graph_of(run[0]).node}
    assert {"block1_conv1_1", "block5_conv3_1"} <= names


def graph_of(folder):
    from tensorflow.compat.v1 import GraphDef

    return GraphDef.FromString(events.opened(folder).Graph().SerializeToString())


# The test split


def test_no_test_image_is_read_for_it_and_no_score_of_test_shown(data_dir, tmp_path, run, shown):
    """A run that leaves test unread shows the same, but for the flag."""
    config = trainings.quick(data_dir, epochs=3, test=False, **CHANGES)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(curves, "_BETWEEN_PICTURES", 0.0)
        patch.setattr(curves, "_LONGEST_SHARE", np.inf)
        trainings.run(config, tmp_path / "run")
    of_time = ("images_per_second", "input_wait", "_hparams_/", "steps/")  # of long epochs alone
    unread, scored = (
        {tag: value for tag, value in tags.items() if not any(part in tag for part in of_time)}
        for tags in (events.values(tmp_path / "run"), shown)
    )
    assert len(unread) > 30 and unread.pop("run/config") != scored.pop("run/config")
    assert unread == scored


# What it costs


def test_what_is_shown_changes_nothing_of_a_run(run, data_dir, tmp_path, monkeypatch):
    monkeypatch.setattr(curves.TensorBoard, "on_epoch_end", lambda *arguments: None)
    folder = tmp_path / "run"
    trainings.run(trainings.quick(data_dir, epochs=3, **CHANGES), folder)
    for name in ("history.csv", "predictions.csv", "metrics.json"):
        assert (folder / name).read_bytes() == (run[0] / name).read_bytes(), name
    weights = [zipfile.ZipFile(each / "model.keras").read("model.weights.h5")
               for each in (folder, run[0])]  # fmt: skip
    assert weights[0] == weights[1]
    tags = events.values(folder)  # the end alone
    assert [step for step, _ in tags["validation/gradcam"]] == [run[1]["best_epoch"]]


# A run that goes on


class Killed(Exception):
    """In place of SIGKILL."""


class Kill(keras.callbacks.Callback):
    """Ends a training behind so many steps of this process."""

    def __init__(self, steps: int) -> None:
        super().__init__()
        self._left = iter(range(steps))

    def on_train_batch_end(self, batch, logs=None):
        if next(self._left, None) is None:
            raise Killed


@pytest.mark.parametrize("steps", [1, 7, 10])
def test_a_run_that_goes_on_has_each_point_once(steps, data_dir, tmp_path, monkeypatch):
    monkeypatch.setattr(curves, "_BETWEEN_POINTS", 0.0)
    config = trainings.quick(
        data_dir, epochs=1, fine_tune_from="block5", fine_tune_epochs=2,
        fine_tune_learning_rate=1e-3, checkpoint_every=0.0,
    )  # fmt: skip
    with pytest.raises(Killed):
        trainer.fit(config, tmp_path / "run", callbacks=[Kill(steps)])
    result = trainer.fit(config, tmp_path / "run").metrics
    tags = events.values(tmp_path / "run")
    assert [step for step, _ in tags["train/loss"]] == [1, 2, 3]
    assert [step for step, _ in tags["steps/loss"]] == [5, *range(6, 16)]  # a call of 5, then ones
    for tag in ("images/stored", "run/config", "run/notes", "hparams/val_loss"):
        assert len(tags[tag]) == 1
    pictured = [step for step, _ in tags["validation/gradcam"]]
    assert pictured == sorted(set(pictured)) and pictured[-1] == result["best_epoch"]


def test_a_longer_run_has_one_set_of_everything(data_dir, tmp_path):
    config = trainings.quick(data_dir, epochs=1)
    trainer.fit(config, tmp_path / "run")
    result = trainer.fit(dataclasses.replace(config, epochs=3), tmp_path / "run").metrics
    tags = events.values(tmp_path / "run")
    assert [step for step, _ in tags["validation/loss"]] == [1, 2, 3]
    assert [len(tags[tag]) for tag in ("run/notes", "hparams/epoch", "images/stored")] == [1] * 3
    assert tags["hparams/epoch"][0][1] == result["best_epoch"]
    pictured = [step for step, _ in tags["validation/confusion"]]
    assert pictured == sorted(set(pictured)) and pictured[-1] == result["best_epoch"]


def test_where_every_image_is_called_right_none_is_shown_as_misclassified(data_dir, tmp_path):
    setup = set_up(trainings.quick(data_dir, epochs=1))
    with contextlib.closing(setup.opened):
        images = setup.dataset.splits
        training = Training(setup, setup.config, images, train="train", score=("validation",))
        right = np.eye(4, dtype=np.float32)[images["validation"].labels]
        writer = board.writer_of(tmp_path)
        with writer.as_default(step=1):
            board.Pictures(setup, training)(right)
        writer.close()
    tags = events.values(tmp_path)
    assert "validation/gradcam" in tags and "validation/misclassified" not in tags
