"""Computes the rows that a plan names: the only place where activations come into the cache."""

import collections
import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence

import numpy as np

from trainer.augmentation import random
from trainer.input_pipeline.cache import CachedRows, Spec
from trainer.input_pipeline.dataset import Images
from trainer.input_pipeline.plan import Fill, Plan
from trainer.input_pipeline.stages import OpenStages, Stage, check
from trainer.run import command
from trainer.run.errors import ConfigFailedError
from trainer.run.progress import Shown, progress

BATCH = 64  # images through the network at a time, on each device: what a kill costs here
# Handed over at a time where rows are computed elsewhere: some seconds of work, whole batches, so
# that every row comes from the same batch wherever it is computed.
_HANDED_OVER, _HANDED_OVER_BYTES = 8 * BATCH, 64 * 2**20
_NAMED = 5  # images in a message

# Rows of the stage below, [n, ...], and float32 [n, DRAWS] where views are drawn.
Batches = Iterator[tuple[np.ndarray, np.ndarray | None]]
# A stage and batches -> rows [n, *stage.spec.shape] of each batch, in their order.
Computing = Callable[[Stage, Batches], Iterator[np.ndarray]]


def fill(
    plan: Plan,
    images: Mapping[str, Images],
    opened: OpenStages,
    on_progress: Callable[[], None] = lambda: None,
    compute: Computing | None = None,
    devices: int = 1,
) -> int:
    """Computes and caches what is missing, checks the rest, and returns how many rows it computed.

    Args:
        plan: Of the training.
        images: By the names that the plan gives them; their squares are cached.
        opened: The cache.
        on_progress: Called after each batch, and while another process computes the same.
        compute: How rows are computed, several batches ahead if it likes; here, one batch after
            the other, unless given.
        devices: How many divide the batches of here among them.

    Raises:
        RunError: The cache can't be read or written, or a row is not finite; what was computed so
            far stays.
    """
    computed = 0
    for name, of_stage in itertools.groupby(plan.fills, lambda each: each.stage.spec.name):
        fills = list(of_stage)
        # Looked at again: a lower fill may have changed it, or a row turned out damaged.
        missing = [_missing(each, images[each.images], opened) for each in fills]
        with progress(sum(missing), f"computing {name}") as bar:
            for each in itertools.compress(fills, missing):
                waiting = _Waiting(bar, on_progress)
                for count in _computed(
                    each, images[each.images], opened, waiting, compute, devices * BATCH
                ):
                    waiting.end()
                    computed += count
                    bar.update(count)
                    on_progress()
                    command.raise_if_interrupted()
    return computed


class _Waiting:
    """What is done again and again while another process computes the same rows."""

    def __init__(self, bar: Shown, on_progress: Callable[[], None]) -> None:
        self._bar, self._on_progress, self._said = bar, on_progress, False

    def __call__(self) -> None:
        if not self._said:
            self._bar.part("waiting for another process, which computes them, too")
        self._said = True
        self._on_progress()
        command.raise_if_interrupted()

    def end(self) -> None:
        """Shows the numbers again."""
        if self._said:
            self._bar.part()
        self._said = False


def _missing(fill: Fill, images: Images, opened: OpenStages) -> int:
    """How many rows are missing or damaged."""
    rows = opened.rows(fill.stage)
    check(rows, images, fill.views)
    return sum(len(rows.missing(images.digests, view)) for view in fill.views)


def _computed(
    fill: Fill,
    images: Images,
    opened: OpenStages,
    waiting: Callable[[], None],
    compute: Computing | None,
    here: int,
) -> Iterator[int]:
    """Computes the rows of one fill; yields how many, batch by batch."""
    rows = opened.rows(fill.stage)
    stage, lower, below = _computed_from(fill, images, opened)
    size = handed_over(fill) if compute else here
    under_way: collections.deque[tuple[int, np.ndarray]] = collections.deque()

    def batches() -> Batches:
        for view in fill.views:
            missing = rows.missing(images.digests, view)
            for first in range(0, len(missing), size):
                at = missing[first : first + size]
                inputs = below.read(images.digests[at], view if lower.augmented else 0)
                draws = None
                if stage.seed is not None:
                    draws = random.uniform_draws(images.image_ids[at], view, stage.seed)
                under_way.append((view, at))
                yield inputs, draws

    with rows.filling(waiting):
        for computed in (compute or _here)(stage, batches()):
            view, at = under_way.popleft()
            if not np.isfinite(computed).all():  # costs a hundredth of what computed them
                finite = np.isfinite(computed).reshape(len(computed), -1).all(axis=1)
                message = not_finite(fill.stage.spec, images.image_ids[at[~finite]])
                raise ConfigFailedError(message[0].upper() + message[1:])
            rows.append(images.digests[at], view, computed)
            yield len(at)


def _computed_from(
    fill: Fill, images: Images, opened: OpenStages
) -> tuple[Stage, Stage, CachedRows]:
    """The stage as it is computed, the one below, as planned or the squares, and its rows.

    Rows that turn out damaged were not planned for, and those below them may not be there.
    """
    rows, lower = opened.rows(fill.stage), fill.below
    below = opened.rows_of(lower, images, fill.views if lower.augmented else (0,))
    if lower.kind is None:
        for view in fill.views:
            wanted = images.digests[rows.missing(images.digests, view)]
            if len(below.missing(wanted, view if lower.augmented else 0)):
                lower = fill.stage.lower[0]
                below = opened.rows_of(lower, images, (0,))
                break
    return fill.stage if lower.kind is None else fill.stage.from_squares, lower, below


def _here(stage: Stage, batches: Batches) -> Iterator[np.ndarray]:
    assert stage.compute is not None  # squares and poses are filled by `stages.fill_squares`
    return itertools.starmap(stage.compute, batches)


def handed_over(fill: Fill) -> int:
    """Images a batch that is computed elsewhere."""
    row_bytes = max(fill.stage.spec.row_bytes, fill.below.spec.row_bytes)
    within = _HANDED_OVER_BYTES // row_bytes // BATCH * BATCH
    return min(max(within, BATCH), _HANDED_OVER)


def not_finite(spec: Spec, image_ids: Sequence[str]) -> str:
    """What is said of images whose rows are not finite, and how to mend it.

    Args:
        spec: Of the rows.
        image_ids: Of the images, one or more.
    """
    mend = "Look at these images, and at the weights (--weights)."
    if spec.dtype != "float32":
        mend = "Give --precision=float32, or look at these images."
    return (
        f"the activations of {named(image_ids)} are not finite ({spec.name}, {spec.dtype}). {mend}"
    )


def named(image_ids: Sequence[str] | np.ndarray) -> str:
    """Some images in words: "images a, b, c, d, e and 27 more"."""
    shown, more = ", ".join(image_ids[:_NAMED]), len(image_ids) - _NAMED
    return f"image{'s' * (len(image_ids) > 1)} {shown}" + (f" and {more} more" if more > 0 else "")
