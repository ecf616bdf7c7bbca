"""The results of a search: a table, the best values, a leaderboard, and TensorBoard's files."""

import itertools
import math
import os
import pathlib
import shutil
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf
from keras_tuner.engine import trial as trial_lib

from trainer.config import HPARAMS_FILE
from trainer.evaluation import paired
from trainer.evaluation.metrics import NOTICE
from trainer.evaluation.summary import not_above_baseline
from trainer.run import files, text
from trainer.training import hparams
from trainer.training.curves import write_logs
from tuning.folder import read_result
from tuning.settings import Settings
from tuning.space import Space

TABLE_FILE = "trials.csv"
_SHOWN = 10  # trials of the leaderboard
# Of best_hparams.json: what trained a trial, whatever shows it later.
_OF_THE_TRIAL = ("packages", "git_revision")
_GROWTH = 50  # the table is written when 1 / _GROWTH of its trials are new
_COMPLETED, _FAILED = trial_lib.TrialStatus.COMPLETED, trial_lib.TrialStatus.FAILED
Row = dict[str, Any]
Trials = Mapping[str, trial_lib.Trial]


def rows(
    trials: Trials, space: Space, settings: Settings, known: dict[str, Row] | None = None
) -> list[Row]:
    """A row a trial, in the order they were begun.

    Args:
        trials: By their id, in that order.
        space: What is searched.
        settings: How.
        known: Rows of ended trials by trial, which do not change but for the rank; grows.

    Returns:
        Each with `trial`, `status`, `rank` (from 1, among the completed; equal objectives are
        ranked by the loss, then by number), every parameter, every metric (None where it has
        none), and `reason` (of a failure).
    """
    known = {} if known is None else known
    drafts = []
    for trial in trials.values():
        row = known.get(trial.trial_id) or _row(trial, space, settings)
        if trial.status in (_COMPLETED, _FAILED):
            known[trial.trial_id] = row
        drafts.append(row)
    for rank, row in enumerate(ranked(drafts, settings), 1):
        row["rank"] = rank
    # Every row has every column, in one order: 3 ms for 1,000 rows.
    blank = dict.fromkeys(itertools.chain.from_iterable(drafts))
    blank["reason"] = blank.pop("reason", None)
    return [blank | row for row in drafts]


def _row(trial: trial_lib.Trial, space: Space, settings: Settings) -> Row:
    values = trial.hyperparameters.values
    message = (trial.message or "").strip()
    row = {"trial": trial.trial_id, "status": trial.status, "rank": None}
    row |= space.effective(values)
    row |= {"epochs": space.config(values).epochs} if settings.tuner == "hyperband" else {}
    if trial.status == _COMPLETED:
        # As Python's own numbers, which print as such.
        row |= {name: float(trial.metrics.get_last_value(name)) for name in trial.metrics.metrics}
    return {**row, "reason": message.splitlines()[-1] if message else ""}


def ranked(table: Sequence[Row], settings: Settings) -> list[Row]:
    """The completed trials, the best first; `table` is in the order they were begun."""
    sign = -1 if settings.direction == "max" else 1
    done = [row for row in table if row["status"] == _COMPLETED]
    return sorted(done, key=lambda row: (sign * row[settings.objective], _loss(row)))


def _loss(row: Row) -> float:
    return math.inf if row.get("val_loss") is None else row["val_loss"]


def best_of(table: Sequence[Row], settings: Settings) -> Row | None:
    """The first of `ranked`; None where no trial is done."""
    return next(iter(ranked(table, settings)), None)


