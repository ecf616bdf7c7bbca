"""Tables of predictions, made by hand and at random."""

import numpy as np

from trainer.evaluation import images_used, poses, predictions
from trainer.evaluation.predictions import Predictions
from trainer.run import files

NAMES = ("healthy", "covid19", "bacterial", "viral")
DATASET = {"name": "full", "synthetic": False, "planted_shortcut": False}  # of config.json


def make(labels, probabilities, groups=None, *, patients=None, image_ids=None, split="test"):
    """A table of one split; by default every image is of a patient and a group of its own."""
    n, classes = np.shape(probabilities)
    groups = groups or [f"group{i}" for i in range(n)]
    return Predictions(
        image_ids=image_ids or [f"image{i}" for i in range(n)],
        patients=patients or groups,
        groups=groups,
        sources=["kaggle"] * n,
        splits=[split] * n,
        labels=np.asarray(labels),
        probabilities=probabilities,
        class_names=NAMES[:classes],
    )


def random_predictions(n=240, classes=4, images_per_group=2, seed=0, skill=1.5, **more):
    """A table of a network that is right more often than not."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, classes, n)
    logits = rng.normal(size=(n, classes))
    logits[np.arange(n), labels] += skill
    shares = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    groups = [f"g{i // images_per_group:03}" for i in range(n)]
    return make(labels, shares, groups, **more)


def called(right, wrong, classes=2, true_class=0):
    """Labels and probabilities: `right` images of a class called so, `wrong` the next class."""
    shares = np.full((right + wrong, classes), 0.1 / (classes - 1))
    shares[:right, true_class] = shares[right:, (true_class + 1) % classes] = 0.9
    return [true_class] * (right + wrong), shares


def poses_of(n):
    """Poses of n images, of which the first is at the bounds and the last two are weak."""
    numbers = np.random.default_rng(0).uniform(0.5, 1, (n, 5)).astype(np.float32)
    ids, splits = [f"image{i}" for i in range(n)], ["train"] * n
    return poses.Poses(ids, splits, numbers, np.arange(n) < 1, np.arange(n) >= n - 2)


def align(folder):
    """Makes a `run_folder` one of 1,280 aligned images."""
    config = files.read_json(folder / "config.json", "config", mend="")
    files.write_json(folder / "config.json", {**config, "alignment": "a template"})
    poses.write(folder / "alignment.csv", poses_of(1280))


def run_folder(folder, *, classes=4, as_published=False, control=False, shared=None, planted=False):
    """Writes what `metrics.run_metrics` reads of a run of 12 epochs: 120 train images, 80 a split.

    Every covid19 image of train is of the source cohen, and no other.
    """
    files.write_json(
        folder / "config.json",
        {
            "config": {"as_published": as_published, "batch_size": 10},
            "dataset": {
                "name": "full",
                "fingerprint": "0123abcd",
                "synthetic": True,
                "planted_shortcut": planted,
                "class_names": NAMES[:classes],
                "groups_in_more_than_one_split": shared or {},
            },
        },
    )
    files.write_csv(folder / "history.csv", [_epoch(e, as_published) for e in range(1, 13)])
    splits = {
        "validation": random_predictions(80, classes, seed=1, split="validation"),
        "test": random_predictions(80, classes, seed=2, split="test"),
    }
    if control:
        splits["control"] = make([0] * 6, np.eye(classes)[[0] * 5 + [1]], split="control")
    predictions.write(folder / "predictions.csv", joined(*splits.values()))
    draws = [random_predictions(80, classes, seed=1, split="validation", skill=s) for s in (1, 0.5)]
    stressed = joined(*draws, repeats=np.repeat([0, 1], 80))
    predictions.write(folder / "stressed.csv", stressed)
    labels = [NAMES[i % classes] for i in range(120)]
    images_used.write(
        folder / "images_used.csv",
        {
            "image_id": [str(i) for i in range(130)],
            "patient": [f"p{i // 2}" for i in range(130)],
            "group": [f"g{i // 4}" for i in range(130)],
            "source": ["cohen" if x == "covid19" else "kaggle" for x in labels] + ["kaggle"] * 10,
            "split": ["train"] * 120 + ["test"] * 10,
            "label": labels + ["covid19"] * 10,
            "image_sha256": ["0" * 64] * 130,
        },
    )


def _epoch(number, as_published):
    row = {"epoch": number, "phase": "head", "loss": 1 / number, "accuracy": 1 - 0.5 / number}
    row |= {"val_loss": 1.2 / number, "val_accuracy": 0.9 - 0.5 / number}
    row |= {"val_balanced_accuracy": 0.85 - 0.5 / number, "best": number == 11}
    return row | ({"published_val_accuracy": number / 100} if as_published else {})


def joined(*tables, **more):
    """All rows of some tables as one."""
    names = ("image_ids", "patients", "groups", "sources", "splits")
    return Predictions(
        **{name: [each for t in tables for each in getattr(t, name)] for name in names},
        labels=np.concatenate([table.labels for table in tables]),
        probabilities=np.concatenate([table.probabilities for table in tables]),
        class_names=tables[0].class_names,
        **more,
    )


def baseline(value=0.5):
    """A made-up shortcut baseline of validation and test; that without lungs is lower by .03125."""

    def scored(reached):
        estimate = {"value": reached, "low": reached - 0.1, "high": reached + 0.1}
        return {"balanced_accuracy": {**estimate, "n": 80, "interval": ""}}

    def split(reached):
        return {"full_image": scored(reached), "lungs_masked": scored(reached - 0.03125)}

    return {"validation": split(value - 0.0625), "test": split(value)}
