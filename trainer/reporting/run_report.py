"""The report of a run: its page, from what is in its folder."""

import math
import os
import pathlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from trainer.evaluation import heatmaps as heatmaps_lib
from trainer.evaluation import notes, plots, summary
from trainer.evaluation.drawing import title_of
from trainer.evaluation.metrics import NOTICE, PREVALENCES, shown_split
from trainer.evaluation.predictions import Predictions
from trainer.reporting import figures, pages, provenance
from trainer.reporting.results import Results
from trainer.run.manifest import REPORT
from trainer.run.text import counted, estimate, listed, number, percent

CLASS_SCORES = {
    "sensitivity": "sensitivity",
    "specificity": "specificity",
    "ppv": "positive predictive value",
    "roc_auc": "ROC AUC",
    "pr_auc": "average precision",
}
BASELINES = {"full_image": "baseline, full image", "lungs_masked": "baseline, lungs masked"}
_KINDS = {
    "worst": "Worst errors: wrong, and most certain of it",
    "least_certain": "Least certain: the two most probable classes are closest",
    "best": "Right, and most certain of it",
}
CHOSEN = (
    "The best epoch was chosen on these very images of validation, so the score is too high. Test "
    "was not opened."
)
_SECTIONS = (
    ("result", "Result"),
    ("trained", "What was trained on what"),
    ("images-used", "Images"),
    ("curves", "Learning curves"),
    ("classes", "Classes"),
    ("examples", "Images worth a look"),
    ("time", "Time"),
    ("repeat", "How to repeat it"),
    ("card", "Model card"),
)


class Example(NamedTuple):
    """An image with its heatmap; `square` and `overlay` are addresses of `pages.of_pixels`."""

    id: str
    truth: str
    called: str
    probabilities: Sequence[tuple[str, float]]
    square: str
    overlay: str


def write(run: Results) -> pathlib.Path:
    """Writes the report of a run into its folder, and returns its path.

    Args:
        run: Whose tables and numbers are all written.
    """
    path = run.path / REPORT
    metrics, shown = run.metrics, shown_split(run.metrics)
    scores = metrics["splits"][shown]
    table = run.predictions.of_split(shown)
    data = metrics["dataset"]
    named = os.path.basename(os.path.abspath(run.path))
    pages.write(
        path,
        "report.html",
        title=f"Report of the run {named}",
        subtitle=f"{title_of(data)}, {counted(len(table.class_names), 'class', 'classes')}: "
        f"{listed(table.class_names)}",
        notice=NOTICE,
        synthetic=data["synthetic"],
        sections=_SECTIONS,
        shown=shown,
        opened=metrics["opened"]["test"],
        scores=scores,
        chance=1 / len(table.class_names),
        class_scores=CLASS_SCORES,
        prevalences=[f"{100 * p:g}" for p in PREVALENCES],
        splits=list(_splits(metrics)),
        baselines=BASELINES,
        confounding=metrics["confounding"],
        sources=list(next(iter(metrics["confounding"]["table"].values()))),
        leaks=summary.shared_groups(data["groups_in_more_than_one_split"]),
        unknown=bool(data.get("images_without_patient")),
        examples=_examples(run),
        examples_split=run.heatmaps.split if run.heatmaps else "",
        **_said(run),
        **_charts(run, table, scores),
        **provenance.of(run),
    )
    return path


