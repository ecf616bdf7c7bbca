"""Trials that were not trained, and their rows."""

import keras_tuner
from keras_tuner.engine import trial as trial_lib

from tuning import results
from tuning.settings import Settings
from tuning.space import Space, parse

SPACE = Space(
    (parse("head_units", "32:256:log2"), parse("learning_rate", "1e-5:1e-2:log")), {"epochs": 9}
)
WIDE = Space(
    (parse("head_units", "64:1024:log2"), parse("learning_rate", "1e-5:1e-2:log"),
     parse("l2", "1e-6:1e-2:log"), parse("pooling", "flatten,average,max"),
     parse("label_smoothing", "0:0.2:0.05"), parse("augmentation", "none,radiograph")),
    {},
)  # fmt: skip
SETTINGS = Settings("random", 9, "val_accuracy")
FAILURE = "Traceback\n  somewhere\nOut of memory: 9 GiB"
# Score and loss of each trial; None: it failed.
SCORED = [(0.5, 0.9), (0.8, 0.7), None, (0.8, 0.6)]


def add_trial(trials, space=SPACE, scored=None, message=None, **metrics):
    """A trial of a search: completed with a score and a loss, failed, or still running."""
    hp = keras_tuner.HyperParameters()
    space.declare(hp)
    number = len(trials)
    hp.values["head_units"] = 32 * 2 ** (number % 4)
    status = "COMPLETED" if scored else "FAILED" if message else "RUNNING"
    trial = trial_lib.Trial(hp, f"{number:04d}", status, message)
    if scored:
        measured = {"val_accuracy": scored[0], "val_loss": scored[1], "seconds": 1.5,
                    "val_images": 54, "val_groups": 43, **metrics}  # fmt: skip
        for name, value in measured.items():
            trial.metrics.update(name, value)
    trials[trial.trial_id] = trial


def searched(scores=SCORED, space=SPACE, **metrics):
    trials = {}
    for scored in scores:
        add_trial(trials, space, scored, None if scored else FAILURE, **metrics)
    return trials


def table_of(trials, space=SPACE, settings=SETTINGS):
    return results.rows(trials, space, settings)
