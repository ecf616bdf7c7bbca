"""What a phase trains and scores, and on what: images, or kept activations of the frozen part."""

import dataclasses
from collections.abc import Callable, Mapping, Sequence

import keras
import numpy as np
import tensorflow as tf

from trainer import features, frozen
from trainer.augmentation import random
from trainer.base import Base
from trainer.config import Config
from trainer.input_pipeline import batches, dataset
from trainer.training.meter import Meter

_SCORED_AT_ONCE = 256  # images a step where nothing is trained
_STEPS_AT_ONCE = 32

# What to change where the device waits for input.
_LARGER_BATCHES = "Give a larger --batch_size: any batch costs the host some .2 ms."
_FEWER_VIEWS = "The kept rows are read from the disk in every epoch: give fewer --views."
_KEPT_VIEWS = "Give --views=8, say, which passes each view only once, or a smaller --image_size."


@dataclasses.dataclass(frozen=True)
class Feed:
    """One phase's models and data.

    Attributes:
        trained: Shares the run's weights; takes what `train` holds.
        train: Batches of all epochs of the phase.
        meter: How long `train` was waited for.
        scored: Shares the run's weights; takes what the next two give.
        split: Gives the batches of a split's images, once, in stored order, without labels.
        published: Gives the augmented validation images of an epoch, or their activations.
        steps_at_once: Steps worth running before the program is asked what comes next.
        advice: What to change where the device waits for `train`.
    """

    trained: keras.Model
    train: tf.data.Dataset
    meter: Meter
    scored: keras.Model
    split: Callable[[str], tf.data.Dataset]
    published: Callable[[int], np.ndarray]
    steps_at_once: int
    advice: str


def views(config: Config) -> int:
    """Fixed views of an image: 1 without augmentation, 0 when every epoch draws anew."""
    return 1 if config.augmentation == "none" else config.views


