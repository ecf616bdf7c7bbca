"""What the frozen part of the network computes, computed once.

Below the cut between frozen and trained, a film that isn't augmented gives the same numbers in
every epoch. A phase trained on those numbers equals one trained on films, at a fraction of the
cost: VGG16 below block 5 is nine tenths of the arithmetic.
"""

import keras
import numpy as np
import tensorflow as tf
import tqdm

from trainer import backbone, input_pipeline
from trainer.dataset import Films

# Bytes held in memory; above it the films go through the whole network in every epoch.
MEMORY = 4 * 2**30
_BATCH = 64  # films; larger batches gain nothing on two cores


def split_at(model: keras.Model, from_block: str | None) -> tuple[keras.Model, keras.Model] | None:
    """Cuts a model between what is frozen and what is trained; both parts share its weights.

    Args:
        model: A model of `backbone.build_model`.
        from_block: First trained block of VGG16, or None when all of VGG16 is frozen.

    Returns:
        (frozen part: films -> activations, trained part: activations -> probabilities), or None
        when block 1 is trained and nothing is frozen.
    """
    frozen = backbone.BLOCKS[: backbone.BLOCKS.index(from_block)] if from_block else backbone.BLOCKS
    if not frozen:
        return None
    cut = model.get_layer(f"{frozen[-1]}_pool").output
    return keras.Model(model.input, cut), keras.Model(cut, model.output)


def bytes_per_film(frozen: keras.Model, image_size: int) -> int:
    """Size of one film's activations in the compute precision."""
    shape = frozen.compute_output_shape((1, image_size, image_size, 1))
    return int(np.prod(shape)) * tf.as_dtype(frozen.output.dtype).size


def compute(frozen: keras.Model, films: Films, image_size: int) -> np.ndarray:
    """Activations of every film, in stored order.

    Args:
        frozen: The lower part of `split_at`.
        films: The films.
        image_size: Pixels of a side.

    Returns:
        [n, height, width, channels] in the compute precision.
    """
    batches = input_pipeline.evaluation_batches(films, image_size=image_size, batch_size=_BATCH)
    name = frozen.layers[-1].name
    with tqdm.tqdm(total=len(films.labels), desc=f"once up to {name}", unit=" films") as bar:
        done = []
        for pixels, _ in batches:
            done.append(np.asarray(frozen.predict_on_batch(pixels)))
            bar.update(len(done[-1]))
    return np.concatenate(done)


def train_batches(
    activations: np.ndarray, films: Films, *, batch_size: int, seed: int
) -> tf.data.Dataset:
    """As `input_pipeline.train_batches`, in the same order for the same seed, of activations."""
    stored = tf.data.Dataset.from_tensor_slices((activations, films.labels))
    stored = stored.shuffle(len(activations), seed=seed, reshuffle_each_iteration=True)
    return stored.batch(batch_size).prefetch(tf.data.AUTOTUNE)
