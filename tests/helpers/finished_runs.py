"""Finished runs without a training: tables made by hand, in folders with a manifest."""

import dataclasses
import hashlib
import pathlib
from collections.abc import Sequence

import numpy as np

from tests.helpers import predictions as tables
from trainer.config import Config
from trainer.evaluation import heatmaps, images_used, metrics, predictions
from trainer.run import files, run_dir
from trainer.run.manifest import GROWING, Identity

TRAIN, SCORED = 120, 80  # images


def finished(
    path: pathlib.Path, *, names: Sequence[str] = tables.NAMES, skill: float = 1.5,
    test: bool = True, synthetic: bool = False, control: bool = False, baseline: float = 0.5,
    flags: dict | None = None, dataset: dict | None = None, prefix: str = "",
    ended: bool = True,
) -> pathlib.Path:  # fmt: skip
    """A run in a folder. Runs of equal `names` and `prefix` scored the same images.

    Args:
        path: The folder.
        names: Of the classes.
        skill: Of the network; 0 guesses.
        test: Whether test was opened.
        synthetic: Whether the images are drawn.
        control: Whether there are images of a control split.
        baseline: Balanced accuracy of the shortcut baselines.
        flags: Fields of the config that are not the default.
        dataset: More of config.json's dataset.
        prefix: Of the names of images.
        ended: Whether the run is finished.
    """
    config = Config(classes=len(names), dataset="full", test=test).to_json() | (flags or {})
    origin = {
        "config": config,
        "command": ["a/trainer/main.py", "--classes=4", "--run_dir=a run"],
        "dataset": {
            "name": "covid_tfds/full/2.0.0", "fingerprint": "0123abcd" * 8, "synthetic": synthetic,
            "planted_shortcut": False, "class_names": list(names),
            "groups_in_more_than_one_split": {}, **(dataset or {}),
        },
        "weights": {"source": "ImageNet", "sha256": "cd" * 32}, "precision": "float32",
        "xla": False, "packages": {"keras": "3.15.1"}, "git_revision": "ab" * 20,
    }  # fmt: skip
    scored = {"validation": _scored("validation", 1, names, skill, prefix)}
    if test:
        scored["test"] = _scored("test", 2, names, skill, prefix)
    if control and test:
        scored["control"] = _scored("control", 3, names, skill, prefix)
    with run_dir.create(
        path, "", Identity("trainer.main", config, GROWING), overwrite=False
    ) as folder:
        folder.begin(origin)
        epochs = [tables._epoch(e, False) | {"images_per_second": 900.0 + e, "input_wait": 0.1}
                  for e in range(1, 13)]  # fmt: skip
        files.write_csv(path / "history.csv", epochs)
        predictions.write(path / "predictions.csv", tables.joined(*scored.values()))
        draws = [_scored("validation", 1, names, s * skill, prefix) for s in (0.75, 0.5)]
        stressed = tables.joined(*draws, repeats=np.repeat([0, 1], SCORED))
        predictions.write(path / "stressed.csv", stressed)
        images_used.write(path / "images_used.csv", _used(scored, names, prefix))
        shown = scored["test" if test else "validation"]
        heatmaps.write(path / "heatmaps.npz", _heatmaps(shown))
        metrics.run_metrics(path, tables.baseline(baseline))
        if ended:
            folder.finish()
    return path


def _scored(split, seed, names, skill, prefix):
    table = tables.random_predictions(SCORED, len(names), seed=seed, skill=skill, split=split)
    ids = [f"{prefix}{split}/{i}" for i in range(SCORED)]
    sources = ["cohen" if label == 1 else "kaggle" for label in table.labels]
    patients = [f"p{i // 2 if i % 8 else i}" for i in range(SCORED)]  # more than groups
    return dataclasses.replace(
        table, class_names=tuple(names), image_ids=ids, sources=sources, patients=patients
    )


def _used(scored, names, prefix):
    train = [names[i % len(names)] for i in range(TRAIN)]
    columns = {
        "image_id": [f"{prefix}train/{i}" for i in range(TRAIN)],
        "patient": [f"p{i // 2}" for i in range(TRAIN)],
        "group": [f"g{i // 4}" for i in range(TRAIN)],
        "source": ["cohen" if name == names[1] else "kaggle" for name in train],
        "split": ["train"] * TRAIN,
        "label": train,
    }
    for split, table in scored.items():
        columns["image_id"] += table.image_ids
        columns["patient"] += table.patients
        columns["group"] += table.groups
        columns["source"] += table.sources
        columns["split"] += [split] * len(table.labels)
        columns["label"] += [names[label] for label in table.labels]
    columns["image_sha256"] = [
        hashlib.sha256(name.encode()).hexdigest() for name in columns["image_id"]
    ]
    return columns


def _heatmaps(table):
    chosen = heatmaps.select(table)
    rows = [int(row) for of_kind in chosen.values() for row in of_kind]
    rng = np.random.default_rng(0)
    return heatmaps.Heatmaps(
        split=table.splits[0],
        image_ids=[table.image_ids[row] for row in rows],
        kinds=[kind for kind, of_kind in chosen.items() for _ in of_kind],
        squares=rng.integers(0, 256, (len(rows), 48, 48), dtype=np.uint8),
        maps=rng.random((len(rows), 3, 3), dtype=np.float32),
    )
