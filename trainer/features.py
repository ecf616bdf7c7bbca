"""What the frozen part of the network computes, computed once per film and view.

Below the cut between frozen and trained, a view of a film gives the same numbers in every epoch. A
phase trained on those numbers equals one trained on films, at a fraction of the cost: VGG16 below
block 5 is nine tenths of the arithmetic.
"""

import keras
import numpy as np
import tensorflow as tf
import tqdm

from trainer import input_pipeline
from trainer.augmentation import Augmentation, uniform_draws
from trainer.config import BLOCKS
from trainer.dataset import Films

# Bytes held in memory; above it the films go through the whole network in every epoch.
MEMORY = 4 * 2**30
_BATCH = 64  # films through the frozen part at a time


def cut(from_block: str | None) -> str | None:
    """Name of the last frozen layer when training starts at a block; None: nothing is frozen."""
    frozen = BLOCKS[: BLOCKS.index(from_block)] if from_block else BLOCKS
    return f"{frozen[-1]}_pool" if frozen else None


def part(model: keras.Model, below: str | None, upto: str | None) -> keras.Model:
    """The layers of a model between two cuts; it shares the model's weights.

    Args:
        model: A model of `backbone.build_model`.
        below: The layer whose output is the part's input; None: the films.
        upto: The layer whose output is the part's; None: the probabilities.
    """
    start = model.get_layer(below).output if below else model.input
    return keras.Model(start, model.get_layer(upto).output if upto else model.output)


def bytes_per_view(frozen: keras.Model, image_size: int) -> int:
    """Size of the activations of one view of one film, in the compute precision."""
    shape = frozen.compute_output_shape((1, image_size, image_size, 1))
    return int(np.prod(shape)) * tf.as_dtype(frozen.output.dtype).size


def compute(
    frozen: keras.Model,
    films: Films,
    image_size: int,
    *,
    augment: Augmentation | None = None,
    views: int = 1,
    seed: int = 0,
) -> np.ndarray:
    """Activations of every view of every film, in stored order.

    Args:
        frozen: The `part` from the films to a cut.
        films: The films.
        image_size: Pixels of a side.
        augment: Makes the views; None takes the films as they are.
        views: How many; 1 without `augment`.
        seed: Of the views.

    Returns:
        [views, n, height, width, channels] in the compute precision.
    """
    batches = input_pipeline.evaluation_batches(films, image_size=image_size, batch_size=_BATCH)
    count, name = len(films.film_ids), frozen.layers[-1].name
    kept = None
    with tqdm.tqdm(total=views * count, desc=f"once up to {name}", unit=" films") as bar:
        for view in range(views):
            done = 0
            for pixels, _ in batches:
                ids = films.film_ids[done : done + len(pixels)]
                if augment is not None:
                    pixels = augment(pixels, uniform_draws(ids, view, seed))
                activations = np.asarray(frozen.predict_on_batch(pixels))
                if kept is None:
                    kept = np.empty((views, count, *activations.shape[1:]), activations.dtype)
                kept[view, done : done + len(ids)] = activations
                done += len(ids)
                bar.update(len(ids))
    return kept


def advance(between: keras.Model, kept: np.ndarray) -> np.ndarray:
    """Takes activations from one cut to a later one.

    Args:
        between: The `part` between the two.
        kept: [views, n, ...], of `compute` at the earlier cut.

    Returns:
        [views, n, ...] at the later cut.
    """
    views = [
        np.concatenate([np.asarray(between.predict_on_batch(view[i : i + _BATCH]))
                        for i in range(0, len(view), _BATCH)])
        for view in kept
    ]  # fmt: skip
    return np.stack(views)


def train_batches(
    kept: np.ndarray, labels: np.ndarray, *, batch_size: int, seed: int, epochs: range
) -> tf.data.Dataset:
    """As `input_pipeline.train_batches`, in the same order, of activations.

    Args:
        kept: [views, n, ...], of `compute`; epoch e takes view e mod views.
        labels: int64 [n].
        batch_size: Films a batch.
        seed: Of the order.
        epochs: Numbers of the epochs, counted over the whole run.

    Returns:
        Batches of (activations [batch, ...], int64 [batch]).
    """
    views, count = kept.shape[:2]
    flat, truth = tf.constant(kept.reshape(views * count, *kept.shape[2:])), tf.constant(labels)

    def epoch_of(epoch: tf.Tensor, order: tf.data.Dataset) -> tf.data.Dataset:
        first = tf.cast(epoch % views, tf.int32) * count
        return order.batch(batch_size).map(
            lambda rows: (tf.gather(flat, first + rows), tf.gather(truth, rows))
        )

    return input_pipeline.epochs_of(count, epochs, seed, epoch_of)
