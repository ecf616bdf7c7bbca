"""How often the 95 % intervals of the trainer hold the truth, on simulated patients.

`python -m benchmarks.coverage` draws data sets of which the truth is known, takes the intervals of
`trainer.evaluation`, and counts. A cell is a number of patients with so many images each, that are
so alike, and a truth; the table has the mean and the least coverage over cells. `--every=20` takes
every 20th cell, `--sets=200` fewer data sets of each.
"""

import concurrent.futures
import functools
import itertools
import os
import zlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
from absl import flags
from scipy.special import expit, ndtri

from benchmarks import harness, simulated
from benchmarks.simulated import KINDS, Kind
from trainer.evaluation import areas, average_precision, effective, losses, paired, shares
from trainer.evaluation.effective import Sums
from trainer.evaluation.intervals import GREATEST_LOSS, SMALLEST_PROBABILITY
from trainer.evaluation.shares import Limits
from trainer.run.text import table

FLAGS = flags.FLAGS
_HELD, _WIDE = 0.93, 0.98  # coverages between which a cell is as it should be
_AT_ONCE = 100  # data sets of the paired difference, whose grids fill the memory
_FOUR_OF = "7/7/7/7"
_PREVALENCE = 0.05
_BOUND = "few patients give few possible scores, and coverage goes in steps from one to the next"


class Cell(NamedTuple):
    """What is simulated.

    Args:
        part: A key of `PARTS`.
        row: Of the table: what several cells have in common.
        kind: Of the patients.
        truth: Of the part: shares, the name of a network, ...
    """

    part: str
    row: str
    kind: Kind
    truth: tuple


def _numbers(row: str) -> list[int]:
    return [int(each) for each in row.split("/")]


def _sums(
    rng: np.random.Generator, sets: int, kind: Kind, patients: int, share: float, c: int
) -> Sums:
    size = simulated.sizes(rng, kind, (sets, patients)).astype(np.float64)
    hits = simulated.right(rng, size.astype(np.int64), share, kind.of_class(c))
    return Sums(size, hits.astype(np.float64), hits.astype(np.float64))


def _share(rng: np.random.Generator, cell: Cell, sets: int) -> tuple[Limits, float]:
    sums = _sums(rng, sets, cell.kind, int(cell.row), cell.truth[0], 0)
    return shares.jeffreys(sums.mean, effective.of_share(sums)), cell.truth[0]


def _shares_of(rng: np.random.Generator, cell: Cell, sets: int) -> tuple[np.ndarray, np.ndarray]:
    """Share and effective number of each class, [sets, classes]."""
    each = [
        _sums(rng, sets, cell.kind, patients, share, c)
        for c, (patients, share) in enumerate(zip(_numbers(cell.row), cell.truth, strict=True))
    ]
    columns = [sums.mean for sums in each], [effective.of_share(sums) for sums in each]
    return tuple(np.stack(column, axis=-1) for column in columns)


def _balanced(rng: np.random.Generator, cell: Cell, sets: int) -> tuple[Limits, float]:
    return shares.balanced_accuracy(*_shares_of(rng, cell, sets)), float(np.mean(cell.truth))


def _ppv(rng: np.random.Generator, cell: Cell, sets: int) -> tuple[Limits, float]:
    share, n = _shares_of(rng, cell, sets)
    both = (shares.jeffreys(share[:, i], n[:, i]) for i in (0, 1))
    sensitivity, specificity = cell.truth
    called = _PREVALENCE * sensitivity + (1 - _PREVALENCE) * (1 - specificity)
    return shares.ppv_at(_PREVALENCE, *both), _PREVALENCE * sensitivity / called


def _paired(rng: np.random.Generator, cell: Cell, sets: int) -> tuple[Limits, float]:
    ours, theirs = cell.truth
    parts = []
    for first in range(0, sets, _AT_ONCE):
        count, limits = min(_AT_ONCE, sets - first), []
        for c, patients in enumerate(_numbers(cell.row)):
            size = simulated.sizes(rng, cell.kind, (count, patients))
            pair = simulated.discordant(rng, size, ours, theirs, cell.kind.of_class(c))
            signed = Sums(*(each.astype(float) for each in (size, pair[0] - pair[1], sum(pair))))
            means = [each.sum(axis=-1) / size.sum(axis=-1) for each in pair]
            limits.append(paired.limits_of(*means, paired.effective_number(signed, *means)))
        by_class = Limits(*(np.stack(each, axis=-1) for each in zip(*limits, strict=True)))
        parts.append(shares.mean(by_class))
    return _joined(parts), ours - theirs