def write(
    folder: pathlib.Path,
    trials: Trials,
    space: Space,
    settings: Settings,
    about: Mapping[str, Any],
    known: dict[str, Row] | None = None,
    *,
    final: bool = False,
) -> list[Row]:
    """Writes trials.csv and, once a trial is done, best_hparams.json.

    Called after every trial. The log of the search has everything, so these files may lag behind:
    trials.csv is written when 2 % of its trials are new (else the bytes written grow with the
    square of their number), best_hparams.json when another trial is best, both when `final`.

    Args:
        folder: Of the search.
        trials: See `rows`.
        space: What is searched.
        settings: How.
        about: What else best_hparams.json holds: `dataset_fingerprint`, `shortcut_baseline`,
            versions, revision; versions and revision stay while the same trial is best.
        known: See `rows`.
        final: Whether the search ends here, for now.

    Returns:
        `rows`.
    """
    table = rows(trials, space, settings, known)
    ended = sum(row["status"] in (_COMPLETED, _FAILED) for row in table)
    if table and (final or ended % max(1, ended // _GROWTH) == 0):
        files.write_csv(folder / TABLE_FILE, table)
    best, path = next((row for row in table if row["rank"] == 1), None), folder / HPARAMS_FILE
    before = read_result(path)
    if best is not None and (final or before.get("trial") != best["trial"]):
        values = _best(best, table, trials[best["trial"]], space, settings)
        same = before.get("trial") == best["trial"]
        # Baselines are of the images as the best is aligned.
        aligned = before.get("config", {}).get("align") == values["config"]["align"]
        stays = ("dataset_fingerprint", *(_OF_THE_TRIAL if same else ()))
        stays += ("shortcut_baseline",) if aligned else ()
        kept = {name: before[name] for name in stays if name in before}
        files.write_json(path, {**values, **about, **kept})
    return table


def _best(best: Row, table: Sequence[Row], trial: Any, space: Space, settings: Settings) -> Row:
    config = space.config(trial.hyperparameters.values).to_json()
    for here in ("data_dir", "cache_dir"):  # another machine has its own
        config.pop(here)
    return {
        "values": {p.name: best[p.name] for p in space.parameters if best[p.name] is not None},
        "trial": best["trial"],
        "objective": settings.objective,
        "direction": settings.direction,
        "score": best[settings.objective],
        **{end: best.get(f"{settings.objective}_{end}") for end in ("low", "high")},
        **{name: int(best[f"val_{name}"]) for name in ("images", "groups")},
        "metrics": {name: best[name] for name in trial.metrics.metrics},
        "trials": sum(row["status"] == _COMPLETED for row in table),
        "failed": sum(row["status"] == _FAILED for row in table),
        "folds": settings.folds,
        "executions_per_trial": settings.executions_per_trial,
        "config": config,
        "notice": NOTICE,
    }


def write_curves(
    folder: pathlib.Path,
    row: Row,
    curves: Sequence[Sequence[Mapping[str, Any]]],
    space: Space,
    settings: Settings,
) -> None:
    """Writes the curves of a completed trial and its row of HPARAMS for TensorBoard.

    The curves have the tags of a run's. Those of several executions or folds are runs of
    their own, `trial_0000/execution_1` and so on.

    Args:
        folder: Of the search.
        row: Of the trial.
        curves: Of each execution the logs of each epoch, with `epoch`, from 1.
        space: What is searched.
        settings: How.
    """
    there = folder / "tensorboard" / f"trial_{row['trial']}"
    beside = folder / f".{there.name}"  # where TensorBoard, which may be looking, finds no run
    shutil.rmtree(beside, ignore_errors=True)
    with tf.summary.create_file_writer(os.fsencode(beside)).as_default(step=0):
        _write_hparams(row, space, settings, folder / there.name)
    for number, curve in enumerate(curves, 1):
        run = beside / f"execution_{number}" if len(curves) > 1 else beside
        with tf.summary.create_file_writer(os.fsencode(run)).as_default():
            for logs in curve:
                write_logs(logs["epoch"], {name: logs[name] for name in logs if name != "epoch"})
    for path in (*beside.rglob("*"), beside):  # on the disk before it bears its name
        files.flush(path)
    files.make_folder(there.parent)
    shutil.rmtree(there, ignore_errors=True)  # of a process that was killed before the log's line
    beside.rename(there)
    files.flush(there.parent)


def _write_hparams(row: Row, space: Space, settings: Settings, folder: pathlib.Path) -> None:
    values = {p.name: row[p.name] for p in space.parameters if row[p.name] is not None}
    if settings.tuner == "hyperband":
        values["tuner/epochs"] = row["epochs"]
    hparams.write_row(space.config(values), row, folder)


def begun(trial: str, values: Mapping[str, Any], space: Space) -> str:
    """One line on a trial that begins."""
    return f"trial {trial}  begins  {values_of(space.effective(values), space)}"


def line(row: Row, best: Row | None, space: Space, settings: Settings) -> str:
    """One line on a trial that has ended, and the best so far."""
    if row["status"] != _COMPLETED:
        return f"trial {row['trial']}  FAILED: {row['reason']}  ({values_of(row, space)})"
    shown = (
        f"trial {row['trial']}  {settings.objective} {score(row, settings)}, {counted(row)}"
        f"  {row['seconds']:.1f}\u00a0s"
    )
    if best is not None:
        shown += f"  (best: trial {best['trial']}, {score(best, settings)})"
    return shown


def leaderboard(
    table: Sequence[Row],
    space: Space,
    settings: Settings,
    shortcuts: Mapping[str, Mapping[str, Any]] | None = None,
) -> str:
    """The best trials as a table, with what their scores rest on.

    Args:
        table: Of `rows`.
        space: What is searched.
        settings: How.
        shortcuts: Of `trainings.shortcut_baselines`; None shows none.
    """
    order = ranked(table, settings)
    failed = [row for row in table if row["status"] == _FAILED]
    if not order:
        said = f"No trial finished; {len(failed)} failed."
        if failed:
            more = "a larger --max_trials goes on, and " if settings.max_trials else ""
            said += (
                f" The last: {failed[-1]['reason'].rstrip('.')}. When that is mended, {more}"
                "--overwrite begins again."
            )
        return text.wrapped(said)
    shown, names = order[:_SHOWN], [p.name for p in space.parameters]
    lines = [["rank", "trial", settings.objective, "seconds"]] + [
        [str(row["rank"]), row["trial"], score(row, settings), f"{row['seconds']:.1f}"]
        for row in shown
    ]
    values = [names] + [[short(row[name]) for name in names] for row in shown]
    wide = [left + right for left, right in zip(lines, values, strict=True)]
    board = text.table(wide, align=">>>>").splitlines()
    if max(map(len, board)) > text.WIDTH:
        head, *lines = text.table(lines, align=">>>>").splitlines()
        below = [text.wrapped(f"    {values_of(row, space)}", indent=4) for row in shown]
        board = [head, *(each for pair in zip(lines, below, strict=True) for each in pair)]
    how = f"{settings.folds}-fold, patient-grouped" if settings.folds else "validation split"
    how += ", re-framed at random" * settings.stressed
    counts = f"{text.counted(len(order), 'trial')} finished, {len(failed)} failed"
    lines = [f"\n{counts}", text.wrapped(f"scores: {how}, {counted(order[0])}"), *board]
    if shortcuts is not None:
        lines += _beside_baselines(order[0], shortcuts, settings)
    return "\n".join(lines)


def _beside_baselines(
    best: Row, shortcuts: Mapping[str, Mapping[str, Any]], settings: Settings
) -> Iterator[str]:
    """The shortcut baselines, and the best trial's balanced accuracy where another score ranks."""
    shown = [[name.replace("_", " "), text.estimate(of)] for name, of in shortcuts.items()]
    where = ", in their own frames" * settings.stressed
    if settings.objective != "val_balanced_accuracy":
        shown.insert(0, [f"trial {best['trial']}", _estimate(best, "val_balanced_accuracy")])
    yield f"shortcut baseline, balanced accuracy on the same images{where}"
    yield text.table(shown, align="<<", indent=2)
    baselines = {name: {"balanced_accuracy": of} for name, of in shortcuts.items()}
    yield from not_above_baseline(_measured(best, "val_balanced_accuracy"), baselines)


def against_default(
    best: np.ndarray,
    default: np.ndarray,
    labels: np.ndarray,
    groups: np.ndarray,
    *,
    trial: str,
    trials: int,
    reference: str,
) -> str:
    """The best trial so far against the trainer's defaults, on the images that chose it.

    Args:
        best: float [executions, n, classes], probabilities of the best trial.
        default: The same of the defaults.
        labels: int [n], 0..classes-1.
        groups: int [n], the number of each image's patient group, 0..k-1, each in use.
        trial: Id of the best trial.
        trials: How many it is the best of.
        reference: What the defaults are called, in the plural: a space need not hold them.

    Returns:
        Lines of at most 80 columns: the difference of their balanced accuracies with its interval,
        and that images flatter what was chosen on them.
    """
    if np.array_equal(best, default):
        return text.wrapped(
            f"{reference.capitalize()} are the best of {text.counted(trials, 'trial')} so far."
        )
    right = [(each.argmax(axis=-1) == labels).mean(axis=0) for each in (best, default)]
    difference = text.difference(paired.paired_difference(labels, groups, *right))
    n = _n(len(labels), int(groups.max()) + 1)
    return text.wrapped(
        f"Trial {trial} less {reference}: balanced accuracy {difference}, {n}. They chose it out "
        f"of {trials}, which flatters it."
    )


def score(row: Row, settings: Settings) -> str:
    """The objective, `0.838 [0.802, 0.872]` where it has an interval."""
    return _estimate(row, settings.objective)


def _estimate(row: Row, name: str) -> str:
    measured = _measured(row, name)
    return text.estimate(measured) if "low" in measured else short(measured["value"])


def _measured(row: Row, name: str) -> dict[str, Any]:
    """A score of a trial as an E of `metrics.score`; trials of an earlier release lack limits."""
    limits = {end: row.get(f"{name}_{end}") for end in ("low", "high")}
    known = {} if None in limits.values() else {**limits, "groups": int(row["val_groups"])}
    return {"value": row[name], **known}


def counted(row: Row) -> str:
    """`n = 632 images of 446 patient groups`, which the trial was scored on."""
    return _n(int(row["val_images"]), int(row["val_groups"]))


def _n(images: int, groups: int) -> str:
    return f"n = {text.counted(images, 'image')} of {text.counted(groups, 'patient group')}"


def values_of(row: Row, space: Space) -> str:
    """`head_units 256  learning_rate 0.0001`; a line may end between parameters alone."""
    return "  ".join(f"{p.name}\u00a0{short(row[p.name])}" for p in space.parameters)


def short(value: Any) -> str:
    """A value in few letters: four significant digits; `-` for one without effect."""
    if value is None:
        return "-"
    if isinstance(value, float) and math.isfinite(value):
        return f"{value:.3f}" if 0.01 <= abs(value) < 10 else f"{value:.4g}"
    return str(value)