class Feeds:
    """The feeds of a run: each phase gets what the store keeps for its cut, where that can be."""

    def __init__(
        self,
        base: Base,
        splits: Mapping[str, dataset.Images],
        *,
        seed: int | None = None,
        quiet: bool = False,
    ) -> None:
        """Takes the run's base and images.

        Args:
            base: Of the run.
            splits: Images by split: `train`, `validation` and any other.
            seed: Of the order of images; the run's unless given.
            quiet: Whether to keep to itself what the store spares.
        """
        self._base, self._config, self._splits = base, base.config, splits
        self._seed, self._quiet = base.config.seed if seed is None else seed, quiet
        self._keys = {name: split.keys for name, split in splits.items()}
        self._lowest = base.lowest

    def feed(self, block: str | None, epochs: range) -> Feed:
        """The feed of a phase that trains from `block` up (None: the head)."""
        cut = frozen.cut(block)
        if cut and views(self._config) and self._fits(cut, epochs):
            return self._of_activations(cut, epochs)
        return self._of_images(epochs)

    # Activations

    def _of_activations(self, cut: str, epochs: range) -> Feed:
        config, train = self._config, self._splits["train"]
        count = views(config)
        rows = self._rows(cut, "train", self._seen(epochs), augmented=True)
        held_out = self._rows(cut, "validation", [0])
        published = (
            self._rows(cut, "validation", self._seen(epochs), augmented=True)
            if config.as_published
            else held_out
        )
        meter, trained = Meter(config.deterministic), self._base.part(cut, None)
        stream = frozen.train_batches(
            rows, train.labels, batch_size=config.batch_size, seed=self._seed, epochs=epochs,
            views=count,
        )  # fmt: skip
        everyone = range(len(held_out.images))
        return Feed(
            trained=trained,
            train=meter.measured(stream),
            meter=meter,
            scored=trained,
            split=lambda split: frozen.ordered_batches(
                self._rows(cut, split, [0]), batch_size=_SCORED_AT_ONCE
            ),
            published=lambda epoch: published.read(epoch % count, everyone),
            # A head's step takes milliseconds, a convolution's too long for the bar to stand still.
            steps_at_once=_STEPS_AT_ONCE if cut == frozen.cut(None) else 1,
            advice=_LARGER_BATCHES if rows.held(len(self._seen(epochs))) else _FEWER_VIEWS,
        )

    def _seen(self, epochs: range) -> list[int]:
        return frozen.taken(epochs, views(self._config))

    def _rows(
        self, cut: str, split: str, seen: Sequence[int], augmented: bool = False
    ) -> frozen.Rows:
        """The rows of a split, computed where they are lacking: from an earlier cut's, if any."""
        config, images = self._config, self._splits[split]
        augment = self._base.augment if augmented else None
        part = self._base.part(None, cut)
        rows = frozen.Rows(self._base.store(cut, augmented), self._keys[split], part.output)
        lacking = rows.lacking(seen)
        if not lacking:
            return rows
        if self._lowest in (None, cut):
            produce = frozen.from_images(part, images, config.image_size, augment, config.seed)
        else:
            below = self._rows(self._lowest, split, list(lacking), augmented)
            produce = frozen.from_rows(self._base.part(self._lowest, cut), below)
        rows.fill(seen, produce, self._base.tell)
        return rows

    def _fits(self, cut: str, epochs: range) -> bool:
        """Whether the rows have room in the cache; says what they spare."""
        count = {split: len(self._keys[split]) for split in ("train", "validation")}
        part = self._base.part(None, cut)
        wanted = {True: {"train": self._seen(epochs)}, False: {"train": [], "validation": [0]}}
        if self._config.as_published:
            wanted[True]["validation"] = self._seen(epochs)
        lacking = total = 0
        for augmented, splits in wanted.items():
            store = self._base.store(cut, augmented)
            for split, seen in splits.items():
                total += len(seen) * count[split]
                lacking += sum(len(store.missing(self._keys[split], view)) for view in seen)
        needed, limit = lacking * frozen.bytes_a_row(part.output), self._config.cache_gib * 2**30
        if through := self._lowest not in (None, cut):
            needed += lacking * frozen.bytes_a_row(self._base.part(None, self._lowest).output)
        if not features.make_room(self._base.cache_dir, needed, int(limit)):
            if through:
                self._lowest = None  # without keeping what the later phase needs it may do
                return self._fits(cut, epochs)
            print(
                f"{needed / 2**30:.1f} GiB of activations find no room in {self._base.cache_dir} "
                f"(--cache_gib={self._config.cache_gib:g}): every epoch passes the whole network."
            )
            return False
        if not self._quiet:
            passes = len(epochs) * sum(count.values())
            print(
                f"Frozen part up to {cut}: {total - lacking:,} of {total:,} rows kept from before, "
                f"{lacking:,} to compute, in place of {passes:,} passes.",
                flush=True,
            )
        return True

    # Images

    def _of_images(self, epochs: range) -> Feed:
        config, train = self._config, self._splits["train"]
        meter = Meter(config.deterministic)

        def draws(epoch: int, rows: np.ndarray) -> np.ndarray:
            return self._draws([train.image_ids[i] for i in rows], epoch)

        stream = batches.train_batches(
            train, image_size=config.image_size, batch_size=config.batch_size, seed=self._seed,
            epochs=epochs, draws=draws if self._base.augment else None,
        )  # fmt: skip
        return Feed(
            trained=self._with_augmentation(),
            train=meter.measured(stream),
            meter=meter,
            scored=self._base.model,
            split=self._pixels,
            published=self._published,
            steps_at_once=1,
            advice=_KEPT_VIEWS,
        )

    def _pixels(self, split: str) -> tf.data.Dataset:
        stream = batches.evaluation_batches(
            self._splits[split],
            image_size=self._config.image_size,
            batch_size=self._config.batch_size,
        )
        return stream.map(lambda images, _: images)

    def _draws(self, image_ids: Sequence[str], epoch: int) -> np.ndarray:
        # With a fixed number of views the same views, though the cache could not keep them.
        view = int(epoch) % self._config.views if self._config.views else int(epoch)
        return random.uniform_draws(image_ids, view, self._config.seed)

    def _published(self, epoch: int) -> np.ndarray:
        held_out = self._splits["validation"]
        pixels = batches.pixels(held_out, self._config.image_size)
        return np.asarray(self._base.augment(pixels, self._draws(held_out.image_ids, epoch)))

    def _with_augmentation(self) -> keras.Model:
        """The model that is trained: augmentation in front, outside what is saved."""
        if self._base.augment is None:
            return self._base.model
        images = keras.Input((self._config.image_size,) * 2 + (1,), name="images")
        draws = keras.Input((random.DRAWS,), name="draws")
        return keras.Model([images, draws], self._base.model(self._base.augment(images, draws)))
