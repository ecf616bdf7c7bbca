"""Computes the rows that a plan names: the only place where activations come into the cache."""

from collections.abc import Callable, Iterator, Mapping

from trainer.augmentation import random
from trainer.input_pipeline.dataset import Images
from trainer.input_pipeline.plan import Fill, Plan
from trainer.input_pipeline.stages import OpenStages
from trainer.run.progress import progress

_BATCH = 64  # images through the network at a time: what a kill costs


def fill(
    plan: Plan,
    images: Mapping[str, Images],
    opened: OpenStages,
    on_progress: Callable[[], None] = lambda: None,
) -> int:
    """Computes and caches what is missing, checks the rest, and returns how many rows it computed.

    Args:
        plan: Of the training.
        images: By the names that the plan gives them; their squares are cached.
        opened: The cache.
        on_progress: Called after each batch, and while another process computes the same.

    Raises:
        RunError: The cache can't be read or written; what was computed so far stays.
    """
    computed = 0
    for each in plan.fills:
        rows, digests = opened.rows(each.stage), images[each.images].digests
        for view in each.views:
            rows.check(digests, view)
        # Looked at again: a lower fill may have changed it, or a row turned out damaged.
        missing = sum(len(rows.missing(digests, view)) for view in each.views)
        if not missing:
            continue
        with progress(missing, f"computing {each.stage.spec.name}") as bar:
            for count in _computed(each, images[each.images], opened, on_progress):
                computed += count
                bar.update(count)
                on_progress()
    return computed


def _computed(
    fill: Fill, images: Images, opened: OpenStages, waiting: Callable[[], None]
) -> Iterator[int]:
    """Computes the rows of one fill; yields how many, batch by batch."""
    rows, below = opened.rows(fill.stage), opened.rows(fill.below)
    with rows.filling(waiting):
        for view in fill.views:
            missing = rows.missing(images.digests, view)
            for first in range(0, len(missing), _BATCH):
                at = missing[first : first + _BATCH]
                lower = below.read(images.digests[at], view if fill.below.augmented else 0)
                draws = None
                if fill.stage.seed is not None:
                    draws = random.uniform_draws(images.image_ids[at], view, fill.stage.seed)
                rows.append(images.digests[at], view, fill.stage.compute(lower, draws))
                yield len(at)
