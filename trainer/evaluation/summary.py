"""What a run and a cross-validation print at their end, at most 80 columns wide."""

import itertools
import pathlib
import shlex
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from trainer.evaluation import article, notes
from trainer.evaluation.metrics import NOTICE, shown_split
from trainer.evaluation.shares import one_of
from trainer.run.text import (
    counted,
    estimate,
    listed,
    number,
    score,
    short_names,
    table,
    wrapped,
)

BASELINES = {
    "full_image": "shortcut baseline, full image",
    "lungs_masked": "shortcut baseline, lungs masked",
}
_COLUMNS = ("sensitivity", "specificity", "roc_auc")
_EXPLAINED = (
    "Shortcut baseline: the balanced accuracy of a linear model of 32 x 32 pixels{}, which hardly "
    "sees the lungs. A network has to be far above it."
)
_OF_FOLDS = "The baseline has the folds of the first repeat."
_REFRAMED = "re-framed"
_REFRAMED_ARE = (
    "Re-framed: the images of validation in other frames, larger, smaller and shifted at random. A "
    "network that goes by the frame of an image is lower here."
)
_NOT_OPENED = "test: not opened; the same command on the same --run_dir with --test scores it"
_ONE_LIMIT = "(at least, at most: the other limit is the value; this one is of 97.5 %)"
_FILES = "report.html, metrics.json, predictions.csv, model.keras, plots/"
_FILES_OF_EVALUATION = "metrics.json, predictions.csv, images_used.csv, left_out.csv"
_OWN_RUN = "of the network's own run:"
_LISTED = 5  # groups in more than one split that are named
_MOST_OF_IT = 0.7  # of a squared width that is of one class
_TOO_WIDE = 0.5  # an interval that nothing can be ranked by


def run_summary(metrics: Mapping[str, Any], run_dir: pathlib.Path) -> str:
    """What was trained on what, how well it does, and where things are.

    Args:
        metrics: Of `metrics.run_metrics`.
        run_dir: Of the run.

    Returns:
        Some 35 lines of at most 80 columns (a path may be longer).
    """
    parts = [_trained(metrics), *_scored(metrics, shown_split(metrics))]
    if "as_published" in metrics:
        parts.append("\n".join(article.lines(metrics)))
    parts += ["\n".join(_warnings(metrics)), _places(run_dir, _FILES, curves=True)]
    return "\n" + "\n\n".join(filter(None, parts))


def evaluation_summary(metrics: Mapping[str, Any], folder: pathlib.Path) -> str:
    """How well a network does on images that its run did not have.

    Args:
        metrics: Of `trainer.evaluate`, which docs/evaluating.md describes.
        folder: Where they are.

    Returns:
        Some 30 lines of at most 80 columns (a path may be longer).
    """
    (split,) = metrics["splits"]
    network, data = metrics["network"], metrics["dataset"]
    heading = [_heading(data, split), f"network: {network['path']}"]
    heading += [wrapped(each, indent=2) for each in metrics["images"]]
    parts = [
        "\n".join([*heading, *_alignment(metrics)]),
        *_scored(metrics, split),
        "\n".join(wrapped(each, indent=2) for each in metrics["notes"]),
        "\n".join([_OWN_RUN, *(wrapped(f"  {each}", indent=4) for each in network["notes"])])
        if network["notes"]
        else "",
        f"folder: {folder}\n        {_FILES_OF_EVALUATION}\n{NOTICE}",
    ]
    return "\n" + "\n\n".join(filter(None, parts))


def _scored(metrics: Mapping[str, Any], shown: str) -> tuple[str, str]:
    """The scores of all splits, and of each class in one of them."""
    scores, classes = _scores(metrics), _classes(metrics, shown)
    if "at least" in scores + classes or "at most" in scores + classes:
        classes += f"\n  {_ONE_LIMIT}"
    return scores, classes


def _trained(metrics: Mapping[str, Any]) -> str:
    data = metrics["dataset"]
    classes = ", ".join(f"{name}\u00a0{count}" for name, count in data["train_classes"].items())
    train = (
        f"trained on {counted(data['train_images'], 'image')} of "
        f"{counted(data['train_groups'], 'patient group')}: {classes}"
    )
    return "\n".join(
        [
            _heading(data, counted(len(data["train_classes"]), "class", "classes")),
            wrapped(train, indent=2),
            wrapped(_best_epoch(metrics["best_epoch"], metrics["epochs"]), indent=2),
            *_alignment(metrics),
        ]
    )


