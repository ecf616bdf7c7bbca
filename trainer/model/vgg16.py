"""VGG16 for grey images: the layers, and the cut between frozen and trained.

The model takes images as they are and holds built-in Keras layers and operations only, so that a
saved one loads anywhere without this code. It is flat: `get_layer("block4_pool")`, for example,
gives a layer of VGG16. On the way an image becomes `square`, then `grey_to_bgr`, then the five
blocks, then the head up to `logits` and `probabilities`.
"""

import hashlib
import json

import keras
import numpy as np
from keras import ops

from trainer.config import BLOCKS, MIN_IMAGE_SIZE, Config
from trainer.input_pipeline import resize
from trainer.model.normalization import Normalization, normalized
from trainer.model.weights import Weights

SQUARE = "square"  # name of the layer whose output is an image at the network's size

# Convolutions and channels of each block: configuration D of K. Simonyan and A. Zisserman, "Very
# Deep Convolutional Networks for Large-Scale Image Recognition" (2014).
_BLOCKS = ((2, 64), (2, 128), (3, 256), (3, 512), (3, 512))

# ImageNet's mean of blue, green and red on the 0..255 scale, as in the "caffe" mode of
# keras.applications.imagenet_utils. A grey image's channels are equal, so that their order shows
# in the means alone.
BGR_MEAN = (103.939, 116.779, 123.68)

# ImageNet's standard deviation on the same scale, as in the "torch" mode there. What VGG16's
# weights were trained on has mean 0 and this deviation; fitted images, of mean 0 and deviation 1,
# are brought to it.
BGR_STD = (57.375, 57.12, 58.395)

# What block 5 gives for an image has a root mean square of 7.7 (216 images). Brought to about 1,
# the head of 256 units trains in 6 epochs instead of 60 and knows how sure it is: on the article's
# images, patient-grouped 5-fold cross-validation, balanced accuracy .82 either way, loss .47
# against 1.49.
FEATURE_SCALE = 1 / 8

POOLINGS = {
    "flatten": keras.layers.Flatten,
    "average": keras.layers.GlobalAveragePooling2D,
    "max": keras.layers.GlobalMaxPooling2D,
}


def build_model(
    *,
    classes: int,
    image_size: int,
    head_units: int,
    dropout: float,
    pooling: str,
    weights: Weights,
    l2: float = 0.0,
    normalization: Normalization | None = None,
    width: float = 1.0,
) -> keras.Model:
    """Builds VGG16 with a head of two dense layers, under the global precision policy.

    The head is that of A. Y. Xu, "Detecting COVID-19 induced Pneumonia from Chest X-rays with
    Transfer Learning" (2020), with a dropout between its layers. For two classes it ends, as there,
    in one unit z, whose sigmoid p is the probability of the second class; here the model gives
    [1 - p, p], the softmax of [0, z].

    Args:
        classes: at least 2.
        image_size: side of the square, in pixels, that images are resized to; at least 32.
        head_units: units of the hidden layer of the head.
        dropout: share of the hidden units dropped in training, in [0, 1).
        pooling: how block 5 becomes a vector: "flatten", "average" or "max".
        weights: what the convolutions start from.
        l2: weight in the loss of the squares of the head's two kernels, at least 0.
        normalization: what was fitted on the train images; None subtracts ImageNet's means.
        width: share of VGG16's channels, above 0; other than 1 only without weights.

    Returns:
        A model from images [batch, height, width, 1] in 0..255, uint8 or float, of any size, to
        probabilities, float32 [batch, classes].

    Raises:
        ValueError: an argument is out of its bounds, or the whitening is of another image size.
    """
    if classes < 2:
        raise ValueError(f"There are {classes} classes. Give 2 or more.")
    if image_size < MIN_IMAGE_SIZE:
        raise ValueError(
            f"An image size of {image_size} is too small for VGG16. Give {MIN_IMAGE_SIZE} or more."
        )
    if pooling not in POOLINGS:
        raise ValueError(f"There is no pooling {pooling!r}. Choose one of: {', '.join(POOLINGS)}.")
    images = keras.Input((None, None, 1), name="image")
    squares = keras.layers.Identity(dtype="float32", name=SQUARE)(
        resize.squared(images, image_size)
    )
    x = _blocks(_bgr(squares, normalization), width)
    x = _head(x, classes, head_units, dropout, pooling, l2)
    model = keras.Model(images, x, name="vgg16")
    for name, arrays in (weights.layers or {}).items():
        model.get_layer(name).set_weights(arrays)
    return model


