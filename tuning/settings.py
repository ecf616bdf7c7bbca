"""How a search goes: a frozen record of its own flags, and every bound in one place.

Imports neither TensorFlow nor KerasTuner, so that a wrong command line is answered at once.
"""

import dataclasses
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from absl import flags

from trainer import config as config_lib
from trainer.run import manifest
from trainer.run.errors import ConfigError
from tuning.folder import Folder
from tuning.space import Space

if TYPE_CHECKING:  # a wrong command line is answered before Keras is imported
    import keras

TUNERS = ("random", "hyperband", "bayesian", "grid")
# What a trial can be ranked by. All are of validation images, or of folds.
OBJECTIVES = ("val_balanced_accuracy", "val_accuracy", "val_loss")
USUAL_TRIALS = 20
# Settings that may change while a search goes on: how much is run, and what is kept of it.
_MAY_CHANGE = ("max_trials", "final_folds", "keep_best")


@dataclasses.dataclass(frozen=True)
class Settings:
    """What makes a search what it is, beside its space; one field is one flag.

    Attributes:
        tuner: One of `TUNERS`.
        max_trials: The budget; 0: as many as the tuner has (grid, hyperband).
        objective: One of `OBJECTIVES`.
        folds: Patient-grouped folds whose mean is the objective; 0: the validation split.
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
            if getattr(self, name) < least:
                raise ConfigError(f"--{name} is {getattr(self, name)}. Give {least} or more.")
        for name in ("folds", "final_folds"):
            if getattr(self, name) < 0 or getattr(self, name) == 1:
                raise ConfigError(f"--{name} is {getattr(self, name)}. Give 2 or more, or 0.")
        if not self.max_trials and self.tuner in ("random", "bayesian"):
            object.__setattr__(self, "max_trials", USUAL_TRIALS)

    @property
    def direction(self) -> str:
        """`min` or `max`: whether less or more of the objective is better."""
        return "min" if self.objective.endswith("loss") else "max"

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
        if self.folds:
            config_lib.check_folds(config, self.folds, self.executions_per_trial)
        if config.normalization != "imagenet":
            for name, given in (
                ("keep_best", self.keep_best),
                ("image_size", any(p.name == "image_size" for p in space.parameters)),
            ):
                if given:
                    raise ConfigError(
                        f"--normalization={config.normalization} is fitted to the train images at "
                        f"one size, and --{name} needs a network without. Leave one of them out."
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


def define_flags(values: flags.FlagValues = flags.FLAGS) -> None:
    """Defines the flags of `Settings`."""
    defaults = {field.name: field.default for field in dataclasses.fields(Settings)}
    texts = {
        "max_trials": f"Trials, which may grow later. Default: {USUAL_TRIALS} for random and "
        "bayesian, all of grid; hyperband has its own number.",
        "folds": "Patient-grouped folds of train and validation, over which a trial's metrics are "
        "means. 0: train on train, score validation.",
        "executions_per_trial": "Trainings of a trial, each with its own seed.",
        "keep_best": "Keep the networks of so many of the best trials (60 MB and more each).",
        "final_folds": "Folds of the closing comparison of best and default; 0: none.",
    }
    choices = {"tuner": TUNERS, "objective": OBJECTIVES}
    helps = {"tuner": "How KerasTuner proposes trials.", "objective": "What ranks trials."}
    for name, text in helps.items():
        flags.DEFINE_enum(name, defaults[name], choices[name], text, flag_values=values)
    for name, text in texts.items():
        flags.DEFINE_integer(name, defaults[name], text, flag_values=values)


def from_flags(values: flags.FlagValues, space: Space) -> Settings:
    """The settings that the parsed flags describe.

    Raises:
        ConfigError: A value out of bounds, or one that has no effect.
    """
    names = [field.name for field in dataclasses.fields(Settings)]
    settings = Settings(**{name: values[name].value for name in names})
    settings.check(space)
    return settings


def identity(settings: Settings, space: Space) -> dict[str, Any]:
    """All that a search's proposals and scores depend on, by flag.

    Two searches with the same one propose the same; the budget is none of it.
    """
    values = {**dataclasses.asdict(settings), **space.fixed, **space.texts()}
    apart = (*manifest.OF_THE_MACHINE, *_MAY_CHANGE)
    return {name: value for name, value in values.items() if name not in apart}
