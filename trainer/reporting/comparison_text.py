"""A comparison as text of at most 80 columns."""

from collections.abc import Iterator, Mapping
from typing import Any

from trainer.evaluation.metrics import NOTICE
from trainer.reporting.comparison import Comparison
from trainer.run.text import (
    counted,
    difference,
    estimate,
    listed,
    score,
    short_names,
    shortened,
    table,
    wrapped,
)

CLASS_SCORES = {"sensitivity": "sensitivity", "specificity": "specificity", "roc_auc": "ROC AUC"}
_LONGEST = 40  # letters of a value
CONTROL = "control: other pneumonias of the COVID-19 source, the share not called covid19"
CONTROL_MEANS = "1 if the network reads the lungs, low if it recognizes the source"
MCNEMAR = (
    "McNemar: exact, two-sided, by patient groups; the groups of which each run has more images "
    "right than the other."
)
BY_VALIDATION = "The best epoch of each run was chosen on these images, so all of it is too high."


def text(comparison: Comparison) -> str:
    """What a terminal shows of a comparison.

    Args:
        comparison: The runs.

    Returns:
        Paragraphs with lines of at most 80 columns (a path may be longer).
    """
    parts = [
        "\n".join(_heading(comparison)),
        "\n".join(_settings(comparison)),
        _scores(comparison),
        "\n".join(_differences(comparison)),
        _classes(comparison),
        NOTICE,
    ]
    return "\n\n".join(parts)


def images_text(comparison: Comparison) -> str:
    """Which images are compared, a sentence."""
    scores = comparison.all_images
    return (
        f"{counted(len(comparison.paths), 'run')} on the {counted(scores['n'], 'image')} of "
        f"{comparison.split} that all of them scored, of "
        f"{counted(scores['groups'], 'patient group')}."
    )


def remarks(comparison: Comparison) -> Iterator[str]:
    """What limits the comparison, in sentences."""
    if comparison.synthetic:
        yield "SYNTHETIC: drawn images; no number says anything about X-rays."
    if comparison.planted:
        yield (
            f"PLANTED SHORTCUT ({', '.join(comparison.planted)}): a marker in the corner goes with "
            "the class, which is all that a network has to see."
        )
    if comparison.leaking:
        yield (
            f"LEAK ({', '.join(comparison.leaking)}): the dataset was published with patients of "
            "scored images in what the network was trained or chosen on, too. The scores are too "
            "high."
        )
    if comparison.unknown:
        yield (
            f"PATIENTS UNKNOWN ({', '.join(comparison.unknown)}): images of the dataset name no "
            "patient and count as one each, so that scores may be too high, intervals too narrow "
            "and McNemar's p too small."
        )
    if comparison.confounded:
        yield (
            f"CONFOUNDED ({', '.join(comparison.confounded)}): in train, class and source go "
            "together, so that a run may be better at recognizing the source alone."
        )
    if comparison.not_opened:
        names = listed(comparison.not_opened)
        verb = "has" if len(comparison.not_opened) == 1 else "have"
        yield f"Not test: {names} {verb} not opened it. {BY_VALIDATION}"
    if out := [f"{n} of {name}" for name, n in comparison.left_out.items() if n]:
        yield f"Images that not all runs scored are left out: {listed(out)}."


def values_text(of_runs: Mapping[str, Any]) -> str:
    """The values of a setting, each with the runs that have it: `none (A, C), chest (B)`."""
    runs: dict[str, list[str]] = {}
    for run, value in of_runs.items():
        runs.setdefault(value_text(value), []).append(run)
    return ", ".join(f"{value} ({', '.join(names)})" for value, names in runs.items())


def value_text(value: Any) -> str:
    """A value of a setting in words."""
    if isinstance(value, float):
        return f"{value:.6g}"
    return "-" if value in (None, "") else str(value)


def _heading(comparison: Comparison) -> Iterator[str]:
    yield wrapped(images_text(comparison))
    for name, path in comparison.paths.items():
        yield f"  {name}  {path}"
    for remark in remarks(comparison):
        yield wrapped(remark, indent=2)


def _settings(comparison: Comparison) -> Iterator[str]:
    if not comparison.settings:
        yield "config: the same"
        return
    yield "what differs in config"
    names = {name: shortened(name, 30) for name in comparison.settings}
    width = max(map(len, names.values()))
    for name, of_runs in comparison.settings.items():
        values = list(dict.fromkeys(map(value_text, of_runs.values())))
        shown = dict(zip(values, short_names(values, _LONGEST), strict=True))
        short = {run: shown[value_text(value)] for run, value in of_runs.items()}
        yield wrapped(f"  {names[name]:{width}}  {values_text(short)}", indent=width + 4)


def _scores(comparison: Comparison) -> str:
    rows = [["", "balanced accuracy", "accuracy", "loss"]]
    for name, scores in comparison.scores.items():
        keys = ("balanced_accuracy", "accuracy", "loss")
        rows.append([f"  {name}", *(estimate(scores[key]) for key in keys)])
    lines = [table(rows, align="<<<<")]
    if any(comparison.baselines.values()):
        lines += ["", table(_baselines(comparison), align="<<<")]
    controls = [
        [f"  {name}", score(of, of["n"], of["groups"])]
        for name, of in comparison.controls.items()
        if of
    ]
    if controls:
        lines += ["", wrapped(f"{CONTROL} ({CONTROL_MEANS})"), table(controls, align="<<")]
    return "\n".join(lines)


def _baselines(comparison: Comparison) -> list[list[str]]:
    rows = [["shortcut baselines", "full image", "lungs masked"]]
    for name, baseline in comparison.baselines.items():
        if baseline:
            of = (baseline[key]["balanced_accuracy"] for key in ("full_image", "lungs_masked"))
            rows.append([f"  {name}", *map(estimate, of)])
    return rows


def _differences(comparison: Comparison) -> Iterator[str]:
    first = next(iter(comparison.paths))
    yield "differences of balanced accuracy, image by image, with their 95 % intervals"
    for name, of in comparison.differences.items():
        mcnemar = of["mcnemar"]
        yield wrapped(f"  {name} - {first}  {difference(of)}", indent=9)
        yield f"         McNemar p = {mcnemar['p']:.2g} ({mcnemar['ours']} : {mcnemar['peers']})"
    yield wrapped(f"  {MCNEMAR}", indent=2)


def _classes(comparison: Comparison) -> str:
    names = list(comparison.all_images["classes"])
    rows = [[comparison.split, "", *CLASS_SCORES.values()]]
    for name, short in zip(names, short_names(names, 14), strict=True):
        for run, scores in comparison.scores.items():
            of_class = scores["classes"][name]
            numbers = [estimate(of_class[key], decimals=2) for key in CLASS_SCORES]
            rows.append([f"  {short}" if run == "A" else "", run, *numbers])
    return table(rows, align="<<<<<")
