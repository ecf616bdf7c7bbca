"""The stages of a run's data: image -> square -> activations at a cut. Each is a pure function.

A chain is a tuple of stages, each computed from the one before; the first is the square. Where
there is augmentation, one stage of the chain draws it: its rows, and those of the stages above,
are of augmented views.
"""

import dataclasses
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import numpy as np

from trainer.input_pipeline import alignment, decode, resize
from trainer.input_pipeline.cache import CachedRows, Spec
from trainer.input_pipeline.dataset import Dataset, Images
from trainer.run import command
from trainer.run.progress import progress, working

_LONG_CHECK = 2**30  # bytes; about a second of reading

# From rows of the stage below, [batch, ...], and float32 [batch, DRAWS] where views are drawn here.
Compute = Callable[[np.ndarray, np.ndarray | None], np.ndarray]


@dataclasses.dataclass(frozen=True, eq=False)
class Stage:
    """One stage.

    Attributes:
        spec: Name, shape and dtype of its rows, and all that they depend on.
        compute: Makes its rows; None for squares and poses, which are made of encoded images.
        augmented: Whether its rows are of augmented views.
        seed: Of the views that are drawn here; None where none are.
        kind: What is made of an encoded image; None where rows are made of other rows.
        lower: The stages that it is computed through, the squares first; () where it is made of
            encoded images.
    """

    spec: Spec
    compute: Compute | None = None
    augmented: bool = False
    seed: int | None = None
    kind: decode.Kind | None = None
    lower: tuple["Stage", ...] = ()

    @property
    def takes_squares(self) -> bool:
        """Whether its rows are computed from those of the squares."""
        return len(self.lower) == 1

    @property
    def from_squares(self) -> "Stage":
        """The same rows, computed from the squares: those between are computed, and not kept."""
        between = (*self.lower[1:], self)

        def compute(rows: np.ndarray, draws: np.ndarray | None) -> np.ndarray:
            for stage in between:
                assert stage.compute is not None  # else it is no stage above the squares
                rows = stage.compute(rows, None if stage.seed is None else draws)
            return rows

        seed = next((stage.seed for stage in between if stage.seed is not None), None)
        return dataclasses.replace(self, compute=compute, seed=seed, lower=self.lower[:1])


Chain = tuple[Stage, ...]


def square_stage(size: int, align: str = "none") -> Stage:
    """Squares of so many pixels a side, uint8 [size, size, 1] in 0..255.

    Args:
        size: Pixels of a side.
        align: How they are aligned, of `Config.align`.
    """
    depends_on = {"resize": resize.FORMULA, "image_size": size, **alignment_key(align)}
    spec = Spec("square", (size, size, 1), "uint8", depends_on)
    return Stage(spec, kind=decode.Kind(size, align))


def pose_stage() -> Stage:
    """The poses that align squares, float32 [5]: the columns of `alignment.POSE`."""
    depends_on = {"resize": resize.FORMULA, **alignment_key("chest")}
    return Stage(Spec("pose", (len(alignment.POSE),), "float32", depends_on), kind=decode.POSE)


def alignment_key(align: str) -> dict[str, str]:
    """What rows of aligned squares depend on more than those of others."""
    return {} if align == "none" else {"align": alignment.FORMULA}


class OpenStages:
    """The cache folders of the stages in use, each opened once and held until `close`.

    Attributes:
        cache_dir: Where they are.
    """

    def __init__(self, cache_dir: Path) -> None:
        """Opens nothing yet.

        Args:
            cache_dir: The folder of all stages.
        """
        self.cache_dir = cache_dir
        self._open: dict[str, CachedRows] = {}

    def rows(self, stage: Stage) -> CachedRows:
        """The open folder of a stage.

        Raises:
            CacheError: The machine does not let it.
        """
        name = stage.spec.folder_name()
        if name not in self._open:
            self._open[name] = CachedRows(self.cache_dir, stage.spec)
        return self._open[name]

    def rows_of(self, stage: Stage, images: Images, views: Sequence[int]) -> CachedRows:
        """The open folder of a stage, for rows of some images and views that are to be read.

        Where rows come from elsewhere (`execution.sharing`), they are brought into it first.
        """
        return self.rows(stage)

    def missing(self, stage: Stage, images: Images, views: Sequence[int]) -> int:
        """How many rows of some images and views are not cached."""
        rows = self.rows(stage)
        return sum(len(rows.missing(images.digests, view)) for view in views)

    def close_networks_but(self, stages: Iterable[Stage]) -> None:
        """Lets go of what networks computed, but for some stages; `rows` opens it again.

        Args:
            stages: That stay open. The squares of all stages do, too.
        """
        stay = {stage.spec.folder_name() for stage in stages}
        for name, rows in list(self._open.items()):
            if name not in stay and "network" in rows.spec.depends_on:
                self._open.pop(name).close()

    def close(self) -> None:
        """Lets other processes evict the folders."""
        for rows in self._open.values():
            rows.close()
        self._open.clear()


def check(rows: CachedRows, images: Images, views: Iterable[int]) -> None:
    """Compares the checksums of rows that are cached; shows that where it takes some time.

    Args:
        rows: Of a stage.
        images: Whose rows they are.
        views: Numbers of the augmented views.

    Raises:
        RunError: The machine does not let a row be read.
    """
    views = tuple(views)
    long = len(images) * len(views) * rows.spec.row_bytes > _LONG_CHECK
    with working(f"checking the cached rows of {rows.spec.name}" if long else ""):
        for view in views:
            rows.check(images.digests, view)


def fill_squares(
    dataset: Dataset, images: Images, stages: Sequence[Stage], opened: OpenStages
) -> None:
    """Caches the squares and poses that are missing; one decoding serves all kinds.

    Args:
        dataset: Where the images are stored.
        images: Of the dataset, of any splits.
        stages: Of `square_stage` and `pose_stage`.
        opened: The cache.

    Raises:
        RunError: An image is damaged, or the cache can't be written.
    """
    rows = {stage.kind: opened.rows(stage) for stage in stages if stage.kind is not None}
    for each in rows.values():
        check(each, images, (0,))
    missing = [each.missing(images.digests, 0) for each in rows.values()]
    wanted = np.unique(np.concatenate([*missing, np.zeros(0, np.int64)]))
    if not len(wanted):
        return
    few = images.take(wanted)
    with progress(len(few), "decoding") as bar:
        for at, made in decode.squares(dataset, few, tuple(rows)):
            for kind, each in rows.items():
                # By the batch: another process may fill the same folder, and neither waits long.
                with each.filling():
                    new = each.missing(few.digests[at], 0)
                    each.append(few.digests[at[new]], 0, made[kind][new])
            bar.update(len(at))
            command.raise_if_interrupted()
