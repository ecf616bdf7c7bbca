"""Searches without training: metrics follow from values, so that any two searches compare."""

import pathlib
import random

from trainer.config import Config
from tuning.oracle import Proposals
from tuning.settings import Settings
from tuning.space import Space

OBJECTIVE = "val_balanced_accuracy"


def space(*, seed: int = 1, **ranges: str) -> Space:
    return Space.of(Config(epochs=9, seed=seed), ranges)


SPACE = space(head_units="32:256:log2", learning_rate="1e-5:1e-2:log")
SMALL = space(learning_rate="1e-4,1e-3", dropout="0,0.25,0.5", batch_size="16,32,64")  # 18
OPENED: list[Proposals] = []  # what a test is to close at its end


def opened(tuner: str, path: pathlib.Path, searched: Space = SPACE) -> Proposals:
    OPENED.append(Proposals.open(Settings(tuner=tuner), searched, path))
    return OPENED[-1]


def metrics_of(trial) -> dict[str, float] | None:
    """Stands for a training: the values' digits are the score; some trials fail."""
    text = repr(sorted(trial.hyperparameters.values.items()))
    draw = random.Random(text).random()
    if draw < 0.1:
        return None
    return {OBJECTIVE: draw, "val_loss": 2 - draw, "val_accuracy": draw / 2, "seconds": 1.5}


def run(proposals: Proposals, budget: int, together: int = 1, order: int = 0) -> None:
    """Runs trials until there are no more, several at a time, which end in a random order."""
    shuffled = random.Random(order)
    running = proposals.running()
    while True:
        while len(running) < together and (trial := proposals.propose(budget)):
            running.append(trial)
        if not running:
            return
        trial = running.pop(shuffled.randrange(len(running)))
        metrics = metrics_of(trial)
        reason = "" if metrics else "Diverged"
        proposals.end(trial.trial_id, metrics, step=3, reason=reason)


def searched(tuner, path, budget, searched: Space = SPACE, together: int = 1, order: int = 0):
    """A search that has been run."""
    proposals = opened(tuner, path, searched)
    run(proposals, budget, together, order)
    proposals.close()
    return proposals


def contents(proposals: Proposals) -> dict[str, tuple]:
    return {
        trial_id: (trial.status, trial.hyperparameters.values, trial.score, trial.message)
        for trial_id, trial in proposals.trials.items()
    }


def configurations(proposals: Proposals, of: Space) -> list:
    return [of.config(trial.hyperparameters.values) for trial in proposals.trials.values()]
