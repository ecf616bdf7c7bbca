"""Several runs on the images that all of them scored: their numbers, and what differs in config."""

import dataclasses
import itertools
import json
import string
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from trainer.evaluation import metrics, notes, paired
from trainer.evaluation.predictions import Predictions
from trainer.reporting.results import Results
from trainer.run.errors import ConfigError, RunError
from trainer.run.manifest import OF_THE_MACHINE
from trainer.run.text import counted

MOST = len(string.ascii_uppercase)  # runs, each of which has a letter
_DIGITS = 12  # of a digest


@dataclasses.dataclass(frozen=True)
class Comparison:
    """Runs side by side; each is called by its letter.

    Attributes:
        paths: The folder of each run, as it was given.
        synthetic: Whether a run is of drawn images.
        confounded: Letters of the runs in whose train images class and source go together.
        planted: Letters of the runs whose drawn images have a marker that goes with the class.
        leaking: Letters of the runs whose dataset has patients in a split that is scored and in one
            that was trained or chosen on.
        unknown: Letters of the runs whose dataset has images without a patient.
        split: The split that is compared: test where all have opened it, else validation.
        not_opened: Letters of the runs that have not opened test.
        left_out: How many images each run scored that not all of them did.
        settings: Values of each setting that is not the same in all runs, by its name.
        scores: Of each run on the shared images, see `metrics.score`.
        baselines: The shortcut baseline of each, where it is of just these images; else None.
        controls: `Results.source_control` of each, where test is compared; else None.
        differences: Of each run to the first, by its letter: `paired.paired_difference` of the
            balanced accuracies, and as `mcnemar` what `paired.exact_mcnemar` gives.
    """

    paths: Mapping[str, str]
    synthetic: bool
    confounded: Sequence[str]
    planted: Sequence[str]
    leaking: Sequence[str]
    unknown: Sequence[str]
    split: str
    not_opened: Sequence[str]
    left_out: Mapping[str, int]
    settings: Mapping[str, Mapping[str, Any]]
    scores: Mapping[str, Mapping[str, Any]]
    baselines: Mapping[str, Mapping[str, Any] | None]
    controls: Mapping[str, Mapping[str, Any] | None]
    differences: Mapping[str, Mapping[str, Any]]

    @property
    def all_images(self) -> Mapping[str, Any]:
        """The score of the first run, for what is the same in all: n, patient groups, classes."""
        return next(iter(self.scores.values()))


def compare(runs: Sequence[Results]) -> Comparison:
    """Compares runs.

    Args:
        runs: Two or more, each of another folder. The later ones are compared with the first.

    Raises:
        ConfigError: There are too few runs or too many, or one is there twice.
        RunError: They have other classes, or share no image.
    """
    _check(runs)
    named = dict(zip(string.ascii_uppercase, runs, strict=False))
    not_opened = [name for name, run in named.items() if not run.metrics["opened"]["test"]]
    split = "validation" if not_opened else "test"
    whole = {name: run.predictions.of_split(split) for name, run in named.items()}
    tables = dict(zip(named, _shared(named, whole, split), strict=True))
    scores = {name: metrics.score(table) for name, table in tables.items()}
    left_out = {name: len(whole[name].labels) - scores[name]["n"] for name in named}
    baselines = {
        name: None if left_out[name] else run.metrics["splits"][split]["shortcut_baseline"]
        for name, run in named.items()
    }
    return Comparison(
        paths={name: str(run.path) for name, run in named.items()},
        synthetic=any(run.origin["dataset"]["synthetic"] for run in runs),
        confounded=[n for n, run in named.items() if run.metrics["confounding"]["confounded"]],
        planted=[n for n, run in named.items() if run.metrics["dataset"]["planted_shortcut"]],
        leaking=[n for n, run in named.items() if notes.leaking(run.metrics)],
        unknown=[
            n for n, run in named.items() if run.metrics["dataset"].get("images_without_patient")
        ],
        split=split,
        not_opened=not_opened,
        left_out=left_out,
        settings=_differing({name: _settings(run.origin) for name, run in named.items()}),
        scores=scores,
        baselines=baselines,
        controls={n: run.source_control if split == "test" else None for n, run in named.items()},
        differences=dict(_differences(tables)),
    )


