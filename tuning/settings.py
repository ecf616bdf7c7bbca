"""How a search goes: a frozen record of its own flags, and every bound in one place.

Imports neither TensorFlow nor KerasTuner, so that a wrong command line is answered at once.
"""

import dataclasses
import os
import pathlib
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from absl import flags

from trainer import config as config_lib
from trainer import inputs
from trainer.run import files, manifest
from trainer.run.definitions import define
from trainer.run.errors import ConfigError
from trainer.run.records import convert
from tuning.folder import Folder
from tuning.space import Space

if TYPE_CHECKING:  # a wrong command line is answered before Keras is imported
    import keras

TUNERS = ("random", "hyperband", "bayesian", "grid")
# What a trial can be ranked by: all of validation images, the last of them re-framed (see
# `trainer.input_pipeline.stress`); the others with folds of these.
STRESSED = "val_stressed_balanced_accuracy"
OBJECTIVES = ("val_balanced_accuracy", "val_accuracy", "val_loss", STRESSED)
USUAL_TRIALS = 20
_MOST = 1_000_000
# Settings that may change while a search goes on: how much is run.
_MAY_CHANGE = ("max_trials", "final_folds")

# Of each flag what --helpshort shows, and what --help shows beside it.
_SHOWN = {
    "tuner": ("", "How KerasTuner proposes trials."),
    "max_trials": (f"Trials; 0: {USUAL_TRIALS}, or all of grid",
                   "It may grow later. hyperband has a number of its own."),
    "objective": ("What ranks trials", "stressed: validation images in other frames, larger, "
                  "smaller and shifted at random, which a network that goes by the frame of its "
                  "train images gets wrong."),
    "folds": ("Folds a trial is scored on; 0: validation",
              "They are patient-grouped folds of train and validation, and a trial's metrics are "
              "of all their images, each scored by the fold that left it out. 0: train on train, "
              "score validation. 0, or 2 or more."),
    "executions_per_trial": ("Trainings of a trial, with seeds",
                             "Each has its own. 1 or more."),
    "keep_best": ("Best trials whose networks are kept", "Each takes 60 MB and more."),
    "final_folds": ("Folds of the closing comparison",
                    "Of the best values and the defaults; 0: none. 0, or 2 or more."),
}  # fmt: skip


@dataclasses.dataclass(frozen=True)
class Settings:
    """What makes a search what it is, beside its space; one field is one flag.

    Attributes:
        tuner: One of `TUNERS`.
        max_trials: The budget; 0: as many as the tuner has (grid, hyperband).
        objective: One of `OBJECTIVES`.
        folds: Patient-grouped folds, whose images give the objective out of fold; 0: the
            validation split.
        executions_per_trial: Trainings of each trial, with seeds seed, seed + 1, ...
        keep_best: Of how many of the best trials the networks are kept.
        final_folds: Folds of the closing comparison; 0: none.

    Raises:
        ConfigError: A value out of bounds, or one that has no effect.
    """

    tuner: str = "random"
    max_trials: int = 0
    objective: str = OBJECTIVES[0]
    folds: int = 0
    executions_per_trial: int = 1
    keep_best: int = 0
    final_folds: int = 5

    def __post_init__(self) -> None:
        """Checks every field; `max_trials` of 0 becomes the tuner's usual number."""
        convert(self)
        for name, value, choices in (
            ("tuner", self.tuner, TUNERS),
            ("objective", self.objective, OBJECTIVES),
        ):
            if value not in choices:
                raise ConfigError(f"--{name} is {value}. Choose from: {', '.join(choices)}.")
        if self.tuner == "hyperband" and self.max_trials:
            raise ConfigError(
                f"--max_trials={self.max_trials} has no effect: hyperband's brackets follow from "
                "--epochs. Leave it out."
            )
        for name, least in (("max_trials", 0), ("executions_per_trial", 1), ("keep_best", 0)):
            if not least <= getattr(self, name) <= _MOST:
                raise ConfigError(f"--{name} is {getattr(self, name)}. Give {least} to {_MOST}.")
        for name in ("folds", "final_folds"):
            if getattr(self, name) and not 2 <= getattr(self, name) <= config_lib.MOST_FOLDS:
                raise ConfigError(
                    f"--{name} is {getattr(self, name)}. Give 2 to {config_lib.MOST_FOLDS}, or 0."
                )
        if not self.max_trials and self.tuner in ("random", "bayesian"):
            object.__setattr__(self, "max_trials", USUAL_TRIALS)

    @property
    def direction(self) -> str:
        """`min` or `max`: whether less or more of the objective is better."""
        return "min" if self.objective.endswith("loss") else "max"

    @property
    def stressed(self) -> bool:
        """Whether trials are scored on re-framed validation images, too."""
        return self.objective == STRESSED

    def check(self, space: Space) -> None:
        """Checks the settings and what is searched against each other.

        Raises:
            ConfigError: They do not go together.
        """
        config = space.config({})
        if config.as_published:
            raise ConfigError("--as_published has no place here: the article searched nothing.")
        for parameter in space.parameters:
            if parameter.name == "image_size" and not parameter.values:
                raise ConfigError(
                    f"--image_size={parameter} has no steps, and every size needs squares of its "
                    "own. Give a few sizes: --image_size=112,150,224."
                )
        if self.folds and self.keep_best:
            raise ConfigError(
                f"--keep_best={self.keep_best} has no effect with --folds: each fold has a network "
                "of its own. Leave it out; --retrain_best trains one on all of train."
            )
        if self.folds and self.stressed:
            raise ConfigError(
                f"--objective={self.objective} is of the validation split, and "
                f"--folds={self.folds} scores trials on folds. Leave one of them out."
            )
        if self.folds:
            config_lib.check_folds(
                config, self.folds, self.executions_per_trial, "executions_per_trial"
            )
        if config.normalization != "imagenet":
            searched = {parameter.name for parameter in space.parameters}
            for name, given in (
                ("keep_best", self.keep_best),
                ("image_size", "image_size" in searched),
                ("align", "align" in searched),
            ):
                if given:
                    raise ConfigError(
                        f"--normalization={config.normalization} is fitted to the train images at "
                        f"one size and as they are aligned once, and --{name} needs a network "
                        "without. Leave one of them out."
                    )


