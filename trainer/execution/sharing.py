"""A setup sent to other processes, and rows of the cache brought to them by an object store.

The driver packs what `set_up` opened, without what reads the dataset; a worker restores it over a
cache folder of its own machine. What the driver has cached it puts into the store in parts, and a
worker whose cache misses rows takes them from there: nothing is decoded or computed twice, and no
file system has to be shared; where one is, nothing is taken.

Imports TensorFlow: a worker imports it under `trainer.run.libraries.heavy_imports`.
"""

import dataclasses
import hashlib
import pathlib
import pickle
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, cast

import keras
import numpy as np
import tensorflow as tf

from trainer.config import Config
from trainer.execution.tasks import progressed
from trainer.input_pipeline import cache_folders, decode
from trainer.input_pipeline import dataset as dataset_lib
from trainer.input_pipeline.cache import DTYPES, CachedRows
from trainer.input_pipeline.dataset import Dataset, Images
from trainer.input_pipeline.fill import BATCH
from trainer.input_pipeline.stages import OpenStages, Stage, fill_squares
from trainer.model import networks, precision
from trainer.model.chains import make_chains
from trainer.run.errors import RunError
from trainer.run.files import expanded
from trainer.run.libraries import heavy_imports
from trainer.training.setup import Setup, square_stages
from trainer.training.training import Training

PART = 64 * 2**20  # bytes of rows that are put at a time

# Name of the stage's folder, number of the augmented view, and what the store gave for (digests
# uint8 [n, 16], rows uint8 [n, bytes]). Plain tuples: unpickling them imports nothing.
Chunk = tuple[str, int, Any]
Fetch = Callable[[Any], Any]


class SharedStages(OpenStages):
    """A cache whose missing rows come from the store, if it has them."""

    def __init__(
        self, cache_dir: pathlib.Path, limit: int, fetch: Fetch, dataset: Dataset | None = None
    ) -> None:
        """Opens nothing yet.

        Args:
            cache_dir: The folder of all stages.
            limit: The most bytes that all stages together may take.
            fetch: Gives what was put for a reference.
            dataset: Where squares are decoded from that the store does not have, if it is here.
        """
        super().__init__(cache_dir)
        self._limit, self._fetch, self._dataset = limit, fetch, dataset
        self._known: set[Chunk] = set()
        self._chunks: dict[tuple[str, int], list[Any]] = {}  # those that were not taken yet

    def add(self, chunks: Iterable[Chunk]) -> None:
        """Notes what the store has; what is noted already stays as it is."""
        for folder_name, view, reference in chunks:
            if (folder_name, view, reference) not in self._known:
                self._known.add((folder_name, view, reference))
                self._chunks.setdefault((folder_name, view), []).append(reference)

    def missing(self, stage: Stage, images: Images, views: Sequence[int]) -> int:
        """How many rows are neither cached nor in the store, or find no room here."""
        rows, folder_name = self.rows(stage), stage.spec.folder_name()
        missing = super().missing(stage, images, views)
        if not missing:
            return 0
        rows.refresh()  # other processes may have computed or taken them
        missing = super().missing(stage, images, views)
        wanted = [view for view in views if self._chunks.get((folder_name, view))]
        if missing and wanted and self._make_room(stage, missing):
            for view in wanted:
                self._take(rows, folder_name, view, images)
        return super().missing(stage, images, views)

    def rows_of(self, stage: Stage, images: Images, views: Sequence[int]) -> CachedRows:
        """The open folder of a stage, with what the store has of these rows.

        Raises:
            RunError: Squares are missing, which can't be computed here.
        """
        missing = self.missing(stage, images, views)
        if missing and stage.compute is None:
            if self._dataset and self._make_room(stage, missing):
                fill_squares(self._dataset, images, [stage], self)
                return self.rows(stage)
            raise RunError(
                f"The squares of {missing:,} images can't be had on this machine: they find no "
                f"room in {self.cache_dir}, or were lost on the way. Give a larger --cache_gib, a "
                "--cache_dir that all machines share, or start again."
            )
        return self.rows(stage)

    def _make_room(self, stage: Stage, rows: int) -> bool:
        return cache_folders.make_room(self.cache_dir, rows * stage.spec.row_bytes, self._limit)

    def _take(self, rows: CachedRows, folder_name: str, view: int, images: Images) -> None:
        """Takes parts from the store until no row of the images is missing."""
        left = self._chunks[folder_name, view]
        # One process of a machine fetches, and the others find the rows in the cache afterwards.
        with rows.filling(progressed):
            while left and len(rows.missing(images.digests, view)):
                try:
                    digests, data = self._fetch(left.pop(0))
                except Exception:  # whatever the store raises for what it lost: it is computed here
                    continue
                new = rows.missing(digests, view)
                values = np.ascontiguousarray(data[new]).view(DTYPES[rows.spec.dtype])
                rows.append(digests[new], view, values.reshape(len(new), *rows.spec.shape))
                progressed()


def packed(setup: Setup | None, *, shares_files: bool, worker_data_dir: str = "") -> bytes | None:
    """What workers need of a setup, in the driver.

    Args:
        setup: What was opened; None where tasks need none.
        shares_files: Whether all workers are on this machine, so that its paths hold there.
        worker_data_dir: Where each worker's machine has the dataset, if it does.

    Returns:
        A value for `unpacked`: bytes, so that nothing is imported where they arrive.
    """
    if setup is None:
        return None
    nothing: Any = None  # until `unpacked`
    bare = dataclasses.replace(
        setup, dataset=dataclasses.replace(setup.dataset, builder=None), opened=nothing,
        compute=None, kept={},
    )  # fmt: skip
    cache_dir = setup.opened.cache_dir.absolute()
    home = pathlib.Path.home()
    if not shares_files and cache_dir.is_relative_to(home):
        cache_dir = "~" / cache_dir.relative_to(home)
    return pickle.dumps((bare, str(cache_dir), worker_data_dir))


