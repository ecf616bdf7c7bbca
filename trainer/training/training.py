"""One training, ready to begin: the networks, the plan, the rows that it reads, its steps."""

import copy
import dataclasses
import functools
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from trainer.augmentation import random
from trainer.augmentation.layer import Augmentation
from trainer.config import Config, cache_folder
from trainer.input_pipeline import cache_folders
from trainer.input_pipeline.batches import Rows, ordered_batches, orders, train_batches
from trainer.input_pipeline.dataset import Images, class_counts
from trainer.input_pipeline.fill import fill
from trainer.input_pipeline.plan import Demand, PhasePlan, Plan, make_plan
from trainer.input_pipeline.stages import Stage
from trainer.model import replicas
from trainer.model.chains import make_chains
from trainer.model.head import is_of_head
from trainer.model.networks import Networks, build, build_heads
from trainer.run import command, machine
from trainer.run.progress import fitted
from trainer.training import memory
from trainer.training.setup import Setup
from trainer.training.steps import Steps

# Images a step and device where nothing is trained: through a head alone, and through blocks, too.
_SCORED_AT_ONCE, _SCORED_BY_BLOCKS = 256, 64
_STEPS_PER_CALL = 32  # of a head, whose step takes milliseconds
_CALL_BYTES = 16 * 2**20  # of the rows of one call, at most, unless one batch has more

# What to change where the device waits for input.
_LARGER_BATCHES = "Give a larger --batch_size: every batch has a cost of its own on the host."
_FEWER_VIEWS = "The cached rows are read from the disk in every epoch: give fewer --views."
_CACHED_VIEWS = "Give --views=8, for example: the same views in each round of epochs are cached."
_LARGER_CACHE = "The rows do not fit into the cache: give a larger --cache_gib."


