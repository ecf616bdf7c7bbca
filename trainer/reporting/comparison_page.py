"""A comparison as a page."""

import os
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from trainer.evaluation.metrics import NOTICE
from trainer.evaluation.summary import BASELINES
from trainer.reporting import comparison_text, figures, pages
from trainer.reporting.comparison import Comparison
from trainer.run.text import estimate, listed, score

_SCORES = {"balanced_accuracy": "balanced accuracy", "accuracy": "accuracy", "loss": "loss"}

Row = tuple[str, Sequence[Mapping[str, Any] | None]]


def write(comparison: Comparison, path: str | os.PathLike) -> None:
    """Writes the page of a comparison, whole.

    Args:
        comparison: The runs.
        path: Of the file.
    """
    balanced = [(name, of["balanced_accuracy"]) for name, of in comparison.scores.items()]
    shown = listed([f"{name} {estimate(of)}" for name, of in balanced])
    intervals = figures.svg(figures.draw_intervals, balanced, "balanced accuracy")
    pages.write(
        path,
        "compare.html",
        title="Runs compared",
        notice=NOTICE,
        synthetic=comparison.synthetic,
        images=comparison_text.images_text(comparison),
        paths=comparison.paths,
        first=next(iter(comparison.paths)),
        remarks=list(comparison_text.remarks(comparison)),
        settings={
            name: {run: comparison_text.value_text(value) for run, value in of_runs.items()}
            for name, of_runs in comparison.settings.items()
        },
        differences=comparison.differences,
        mcnemar=comparison_text.MCNEMAR,
        intervals=pages.of_svg(intervals),
        intervals_alt=f"Balanced accuracy of each run with its interval: {shown}",
        split=comparison.split,
        rows=list(_rows(comparison)),
        control=f"{comparison_text.CONTROL}: {comparison_text.CONTROL_MEANS}",
        controls={
            name: score(of, of["n"], of["groups"]) for name, of in comparison.controls.items() if of
        },
    )


def _rows(comparison: Comparison) -> Iterator[Row]:
    """Every score by its name, with its estimate of each run; None where there is none."""
    scores = comparison.scores.values()
    for key, name in _SCORES.items():
        yield name, [of[key] for of in scores]
    for key, name in BASELINES.items():
        of_runs = comparison.baselines.values()
        yield name, [of and of[key]["balanced_accuracy"] for of in of_runs]
    for of_class in comparison.all_images["classes"]:
        for key, name in comparison_text.CLASS_SCORES.items():
            yield f"{of_class}, {name}", [of["classes"][of_class][key] for of in scores]
