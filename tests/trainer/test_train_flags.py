"""Every flag of a run has an effect."""

import dataclasses

import pytest

from tests.helpers import trainings
from trainer.config import Config

# One change a flag; each has to show in the epochs.
CHANGES = {
    "classes": 3,
    "image_size": 48,
    "batch_size": 8,
    "epochs": 1,
    "learning_rate": 1e-2,
    "head_units": 16,
    "pooling": "max",
    "dropout": 0.6,
    "l2": 1e-2,
    "label_smoothing": 0.1,
    "augmentation": "radiograph",
    "normalization": "zca",
    "width": 0.15,
    "weights": "a file",
    "precision": "mixed_bfloat16",
    "class_weights": "balanced",
    "seed": 2,
}
# What tests elsewhere show the effect of.
ELSEWHERE = {"dataset", "data_dir", "cache_dir", "cache_gib", "views", "autotune", "as_published",
             "early_stopping", "fine_tune_from", "fine_tune_epochs", "fine_tune_learning_rate",
             "deterministic"}  # fmt: skip


def config(data_dir, **changes) -> Config:
    # Of 64 pixels a side, there is something to pool.
    return trainings.quick(data_dir, **{"epochs": 2, "image_size": 64, "dropout": 0.25, **changes})


@pytest.fixture(scope="module")
def unchanged(data_dir, tmp_path_factory):
    folder = tmp_path_factory.mktemp("unchanged") / "run"
    trainings.run(config(data_dir), folder)
    return trainings.epochs(folder)


_NEEDS = {"precision": [pytest.mark.bfloat16]}


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=_NEEDS.get(name, [])) for name in CHANGES]
)
def test_every_flag_has_an_effect(name, unchanged, data_dir, tmp_path):
    changes = {name: CHANGES[name]}
    if name == "weights":
        trainings.write_weights(tmp_path / "vgg16.weights.h5")
        changes = {"weights": str(tmp_path / "vgg16.weights.h5"), "width": 1.0}
    trainings.run(config(data_dir, **changes), tmp_path / "run")
    assert trainings.epochs(tmp_path / "run") != unchanged


def test_the_same_flags_give_the_same_epochs(unchanged, data_dir, tmp_path):
    """Up to rounding: so much less than what a flag changes."""
    trainings.run(config(data_dir), tmp_path / "run")
    for one, other in zip(trainings.epochs(tmp_path / "run"), unchanged, strict=True):
        assert one["loss"] == pytest.approx(other["loss"], abs=1e-5)


def test_every_flag_is_covered():
    assert {field.name for field in dataclasses.fields(Config)} == ELSEWHERE | set(CHANGES)