def _best_epoch(best: int, epochs: int) -> str:
    chosen = f"best epoch {best} of {epochs}, chosen on validation"
    return chosen + ": the last one, so that more epochs may be better" * (best == epochs)


def _heading(data: Mapping[str, Any], what: str) -> str:
    synthetic = " (synthetic images)" if data["synthetic"] else ""
    return wrapped(f"{data['name']}{synthetic}, {what}")


def _scores(metrics: Mapping[str, Any]) -> str:
    """Balanced accuracy with its n, then everything that is compared with it, split by split."""
    splits = metrics["splits"]
    named = _with_reframed(splits)
    first = [
        [name, score(each["balanced_accuracy"], each["n"], each["groups"])]
        for name, each in named.items()
    ]
    rows = [["", *splits]]
    for key in ("accuracy", "loss"):
        rows.append([key, *(estimate(each[key]) for each in splits.values())])
    rows += _baselines(metrics)
    return "\n".join(
        [
            "balanced accuracy, with its 95 % interval over patient groups",
            table(first, align="<<", indent=2),
            *([] if metrics.get("opened", {}).get("test", True) else [f"  {_NOT_OPENED}"]),
            *_widths(splits),
            *([wrapped(f"  {_REFRAMED_ARE}", indent=2)] if _REFRAMED in named else []),
            "",
            table(rows, align="<<<", indent=2),
            wrapped(f"  {_explained(metrics)}", indent=2),
        ]
    )


def _baselines(metrics: Mapping[str, Any]) -> Iterator[list[str]]:
    """A row for each shortcut baseline, with a cell for each split."""
    baselines = [each["shortcut_baseline"] for each in metrics["splits"].values()]
    for key, label in BASELINES.items():
        cells = [estimate(of[key]["balanced_accuracy"]) if of else "not computed"
                 for of in baselines]  # fmt: skip
        yield [label, *cells]


def _explained(metrics: Mapping[str, Any]) -> str:
    return _EXPLAINED.format(" of aligned images" if "alignment" in metrics else "")


def _alignment(metrics: Mapping[str, Any]) -> Iterator[str]:
    """A line on the poses in doubt, where images were aligned."""
    if "alignment" in metrics:
        of = metrics["alignment"]
        yield wrapped(
            f"alignment: {of['at_bounds']:,} of {of['images']:,} images at the bounds of the pose, "
            f"{of['weak']:,} with a weak correlation: alignment.csv",
            indent=2,
        )


def _widths(splits: Mapping[str, Mapping[str, Any]]) -> Iterator[str]:
    """Of each interval of balanced accuracy the class that makes it wide, where one does."""
    for split, scores in splits.items():
        balanced = scores["balanced_accuracy"]
        low, value, high = (balanced[key] for key in ("low", "value", "high"))
        end = "low" if value - low > high - value else "high"
        of_class = {name: each["sensitivity"] for name, each in scores["classes"].items()}
        there = {name: each for name, each in of_class.items() if each["value"] is not None}
        parts = {name: abs(each["value"] - each[end]) / len(there) for name, each in there.items()}
        name = max(parts, key=parts.__getitem__)
        if len(parts) > 1 and parts[name] ** 2 > _MOST_OF_IT * sum(p * p for p in parts.values()):
            groups = counted(scores["classes"][name]["groups"], "patient group")
            far = "below" if end == "low" else "above"
            whole = f"{split}: the {end} limit is {abs(balanced[end] - value):.2f} {far} the value"
            why = f"{parts[name]:.2f} of it since {name} has {groups}"
            yield wrapped(f"  {whole}, {why}", indent=4)
        if high - low > _TOO_WIDE:
            yield f"  {split}: too few patients to rank models"


def _with_reframed(splits: Mapping[str, Mapping[str, Any]]) -> dict[str, Mapping[str, Any]]:
    """What is scored by its name on the screen: behind validation, its images re-framed."""
    named = {}
    for name, each in splits.items():
        named[name] = each
        if "stressed" in each:
            named[_REFRAMED] = each["stressed"]
    return named