@dataclasses.dataclass(frozen=True)
class Spec:
    """A search as it is described, before it is opened.

    Attributes:
        folder: Where it is kept.
        space: What is searched.
        settings: How.
        callbacks: The user's, for every training of a trial.
    """

    folder: Folder
    space: Space
    settings: Settings
    callbacks: "Sequence[keras.callbacks.Callback]" = ()


def described(
    space: Space,
    settings: Settings,
    search_dir: str | os.PathLike,
    *,
    callbacks: "Sequence[keras.callbacks.Callback]" = (),
    overwrite: bool,
) -> Spec:
    """A search with the name of its dataset in place of `auto`, and its folder.

    What can be refused without TensorFlow is refused here.

    Args:
        space: What is searched.
        settings: How.
        search_dir: The folder, or "" for searches/DATASET-CLASSES.
        callbacks: See `Spec`.
        overwrite: Whether a search that is there is removed.

    Raises:
        ConfigError: A search with other flags is there, or the folder can't be used.
        RunError: Another process has it, or the dataset or the weights are not there.
    """
    config = space.config({})
    began = Folder(_path(search_dir)).dataset if search_dir and not overwrite else ""
    dataset = inputs.resolved(config, began).dataset
    space = dataclasses.replace(space, fixed={**space.fixed, "dataset": dataset})
    folder = Folder(_path(search_dir or f"searches/{dataset}-{config.classes}"))
    if overwrite or not folder.dataset:  # one that goes on may have nothing left to open
        inputs.check(space.config({}))
    with folder.held(identity(settings, space), overwrite=overwrite):
        pass
    return Spec(folder, space, settings, callbacks)


def _path(search_dir: str | os.PathLike) -> pathlib.Path:
    return pathlib.Path(files.expanded(search_dir))


def define_flags(values: flags.FlagValues = flags.FLAGS) -> None:
    """Defines the flags of `Settings`."""
    for field in dataclasses.fields(Settings):
        choices = {"tuner": TUNERS, "objective": OBJECTIVES}.get(field.name, ())
        short, more = _SHOWN[field.name]
        define(
            field.name, field.default, short, "search", more=more, choices=choices, values=values
        )


def from_flags(values: flags.FlagValues, space: Space) -> Settings:
    """The settings that the parsed flags describe.

    Raises:
        ConfigError: A value out of bounds, or one that has no effect.
    """
    names = [field.name for field in dataclasses.fields(Settings)]
    given: dict[str, Any] = {name: values[name].value for name in names}
    settings = Settings(**given)
    settings.check(space)
    return settings


def identity(settings: Settings, space: Space) -> dict[str, Any]:
    """All that a search's proposals, scores and kept networks depend on, by flag.

    Two searches with the same one propose the same; the budget is none of it.
    """
    apart = (*manifest.OF_THE_MACHINE, *_MAY_CHANGE)
    values = flag_values(settings, space)
    return {name: value for name, value in values.items() if name not in apart}


def flag_values(settings: Settings, space: Space) -> dict[str, Any]:
    """What the command's flags have to be for this search, by name."""
    return {**dataclasses.asdict(settings), **space.fixed, **space.texts()}
