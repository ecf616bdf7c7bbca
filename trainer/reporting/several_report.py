"""The report of several trainings: of the seeds of a run, or of the folds of a cross-validation."""

import itertools
import os
import pathlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from trainer.evaluation.drawing import title_of
from trainer.evaluation.metrics import NOTICE, PREVALENCES, of_seeds
from trainer.evaluation.plots import draw_confusion
from trainer.evaluation.shares import one_of
from trainer.reporting import figures, pages, provenance, run_report
from trainer.reporting.results import Results
from trainer.run.manifest import REPORT
from trainer.run.text import counted, estimate, listed, number

_OUT_OF_FOLD = "images out of fold"
_NUMBERS = ("folds", "repeats")  # flags of a cross-validation alone


class Part(NamedTuple):
    """One training: its balanced accuracy, where its own report is, "" for none, and its control.

    `control` is `Results.source_control`.
    """

    name: str
    estimate: Mapping[str, Any]
    n: int
    groups: int
    link: str = ""
    control: Mapping[str, Any] | None = None


def write(run: Results) -> pathlib.Path:
    """Writes the report of several trainings into their folder, and returns its path.

    Args:
        run: With seeds or folds.
    """
    values = _of_seeds(run) if run.folds is None else _of_folds(run)
    metrics, shown = values.pop("metrics"), values["shown"]
    scores = metrics["splits"][shown]
    shortcuts = {key: of["balanced_accuracy"] for key, of in scores["shortcut_baseline"].items()}
    baseline = max(shortcuts.values(), key=lambda of: of["value"])
    named = [(name, shortcuts[key]) for key, name in run_report.BASELINES.items()]
    intervals = [("network", scores["balanced_accuracy"]), *named]
    headline = figures.svg(figures.draw_intervals, intervals, "balanced accuracy")
    data, names = run.origin["dataset"], list(scores["classes"])
    pages.write(
        path := run.path / REPORT,
        "several.html",
        title=f"Report of {os.path.basename(os.path.abspath(run.path))}",
        notice=NOTICE,
        synthetic=data["synthetic"],
        scores=scores,
        baseline=baseline,
        chance=1 / len(names),
        class_scores=run_report.CLASS_SCORES,
        prevalences=[f"{100 * p:g}" for p in PREVALENCES],
        meaning=[
            *run_report.meaning(scores["balanced_accuracy"], baseline),
            *([run_report.CHOSEN] if shown == "validation" else []),
        ],
        notes=run_report.noted(metrics),
        headline=pages.of_svg(headline),
        headline_alt="Balanced accuracy: "
        + listed([f"{name} {estimate(of)}" for name, of in intervals]),
        confusion=pages.of_svg(figures.svg(draw_confusion, scores["confusion"], names, "")),
        confusion_alt=run_report.confusion_words(scores["confusion"], names),
        **(provenance.repeating(run.origin) | values),
    )
    return path


def _of_seeds(run: Results) -> dict[str, Any]:
    seeds = run.seeds
    assert seeds is not None
    metrics = of_seeds(seeds, Results(run.path / f"seed_{seeds['seeds'][0]}").metrics)
    shown = "test" if "test" in seeds["splits"] else "validation"
    of, many = seeds["splits"][shown], counted(len(seeds["seeds"]), "seed")
    balanced = of["balanced_accuracy"]
    return {
        "metrics": metrics,
        "shown": shown,
        "subtitle": f"{title_of(seeds['dataset'])}, {many}",
        "mean_of": f"the mean of {many}",
        "sum_of": many,
        "parts_heading": "Seeds",
        "part_name": "seed",
        "parts_text": f"The deviation over seeds is {number(balanced['sd'])}, by chance in "
        "training; what the choice of patients adds is in the intervals.",
        "parts": list(_seed_parts(run, seeds["seeds"], balanced, of)),
        "settings": [*run.origin["config"].items(), ("seeds", len(seeds["seeds"]))],
    }


def _seed_parts(
    run: Results, seeds: Sequence[int], balanced: Mapping[str, Any], of: Mapping[str, Any]
) -> Iterator[Part]:
    for place, seed in enumerate(seeds):
        report = f"seed_{seed}/{REPORT}"
        link = report if (run.path / report).exists() else ""
        control = Results(run.path / f"seed_{seed}").source_control
        shown = one_of(balanced, place, of["groups"])
        yield Part(str(seed), shown, of["n"], of["groups"], link, control)


def _of_folds(run: Results) -> dict[str, Any]:
    of, data = run.folds, run.origin["dataset"]
    assert of is not None
    pooled = {**of["pooled"], "shortcut_baseline": of["shortcut_baseline"]}
    how = f"{counted(of['folds'], 'fold')} x {counted(of['repeats'], 'repeat')}"
    by_fold = of["by_fold"]
    return {
        "metrics": {
            "dataset": of["dataset"],
            "splits": {_OUT_OF_FOLD: pooled},
            "confounding": of["confounding"],
        },
        "shown": _OUT_OF_FOLD,
        "subtitle": f"{title_of(data)}, cross-validation of {how}",
        "mean_of": f"the mean of {counted(of['repeats'], 'repeat')}",
        "sum_of": counted(of["repeats"], "repeat"),
        "parts_heading": "Folds",
        "part_name": "fold",
        "parts_text": f"Mean {number(by_fold['mean'])}, deviation over folds "
        f"{number(by_fold['sd'])}. The shortcut baselines have the folds of the first repeat.",
        "parts": list(_fold_parts(by_fold)),
        "program": "trainer.crossval",
        "settings": [*_settings(run), *((key, of[key]) for key in _NUMBERS)],
    }


def _settings(run: Results) -> list[tuple[str, Any]]:
    """Those of folds, which score no test split whatever `--test` is."""
    return [(name, value) for name, value in run.origin["config"].items() if name != "test"]


def _fold_parts(by_fold: Mapping[str, Any]) -> Iterator[Part]:
    keys = ("values", "low", "high", "n", "groups")
    flat = {key: list(itertools.chain(*by_fold[key])) for key in keys}
    folds = len(by_fold["values"][0])
    for place in range(len(flat["values"])):
        name = f"{place % folds + 1} of repeat {place // folds + 1}"
        groups = flat["groups"][place]
        yield Part(name, one_of(flat, place, groups), flat["n"][place], groups)