def _classes(metrics: Mapping[str, Any], shown: str) -> str:
    classes = metrics["splits"][shown]["classes"]
    rows = [[shown, "n", "sensitivity", "specificity", "ROC AUC"]]
    names, few = short_names(list(classes), 14), []
    for name, each in zip(names, classes.values(), strict=True):
        numbers = [estimate(each[key], decimals=2) for key in _COLUMNS]
        rows.append([f"  {name}", str(each["n"]), *numbers])
        if each.get("by_group"):
            few.append(_group_by_group(name, each["by_group"]))
    text = "\n".join([table(rows, align="<><<<"), *few])
    return text


def _group_by_group(name: str, by_group: Sequence[Sequence[float]]) -> str:
    """The counts of a class that has few patient groups."""
    counts = listed([f"{right:g} of {images}" for right, images in by_group])
    whole = f"{sum(right for right, _ in by_group):g} of {sum(n for _, n in by_group)} images right"
    groups = counted(len(by_group), "patient group")
    each = f" ({counts})" if len(by_group) > 1 else ""
    return wrapped(f"  {name}: {groups}, {whole}{each}", indent=4)


def _warnings(metrics: Mapping[str, Any]) -> Iterator[str]:
    for sentence in notes.warnings_of(metrics):
        yield wrapped(sentence, indent=2)
    if shared := notes.leaking(metrics):
        yield wrapped(f"  {shared_groups(shared)}", indent=2)
    control = metrics.get("control")
    if control and metrics["dataset"]["planted_shortcut"]:
        yield from _of_planted(control)
    elif control and "covid19" in control["classes"]:
        share = control["classes"]["covid19"]["specificity"]
        yield "control: other pneumonias of the COVID-19 source, the share not called covid19"
        yield f"  {score(share, control['n'], control['groups'])}"
        yield "  (1 if the network reads the lungs, low if it recognizes the source)"
    test = metrics["splits"].get("test")
    if test and _width(test["accuracy"]) > 0.1 and test["patients_for_5_points"] > test["groups"]:
        needed = test["patients_for_5_points"]
        yield f"For an interval of +-5 points of the accuracy a test needs some {needed} patients."


def _width(estimate_: Mapping[str, Any]) -> float:
    """Of an interval; that of all there can be where it has no limits."""
    low, high = estimate_["low"], estimate_["high"]
    return 1.0 if low is None else high - low


def shared_groups(groups: Mapping[str, Sequence[str]]) -> str:
    """The names of some groups that are in more than one split, with these."""
    names = [f"{group} in {' and '.join(splits)}" for group, splits in groups.items()]
    more = f"; and {len(names) - _LISTED} more" if len(names) > _LISTED else ""
    return f"{'; '.join(names[:_LISTED])}{more}"


def _of_planted(control: Mapping[str, Any]) -> Iterator[str]:
    """What the control split of images with a planted shortcut shows."""
    shown = score(control["balanced_accuracy"], control["n"], control["groups"])
    yield "control: the balanced accuracy on images with the marker of another class"
    yield f"  {shown}"
    yield "  (that of test if the network reads the lungs, far lower if the marker)"


def _places(
    run_dir: pathlib.Path, files: str, *, curves: bool = False, report: bool = False
) -> str:
    """Where things are.

    Args:
        run_dir: The folder.
        files: Names of what is in it.
        curves: Whether TensorBoard shows them.
        report: Whether a report is still to be written.
    """
    where = shlex.quote(str(run_dir))
    lines = [f"run folder: {run_dir}", f"            {files}"]
    if report:
        lines.append(f"report:     python -m trainer.report --run={where}")
    if curves:
        lines.append(f"curves:     tensorboard --logdir={where}")
    return "\n".join([*lines, NOTICE])


