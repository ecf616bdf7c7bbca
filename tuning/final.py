"""The closing comparison: the best values against the trainer's defaults, on folds dealt anew.

The best of many trials looks better than it is on what chose it. So both are cross-validated on the
images of train and validation, with other folds and seeds than the search's; the difference is
paired, image by image, with its interval over patients. The images are the same, and some of the
optimism stays; the test split, which is free of it, is opened by `trainer.main` alone, once.
"""

import dataclasses
from typing import Any

import numpy as np

from trainer import cross_validation
from trainer.config import Config
from trainer.evaluation import intervals
from trainer.training import held_out
from tuning.bench import Bench

_ANEW = 1000  # what is added to the search's seed


def compare(bench: Bench, best: Config, default: Config, count: int) -> dict[str, Any]:
    """Cross-validates two configurations on the same folds.

    Args:
        bench: The images.
        best: Of the best trial.
        default: Of the trainer's defaults.
        count: Folds.

    Returns:
        `best` and `default` (`balanced_accuracy` as in `evaluation.score`, and mean and sd over
        folds), `difference` (see `intervals.paired_difference`), `floor`, `folds` and `seed`.

    Raises:
        RunError: The images can't be dealt.
    """
    bench = bench.crossed()
    images, seed = bench.everyone, best.seed + _ANEW
    fold = cross_validation.deals(images, count, 1, seed)
    names, right, found = images.class_names, {}, {}
    for side, config in (("best", best), ("default", default)):
        base = bench.base(config)
        predicted = cross_validation.out_of_fold(base, images, fold, seed=seed, label=f"{side:7s}")
        bench.done(base)
        scores = cross_validation.scores(images, fold, predicted, names)
        found[side] = {
            "balanced_accuracy": scores["pooled"]["balanced_accuracy"],
            "folds": scores["folds"],
            "epochs": config.epochs,
        }
        right[side] = (predicted.argmax(axis=2) == images.labels).mean(axis=0)
    _, patients = np.unique(images.groups, return_inverse=True)
    return {
        **found,
        "difference": intervals.paired_difference(
            images.labels, patients, right["best"], right["default"]
        ),
        "floor": cross_validation.floors(images, fold[0], best.classes),
        "folds": count,
        "seed": seed,
    }


def kept_epoch(bench: Bench, config: Config) -> float:
    """The epoch that validation chooses, as in a trial of one execution; from 1."""
    base = bench.base(config)
    try:
        return held_out.train_and_score(base, bench.images, config.seed)["epoch"]
    finally:
        bench.done(base)


def at_epoch(config: Config, epoch: float) -> Config:
    """The config that ends at a kept epoch, or a mean of some: a fold has nothing to choose it by.

    Fine-tuning has two phases, and both are run to their ends.
    """
    if config.fine_tune_from != "none":
        return config
    return dataclasses.replace(config, epochs=max(1, round(epoch)), early_stopping=0)


def text(found: dict[str, Any]) -> str:
    """The comparison on the screen."""

    def estimate(of: dict[str, Any], sign: str = "") -> str:
        return f"{of['value']:{sign}.3f} [{of['low']:{sign}.3f}, {of['high']:{sign}.3f}]"

    lines = [
        f"\nbalanced accuracy out of fold, {found['folds']} folds dealt anew, "
        f"n = {found['difference']['n']} images (95 % over patients)"
    ]
    for side in ("best", "default"):
        lines.append(
            f"  {side:16s} {estimate(found[side]['balanced_accuracy'])}   "
            f"sd over folds {found[side]['folds']['sd']:.3f}, {found[side]['epochs']} epochs"
        )
    lines.append(f"  {'difference':16s} {estimate(found['difference'], '+')}   paired")
    for view, label in (
        ("whole_image", "floor, whole image"),
        ("lungs_removed", "floor, no lungs"),
    ):
        floor = found["floor"][view]
        lines.append(f"  {label:16s} {floor['mean']:.3f}, sd {floor['sd']:.3f}")
    if found["difference"]["high"] < 0:
        lines.append("  The defaults are better on folds that the search did not see: keep them.")
    elif found["difference"]["low"] <= 0:
        lines.append("  The interval holds 0: the search has not shown a gain.")
    return "\n".join(lines)
