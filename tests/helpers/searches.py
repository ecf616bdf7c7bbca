"""Searches: as a command line gives them, trials that are trained one by one, and whole ones."""

import csv
import dataclasses
import pathlib
from typing import Any

import keras
import pytest
from absl import flags

from trainer.model import vgg16
from trainer.training.setup import Setup
from tuning import search as search_lib
from tuning import settings as settings_lib
from tuning import space as space_lib
from tuning import trial as trial_lib
from tuning.folder import Folder
from tuning.settings import Settings
from tuning.space import Space

# Of a small search: flags of all but its folders and its space.
QUICK = ("--dataset=tiny", "--image_size=32", "--width=0.1", "--weights=none",
         "--epochs=2", "--precision=float32", "--deterministic")  # fmt: skip
BUILD_MODEL = vgg16.build_model
_LOAD = ("seconds", "images_per_second")  # depend on the machine's load


# Command lines


def flag_values(*argv: str) -> flags.FlagValues:
    """The parsed flags of the trainer, the space and the settings."""
    values = flags.FlagValues()
    space_lib.define_flags(values)
    settings_lib.define_flags(values)
    values(["search", *argv])
    return values


def space(*argv: str) -> Space:
    return space_lib.from_flags(flag_values(*argv))


def parsed(*argv: str) -> tuple[Space, Settings]:
    values = flag_values(*argv)
    searched = space_lib.from_flags(values)
    return searched, settings_lib.from_flags(values, searched)


def identity(*argv: str) -> dict:
    searched, settings = parsed(*argv)
    return settings_lib.identity(settings, searched)


# Trials that are trained


def fix_random_weights(patch: pytest.MonkeyPatch, first: float = 1.0) -> None:
    """Gives all networks of random weights the same kernels, which tell images apart.

    As they are, Keras' kernels give nearly the same activations for all images.

    Args:
        patch: Ends it.
        first: Factor of the first kernel.
    """

    def build(*, weights, **arguments) -> keras.Model:
        model = BUILD_MODEL(weights=weights, **arguments)
        layers = [each for each in model.layers if isinstance(each, keras.layers.Conv2D)]
        for number, layer in enumerate(layers if weights.layers is None else ()):
            kernel = keras.initializers.HeNormal(seed=number)(layer.kernel.shape)
            layer.kernel.assign(kernel if number else kernel * first)
        return model

    patch.setattr(vgg16, "build_model", build)


@dataclasses.dataclass(frozen=True)
class Trials:
    """Trials of a search that is opened and not run: a call trains the network of some values."""

    argv: tuple[str, ...]
    space: Space
    settings: Settings
    setup: Setup

    def __call__(self, **values) -> dict[str, float]:
        """What a trial measures, without what depends on the machine's load.

        Args:
            values: Of some parameters; the others have their defaults.
        """
        measured = self.result(**values).metrics
        assert all(measured[name] > 0 for name in _LOAD)
        return {name: value for name, value in measured.items() if name not in _LOAD}

    def result(self, **values) -> trial_lib.TrialResult:
        """All that a trial gives."""
        assert values.keys() <= self.space.defaults().keys()
        return trial_lib.run(self.setup, self.space, self.settings, values)


def open_trials(*argv: str, setup: Setup | None = None) -> Trials:
    """Trials on images that are opened now, or that were opened before."""
    searched, settings = parsed(*argv)
    setup = setup or search_lib.opened_images(searched, stressed=settings.stressed)
    return Trials(argv, searched, settings, setup)


# Whole searches


def search(folder: pathlib.Path, *argv: str, **more: Any) -> bool:
    """Runs a search in this process, as its command does; whether a trial finished."""
    searched, settings = parsed(*argv)
    described = settings_lib.Spec(Folder(folder), searched, settings, more.pop("callbacks", ()))
    return search_lib.run(described, **more)


def table(folder: pathlib.Path) -> list[dict[str, str]]:
    """The rows of trials.csv."""
    with open(folder / "trials.csv", newline="") as file:
        return list(csv.DictReader(file))


def ranking(folder: pathlib.Path) -> list[tuple]:
    """Trials as they are ranked, with their values and score."""
    keys = ("rank", "trial", "status", "head_units", "learning_rate", "val_balanced_accuracy",
            "val_loss")  # fmt: skip
    return sorted(tuple(row[key] for key in keys) for row in table(folder))
