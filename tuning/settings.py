"""How a search goes: a frozen record of its own flags, and every bound in one place.

Imports neither TensorFlow nor KerasTuner, so that a wrong command line is answered at once.
"""

import dataclasses
import hashlib
import json
from typing import Any

from absl import flags

from trainer import config as config_lib
from trainer.run.errors import ConfigError
from tuning.space import Space

TUNERS = ("random", "hyperband", "bayesian", "grid")
DIRECTIONS = ("auto", "min", "max")
_USUAL_TRIALS = 20
# Flags that say where and on what a search runs, but not what it finds.
_ELSEWHERE = ("data_dir", "cache_dir", "cache_gib")


@dataclasses.dataclass(frozen=True)
class Settings:
    """What makes a search what it is, beside its space.

    Attributes:
        tuner: One of `TUNERS`.
        max_trials: Trials at most; 0: as many as the tuner has (grid, hyperband).
        objective: Name of the metric.
        direction: `min` or `max`.
        folds: Patient-grouped folds whose mean is the metric; 0: the validation split.
        executions_per_trial: Trainings of each trial, with seeds seed, seed + 1, ...
    """

    tuner: str
    max_trials: int
    objective: str
    direction: str
    folds: int
    executions_per_trial: int


def define_flags(values: flags.FlagValues = flags.FLAGS) -> None:
    """Defines the flags of `Settings`."""
    flags.DEFINE_enum(
        "tuner", "random", TUNERS, "How KerasTuner proposes trials.", flag_values=values
    )
    flags.DEFINE_integer(
        "max_trials",
        None,
        f"Trials. Default: {_USUAL_TRIALS} for random and bayesian, all of grid; hyperband has its "
        "own number.",
        flag_values=values,
    )
    flags.DEFINE_string(
        "objective", "val_balanced_accuracy", "Metric that makes a trial good.", flag_values=values
    )
    flags.DEFINE_enum(
        "direction",
        "auto",
        DIRECTIONS,
        "Whether more or less of it is better; auto goes by its name.",
        flag_values=values,
    )
    flags.DEFINE_integer(
        "folds",
        0,
        "Patient-grouped folds of train and validation, over which a trial's metrics are means. "
        "0: train on train, score validation.",
        flag_values=values,
    )
    flags.DEFINE_integer(
        "executions_per_trial", 1, "Trainings of a trial, each with its own seed.",
        flag_values=values,
    )  # fmt: skip


def from_flags(values: flags.FlagValues, space: Space) -> Settings:
    """The settings that the parsed flags ask for.

    Raises:
        ConfigError: A value out of bounds, or one that has no effect.
    """
    tuner, trials, folds = (values[name].value for name in ("tuner", "max_trials", "folds"))
    executions = values["executions_per_trial"].value
    if tuner == "hyperband" and trials is not None:
        raise ConfigError(
            f"--max_trials={trials} has no effect: hyperband's brackets follow from --epochs. "
            "Leave it out."
        )
    if trials is not None and trials < 1:
        raise ConfigError(f"--max_trials is {trials}. Give 1 or more.")
    if folds < 0 or folds == 1:
        raise ConfigError(f"--folds is {folds}. Give 2 or more, or 0 for none.")
    if executions < 1:
        raise ConfigError(f"--executions_per_trial is {executions}. Give 1 or more.")
    config = space.config({})
    if config.as_published:
        raise ConfigError("--as_published has no place here: the article searched nothing.")
    if folds:
        config_lib.check_folds(config, folds, executions)
    return Settings(
        tuner=tuner,
        max_trials=(
            _USUAL_TRIALS if trials is None and tuner in ("random", "bayesian") else trials or 0
        ),
        objective=values["objective"].value,
        direction=_direction(values["objective"].value, values["direction"].value),
        folds=folds,
        executions_per_trial=executions,
    )


def _direction(objective: str, given: str) -> str:
    if given != "auto":
        return given
    for ending, direction in (("loss", "min"), ("accuracy", "max")):
        if objective.endswith(ending):
            return direction
    raise ConfigError(
        f"Whether --objective={objective} is better high or low does not follow from its name. "
        "Add --direction=max or --direction=min."
    )


def identity(settings: Settings, space: Space) -> dict[str, Any]:
    """All that a search depends on, by flag; two searches with the same one find the same."""
    found = {**dataclasses.asdict(settings), **space.fixed, **space.texts()}
    return {name: value for name, value in found.items() if name not in _ELSEWHERE}


def digest(identity: dict[str, Any]) -> str:
    """sha256 of an `identity`, by which chief and workers know that they mean the same search."""
    return hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()