def seeds_summary(
    result: Mapping[str, Any], metrics: Mapping[str, Any], run_dir: pathlib.Path
) -> str:
    """The scores of a run with several seeds, and how far they differ.

    Args:
        result: What seeds.json holds; see `seeds.train_seeds`.
        metrics: Of `metrics.of_seeds`.
        run_dir: The folder of all of them.

    Returns:
        Some 25 lines of at most 80 columns (a path may be longer).
    """
    splits = _with_reframed(result["splits"])
    means = [
        [name, score(each["pooled"]["balanced_accuracy"], each["n"], each["groups"])]
        for name, each in splits.items()
    ]
    rows = [["seed", "best epoch", *splits]]
    for i, (seed, epoch) in enumerate(zip(result["seeds"], result["best_epochs"], strict=True)):
        values = [
            estimate(one_of(of["balanced_accuracy"], i, of["groups"]), decimals=2)
            for of in splits.values()
        ]
        rows.append([str(seed), str(epoch), *values])
    rows.append(["sd", "", *(number(each["balanced_accuracy"]["sd"]) for each in splits.values())])
    explained = (
        f"  {_REFRAMED_ARE} sd is the deviation over seeds, by chance in training; what "
        "the choice of patients adds is in the intervals."
    )
    parts = [
        _heading(result["dataset"], f"{len(result['seeds'])} seeds"),
        "\n".join(
            [
                "balanced accuracy, mean of the seeds, with its 95 % interval over patient groups",
                table(means, align="<<", indent=2),
                *([] if "test" in splits else [f"  {_NOT_OPENED}"]),
                "",
                table([["", *metrics["splits"]], *_baselines(metrics)], align="<<<", indent=2),
                wrapped(f"  {_explained(metrics)}", indent=2),
                "",
                table(rows, align="<><<<", indent=2),
                wrapped(explained, indent=2),
            ]
        ),
        "\n".join(_warnings(metrics)),
        _places(run_dir, "seeds.json, seed_*/", curves=True, report=True),
    ]
    return "\n" + "\n\n".join(filter(None, parts))


def not_above_baseline(
    network: Mapping[str, Any], shortcuts: Mapping[str, Mapping[str, Any]]
) -> Iterator[str]:
    """The sentence of `notes.against_baseline`, if there is one, as lines.

    Args:
        network: Its balanced accuracy, an estimate with "value".
        shortcuts: By name, each with its `balanced_accuracy` on the same images.
    """
    for sentence in notes.against_baseline(network, shortcuts):
        yield wrapped(sentence, indent=2)


def cross_validation_summary(metrics: Mapping[str, Any], run_dir: pathlib.Path) -> str:
    """The pooled score with its interval, the spread over folds, the shortcut baselines.

    Args:
        metrics: What crossval.json holds; see `cross_validation.cross_validate`.
        run_dir: Of the cross-validation.

    Returns:
        Some 15 lines of at most 80 columns (a path may be longer).
    """
    how = f"{counted(metrics['folds'], 'fold')} x {counted(metrics['repeats'], 'repeat')}"
    pooled, by_fold = metrics["pooled"]["balanced_accuracy"], metrics["by_fold"]
    shortcuts = metrics["shortcut_baseline"]
    rows = [["(mean and sd: over folds)", "out of fold", "mean", "sd"]]
    spread = (number(by_fold[key]) for key in ("mean", "sd"))
    rows.append(["  network", estimate(pooled), *spread])
    for key, label in BASELINES.items():
        of = shortcuts[key]
        shown = map(number, (of["mean"], of["sd"]))
        rows.append([f"  {label}", estimate(of["balanced_accuracy"]), *shown])
    of_images = notes.warnings_of_images(metrics["dataset"], metrics["confounding"])
    warnings = [
        *not_above_baseline(pooled, shortcuts),
        *(wrapped(each, indent=2) for each in of_images),
    ]
    explained = wrapped(f"  {_explained(metrics)} {_OF_FOLDS}", indent=2)
    parts = [
        "\n".join([_heading(metrics["dataset"], how), *_alignment(metrics)]),
        "balanced accuracy out of fold, with its 95 % interval over patient groups\n"
        f"  {score(pooled, metrics['n'], metrics['groups'])}\n"
        + "\n".join([*_widths({"out of fold": metrics["pooled"]}), *_extreme_folds(by_fold)]),
        f"{table(rows, align='<<')}\n{explained}",
        "\n".join(warnings),
        _places(run_dir, "crossval.json, predictions.csv", report=True),
    ]
    return "\n" + "\n\n".join(filter(None, parts))


def _extreme_folds(by_fold: Mapping[str, Any]) -> Iterator[str]:
    """The lowest and the highest balanced accuracy of a fold, each with its interval."""
    names = ("values", "low", "high", "n", "groups")
    folds = list(zip(*(itertools.chain(*by_fold[name]) for name in names), strict=True))
    for name, (value, low, high, n, groups) in (("lowest", min(folds)), ("highest", max(folds))):
        yield f"  {name} fold: {score({'value': value, 'low': low, 'high': high}, n, groups)}"