def build_head(
    of_block5: keras.KerasTensor,
    *,
    classes: int,
    head_units: int,
    dropout: float,
    pooling: str,
    l2: float = 0.0,
) -> keras.Model:
    """Builds the head of `build_model` alone.

    Args:
        of_block5: what the last pooling gives, [batch, height, width, channels]; its shape counts.
        classes: as for `build_model`, and so are the other arguments.
        head_units: units of the hidden layer.
        dropout: share of the hidden units dropped in training.
        pooling: one of `POOLINGS`.
        l2: weight in the loss of the squares of the two kernels.

    Returns:
        A model from what block 5 gives of images to their probabilities.
    """
    # It bears the name of the layer that gives its rows, so that `part` cuts it as a whole model.
    rows = keras.Input(of_block5.shape[1:], dtype=of_block5.dtype, name=f"{BLOCKS[-1]}_pool")
    return keras.Model(rows, _head(rows, classes, head_units, dropout, pooling, l2), name="head")


def _bgr(squares: keras.KerasTensor, normalization: Normalization | None) -> keras.KerasTensor:
    """Repeats grey as three channels and normalizes, in float32 throughout."""
    grey = squares if normalization is None else normalized(squares, normalization)
    bgr = keras.layers.Concatenate(dtype="float32", name="grey_to_bgr")([grey, grey, grey])
    if normalization is not None:
        return keras.layers.Rescaling(
            list(BGR_STD), offset=[0.0] * 3, dtype="float32", name="imagenet_scale"
        )(bgr)
    # Both as vectors: Keras 3.11 takes one beside a number for a single channel.
    return keras.layers.Rescaling(
        [1.0] * 3, offset=[-mean for mean in BGR_MEAN], dtype="float32", name="subtract_mean"
    )(bgr)


def _blocks(x: keras.KerasTensor, width: float) -> keras.KerasTensor:
    """The thirteen convolutions and five poolings, named as in keras.applications."""
    for block, (convolutions, channels) in zip(BLOCKS, _BLOCKS, strict=True):
        filters = _filters(channels, width)
        for number in range(1, convolutions + 1):
            name = f"{block}_conv{number}"
            x = keras.layers.Conv2D(filters, 3, padding="same", activation="relu", name=name)(x)
        x = keras.layers.MaxPooling2D(2, name=f"{block}_pool")(x)
    return x


def _head(
    x: keras.KerasTensor, classes: int, head_units: int, dropout: float, pooling: str, l2: float
) -> keras.KerasTensor:
    penalty = keras.regularizers.L2(l2) if l2 else None
    x = keras.layers.Rescaling(FEATURE_SCALE, name="unit_scale")(x)
    x = POOLINGS[pooling](name=pooling)(x)
    x = keras.layers.Dense(head_units, activation="relu", kernel_regularizer=penalty, name="head")(
        x
    )
    x = keras.layers.Dropout(dropout, name="dropout")(x)
    # float32 under any policy: the small differences between probabilities are the loss.
    float32 = {"dtype": "float32"}
    units = 1 if classes == 2 else classes
    x = keras.layers.Dense(units, kernel_regularizer=penalty, name="last", **float32)(x)
    if classes == 2:
        x = keras.layers.Concatenate(name="two_logits", **float32)([ops.zeros_like(x), x])
    x = keras.layers.Identity(name="logits", **float32)(x)
    return keras.layers.Softmax(name="probabilities", **float32)(x)


def _filters(channels: int, width: float) -> int:
    return max(1, round(channels * width))


