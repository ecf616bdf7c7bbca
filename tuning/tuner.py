"""A search's folder as plain KerasTuner opens it."""

import dataclasses
import json
from collections.abc import Mapping
from typing import Any

import keras_tuner
from keras_tuner.engine.trial import Trial

from trainer.config import Config
from trainer.run.files import DamagedError
from trainer.run.text import shortened
from tuning import results
from tuning.folder import Folder
from tuning.settings import Settings
from tuning.space import USUAL, Parameter, Space, parse
from tuning.trial import ClassifierHyperModel

_TUNERS = {
    "random": keras_tuner.RandomSearch,
    "bayesian": keras_tuner.BayesianOptimization,
    "grid": keras_tuner.GridSearch,
    "hyperband": keras_tuner.Hyperband,
}


def opened(folder: Folder) -> keras_tuner.Tuner:
    """KerasTuner's tuner of a search, to read from.

    Args:
        folder: Of a search of which a trial has ended.
    """
    identity = folder.began_with()
    settings = Settings(tuner=identity["tuner"], objective=identity["objective"])
    space, root = _space(identity), folder.root.absolute()
    try:
        tuner = _TUNERS[settings.tuner](
            ClassifierHyperModel(space),
            objective=keras_tuner.Objective(settings.objective, settings.direction),
            directory=str(root.parent),
            project_name=root.name,
        )
        trials = tuner.oracle.trials
        for path in root.glob("trial_*/trial.json"):  # of a name with brackets it finds none
            if path.parent.name.removeprefix("trial_") not in trials:
                trial = Trial.from_state(json.loads(path.read_text(encoding="utf-8")))
                trials[trial.trial_id] = trial
    except (AttributeError, LookupError, RuntimeError, TypeError, ValueError) as error:
        raise DamagedError(
            f"What KerasTuner reads of the search in {folder.root} is damaged "
            f"({shortened(str(error), 80)}). The command of the search writes it again."
        ) from None
    # In the order of our ranking, so that of equal scores KerasTuner calls the same one best.
    trials = dict(sorted(tuner.oracle.trials.items()))
    order = results.ranked(results.rows(trials, space, settings), settings)
    first = {row["trial"]: trials.pop(row["trial"]) for row in order}
    tuner.oracle.trials = first | trials
    return tuner


def _space(identity: Mapping[str, Any]) -> Space:
    """What a search was begun with, but for folders, which play no part in a network."""
    read = {name: parse(name, str(identity[name])) for name in USUAL if name in identity}
    parameters = [each for each in read.values() if isinstance(each, Parameter)]
    names = {field.name for field in dataclasses.fields(Config)} - {p.name for p in parameters}
    return Space(tuple(parameters), {name: identity[name] for name in names & identity.keys()})
