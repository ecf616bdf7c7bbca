"""Searches: as a command line gives them, trials that are trained one by one, and ended ones."""

import contextlib
import csv
import dataclasses
import itertools
import pathlib
from collections.abc import Sequence

import keras
import keras_tuner
import psutil
import pytest
from absl import flags

from trainer.model import vgg16
from tuning import oracles, results
from tuning import settings as settings_lib
from tuning import space as space_lib
from tuning.bench import Bench
from tuning.folder import Folder
from tuning.hypermodel import ClassifierHyperModel
from tuning.pulse import Pulse
from tuning.results import Row
from tuning.roles import Search
from tuning.settings import Settings
from tuning.space import Space, parse

# Of a small search: flags of all but its folders and its space.
QUICK = ("--dataset=tiny", "--image_size=32", "--width=0.1", "--weights=none",
         "--epochs=2", "--precision=float32", "--deterministic")  # fmt: skip
BUILD_MODEL = vgg16.build_model
_LOAD = ("seconds", "images_per_second")  # depend on the machine's load
_METRICS = {"seconds": 2.0, "val_images": 17.0, "val_groups": 12.0}


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
    bench: Bench
    model: ClassifierHyperModel

    def __call__(self, **values) -> dict[str, float]:
        """What a trial measures, without what depends on the machine's load.

        Args:
            values: Of some parameters; the others have their defaults.
        """
        measured = self.measured(**values)
        assert all(measured[name] > 0 for name in _LOAD)
        return {name: value for name, value in measured.items() if name not in _LOAD}

    def measured(self, **values) -> dict[str, float]:
        """All that a trial measures."""
        hp = keras_tuner.HyperParameters()
        self.space.declare(hp)
        assert values.keys() <= hp.values.keys()
        hp.values |= values
        return self.model.fit(hp, self.model.build(hp))


def open_trials(*argv: str, bench: Bench | None = None) -> Trials:
    """Trials on images that are opened now, or on those of a bench."""
    searched, settings = parsed(*argv)
    bench = bench or Bench.open(searched.config({}), bool(settings.folds))
    model = ClassifierHyperModel(searched, settings, bench, Pulse())
    return Trials(argv, searched, settings, bench, model)


# Trials that are not trained: real but for their metrics

SPACE = Space(
    (parse("head_units", "32:256:log2"), parse("learning_rate", "1e-5:1e-2:log")), {"epochs": 9}
)
TRIALS = {"random": 9, "bayesian": 8, "grid": 9, "hyperband": 0}  # of a tuner unless given


def open_oracle(tuner: str, folder: pathlib.Path, trials: int | None = None,
                ended=lambda trial: None, space: Space = SPACE, seed: int = 0):  # fmt: skip
    """An oracle that goes on from the state in a folder, where there is one."""
    settings = Settings(tuner=tuner, max_trials=TRIALS[tuner] if trials is None else trials,
                        objective="val_accuracy", direction="max", folds=0,
                        executions_per_trial=1)  # fmt: skip
    folder.mkdir(exist_ok=True)
    oracle = oracles.make(settings, space, seed=seed, epochs=9)
    oracle.keep(folder / "state.json", space, 3, ended)
    if (folder / "state.json").exists():
        oracle.reload()
        oracle.expect(set())
    return oracle


def metrics_of(trial) -> dict[str, float]:
    """Stands for a training: a score that follows from the values."""
    values = trial.hyperparameters.values
    epochs = values.get("tuner/epochs", 9)
    rate = values.get("learning_rate", 0.0)
    return {"val_accuracy": values["head_units"] / 1e3 + rate + epochs / 1e2}


def run_trials(oracle, stop_after: int = 10**6) -> None:
    """Runs trials as a single worker does."""
    for _ in range(stop_after):
        trial = oracle.create_trial("one")
        if trial.status == "STOPPED":
            return
        if trial.status == "IDLE":
            continue
        oracle.update_trial(trial.trial_id, metrics_of(trial))
        trial.status = "COMPLETED"
        oracle.end_trial(trial)


def ended_search(
    root: pathlib.Path,
    scores: Sequence[float | None],
    *argv: str,
    losses: Sequence[float] = (),
    images: str = "fingerprint",
) -> tuple[Search, list[Row]]:
    """A search that has ended.

    Args:
        root: Its folder, which gets what a search writes.
        scores: The objective of each trial; None: it failed.
        argv: Its flags.
        losses: Of the first trials; 1 of the others.
        images: Fingerprint of the images that it saw.

    Returns:
        The search, and a row a trial.
    """
    searched, settings = parsed(*argv)
    folder = Folder(root)
    folder.begin(identity(*argv), overwrite=False)
    config = searched.config({})
    oracle = oracles.make(settings, searched, config.seed, config.epochs)
    oracle.keep(folder.state, searched, 10, lambda _: None)
    oracle.saw(images)
    for score, loss in itertools.zip_longest(scores, losses, fillvalue=1.0):
        trial = oracle.create_trial("alone")
        if score is None:
            trial.status, trial.message = oracles.FAILED, "Out of memory"
        else:
            metrics = {**_METRICS, "val_loss": loss, settings.objective: score}
            oracle.update_trial(trial.trial_id, metrics)
            trial.status = oracles.COMPLETED
        oracle.end_trial(trial)
    rows = results.write(folder, oracle, searched, settings, results.facts(root))
    return Search(folder, searched, settings, timeout=60.0, attempts=10), rows


# Searches whose processes are killed


def ranking(folder: pathlib.Path) -> list[tuple]:
    """Trials as they are ranked, with their values and score."""
    with open(folder / "trials.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    keys = ("rank", "trial", "status", "head_units", "learning_rate", "val_balanced_accuracy",
            "val_loss")  # fmt: skip
    return sorted(tuple(row[key] for key in keys) for row in rows)


def processes_of(parent: int) -> dict[str, int]:
    """Process ids of a search by part: `parent`, `chief`, `worker0`, ..."""
    ids = {"parent": parent}
    for child in psutil.Process(parent).children():
        with contextlib.suppress(psutil.Error):  # gone meanwhile
            if name := child.environ().get("KERASTUNER_TUNER_ID"):
                ids[name] = child.pid
    return ids