def activations(config: Config, block: str) -> tuple[int, int]:
    """How many convolutions a block has, and how many numbers each gives of an image."""
    at = BLOCKS.index(block)
    convolutions, wide = _BLOCKS[at]
    return convolutions, _filters(wide, config.width) * (config.image_size // 2**at) ** 2


def parameters(config: Config) -> dict[str, int]:
    """How many parameters each block and the head have in the network of a config, unbuilt.

    Returns:
        By name: those of `BLOCKS`, then "head".
    """
    counts, channels = {}, 3
    for block, (convolutions, wide) in zip(BLOCKS, _BLOCKS, strict=True):
        filters = _filters(wide, config.width)
        later = (convolutions - 1) * (9 * filters + 1) * filters
        counts[block] = (9 * channels + 1) * filters + later
        channels = filters
    side = config.image_size // 2 ** len(BLOCKS) if config.pooling == "flatten" else 1
    units = 1 if config.classes == 2 else config.classes
    counts["head"] = (channels * side**2 + 1) * config.head_units + (config.head_units + 1) * units
    return counts


def part(model: keras.Model, below: str, upto: str, jit: bool = False) -> keras.Model:
    """The layers of a model between two of its layers; it shares the model's weights.

    Args:
        model: A model of `build_model`, or of `build_head`.
        below: The layer whose output is the part's input: `SQUARE`, or "block4_pool" for example.
        upto: The layer whose output is the part's: "block5_pool", "logits" or "probabilities".
        jit: Whether XLA compiles what passes images through it. It slows VGG16 down on CPUs (.7 of
            the speed); `--autotune` measures it.

    Returns:
        A model from the lower layer's output to the upper one's.
    """
    between = keras.Model(model.get_layer(below).output, model.get_layer(upto).output)
    between.jit_compile = jit
    return between


def digest(frozen: keras.Model) -> str:
    """sha256 over the settings and the weights of a part's layers, whether trainable or not."""
    digested = hashlib.sha256()
    for layer in frozen.layers:
        if not isinstance(layer, keras.layers.InputLayer):
            settings = {k: v for k, v in layer.get_config().items() if k != "trainable"}
            digested.update(json.dumps(settings, sort_keys=True).encode())
            for array in layer.get_weights():
                digested.update(np.ascontiguousarray(array).data)
    return digested.hexdigest()


def set_trainable(model: keras.Model, from_block: str | None) -> int:
    """Freezes the base below a block and frees the rest; the head is always trained.

    What was fitted on the train images stays as it is.

    Make the training step afterwards: one that was traced before does not see the change.

    Args:
        model: a model of `build_model`.
        from_block: the first block of `BLOCKS` to train, or None to freeze all of them.

    Returns:
        How many parameters are now trained.

    Raises:
        ValueError: there is no such block.
    """
    if from_block is not None and from_block not in BLOCKS:
        raise ValueError(
            f"VGG16 has no block {from_block!r}. Choose one of: {', '.join(BLOCKS)}; "
            "or none, to keep all of them frozen."
        )
    frozen = BLOCKS if from_block is None else BLOCKS[: BLOCKS.index(from_block)]
    for layer in model.layers:
        layer.trainable = not layer.name.startswith((*frozen, "whiten"))
    return sum(int(np.prod(weight.shape)) for weight in model.trainable_weights)


def reset_head(model: keras.Model, seed: int) -> None:
    """Draws new weights for the head's two layers; biases become 0, dropout begins again.

    Args:
        model: a model of `build_model` or `build_head`.
        seed: any integer from 0; all that a head draws in training follows from it.
    """
    for step, name in enumerate(("head", "last")):
        layer = model.get_layer(name)
        draw = type(layer.kernel_initializer)(seed=2 * seed + step)
        layer.kernel.assign(draw(layer.kernel.shape))
        layer.bias.assign(ops.zeros(layer.bias.shape))
    dropout = model.get_layer("dropout")
    if dropout.rate > 0:
        dropout.seed_generator.state.assign([seed, 0])