def _check(runs: Sequence[Results]) -> None:
    if not 2 <= len(runs) <= MOST:
        raise ConfigError(f"{counted(len(runs), 'run')} given. Give the folders of 2 to {MOST}.")
    for one, other in itertools.combinations(runs, 2):
        if one.path.resolve() == other.path.resolve():
            raise ConfigError(f"{one.path} is given twice. Give each run once.")
    first = runs[0]
    for other in runs[1:]:
        names = [list(run.origin["dataset"]["class_names"]) for run in (first, other)]
        if names[0] != names[1]:
            texts = [", ".join(each) for each in names]
            raise RunError(
                f"{first.path} has the classes {texts[0]}, and {other.path} has {texts[1]}. Give "
                "runs of the same classes."
            )


def _shared(
    named: Mapping[str, Results], whole: Mapping[str, Predictions], split: str
) -> list[Predictions]:
    """The rows of the images that all runs scored, in one order, with the first's groups."""
    rows = [_rows(run, whole[name], split) for name, run in named.items()]
    common = [key for key in rows[0] if all(key in each for each in rows[1:])]
    if not common:
        raise RunError(
            f"The runs share no image of {split}, so that nothing can be compared image by image. "
            "Give runs of the same dataset."
        )
    tables = [
        table.take([each[key] for key in common])
        for table, each in zip(whole.values(), rows, strict=True)
    ]
    patients, groups = tables[0].patients, tables[0].groups
    return [dataclasses.replace(table, patients=patients, groups=groups) for table in tables]


def _rows(run: Results, table: Predictions, split: str) -> dict[tuple[str, str | None, int], int]:
    """The row of each image: the same image has one name, the same pixels and the same class."""
    used = run.used
    digests = {
        image_id: digest
        for image_id, of, digest in zip(
            used["image_id"], used["split"], used["image_sha256"], strict=True
        )
        if of == split
    }
    keys = zip(table.image_ids, map(digests.get, table.image_ids), table.labels, strict=True)
    return {(name, digest, int(label)): row for row, (name, digest, label) in enumerate(keys)}


def _differences(tables: Mapping[str, Predictions]) -> Iterator[tuple[str, dict[str, Any]]]:
    """What each later run has more than the first, by its letter."""
    right = {name: (t.predicted == t.labels).astype(np.float64) for name, t in tables.items()}
    first, *others = tables
    labels = tables[first].labels
    groups = np.unique(np.asarray(tables[first].groups), return_inverse=True)[1]
    for name in others:
        difference = paired.paired_difference(labels, groups, right[name], right[first])
        mcnemar = paired.exact_mcnemar(groups, right[name], right[first])
        yield name, {**difference, "mcnemar": mcnemar}


def _settings(origin: Mapping[str, Any]) -> dict[str, Any]:
    """All that makes a run what it is, by the names of flags and in words."""
    config = {name: value for name, value in origin["config"].items() if name not in OF_THE_MACHINE}
    data, weights = origin["dataset"], origin.get("weights", {})
    return {
        **config,
        "dataset": data["name"],
        "dataset's fingerprint": data["fingerprint"][:_DIGITS],
        "digest of the weights": (weights.get("sha256") or "")[:_DIGITS],
        "precision": origin.get("precision", config.get("precision")),
        **origin.get("packages", {}),
        "git revision": (origin.get("git_revision") or "")[:_DIGITS],
    }


def _differing(settings: Mapping[str, Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
    """Of the settings of each run those that differ: each run's value, by name."""
    names = dict.fromkeys(name for each in settings.values() for name in each)
    values = {name: {run: each.get(name) for run, each in settings.items()} for name in names}
    return {
        name: of_runs
        for name, of_runs in values.items()
        if len({json.dumps(value) for value in of_runs.values()}) > 1
    }
