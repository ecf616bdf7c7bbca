"""What a search found: a table, the best values, a leaderboard, and TensorBoard's HParams."""

import math
import pathlib
import shutil
from collections.abc import Sequence
from typing import Any

import tensorflow as tf
from tensorboard.plugins.hparams import api as hparams

from trainer.evaluation.metrics import NOTICE
from trainer.run import files, run_dir
from trainer.run.text import counted, table, wrapped
from tuning.folder import Folder
from tuning.oracles import COMPLETED, FAILED, Kept
from tuning.settings import Settings
from tuning.space import Parameter, Space

_SHOWN = 10  # lines of the leaderboard
_SHOWN_METRICS = (
    "val_balanced_accuracy", "val_balanced_accuracy_sd", "val_accuracy", "val_loss", "epoch",
    "seconds", "parameters",
)  # fmt: skip
Row = dict[str, Any]


def rows(
    oracle: Kept, space: Space, settings: Settings, known: dict[str, Row] | None = None
) -> list[Row]:
    """A row a trial, in the order they were begun.

    Args:
        oracle: Its trials.
        space: What is searched.
        settings: How.
        known: Rows of ended trials by trial, which do not change but for the rank; grows.

    Returns:
        Each with `trial`, `status`, `rank` (from 1, among the completed; equal objectives are
        ranked by the loss, then by number), every parameter, every metric (None where it has
        none), `deaths` (times that its process was lost) and `reason` (of a failure).
    """
    known = {} if known is None else known
    trials = [oracle.trials[trial_id] for trial_id in sorted(oracle.trials)]
    found = []
    for trial in trials:
        row = known.get(trial.trial_id) or _row(trial, oracle, space, settings)
        if trial.status in (COMPLETED, FAILED):
            known[trial.trial_id] = row
        found.append(row)
    for rank, row in enumerate(ranked(found, settings), 1):
        row["rank"] = rank
    # Every row has every column, in one order.
    columns = {name: None for row in found for name in row}
    last = ("deaths", "reason")
    order = [*(name for name in columns if name not in last), *last]
    return [{name: row.get(name) for name in order} for row in found]


def _row(trial: Any, oracle: Kept, space: Space, settings: Settings) -> Row:
    values = space.config(trial.hyperparameters.values).to_json()
    message = (trial.message or "").strip()
    row = {"trial": trial.trial_id, "status": trial.status, "rank": None}
    row |= {p.name: values[p.name] for p in space.parameters}
    row |= {"epochs": values["epochs"]} if settings.tuner == "hyperband" else {}
    if trial.status == COMPLETED:
        row |= {name: trial.metrics.get_best_value(name) for name in trial.metrics.metrics}
    row["deaths"] = oracle.deaths.get(trial.trial_id, 0)
    return {**row, "reason": message.splitlines()[-1] if message else ""}


def ranked(found: Sequence[Row], settings: Settings) -> list[Row]:
    """The completed trials, the best first."""
    sign = -1 if settings.direction == "max" else 1
    done = [row for row in found if row["status"] == COMPLETED]
    return sorted(
        done,
        key=lambda row: (sign * row[settings.objective], row.get("val_loss", 0.0), row["trial"]),
    )


def best_of(found: Sequence[Row], settings: Settings) -> Row | None:
    """The first of `ranked`; None where no trial is done."""
    return next(iter(ranked(found, settings)), None)


def write(
    folder: Folder,
    oracle: Kept,
    space: Space,
    settings: Settings,
    about: Row,
    known: dict[str, Row] | None = None,
) -> list[Row]:
    """Writes trials.csv and, once a trial is done, best_hparams.json and its TensorBoard row.

    Args:
        folder: Of the search.
        oracle: Its trials.
        space: What is searched.
        settings: How.
        about: What else best_hparams.json says: versions, revision.
        known: See `rows`.

    Returns:
        `rows`.
    """
    found = rows(oracle, space, settings, known)
    if not found:
        return found
    files.write_csv(folder.root / "trials.csv", found)
    best = best_of(found, settings)
    if best is not None:
        files.write_json(folder.best, _best(best, found, oracle, space, settings, about))
    _write_hparams(folder.root / "tensorboard", found, space, settings)
    return found