def _splits(metrics: Mapping[str, Any]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """What was scored, by name; behind validation, its images re-framed."""
    for name, of in metrics["splits"].items():
        yield name, of
        if "stressed" in of:
            yield f"{name}, re-framed", of["stressed"]
    if "control" in metrics:
        yield "control", metrics["control"]


def _said(run: Results) -> dict[str, Any]:
    """The sentences at the head of the page."""
    metrics = run.metrics
    of = notes.scores_of(metrics)
    return {
        "baseline": of["shortcut_baseline"],
        "meaning": [
            *meaning(of["balanced_accuracy"], of["shortcut_baseline"]),
            *([] if metrics["opened"]["test"] else [CHOSEN]),
        ],
        "notes": noted(metrics),
        "control": _control(run),
    }


def noted(metrics: Mapping[str, Any]) -> list[dict[str, str]]:
    """The sentences of `notes.notes_of`, each with its `head`, in capitals, and its `text`.

    Args:
        metrics: Of `notes.notes_of`.
    """
    parts = [note.partition(":") for note in notes.notes_of(metrics)]
    return [{"head": head + colon, "text": text} for head, colon, text in parts]


def meaning(network: Mapping[str, Any], shortcut: Mapping[str, Any]) -> Iterator[str]:
    """What a balanced accuracy means beside its shortcut baseline, in sentences.

    Args:
        network: An E of `metrics.score`.
        shortcut: That of the baseline on the same images.
    """
    baseline = shortcut["value"]
    # Rounded outwards.
    low, high = math.floor(100 * network["low"]), math.ceil(100 * network["high"])
    span = f"at least {low}" if network["value"] == network["high"] == 1 else f"{low} to {high}"
    others = f"for other patients like these, {span} %"
    if network.get("groups") == 1:
        others = "of other patients the images of one patient group show nothing"
    yield (
        f"Of the images of each class the network calls {percent(network['value'])} right, "
        f"averaged over classes; {others}."
    )
    thumbnail = "A linear model of 32 x 32 pixels, which hardly sees the lungs, reaches"
    if network["value"] <= baseline:
        yield (
            f"{thumbnail} {number(baseline)} on the same images. The network is not above it: its "
            "score shows nothing about lungs."
        )
    elif network["low"] <= baseline:
        yield (
            f"{thumbnail} {number(baseline)} on the same images, which is within the network's "
            "interval. That the network is better is not shown."
        )
    elif network["low"] <= (shortcut["high"] or 1):
        yield (
            f"{thumbnail} {estimate(shortcut)} on the same images. The network's whole interval is "
            "above the number, and not above its interval."
        )
    else:
        yield (
            f"{thumbnail} {estimate(shortcut)} on the same images. The network's whole interval is "
            "above that: it sees what a thumbnail does not show. Whether that is disease, this "
            "cannot show."
        )


def _control(run: Results) -> dict[str, Any] | None:
    """What the control split shows, where it was scored and can show something."""
    control, share = run.metrics.get("control"), run.source_control
    if not control:
        return None
    counts = {"n": control["n"], "groups": control["groups"]}
    if run.metrics["dataset"]["planted_shortcut"]:
        return {
            "head": "Control:",
            "text": "the balanced accuracy on images with the marker of another class",
            "estimate": control["balanced_accuracy"],
            "means": "That of test if the network reads the lungs, far lower if the marker.",
            **counts,
        }
    if share is None:
        return None
    return {
        "head": "Control:",
        "text": "other pneumonias of the COVID-19 source, the share not called covid19",
        "estimate": share,
        "means": "1 if the network reads the lungs, low if it recognizes the source.",
        **counts,
    }


def _charts(run: Results, table: Predictions, scores: Mapping[str, Any]) -> dict[str, Any]:
    """The figures, each with words for those who do not see it."""
    names, metrics = table.class_names, run.metrics
    baseline = plots.validation_baseline(metrics)
    intervals = [("network", scores["balanced_accuracy"])]
    if "stressed" in scores:
        intervals.append(("network, re-framed", scores["stressed"]["balanced_accuracy"]))
    for key, name in BASELINES.items():
        intervals.append((name, scores["shortcut_baseline"][key]["balanced_accuracy"]))
    best = next(row for row in run.history if row["best"])
    drawn: dict[str, tuple[Any, ...]] = {
        "headline": (figures.draw_intervals, intervals, "balanced accuracy"),
        "curves": (plots.draw_curves, run.history, "", baseline),
        "confusion": (plots.draw_confusion, scores["confusion"], names, ""),
        "roc": (plots.draw_roc, table, scores, ""),
        "precision_recall": (figures.draw_precision_recall, table, scores),
        "reliability": (figures.draw_reliability, table),
    }
    return {
        "charts": {name: pages.of_svg(figures.svg(*of)) for name, of in drawn.items()},
        "headline_alt": "Balanced accuracy: "
        + listed([f"{name} {estimate(of)}" for name, of in intervals]),
        "curves_alt": f"Accuracy and loss of train and validation over {len(run.history)} epochs. "
        f"Best epoch {best['epoch']}, validation balanced accuracy "
        f"{number(best['val_balanced_accuracy'])}; shortcut baseline {number(baseline)}.",
        "curves_caption": "The dashed line is the higher shortcut baseline of validation: the "
        "green curve, which has the best epoch's ring, has to be far above it.",
        "confusion_alt": confusion_words(scores["confusion"], names),
        "roc_alt": "ROC curves. Area: " + _areas(scores, "roc_auc"),
        "precision_recall_alt": "Precision over recall. Average: " + _areas(scores, "pr_auc"),
        "reliability_alt": "Share of right calls by confidence. " + "; ".join(_reliability(table)),
    }


def confusion_words(confusion: Sequence[Sequence[int]], names: Sequence[str]) -> str:
    """A confusion matrix in words, for those who do not see it.

    Args:
        confusion: int [classes, classes], rows are the truth.
        names: Of the classes.
    """
    rows = []
    for name, row in zip(names, confusion, strict=True):
        called = [f"{n} {other}" for other, n in zip(names, row, strict=True) if n]
        rows.append(f"of {sum(row)} {name}, called {listed(called) if called else 'none'}")
    return f"Confusion matrix: {'; '.join(rows)}"


def _areas(scores: Mapping[str, Any], key: str) -> str:
    return listed([f"{name} {estimate(of[key])}" for name, of in scores["classes"].items()])


def _reliability(table: Predictions) -> Iterator[str]:
    share, counts, _ = figures.reliability(table)
    for place, n in enumerate(counts):
        if n:
            span = f"{place / len(counts):g} to {(place + 1) / len(counts):g}"
            yield f"{span}: {share.value[place]:.2f} of {n}"


def _examples(run: Results) -> list[tuple[str, list[Example]]]:
    """Images worth a look by their heading; none where the folder has no heatmaps."""
    drawn = run.heatmaps
    if drawn is None:
        return []
    table = run.predictions.of_split(drawn.split)
    rows = {image_id: row for row, image_id in enumerate(table.image_ids)}
    by_kind: dict[str, list[Example]] = {heading: [] for heading in _KINDS.values()}
    for kind, image_id, square, heatmap in zip(
        drawn.kinds, drawn.image_ids, drawn.squares, drawn.maps, strict=True
    ):
        example = _example(table, rows[image_id], square, heatmap)
        by_kind[_KINDS[kind]].append(example)
    return list(by_kind.items())


def _example(table: Predictions, row: int, square: np.ndarray, heatmap: np.ndarray) -> Example:
    names = table.class_names
    return Example(
        id=table.image_ids[row],
        truth=names[table.labels[row]],
        called=names[table.predicted[row]],
        probabilities=list(zip(names, table.probabilities[row].tolist(), strict=True)),
        square=pages.of_pixels(square),
        overlay=pages.of_pixels(heatmaps_lib.overlay(square, heatmap)),
    )
