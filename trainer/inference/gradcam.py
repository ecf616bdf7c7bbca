"""Grad-CAM: where in an image the last convolution saw what speaks for a class.

R. R. Selvaraju et al., "Grad-CAM: Visual Explanations from Deep Networks via Gradient-based
Localization" (2017). The channels of the last convolution, after its ReLU, are added, each weighed
by the mean slope of the class's logit along it; what is left above 0 is the map. It shows where
evidence was found, as coarsely as that convolution sees (9 x 9 at 150 pixels), and proves nothing:
`randomized` measures how much of it comes from what was learned.
"""

from collections.abc import Sequence

import keras
import numpy as np
import tensorflow as tf

from trainer.evaluation.heatmaps import overlay
from trainer.model import vgg16

__all__ = ["heatmaps", "overlay"]

_LAST = "block5_conv3"  # its copies in an ensemble have names that begin so
_BATCH = 32


def heatmaps(
    model: keras.Model, squares: np.ndarray, classes: Sequence[int] | np.ndarray | int | None = None
) -> np.ndarray:
    """Maps of what speaks for a class.

    Of logits, not of probabilities: where a network is sure, its probabilities have no slope. The
    logit of one of two classes is that class's over the other's, since the network computes one
    number z and gives the logits 0 and z. An ensemble's is the mean of its members'.

    Args:
        model: Of `vgg16.build_model`, or what `saved.save` wrote of it; in float32.
        squares: uint8 or float [n, size, size, 1], 0..255, as the layer "square" gives them.
        classes: Of each image, or of all; None: the one that is most probable.

    Returns:
        float32 [n, height, width], 0..1, as large as the last convolution's output. The maximum of
        a map is 1; where nothing speaks for the class, all of it is 0.
    """
    below, above = _parts(model)
    wanted = None if classes is None else np.broadcast_to(classes, len(squares))
    maps = []
    for start in range(0, len(squares), _BATCH):
        at = slice(start, start + _BATCH)
        batch = tf.cast(squares[at], "float32")
        maps.append(_of_batch(below, above, batch, None if wanted is None else wanted[at]))
    return np.concatenate(maps) if maps else np.zeros((0, *below.outputs[0].shape[1:3]), "float32")


def _parts(model: keras.Model) -> tuple[keras.Model, keras.Model]:
    """From squares to the last convolution of each member, and from there to their logits."""
    outputs = {layer.name: layer.output for layer in model.layers}
    last = [output for name, output in outputs.items() if name.startswith(_LAST)]
    logits = [output for name, output in outputs.items() if name.startswith("logits")]
    return keras.Model(outputs[vgg16.SQUARE], last), keras.Model(last, logits)


def _of_batch(
    below: keras.Model, above: keras.Model, squares: tf.Tensor, classes: np.ndarray | None
) -> np.ndarray:
    activations = tf.nest.flatten(below(squares, training=False))  # Keras gives one without a list
    with tf.GradientTape() as tape:
        tape.watch(activations)
        of_members = tf.stack(tf.nest.flatten(above(activations, training=False)))
        if classes is None:
            classes = tf.argmax(tf.reduce_mean(tf.nn.softmax(of_members), axis=0), axis=1)
        logits = tf.reduce_mean(of_members, axis=0)
        own = tf.gather(logits, classes, axis=1, batch_dims=1)
        if logits.shape[1] == 2:
            own -= tf.reduce_sum(logits, axis=1) - own
        score = tf.reduce_sum(own)
    maps = 0.0
    for each, slopes in zip(activations, tape.gradient(score, activations), strict=True):
        weights = tf.reduce_mean(slopes, axis=(1, 2), keepdims=True)
        maps += tf.nn.relu(tf.reduce_sum(weights * each, axis=3))
    highest = tf.reduce_max(maps, axis=(1, 2), keepdims=True)
    return tf.math.divide_no_nan(maps, highest).numpy()