def _joined(parts: Sequence[Limits]) -> Limits:
    return Limits(*(np.concatenate(each) for each in zip(*parts, strict=True)))


# Of each network: mean and temperature of the true class's margin, Student's degrees of freedom of
# its spread, the share of images whose margin is far on the wrong side.
NETWORKS = {
    "mild": (1.5, 1.0, None, 0.0),
    "overconfident": (1.5, 4.0, None, 0.0),
    "good": (3.0, 1.0, None, 0.0),
    "heavy": (1.5, 1.0, 3.0, 0.0),
    "heavy, overconfident": (1.5, 3.0, 3.0, 0.0),
    "spiked": (3.0, 1.0, None, 0.02),
    "spiked, overconfident": (3.0, 3.0, None, 0.02),
}
_SPIKE = 8.0


def _of_truth(rng: np.random.Generator, network: str, noise: np.ndarray) -> np.ndarray:
    """The probability that a network of two classes gives the true one."""
    mean, temperature, _, spikes = NETWORKS[network]
    margin = temperature * (mean + noise)
    return expit(np.where(rng.random(noise.shape) < spikes, -_SPIKE, margin))


def _measured(name: str, of_truth: np.ndarray) -> np.ndarray:
    if name == "brier":
        return 2 * np.square(1 - of_truth)
    return -np.log(of_truth.clip(SMALLEST_PROBABILITY))


@functools.cache
def _mean_loss(name: str, network: str, kind: Kind) -> float:
    """Of a network, over many patients."""
    rng, means, tail = np.random.default_rng(1), [], NETWORKS[network][2]
    for _ in range(20):
        noise = simulated.images(rng, kind._replace(sizes="one"), 20_000, tail).noise
        means.append(_measured(name, _of_truth(rng, network, noise)).mean())
    return float(np.mean(means))


def _loss(rng: np.random.Generator, cell: Cell, sets: int) -> tuple[Limits, float]:
    (name, network), parts, drawn = cell.truth, [], 0
    while drawn < sets:
        made = simulated.images(rng, cell.kind, int(cell.row), NETWORKS[network][2])
        of_truth = _of_truth(rng, network, made.noise)
        each, wrong = _measured(name, of_truth), of_truth < 0.5
        missed, rest = (
            Sums.of_groups(np.ones_like(each), each * rows, made.groups) for rows in (wrong, ~wrong)
        )
        least = np.minimum(of_truth, 1 - of_truth).min(axis=-1)
        worst, bound = _measured(name, least), 2.0 if name == "brier" else GREATEST_LOSS
        parts.append(losses.mean_loss(missed.size, missed.total, rest.total, worst, bound))
        drawn += len(least)
    return _joined(parts), _mean_loss(name, network, cell.kind)


# Spread of the positives over that of the negatives; "missed" has positives far below all.
SHAPES = {"binormal": 1.0, "wide": 2.5, "narrow": 0.3, "missed": 1.0, "ties": 1.0}


