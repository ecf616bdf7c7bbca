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


def feed(
    config: Config, films: dataset.Dataset, model: keras.Model, block: str | None, epochs: range
) -> Feed:
    """Activations where the views are a fixed number and memory holds them, else films.

    Args:
        config: The run.
        films: Its dataset.
        model: The whole model, its trainable part set.
        block: First trained block, or None.
        epochs: Numbers of the phase's epochs, counted over the run.
    """
    fixed = config.augmentation == "none" or config.views > 0
    parts = features.split_at(model, block) if fixed else None
    if parts:
        train, held_out = (films.splits[split].labels for split in ("train", "validation"))
        each = features.bytes_per_view(parts[0], config.image_size)
        needed = each * (
            _views(config) * len(train) + (1 + _published_views(config)) * len(held_out)
        )
        if needed > features.MEMORY:
            print(f"{needed / 2**30:.1f} GiB of activations don't fit: every epoch sees the films.")
            parts = None
    if parts:
        return _of_activations(config, films, *parts, epochs)
    return _of_films(config, films, model, epochs)


def _views(config: Config) -> int:
    return 1 if config.augmentation == "none" else config.views


def _published_views(config: Config) -> int:
    return _views(config) if config.as_published else 0


def _of_activations(
    config: Config,
    films: dataset.Dataset,
    frozen: keras.Model,
    trained: keras.Model,
    epochs: range,
) -> Feed:
    train, held_out = films.splits["train"], films.splits["validation"]
    view = {
        "augment": augmentation.augmentation(config.augmentation),
        "views": _views(config),
        "seed": config.seed,
    }
    kept = features.compute(frozen, train, config.image_size, **view)
    plain = features.compute(frozen, held_out, config.image_size)[0]
    seen = features.compute(frozen, held_out, config.image_size, **view) \
        if config.as_published else plain[None]  # fmt: skip
    return Feed(
        trained=trained,
        train=features.train_batches(
            kept, train.labels, batch_size=config.batch_size, seed=config.seed, epochs=epochs
        ),
        scored=trained,
        validation=tf.data.Dataset.from_tensor_slices(plain).batch(config.batch_size),
        published=lambda epoch: seen[epoch % len(seen)],
    )


def _of_films(config: Config, films: dataset.Dataset, model: keras.Model, epochs: range) -> Feed:
    train, held_out = films.splits["train"], films.splits["validation"]
    augment = augmentation.augmentation(config.augmentation)

    def draws(ids: list[str], epoch: int) -> np.ndarray:
        # With a fixed number of views the same views, though memory could not keep them.
        view = epoch % config.views if config.views else epoch
        return augmentation.uniform_draws(ids, int(view), config.seed)

    def published(epoch: int) -> np.ndarray:
        films_ = input_pipeline.pixels(held_out, config.image_size)
        return np.asarray(augment(films_, draws(held_out.film_ids, epoch)))

    shape = {"image_size": config.image_size, "batch_size": config.batch_size}
    return Feed(
        trained=_with_augmentation(model, augment, config.image_size),
        train=input_pipeline.train_batches(
            train,
            **shape,
            seed=config.seed,
            epochs=epochs,
            draws=augment and (lambda epoch: draws(train.film_ids, epoch)),
        ),
        scored=model,
        validation=input_pipeline.evaluation_batches(held_out, **shape),
        published=published,
    )


def _with_augmentation(
    model: keras.Model, augment: augmentation.Augmentation | None, image_size: int
) -> keras.Model:
    """The model that is trained: augmentation in front, outside what is saved."""
    if augment is None:
        return model
    films = keras.Input((image_size, image_size, 1), name="films")
    numbers = keras.Input((augmentation.DRAWS,), name="draws")
    return keras.Model([films, numbers], model(augment(films, numbers)))
