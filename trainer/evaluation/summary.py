"""The last screen of a run: what was trained on what, how well, and where things are."""

import pathlib
from collections.abc import Iterator
from typing import Any

from trainer.config import Config

# A. Y. Xu 2020: last epoch's validation accuracy, mean over the last 10 epochs of training and
# validation accuracy, printed test accuracy and the number of images behind it.
_ARTICLE = {2: (0.8125, 0.961, 0.931, 1.0, 2), 3: (0.75, 0.929, 0.848, 1.0, 3),
            4: (0.66, 0.79, 0.66, 0.5, 4)}  # fmt: skip


def text(config: Config, result: dict[str, Any], run_dir: pathlib.Path) -> str:
    """The screen, some 30 lines of at most 100 columns."""
    return "\n".join(_lines(config, result, run_dir))


def _lines(config: Config, result: dict[str, Any], run_dir: pathlib.Path) -> Iterator[str]:
    data, splits = result["dataset"], result["splits"]
    synthetic = " (synthetic images)" if data["synthetic"] else ""
    classes = ", ".join(f"{name} {count}" for name, count in data["train_classes"].items())
    yield f"\n{data['name']}{synthetic}, {config.classes} classes"
    yield f"trained on {data['train_images']} images of {data['train_groups']} patients: {classes}"
    yield f"kept epoch {result['kept_epoch']} of {result['epochs']}, chosen on validation\n"
    heads = [f"{name}, n = {s['n']} of {s['patients']} patients" for name, s in splits.items()]
    yield " " * 18 + "".join(f"{head:>34s}" for head in heads)
    for key in ("balanced_accuracy", "accuracy", "loss"):
        yield _row(key.replace("_", " "), [s[key] for s in splits.values()])
    for view, label in (
        ("whole_image", "floor, whole image"),
        ("lungs_removed", "floor, no lungs"),
    ):
        yield _row(label, [s["floor"][view]["balanced_accuracy"] for s in splits.values()])
    yield "(95 % intervals; floor: balanced accuracy of a linear model of 32 x 32 pixels)\n"
    yield f"{'test, per class':22s}{'sensitivity':>20s}{'specificity':>20s}{'ROC AUC':>8s}{'n':>6s}"
    for name, scores in splits["test"]["classes"].items():
        cells = "".join(f"{estimate(scores[k]):>20s}" for k in ("sensitivity", "specificity"))
        area = scores["roc_auc"]["value"]
        yield f"  {name:20s}{cells}{number(area):>8s}{scores['n']:6d}"
    yield ""
    if "as_published" in result:
        yield from _as_published(config, result)
    yield from _warnings(result)
    yield f"\nrun folder: {run_dir}   (plots/, metrics.json, predictions.csv, model.keras)"
    yield f"watch:      tensorboard --logdir={run_dir}"
    yield result["notice"]


def _warnings(result: dict[str, Any]) -> Iterator[str]:
    confounding = result["confounding"]
    if confounding["verdict"] == "CONFOUNDED":
        yield (
            f"CONFOUNDED: class and source go together in train (Cramer's V "
            f"{confounding['cramers_v']:.2f}).\n  A network may tell the source from the disease; "
            "compare with the floor without lungs."
        )
    if "control" in result:
        control = result["control"]
        kept_apart = estimate(control["classes"]["covid19"]["specificity"])
        yield (
            f"control, n = {control['n']} of {control['patients']} patients: other pneumonias of "
            f"the COVID-19 source.\n  Not called covid19: {kept_apart} (1 where lungs are read)."
        )
    if leaks := result["dataset"]["groups_in_more_than_one_split"]:
        listed = "; ".join(f"{group} in {' and '.join(s)}" for group, s in leaks.items())
        yield f"LEAK, as published: {listed}. These numbers are too good."
    needed = result["splits"]["test"]["patients_for_5_points"]
    if needed > result["splits"]["test"]["patients"]:
        yield f"For +-5 points at this accuracy a test needs {needed} patients."


def _as_published(config: Config, result: dict[str, Any]) -> Iterator[str]:
    """This run read the article's way, beside what the article printed."""
    old = result["as_published"]
    last, train_10, validation_10, test, images = _ARTICLE[config.classes]
    right = result["splits"]
    yield f"{'as published':34s}{'this run':>9s}{'article':>9s}   {'as it should be read':s}"
    rows = (
        ("train accuracy, last 10 epochs", old["train_accuracy_last_10"], train_10, ""),
        ("validation accuracy, last 10", old["validation_accuracy_last_10"], validation_10, ""),
        ("validation accuracy, last epoch", old["validation_accuracy_last_epoch"], last,
         estimate(right["validation"]["accuracy"])),
        (f"test accuracy, first {old['test_accuracy']['n']} images", old["test_accuracy"]["value"],
         test, f"{estimate(right['test']['accuracy'])}, n = {right['test']['n']}"),
    )  # fmt: skip
    for label, ours, article, should in rows:
        yield f"  {label:32s}{number(ours):>9s}{number(article):>9s}   {should}".rstrip()
    yield f"  (the article's test accuracy was of {images} images)\n"


def _row(label: str, estimates: list[dict]) -> str:
    return f"{label:18s}" + "".join(f"{estimate(e):>34s}" for e in estimates)


def estimate(value: dict) -> str:
    """E.g. `.871 [.843, .897]`."""
    if value["value"] is None:
        return "not defined"
    return f"{number(value['value'])} [{number(value['low'])}, {number(value['high'])}]"


def number(value: float | None) -> str:
    """Three decimals without the leading zero."""
    if value is None:
        return "-"
    return f"{value:.3f}".removeprefix("0") if value < 1 else f"{value:.3f}"