def _scores(
    rng: np.random.Generator, shape: str, area: float, own: np.ndarray, others: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Scores of positives and negatives from their noise."""
    spread, lost = SHAPES[shape], (1 - area) / 2 if shape == "missed" else 0.0
    shift = ndtri(min(area / (1 - lost), 1 - 1e-6)) * np.hypot(spread, 1)
    own = np.where(rng.random(own.shape) < lost, -9.0, shift + spread * own)
    if shape != "ties":
        return own, others
    return tuple(np.digitize(each, (shift / 2, shift)) for each in (own, others))


@functools.cache
def _true_area(shape: str, area: float) -> float:
    rng = np.random.default_rng(1)
    scores = _scores(rng, shape, area, *rng.standard_normal((2, 500_000)))
    return float(areas.placements(*scores).mean())


@functools.cache
def _true_precision(shape: str, area: float, negatives: float) -> float:
    """Of so many negatives a positive."""
    rng = np.random.default_rng(1)
    counts = int(1_000_000 / (1 + negatives)), int(1_000_000 * negatives / (1 + negatives))
    scores = _scores(rng, shape, area, *(rng.standard_normal(n) for n in counts))
    return float(average_precision.precision(*scores).value)


class _Ranked(NamedTuple):
    """Data sets of positives and negatives: scores [sets, images] and groups [images]."""

    own: np.ndarray
    others: np.ndarray
    own_groups: np.ndarray
    other_groups: np.ndarray

    @property
    def roc(self) -> areas.Area:
        own, others = self.own, self.others
        placed = areas.placements(own, others), 1 - areas.placements(others, own)
        return areas.roc_area(*placed, self.own_groups, self.other_groups)


def _ranked(rng: np.random.Generator, cell: Cell, sets: int) -> Iterator[_Ranked]:
    drawn = 0
    while drawn < sets:
        sides = [simulated.images(rng, cell.kind, n, None) for n in _numbers(cell.row)]
        own, others = _scores(rng, *cell.truth, *(side.noise for side in sides))
        own_groups, other_groups = (side.groups for side in sides)
        # No patient is on both sides.
        yield _Ranked(own, others, own_groups, own_groups.max() + 1 + other_groups)
        drawn += len(own)


def _area(rng: np.random.Generator, cell: Cell, sets: int) -> tuple[Limits, float]:
    parts = [each.roc.limits for each in _ranked(rng, cell, sets)]
    return _joined(parts), _true_area(*cell.truth)


def _precision(rng: np.random.Generator, cell: Cell, sets: int) -> tuple[Limits, float]:
    parts = [
        average_precision.limits_of(
            average_precision.precision(each.own, each.others), each.roc.positives,
            each.own_groups, each.other_groups,
        )[0]
        for each in _ranked(rng, cell, sets)
    ]  # fmt: skip
    positives, negatives = _numbers(cell.row)
    return _joined(parts), _true_precision(*cell.truth, negatives / positives)


Simulate = Callable[[np.random.Generator, Cell, int], tuple[Limits, float]]
PARTS: dict[str, Simulate] = {
    "share": _share,
    "balanced accuracy": _balanced,
    "ROC area": _area,
    "average precision": _precision,
    "loss": _loss,
    "paired difference": _paired,
    "ppv at prevalence": _ppv,
}


def cells() -> Iterator[Cell]:
    """The whole grid."""
    for patients, kind, share in itertools.product(
        (2, 3, 5, 10, 20, 50, 200), KINDS, (0.5, 0.8, 0.9, 0.95, 0.98, 0.995)
    ):
        yield Cell("share", str(patients), kind, (share,))
    compositions = (
        "50/2", "50/3", "50/5", "50/10", "200/5", "200/10", "100/5", "20/3", "5/5", "10/10",
        "50/50", "200/200", _FOUR_OF, "3/3/3/3", "20/20/20/20", "200/50/20/5", "50/20/10/5",
    )  # fmt: skip
    differing = Kind("geometric", (0.0, 0.8))
    of_balanced = (*(kind for kind in KINDS if kind != Kind("heavy", 0.0)), differing)
    truths = (*((p, p) for p in (0.8, 0.9, 0.95, 0.98)), (0.95, 0.8), (0.98, 0.9))
    for row, kind, (first, others) in itertools.product(compositions, of_balanced, truths):
        truth = (first, *[others] * (row.count("/")))
        yield Cell("balanced accuracy", row, kind, truth)
    three = (KINDS[0], Kind("geometric", 0.3), Kind("geometric", 0.8))
    for row, kind, *truth in itertools.product(
        ("3/40", "5/40", "20/60", "5/200", "200/600"), three, SHAPES, (0.8, 0.9, 0.95, 0.99)
    ):
        yield Cell("ROC area", row, kind, tuple(truth))
    for row, kind, *truth in itertools.product(
        ("3/40", "5/40", "20/60", "200/600", "20/20", "50/10", "50/5", "200/5"), three, SHAPES,
        (0.8, 0.95),
    ):  # fmt: skip
        yield Cell("average precision", row, kind, tuple(truth))
    for patients, kind, *truth in itertools.product(
        (10, 25, 100, 300), three, ("loss", "brier"), NETWORKS
    ):
        yield Cell("loss", str(patients), kind, tuple(truth))
    small = ((0.05, 0.05), (0.1, 0.05), (0.15, 0.05), (0.02, 0.02), (0.06, 0.02), (0.12, 0.02))
    large = ((0.25, 0.05), (0.5, 0.05))
    for rows, pairs in (
        (("50/5", _FOUR_OF, "20/20", "50/2"), small),
        (("3/3/3/3", _FOUR_OF, "5/5", "50/5", "20/20/20/20"), large),
    ):
        for row, kind, pair in itertools.product(rows, three, pairs):
            yield Cell("paired difference", row, kind, pair)
    for row, kind, *truth in itertools.product(
        ("2/100", "5/100", "20/20", "20/200", "50/200", "200/600"), KINDS, (0.8, 0.95),
        (0.8, 0.9, 0.95, 0.98, 0.995),
    ):  # fmt: skip
        yield Cell("ppv at prevalence", row, kind, tuple(truth))


def simulate(cell: Cell, sets: int) -> dict[str, float]:
    """Coverage and mean width of a cell; the same numbers every time."""
    rng = np.random.default_rng(zlib.crc32(repr(cell).encode()))
    (_, low, high), truth = PARTS[cell.part](rng, cell, sets)
    defined = ~np.isnan(low)
    held = (low[defined] <= truth + 1e-12) & (truth - 1e-12 <= high[defined])
    return {"coverage": float(held.mean()), "width": float((high - low)[defined].mean())}


def measure(*, sets: int, every: int, parts: Sequence[str], processes: int) -> dict[str, Any]:
    """Simulates the cells and prints their table and the line.

    Args:
        sets: Data sets of each cell.
        every: Take every such cell.
        parts: Of `PARTS`.
        processes: How many run at the same time.
    """
    chosen = [cell for cell in cells() if cell.part in parts][::every]
    with concurrent.futures.ProcessPoolExecutor(processes) as pool:
        outcomes = list(pool.map(functools.partial(simulate, sets=sets), chosen, chunksize=4))
    figures = {}
    for part, row in dict.fromkeys([(c.part, c.row) for c in chosen] + [(p, "all") for p in parts]):
        of_row = [
            outcome
            for cell, outcome in zip(chosen, outcomes, strict=True)
            if cell.part == part and row in (cell.row, "all")
        ]
        if of_row:
            figures[f"{part}, {row}"] = _summed(of_row)
    head = ["interval, patients", "cells", "mean", "least", "< .93", "> .98", "width"]
    print(table([head, *([name, *_columns(each)] for name, each in figures.items())]))
    claims = {
        f"{part}: share of cells that cover {_HELD}": (target, 1 - each["below"] / each["cells"])
        for part, target in (("balanced accuracy", 713 / 714), ("loss", 1.0))
        if (each := figures.get(f"{part}, all"))
    }
    return harness.report(
        "coverage", figures=figures, targets=claims, bound=_BOUND, packages=("scipy",), sets=sets
    )


def _summed(outcomes: Sequence[dict[str, float]]) -> dict[str, float]:
    coverage = np.array([each["coverage"] for each in outcomes])
    return {
        "cells": len(coverage),
        "mean": harness.rounded(coverage.mean()),
        "least": harness.rounded(coverage.min()),
        "below": int((coverage < _HELD).sum()),
        "above": int((coverage > _WIDE).sum()),
        "width": harness.rounded(np.mean([each["width"] for each in outcomes])),
    }


def _columns(row: dict[str, float]) -> list[str]:
    coverages = [f"{row[name]:.3f}" for name in ("mean", "least")]
    return [str(row["cells"]), *coverages, str(row["below"]), str(row["above"]), str(row["width"])]


def main(argv: list[str]) -> None:
    """Flags -> one call."""
    measure(
        sets=FLAGS.sets, every=FLAGS.every, parts=FLAGS.parts or list(PARTS),
        processes=FLAGS.processes,
    )  # fmt: skip


if __name__ == "__main__":
    flags.DEFINE_integer("sets", 2000, "Data sets of each cell.", lower_bound=1)
    flags.DEFINE_integer("every", 1, "Take every such cell.", lower_bound=1)
    flags.DEFINE_multi_enum("parts", None, list(PARTS), "What is simulated; all unless given.")
    flags.DEFINE_integer("processes", os.cpu_count(), "How many run at a time.", lower_bound=1)
    harness.run(main)
