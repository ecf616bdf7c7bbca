"""Which rows each phase reads, and which have to be computed first: a pure function of sizes.

A phase reads the highest stage below which it trains nothing, if the rows that are missing fit into
the cache; else the squares. Planning prints nothing, computes nothing and evicts nothing.
"""

import dataclasses
from collections.abc import Callable, Iterator, Sequence

from trainer.config import Phase
from trainer.input_pipeline.stages import Chain, Stage

# How many rows are missing of a stage, of the images of a name and of some views.
Missing = Callable[[Stage, str, tuple[int, ...]], int]


@dataclasses.dataclass(frozen=True)
class Fill:
    """Rows of one stage to have before the training.

    Attributes:
        stage: Whose rows they are.
        below: The stage that they are computed from: the one below, or the squares.
        images: Name of the images.
        views: Numbers of the augmented views.
        missing: How many rows are not cached.
    """

    stage: Stage
    below: Stage
    images: str
    views: tuple[int, ...]
    missing: int


@dataclasses.dataclass(frozen=True)
class PhasePlan:
    """What one phase reads.

    Attributes:
        phase: The phase.
        train: The stage that it trains from.
        score: The stage that images are scored from.
        views: Numbers of the cached views that it trains on; () where it makes its own.
    """

    phase: Phase
    train: Stage
    score: Stage
    views: tuple[int, ...]


@dataclasses.dataclass(frozen=True)
class Plan:
    """A training's plan.

    Attributes:
        phases: One entry a phase.
        fills: What to compute first, lower stages before those that are computed from them.
        missing_bytes: Of all rows that are not cached.
        rejected_bytes: Of the missing rows that would have spared more, but do not fit into the
            cache; 0 where nothing was given up.
    """

    phases: tuple[PhasePlan, ...]
    fills: tuple[Fill, ...]
    missing_bytes: int
    rejected_bytes: int

    def phase_of(self, epoch: int) -> PhasePlan:
        """The phase that an epoch, counted over the whole training, belongs to."""
        return next(plan for plan in self.phases if epoch in plan.phase.epochs)


@dataclasses.dataclass(frozen=True)
class Demand:
    """What is to be trained and scored.

    Attributes:
        phases: In their order.
        train: The chain that training reads.
        score: The chain that scoring reads; its squares are those of `train`.
        train_images: Names of the images whose views are read from `train`.
        score_images: Names of the images that are read from `score`.
        view_count: Views of an image; 0: every epoch makes a new one, of which none is cached.
    """

    phases: tuple[Phase, ...]
    train: Chain
    score: Chain
    train_images: tuple[str, ...]
    score_images: tuple[str, ...]
    view_count: int


def make_plan(demand: Demand, missing: Missing, room: Callable[[], int]) -> Plan:
    """Plans a training.

    Args:
        demand: What is to be trained and scored.
        missing: Counts rows that are not cached.
        room: Gives the bytes that the cache could take; called where rows are missing.
    """
    rejected = 0
    for train_levels, score_levels, through in _candidates(demand):
        fills = _fills(demand, train_levels, score_levels, through, missing)
        needed = sum(fill.missing * fill.stage.spec.row_bytes for fill in fills)
        if not needed or needed <= room():
            break
        rejected = rejected or needed
    plans = tuple(
        PhasePlan(
            phase,
            demand.train[train],
            demand.score[score],
            views_of_epochs(phase.epochs, demand.view_count) if train else (),
        )
        for phase, train, score in zip(demand.phases, train_levels, score_levels, strict=True)
    )
    return Plan(plans, fills, needed, rejected)


def views_of_epochs(epochs: range, count: int) -> tuple[int, ...]:
    """The views that some epochs train on, ascending: epoch e takes view e mod count."""
    return tuple(sorted({epoch % count for epoch in epochs}))


def _candidates(demand: Demand) -> Iterator[tuple[list[int], list[int], bool]]:
    """Stages to train and to score from, a number in its chain a phase, the cheapest first.

    And whether a stage is computed from the one below it in place of the squares.
    """
    names = [stage.spec.name for stage in demand.train]
    best = [
        names.index(phase.frozen_until) if phase.frozen_until in names else 0
        for phase in demand.phases
    ]
    squares = [0] * len(best)
    if demand.view_count:
        yield best, best, True
        # Without the rows that a later phase would train from, the first may still have its own.
        top = len(names) - 1
        yield [level if level == top else 0 for level in best], best, False
    yield squares, best, True
    yield squares, squares, True


def _fills(
    demand: Demand,
    train_levels: Sequence[int],
    score_levels: Sequence[int],
    through: bool,
    missing: Missing,
) -> tuple[Fill, ...]:
    wanted: dict[tuple[str, int, str], set[int]] = {}
    for phase, train, score in zip(demand.phases, train_levels, score_levels, strict=True):
        for name in demand.train_images if train else ():
            drawn = views_of_epochs(phase.epochs, demand.view_count)
            wanted.setdefault(("train", train, name), set()).update(drawn)
        for name in demand.score_images if score else ():
            wanted.setdefault(("score", score, name), set()).add(0)
    chains = {"train": demand.train, "score": demand.score}
    fills = []
    for side, level, name in sorted(wanted, key=lambda key: -key[1]):  # from the top
        stage, views = chains[side][level], wanted[side, level, name]
        lower = level - 1 if through or side == "score" else 0
        count = missing(stage, name, tuple(sorted(views)))
        if count and lower and (side, lower, name) in wanted:
            short = {view for view in views if missing(stage, name, (view,))}
            wanted[side, lower, name] |= short
        elif (side, lower, name) not in wanted:
            lower = 0
        fills.append(Fill(stage, chains[side][lower], name, tuple(sorted(views)), count))
    return _distinct(fills)


def _distinct(fills: Sequence[Fill]) -> tuple[Fill, ...]:
    """Each row once, though training and scoring may both read it; the lowest stage first."""
    seen: dict[tuple[str, str, tuple[int, ...]], Fill] = {}
    for fill in reversed(fills):
        seen.setdefault((fill.stage.spec.folder_name(), fill.images, fill.views), fill)
    return tuple(seen.values())