class Training:
    """A training of one configuration, its rows cached.

    Attributes:
        config: What is trained.
        networks: The networks, which the training changes.
        plan: What each phase reads.
        images: By name.
        train_at: int64, indices of the images to train on; all of them unless `on` chose some.
        precision: How the network that is trained computes.
        on_progress: Called behind each call of steps, and where else the constructor says.
    """

    def __init__(
        self,
        setup: Setup,
        config: Config,
        images: Mapping[str, Images],
        *,
        train: str,
        score: Iterable[str],
        networks: Networks | None = None,
        on_progress: Callable[[], None] = lambda: None,
        quiet: bool = False,
    ) -> None:
        """Builds the networks, plans, makes room in the cache, and computes the missing rows.

        Args:
            setup: What was opened.
            config: What is trained; differs from the setup's in what concerns networks alone.
            images: By name.
            train: Name of the images that are trained on.
            score: Names of the images that are scored.
            networks: In place of new ones of the config.
            on_progress: Called whenever rows were computed, or are waited for, and behind each
                call of steps and each batch that is scored.
            quiet: Whether to print nothing of the plan.

        Raises:
            RunError: The cache can't be used, or the memory is too small.
        """
        self.config, self.images = config, dict(images)
        # Networks that were given can't be built elsewhere.
        elsewhere = None if networks else setup.compute
        self.networks = networks or build(
            config, setup.precision, setup.weights, setup.normalization
        )
        self._opened, self._train = setup.opened, train
        self.precision = setup.precision
        self._chains = chains = make_chains(config, self.networks, setup.precision)
        extra = ("validation",) if config.as_published else ()
        self._demand = Demand(
            config.phases, chains.train, chains.score, (train, *extra), tuple(score),
            config.view_count,
        )  # fmt: skip
        self.plan = self._planned()
        self._make_room()
        memory.require_batch(config, len(self.images[train]))
        memory.require_pass(config, max((each.missing for each in self.plan.fills), default=0))
        if not quiet:
            if self._devices > 1:
                print(fitted(replicas.describe(self.networks.trained, config.batch_size)))
            print(fitted(describe(self.plan, config, self.images)), flush=True)
        compute = elsewhere and functools.partial(elsewhere, config)
        self.on_progress = on_progress
        fill(self.plan, self.images, self._opened, on_progress, compute, self._devices)
        self.train_at = np.arange(len(self.images[train]))
        self._steps: dict[str, Steps] = {}
        self._rows: dict[tuple[str, str, tuple[int, ...]], Rows] = {}

    @property
    def _devices(self) -> int:
        return self.networks.trained.distribute_strategy.num_replicas_in_sync

    def _planned(self) -> Plan:
        opened, limit = self._opened, int(self.config.cache_gib * 2**30)

        def missing(stage: Stage, name: str, views: tuple[int, ...]) -> int:
            return opened.missing(stage, self.images[name], views)

        def room() -> int:
            return cache_folders.room(opened.cache_dir, limit)

        for stage in (*self._demand.train, *self._demand.score):
            opened.rows(stage)  # so that it stays, and its rows do not count as room
        return make_plan(self._demand, missing, functools.cache(room))

    def _make_room(self) -> None:
        limit = int(self.config.cache_gib * 2**30)
        cache_folders.make_room(self._opened.cache_dir, self.plan.missing_bytes, limit)

    @property
    def reads(self) -> list[tuple[Stage, str, tuple[int, ...]]]:
        """All rows that it may read: stage, name of the images, and views; the squares first."""
        square, train = self._chains.train[0], self._demand.train_images
        score = self._demand.score_images
        every: list[tuple[Stage, str, tuple[int, ...]]]
        every = [(square, name, (0,)) for name in (*train, *score)]
        for plan in self.plan.phases:
            every += [(plan.train, name, plan.views or (0,)) for name in train]
            every += [(plan.score, name, (0,)) for name in score]
        return list({(each[0].spec.folder_name(), *each[1:]): each for each in every}.values())

    def on(self, train_at: np.ndarray) -> "Training":
        """The same training on some of the images: rows, networks and traced steps are shared."""
        other = copy.copy(self)
        other.train_at = train_at
        return other

    def under(self, config: Config) -> "Training":
        """The same rows under another head, which is all that is built.

        Args:
            config: Differs in what concerns the head alone, and trains no longer than this one.
        """
        other = copy.copy(self)
        other.networks = build_heads(config, self.precision, self.networks)
        other.config, other._steps = config, {}
        other._demand = dataclasses.replace(self._demand, phases=config.phases)
        other.plan = other._planned()
        if other.plan.missing_bytes:
            other._make_room()
        return other

    @property
    def labels(self) -> np.ndarray:
        """int64, of the images that are trained on."""
        return self.images[self._train].labels[self.train_at]

    @property
    def steps_per_epoch(self) -> int:
        """Batches of an epoch, the last one perhaps smaller."""
        return -(-len(self.train_at) // self.config.batch_size)

    def steps_per_call(self, plan: PhasePlan) -> int:
        """Steps that are run before callbacks are called; their rows are gathered at once."""
        if plan.train is not self._chains.train[-1]:
            return 1
        batch_bytes = self.config.batch_size * plan.train.spec.row_bytes
        return max(1, min(_STEPS_PER_CALL, _CALL_BYTES // batch_bytes))

    @property
    def lowest_trained(self) -> str:
        """Name of the stage above which all layers are that are ever trained."""
        below = min((plan.phase.frozen_until or "") for plan in self.plan.phases)
        return below or self._chains.train[0].spec.name

    @property
    def trained_part(self) -> keras.Model:
        """From the lowest stage that any phase trains from: all layers that are ever trained."""
        return self.networks.logits(self.lowest_trained)

    @property
    def class_weights(self) -> list[float]:
        """Weight of each class in the loss."""
        classes = self.config.classes
        if self.config.class_weights == "none":
            return [1.0] * classes
        counts = class_counts(self.labels, classes)
        return [len(self.labels) / (classes * max(count, 1)) for count in counts]

    def steps(self, plan: PhasePlan) -> Steps:
        """The steps of a phase, with its layers free; the same object each time."""
        config, phase = self.config, plan.phase
        self.networks.train_from(phase.first_block)
        if phase.name not in self._steps:
            part = self._logits(plan)
            factors: Sequence[float] = ()
            if phase.head_factor != 1:
                variables = part.trainable_variables
                factors = [phase.head_factor if is_of_head(v.path) else 1.0 for v in variables]
            self._steps[phase.name] = Steps(
                part, phase.learning_rate, classes=config.classes,
                optimizer=config.optimizer, weight_decay=config.weight_decay,
                label_smoothing=config.label_smoothing, factors=factors, warmup=phase.warmup,
            )  # fmt: skip
        return self._steps[phase.name]

    def begun_steps(self, plan: PhasePlan) -> Steps:
        """The steps of a phase that is under way, whose layers stay as they are."""
        return self._steps[plan.phase.name]

    def logits_of_view(self, epoch: int, name: str, at: np.ndarray) -> np.ndarray:
        """What the network that is trained gives of the view that an epoch trains on.

        Args:
            epoch: Its number.
            name: Of images whose views the plan has.
            at: int64, indices of the images.

        Returns:
            float32 [len(at), classes].
        """
        plan = self.plan.phase_of(epoch)
        rows = self.rows(plan.train, name, plan.views or (0,))
        view, at_once = self._view(epoch) if plan.views else 0, self._devices * _SCORED_BY_BLOCKS
        scored = []
        for first in range(0, len(at), at_once):
            some = at[first : first + at_once]
            inputs: Any = rows.read(view, some)
            if self._augments(plan):
                inputs = [inputs, self._draws(epoch, some, name)]
            scored.append(replicas.predict(self._logits(plan), inputs))
        return np.concatenate(scored)

    def _logits(self, plan: PhasePlan) -> keras.Model:
        """From what a batch of a phase holds to logits; the same object each time."""
        if self._augments(plan):
            ranges = self.config.augmentation_ranges
            assert ranges is not None  # else nothing is augmented
            return self.networks.augmented_logits(Augmentation(ranges), self.config.image_size)
        return self.networks.logits(plan.train.spec.name)

    def _view(self, epoch: int) -> int:
        """The view that an epoch trains on: of a fixed number, or one of its own."""
        return int(epoch) % self.config.view_count if self.config.view_count else int(epoch)

    def _augments(self, plan: PhasePlan) -> bool:
        """Whether a phase makes its views on the device, batch by batch."""
        return not plan.views and self.config.augmentation_ranges is not None

    def batches(self, plan: PhasePlan, epochs: range, seed: int, skip: int = 0) -> tf.data.Dataset:
        """The batches of some epochs of a phase, those of a call together; see `train_batches`."""
        rows = self.rows(plan.train, self._train, plan.views or (0,))
        return train_batches(
            rows, self.images[self._train].labels, at=self.train_at,
            batch_size=self.config.batch_size, seed=seed, epochs=epochs, skip=skip,
            together=self.steps_per_call(plan),
            view_count=self.config.view_count if plan.views else 1,
            draws=self._draws if self._augments(plan) else None,
        )  # fmt: skip

    def batch(
        self, plan: PhasePlan, epoch: int, step: int, seed: int
    ) -> tuple[np.ndarray, np.ndarray]:
        """Which images a step trains on.

        Args:
            plan: Of the phase.
            epoch: Its number.
            step: Its number in the epoch, from 0.
            seed: Of the order of images.

        Returns:
            Their ids, and whether the rows of each are finite, bool [batch].
        """
        size, epochs = self.config.batch_size, range(epoch, epoch + 1)
        _, at = next(iter(orders(self.train_at, epochs, seed, size, step)))
        rows = self.rows(plan.train, self._train, plan.views or (0,))
        read = rows.read(self._view(epoch) if plan.views else 0, at.numpy())
        finite = np.isfinite(read).reshape(len(read), -1).all(axis=1)
        return self.images[self._train].image_ids[at.numpy()], finite

    def _draws(self, epoch: int, at: np.ndarray, name: str | None = None) -> np.ndarray:
        # With a fixed number of views the same views, though the cache could not take their rows.
        ids = self.images[name or self._train].image_ids[at]
        return random.uniform_draws(ids, self._view(epoch), self.config.seed)

    def rows(self, stage: Stage, name: str, views: tuple[int, ...]) -> Rows:
        """Cached rows of some images; the same object each time, so that they are held once."""
        key = (stage.spec.folder_name(), name, views)
        if key not in self._rows:
            images = self.images[name]
            cached = self._opened.rows_of(stage, images, views)
            self._rows[key] = Rows(cached, images.digests, views)
        return self._rows[key]

    def probabilities(
        self,
        plan: PhasePlan,
        name: str,
        at: np.ndarray | None = None,
        on_progress: Callable[[int], None] = lambda images: None,
    ) -> np.ndarray:
        """What the served network gives of images as they are.

        Args:
            plan: Of the phase whose stage is read.
            name: Of the images.
            at: int64, indices of some of them; all unless given.
            on_progress: Called with the number of images of each batch.

        Returns:
            float32 [n, classes]; rows sum to 1.
        """
        part = self.networks.probabilities(plan.score.spec.name)
        rows = self.rows(plan.score, name, (0,))
        of_head = plan.score is self._chains.score[-1]
        at_once = self._devices * (_SCORED_AT_ONCE if of_head else _SCORED_BY_BLOCKS)
        if at is None and rows.held:
            each = rows.slices(at_once)  # opening a pipeline costs as much as some steps of a head
        else:
            each = ordered_batches(rows, np.arange(rows.count) if at is None else at, at_once)
        scored = []
        for batch in each:
            scored.append(replicas.predict(part, batch))
            on_progress(len(scored[-1]))
            self.on_progress()
            command.raise_if_interrupted()  # nothing is half done between two batches
        return np.concatenate(scored)

    def advice(self, plan: PhasePlan) -> str:
        """What to change where the device waits for input."""
        if not plan.views:
            if self.plan.rejected_bytes:
                return _LARGER_CACHE
            new = self.config.augmentation_ranges is not None and not self.config.view_count
            return _CACHED_VIEWS if new else ""
        held = self.rows(plan.train, self._train, plan.views).held
        return _LARGER_BATCHES if held else _FEWER_VIEWS


def describe(plan: Plan, config: Config, images: Mapping[str, Images]) -> str:
    """A line on each stage: what is cached, and what has to be computed; and what does not fit."""
    lines = []
    for name in dict.fromkeys(each.stage.spec.name for each in plan.fills):
        fills = [each for each in plan.fills if each.stage.spec.name == name]
        total = sum(len(each.views) * len(images[each.images]) for each in fills)
        missing = sum(each.missing for each in fills)
        lines.append(
            f"Activations up to {name}: {total - missing:,} of {total:,} are cached, {missing:,} "
            "to compute."
        )
    if plan.rejected_bytes:
        free = machine.free(cache_folder(config.cache_dir))
        lines.append(
            f"{machine.size(plan.rejected_bytes)} of activations do not fit into the cache "
            f"(--cache_gib={config.cache_gib:g}, and {machine.size(free)} free on its disk): "
            "where they are missing, every epoch passes the whole network."
        )
    return "\n".join(lines)
