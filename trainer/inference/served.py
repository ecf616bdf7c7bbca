"""What is exported of a network: functions of TensorFlow from pixels, or from bytes, to answers.

All that the network does to an image is inside, so that whatever runs them needs no code of ours.
"""

import json

import keras
import tensorflow as tf

from trainer.inference.network import Network
from trainer.model import vgg16

PIXELS, BYTES = "image", "image_bytes"  # inputs
PROBABILITIES, LABELS = "probabilities", "labels"  # outputs
LIST, ABOUT = "labels.txt", "covid_tfds.json"  # files that go with an export
SHORTER_SIDE = 320  # as `covid_tfds.reading` makes images, which is imported by no server
_RED, _GREEN, _BLUE = 19595, 38470, 7471  # of 65536: grey as Pillow makes it


def documents(network: Network) -> dict[str, str]:
    """What goes with an export, by file name: the class names, a line each, and all about it."""
    # The file's name alone: a folder may name a person, and what is exported is passed on.
    about = {**network.origin(), "path": network.path.name}
    about |= {"scores": network.scores, "notes": network.worth()}
    return {
        LIST: "".join(f"{name}\n" for name in network.class_names),
        ABOUT: json.dumps(about, ensure_ascii=False, indent=1) + "\n",
    }


def variables(network: Network) -> tf.Module:
    """What holds the variables of the functions, for those who write them.

    In a Keras model itself converters find none, and write none. TensorFlow writes them so that
    nothing that loads into a session finds them, TensorFlow Serving for example. And Keras'
    ExportArchive writes them twice.
    """
    module = tf.Module()
    module.of_model = [each.value for each in network.model.variables]
    return module


def from_pixels(
    network: Network, *, labels: bool = False
) -> tf.types.experimental.PolymorphicFunction:
    """A function of pixels.

    Args:
        network: Its model is kept by the function.
        labels: Whether the answer has the class names.

    Returns:
        From `image`, uint8 [batch, height, width, 1], white is dense, to `probabilities`, float32
        [batch, classes], and as the case may be `labels`, string [batch, classes].
    """

    @tf.function(input_signature=[tf.TensorSpec((None, None, None, 1), tf.uint8, name=PIXELS)])
    def answer(image: tf.Tensor) -> dict[str, tf.Tensor]:
        probabilities = network.model(image, training=False)
        return _labelled(network, probabilities) if labels else {PROBABILITIES: probabilities}

    return answer


def from_bytes(network: Network) -> tf.types.experimental.PolymorphicFunction:
    """A function of encoded images.

    JPEG, PNG and the first frame of GIF are decoded, and are not turned as EXIF may say. Bytes of
    another kind, or damaged ones, end the call for the whole batch with InvalidArgumentError.

    Args:
        network: Its model is kept by the function.

    Returns:
        From `image_bytes`, string [batch], to `probabilities`, float32 [batch, classes], and
        `labels`, string [batch, classes].
    """
    below = keras.Model(network.model.input, network.model.get_layer(vgg16.SQUARE).output)
    above = vgg16.part(network.model, vgg16.SQUARE, network.model.layers[-1].name)
    size = network.image_size

    @tf.function(input_signature=[tf.TensorSpec((None,), tf.string, name=BYTES)])
    def answer(image_bytes: tf.Tensor) -> dict[str, tf.Tensor]:
        squares = tf.map_fn(
            lambda data: below(_pixels(data)[None, ..., None], training=False)[0],
            image_bytes,
            fn_output_signature=tf.TensorSpec((size, size, 1), tf.float32),
        )
        return _labelled(network, above(squares, training=False))

    return answer


def _labelled(network: Network, probabilities: tf.Tensor) -> dict[str, tf.Tensor]:
    """Probabilities and, as many times, the names of what they are of."""
    names = tf.constant([network.class_names])
    return {
        PROBABILITIES: probabilities,
        LABELS: tf.tile(names, [tf.shape(probabilities)[0], 1]),
    }


def _pixels(data: tf.Tensor) -> tf.Tensor:
    """uint8 [height, width] of an encoded image, as `covid_tfds.reading` makes them of it."""
    # This operation reads PNG and GIF, too, and JPEG with the accurate transform that others use.
    rgb = tf.io.decode_jpeg(data, channels=3, dct_method="INTEGER_ACCURATE")
    rgb = tf.cast(tf.ensure_shape(rgb, (None, None, 3)), tf.int32)  # of WebP it has an axis more
    weighed = rgb[..., 0] * _RED + rgb[..., 1] * _GREEN + rgb[..., 2] * _BLUE
    grey = tf.cast((weighed + 32768) // 65536, tf.float32)
    sides = tf.shape(grey)
    scale = SHORTER_SIDE / tf.cast(tf.reduce_min(sides), tf.float64)
    smaller = tf.cast(tf.round(tf.cast(sides, tf.float64) * scale), tf.int32)
    return tf.cond(scale < 1, lambda: _shrunk(grey, smaller), lambda: tf.cast(grey, tf.uint8))


def _shrunk(grey: tf.Tensor, sides: tf.Tensor) -> tf.Tensor:
    shrunk = tf.image.resize(grey[..., None], sides, "bicubic", antialias=True)[..., 0]
    return tf.cast(tf.clip_by_value(tf.round(shrunk), 0, 255), tf.uint8)
