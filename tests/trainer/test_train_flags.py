"""Every flag of a run has an effect."""

import dataclasses

import pytest

from tests.helpers import trainings
from trainer.config import Config

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("undrawn")]

# One change a flag; each has to show in the epochs.
CHANGES = {
    "classes": 3,
    "image_size": 48,
    "batch_size": 8,
    "epochs": 1,
    "learning_rate": 1e-2,
    "optimizer": "sgd",
    "weight_decay": 1.0,
    "head_units": 16,
    "pooling": "max",
    "dropout": 0.6,
    "ensemble": 2,
    "l2": 1e-2,
    "label_smoothing": 0.1,
    "align": "chest",
    "augmentation": "radiograph",
    "normalization": "zca",
    "width": 0.15,
    "weights": "a file",
    "precision": "mixed_bfloat16",
    "class_weights": "balanced",
    "seed": 2,
}
# And of the flags that change views; the preset has none of these values.
STRENGTHS = {"shift": 0.0, "zoom": 0.3, "contrast": 0.4}
# What tests elsewhere show the effect of.
ELSEWHERE = {"dataset", "data_dir", "cache_dir", "cache_gib", "views", "autotune", "as_published",
             "early_stopping", "fine_tune_from", "fine_tune_epochs", "fine_tune_learning_rate",
             "fine_tune_head_learning_rate", "fine_tune_schedule", "fine_tune_warmup",
             "deterministic", "checkpoint_every", "distribute", "test"}  # fmt: skip


def config(data_dir, **changes) -> Config:
    # Of 64 pixels a side, there is something to pool.
    return trainings.quick(data_dir, **{"epochs": 2, "image_size": 64, "dropout": 0.25, **changes})


@pytest.fixture(scope="module")
def unchanged(data_dir, tmp_path_factory):
    folder = tmp_path_factory.mktemp("unchanged") / "run"
    trainings.run(config(data_dir), folder)
    return trainings.epochs(folder)


@pytest.fixture(scope="module")
def augmented(data_dir, tmp_path_factory):
    folder = tmp_path_factory.mktemp("augmented") / "run"
    trainings.run(augmented_config(data_dir), folder)
    return trainings.epochs(folder)


def augmented_config(data_dir, **changes) -> Config:
    return config(data_dir, augmentation="radiograph", views=2, **changes)


def marks(name) -> list[pytest.MarkDecorator]:
    return [pytest.mark.bfloat16] if name == "precision" else []


@pytest.mark.parametrize("name", [pytest.param(name, marks=marks(name)) for name in CHANGES])
def test_every_flag_has_an_effect(name, unchanged, data_dir, tmp_path):
    changes = {name: CHANGES[name]}
    if name == "weights":
        trainings.write_weights(tmp_path / "vgg16.weights.h5")
        changes = {"weights": str(tmp_path / "vgg16.weights.h5"), "width": 1.0}
    trainings.run(config(data_dir, **changes), tmp_path / "run")
    assert trainings.epochs(tmp_path / "run") != unchanged


@pytest.mark.parametrize("name", [pytest.param(name, marks=marks(name)) for name in STRENGTHS])
def test_every_strength_of_views_has_an_effect(name, augmented, data_dir, tmp_path):
    changes = {name: STRENGTHS[name]}
    trainings.run(augmented_config(data_dir, **changes), tmp_path / "run")
    pairs = zip(trainings.epochs(tmp_path / "run"), augmented, strict=True)
    assert max(abs(one["loss"] - other["loss"]) for one, other in pairs) > 5e-5  # no rounding


def test_strengths_that_are_the_presets_read_its_cached_rows(augmented, data_dir, tmp_path, capsys):
    changes = {"shift": 0.06, "zoom": 0.1, "contrast": 0.2}
    trainings.run(augmented_config(data_dir, **changes), tmp_path / "run")
    assert " are cached, 0 to compute." in capsys.readouterr().out
    for one, other in zip(trainings.epochs(tmp_path / "run"), augmented, strict=True):
        assert one["loss"] == pytest.approx(other["loss"], abs=1e-5)


def test_the_same_flags_give_the_same_epochs(unchanged, data_dir, tmp_path):
    """Up to rounding: so much less than what a flag changes."""
    trainings.run(config(data_dir), tmp_path / "run")
    for one, other in zip(trainings.epochs(tmp_path / "run"), unchanged, strict=True):
        assert one["loss"] == pytest.approx(other["loss"], abs=1e-5)


def test_every_flag_is_covered():
    assert {field.name for field in dataclasses.fields(Config)} == {
        *ELSEWHERE, *CHANGES, *STRENGTHS
    }  # fmt: skip