def unpacked(value: bytes | None, fetch: Fetch) -> Setup | None:
    """The setup of a worker, once a process: prepares Keras, seeds everything, opens the cache.

    Args:
        value: Of `packed`.
        fetch: Gives what was put into the store for a reference.

    Returns:
        The setup; its dataset has no builder.

    Raises:
        RunError: The precision can't be had here, the cache can't be used, or the worker's dataset
            is another one.
    """
    if value is None:
        return None
    with heavy_imports():
        setup, cache_dir, data_dir = pickle.loads(value)
    config = setup.config
    precision.choose(setup.precision.policy, config.image_size, autotune=False)
    keras.utils.set_random_seed(config.seed)
    if config.deterministic:
        tf.config.experimental.enable_op_determinism()
    keras.config.set_dtype_policy(setup.precision.policy)
    limit = int(config.cache_gib * 2**30)
    own = _own_dataset(setup, data_dir) if data_dir else None
    opened = SharedStages(pathlib.Path(expanded(cache_dir)), limit, fetch, own)
    return dataclasses.replace(setup, opened=opened)


def _own_dataset(setup: Setup, data_dir: str) -> Dataset:
    """The same dataset as this machine has it."""
    try:
        ours = dataset_lib.open_dataset(setup.config.dataset, data_dir, setup.config.classes)
    except RunError as error:
        raise RunError(f"--worker_data_dir={data_dir} can't be used on a worker: {error}") from None
    if ours.fingerprint != setup.dataset.fingerprint:
        raise RunError(
            f"--worker_data_dir={data_dir} holds another {ours.name} than the one that the command "
            f"was given: its fingerprint is {ours.fingerprint[:16]}, not "
            f"{setup.dataset.fingerprint[:16]}. Copy that one to the workers, or leave the flag "
            "out."
        )
    return ours


def add_chunks(setup: Setup, chunks: Iterable[Chunk]) -> None:
    """Notes, in a worker and before each task, what the store has by now."""
    cast(SharedStages, setup.opened).add(chunks)


def chunks(
    training: Training, put: Callable[[Any], Any], known: set, *, squares: bool = True
) -> list[Chunk]:
    """Puts all rows that a training may read into the store, in the driver.

    Args:
        training: Its rows are cached.
        put: Puts a value into the store and returns a reference, which can be hashed.
        known: What was put before, which is left out; what is put now is added.
        squares: Whether to put squares, too; workers that have the dataset make their own.

    Returns:
        What was put now.
    """
    put_now = []
    for stage, name, views in _reads(training):
        if stage.compute is None and not squares:
            continue
        images, rows = training.images[name], training.rows(stage, name, views)
        folder_name, part = stage.spec.folder_name(), max(1, PART // stage.spec.row_bytes)
        # By the split: trainings differ in which of them they join.
        for at in (np.flatnonzero(images.splits == each) for each in np.unique(images.splits)):
            digest = hashlib.sha256(images.digests[at].tobytes()).digest()
            for view in views:
                if (folder_name, view, digest) in known:
                    continue
                known.add((folder_name, view, digest))
                for first in range(0, len(at), part):
                    few = at[first : first + part]
                    data = rows.read(view, few).reshape(len(few), -1).view(np.uint8)
                    put_now.append((folder_name, view, put((images.digests[few], data))))
    return put_now


def _reads(training: Training) -> Iterator[tuple[Stage, str, tuple[int, ...]]]:
    """What a training reads, and the squares of the shortcut baseline."""
    yield from training.reads
    network = training.reads[0][0].spec.folder_name()
    for stage in square_stages(training.config):
        if stage.spec.folder_name() != network and stage.kind != decode.POSE:
            names = dict.fromkeys(name for each, name, _ in training.reads if each.compute is None)
            yield from ((stage, name, (0,)) for name in names)


def compute_rows(
    setup: Setup,
    config: Config,
    folder_name: str,
    lower: np.ndarray,
    draws: np.ndarray | None,
    from_squares: bool,
) -> np.ndarray:
    """A task's function: rows of a stage from those of the stage below, or from squares.

    In batches of the size that `fill` uses, so that rows do not depend on where they are computed.

    Args:
        setup: Of the process.
        config: Whose networks make the stage.
        folder_name: Of the stage.
        lower: [n, ...], rows of the stage below, or squares.
        draws: float32 [n, DRAWS] where the stage, or one on the way from the squares, draws views.
        from_squares: Whether `lower` are squares, of a stage that may lie above others.

    Returns:
        [n, *shape] of the stage.

    Raises:
        RunError: The networks here are not those of the driver.
    """
    if folder_name not in setup.kept.get("stages", {}):
        setup.kept["stages"] = _stages(setup, config)  # in place of those of another config
    stage = setup.kept["stages"].get(folder_name)
    if stage is None:
        raise RunError(
            "The network that was built on a worker is not that of the command: another release, "
            "or random weights that another device drew. Install the same release on all machines."
        )
    stage = stage.from_squares if from_squares else stage
    made = []
    for first in range(0, len(lower), BATCH):
        batch = slice(first, first + BATCH)
        made.append(stage.compute(lower[batch], None if draws is None else draws[batch]))
        progressed()
    return np.concatenate(made)


def _stages(setup: Setup, config: Config) -> Mapping[str, Stage]:
    """All stages that the networks of a config make, by their folders' names."""
    built = networks.build(config, setup.precision, setup.weights, setup.normalization)
    chains = make_chains(config, built, setup.precision)
    every = [*chains.train[1:], *chains.score[1:]]
    return {stage.spec.folder_name(): stage for stage in every}