def _best(
    best: Row, found: Sequence[Row], oracle: Kept, space: Space, settings: Settings, about: Row
) -> Row:
    trial = oracle.trials[best["trial"]]
    config = space.config(trial.hyperparameters.values).to_json()
    for here in ("data_dir", "cache_dir"):  # another machine has its own
        config.pop(here)
    metrics = {name: best[name] for name in trial.metrics.metrics}
    return {
        "values": {p.name: best[p.name] for p in space.parameters},
        "trial": best["trial"],
        "objective": settings.objective,
        "direction": settings.direction,
        "score": best[settings.objective],
        "metrics": metrics,
        "trials": sum(row["status"] == COMPLETED for row in found),
        "failed": sum(row["status"] == FAILED for row in found),
        "folds": settings.folds,
        "executions_per_trial": settings.executions_per_trial,
        "dataset_fingerprint": oracle.dataset,
        **about,
        "config": config,
        "notice": NOTICE,
    }


def _write_hparams(
    root: pathlib.Path, found: Sequence[Row], space: Space, settings: Settings
) -> None:
    """One folder a trial, which is one row of the dashboard; whole, and once."""
    searched = {p.name for p in space.parameters}
    shown = dict.fromkeys([settings.objective, *_SHOWN_METRICS])
    for row in found:
        there = root / f"trial_{row['trial']}"
        if row["status"] != COMPLETED or there.exists():
            continue
        beside = root / f".trial_{row['trial']}"
        shutil.rmtree(beside, ignore_errors=True)
        values = {name: row[name] for name in shown if row.get(name) is not None}
        with tf.summary.create_file_writer(str(beside)).as_default(step=0):
            hparams.hparams_config(
                [_domain(p) for p in space.parameters],
                [hparams.Metric(f"hparams/{name}", display_name=name) for name in values],
            )
            hparams.hparams({name: row[name] for name in searched}, trial_id=there.name)
            for name, value in values.items():
                tf.summary.scalar(f"hparams/{name}", value)
        beside.rename(there)


def _domain(parameter: Parameter) -> hparams.HParam:
    if parameter.choices:
        return hparams.HParam(parameter.name, hparams.Discrete(list(parameter.choices)))
    return hparams.HParam(parameter.name, hparams.RealInterval(*map(float, parameter.ends)))


def line(row: Row, best: Row | None, space: Space, settings: Settings) -> str:
    """One trial, wrapped at 80 columns, and the best so far."""
    values = "  ".join(f"{p.name} {short(row[p.name])}" for p in space.parameters)
    if row["status"] != COMPLETED:
        return wrapped(f"trial {row['trial']}  FAILED: {row['reason']}  ({values})", indent=2)
    text = f"trial {row['trial']}  {settings.objective} {_score(row, settings)}  {values}"
    text += f"  {row['seconds']:.1f} s"
    text += f"  (best: trial {best['trial']}, {short(best[settings.objective])})"
    return wrapped(text, indent=2)


def leaderboard(found: Sequence[Row], space: Space, settings: Settings) -> str:
    """The best trials as a table, with what their scores rest on."""
    order = ranked(found, settings)
    failed = [row for row in found if row["status"] == FAILED]
    if not order:
        return f"No trial finished; {len(failed)} failed. The last: {failed[-1]['reason']}"
    heads = ["rank", "trial", settings.objective, *(p.name for p in space.parameters), "seconds"]
    lines = [
        [str(row["rank"]), row["trial"], _score(row, settings)]
        + [short(row[p.name]) for p in space.parameters]
        + [f"{row['seconds']:.1f}"]
        for row in order[:_SHOWN]
    ]
    images, groups = (int(order[0][f"val_{name}"]) for name in ("images", "groups"))
    how = f"{settings.folds}-fold, patient-grouped" if settings.folds else "validation split"
    counts = f"{counted(len(order), 'trial')} finished, {len(failed)} failed"
    n = f"n = {counted(images, 'image')} of {counted(groups, 'patient group')}"
    return "\n".join([f"\n{counts}", f"scores: {how}, {n}", table([heads, *lines], align=">>>")])


def _score(row: Row, settings: Settings) -> str:
    sd = row.get(f"{settings.objective}_sd")
    value = short(row[settings.objective])
    return value if sd is None else f"{value} (sd {sd:.3f})"


def short(value: Any) -> str:
    """A value in few letters: four significant digits."""
    if isinstance(value, float) and math.isfinite(value):
        return f"{value:.3f}" if 0.01 <= abs(value) < 10 else f"{value:.4g}"
    return str(value)


def facts(root: pathlib.Path) -> Row:
    """What best_hparams.json says of where it was made."""
    return {"search_dir": str(root), **run_dir.provenance()}
