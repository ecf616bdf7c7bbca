"""What a phase trains and scores, and on what: films, or activations of the frozen part."""

import dataclasses
from collections.abc import Callable

import keras
import numpy as np
import tensorflow as tf

from trainer import augmentation, dataset, features, input_pipeline
from trainer.config import Config


@dataclasses.dataclass(frozen=True)
class Feed:
    """One phase's models and data.

    Attributes:
        trained: Shares the run's weights; takes what `train` holds.
        train: Batches of all epochs of the phase.
        scored: Shares the run's weights; takes what `validation` and `published` hold.
        validation: Batches of the validation films, once, in stored order.
        published: Gives the augmented validation films of an epoch, or their activations.
    """

    trained: keras.Model
    train: tf.data.Dataset
    scored: keras.Model
    validation: tf.data.Dataset
    published: Callable[[int], np.ndarray]


class FilmFeeds:
    """Every epoch sees the films, through the whole network."""

    def __init__(self, config: Config, films: dataset.Dataset, model: keras.Model) -> None:
        """Takes the run, its dataset and the whole model."""
        self._config, self._model = config, model
        self._train, self._held_out = films.splits["train"], films.splits["validation"]
        self._augment = augmentation.augmentation(config.augmentation)

    def feed(self, block: str | None, epochs: range) -> Feed:
        """The feed of a phase that trains from `block` up (None: the head)."""
        config = self._config
        shape = {"image_size": config.image_size, "batch_size": config.batch_size}
        draws = self._augment and (lambda epoch: self._draws(self._train, epoch))
        return Feed(
            trained=self._with_augmentation(),
            train=input_pipeline.train_batches(
                self._train, **shape, seed=config.seed, epochs=epochs, draws=draws
            ),
            scored=self._model,
            validation=input_pipeline.evaluation_batches(self._held_out, **shape),
            published=self._published,
        )

    def _draws(self, films: dataset.Films, epoch: int) -> np.ndarray:
        # With a fixed number of views the same views, though memory could not keep them.
        view = int(epoch) % self._config.views if self._config.views else int(epoch)
        return augmentation.uniform_draws(films.film_ids, view, self._config.seed)

    def _published(self, epoch: int) -> np.ndarray:
        pixels = input_pipeline.pixels(self._held_out, self._config.image_size)
        return np.asarray(self._augment(pixels, self._draws(self._held_out, epoch)))

    def _with_augmentation(self) -> keras.Model:
        """The model that is trained: augmentation in front, outside what is saved."""
        if self._augment is None:
            return self._model
        films = keras.Input((self._config.image_size,) * 2 + (1,), name="films")
        draws = keras.Input((augmentation.DRAWS,), name="draws")
        return keras.Model([films, draws], self._model(self._augment(films, draws)))


class ActivationFeeds:
    """The frozen part has seen every view of every film once; epochs see its activations."""

    def __init__(
        self, config: Config, films: dataset.Dataset, model: keras.Model, lowest: str
    ) -> None:
        """Takes the run, its dataset, the whole model, and the lowest cut of all phases.

        Films pass up to the lowest cut once; later cuts go on from there.
        """
        self._config, self._model, self._lowest = config, model, lowest
        self._train, self._held_out = films.splits["train"], films.splits["validation"]
        frozen, size = features.part(model, None, lowest), config.image_size
        view = {
            "augment": augmentation.augmentation(config.augmentation),
            "views": views(config),
            "seed": config.seed,
        }
        self._kept = {
            "train": features.compute(frozen, self._train, size, **view),
            "validation": features.compute(frozen, self._held_out, size),
        }
        if config.as_published:
            self._kept["published"] = features.compute(frozen, self._held_out, size, **view)

    def feed(self, block: str | None, epochs: range) -> Feed:
        """The feed of a phase that trains from `block` up (None: the head)."""
        config, cut = self._config, features.cut(block)
        kept = self._kept
        if cut != self._lowest:
            between = features.part(self._model, self._lowest, cut)
            kept = {name: features.advance(between, each) for name, each in kept.items()}
        trained = features.part(self._model, cut, None)
        seen = kept.get("published", kept["validation"])
        validation = tf.data.Dataset.from_tensor_slices(kept["validation"][0])
        return Feed(
            trained=trained,
            train=features.train_batches(
                kept["train"],
                self._train.labels,
                batch_size=config.batch_size,
                seed=config.seed,
                epochs=epochs,
            ),
            scored=trained,
            validation=validation.batch(config.batch_size),
            published=lambda epoch: seen[epoch % len(seen)],
        )


def views(config: Config) -> int:
    """Fixed views of a film: 1 without augmentation, 0 when every epoch draws anew."""
    return 1 if config.augmentation == "none" else config.views


def feeds(
    config: Config, films: dataset.Dataset, model: keras.Model
) -> FilmFeeds | ActivationFeeds:
    """Activations where the views are a fixed number and memory holds them, else films."""
    lowest = features.cut(None if config.fine_tune_from == "none" else config.fine_tune_from)
    if not views(config) or not lowest:
        return FilmFeeds(config, films, model)
    counts = {split: len(films.splits[split].labels) for split in ("train", "validation")}
    each = features.bytes_per_view(features.part(model, None, lowest), config.image_size)
    needed = each * (views(config) * counts["train"] + counts["validation"])
    if needed > features.MEMORY:
        print(f"{needed / 2**30:.1f} GiB of activations are too many: every epoch sees the films.")
        return FilmFeeds(config, films, model)
    return ActivationFeeds(config, films, model, lowest)
