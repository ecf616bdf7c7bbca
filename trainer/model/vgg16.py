"""VGG16 for grey images: the model, the cut between frozen and trained, the precision.

The model takes images as they are and holds built-in Keras layers only, so that a saved one loads
anywhere without this code. It is flat: every layer, `block4_pool` say, is found by its name.
"""

import keras
import numpy as np

from trainer.config import BLOCKS, MIN_IMAGE_SIZE
from trainer.model.normalization import Normalization, normalized
from trainer.model.weights import Weights

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
) -> keras.Model:
    """Builds VGG16 with a head of two dense layers, under the global precision policy.

    The head is that of A. Y. Xu, "Detecting COVID-19 induced Pneumonia from Chest X-rays with
    Transfer Learning" (2020), with a dropout between its layers.

    Args:
        classes: 2 gives one sigmoid unit, the probability of the second class; more give a softmax.
        image_size: side of the square, in pixels, that images are resized to; at least 32.
        head_units: units of the hidden layer of the head.
        dropout: share of the hidden units dropped in training, in [0, 1).
        pooling: how block 5 becomes a vector: "flatten", "average" or "max".
        weights: what the convolutions start from.
        l2: weight in the loss of the squares of the head's two kernels, at least 0.
        normalization: what was fitted on the train images; None subtracts ImageNet's means.

    Returns:
        A model from images [batch, height, width, 1] in 0..255, uint8 or float, of any size, to
        probabilities, float32 [batch, 1] for 2 classes and [batch, classes] for more.

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
    base = keras.applications.VGG16(
        include_top=False, weights=None, input_tensor=_preprocess(images, image_size, normalization)
    )
    for name, arrays in (weights.layers or {}).items():
        base.get_layer(name).set_weights(arrays)
    x = _head(base.output, classes, head_units, dropout, pooling, l2)
    return keras.Model(images, x, name="vgg16_images")


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
    rows = keras.Input(of_block5.shape[1:], dtype=of_block5.dtype, name="rows")
    return keras.Model(rows, _head(rows, classes, head_units, dropout, pooling, l2), name="head")


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
    units, activation = (1, "sigmoid") if classes == 2 else (classes, "softmax")
    # float32 under any policy: the small differences between probabilities are the loss.
    return keras.layers.Dense(
        units, activation=activation, kernel_regularizer=penalty, dtype="float32",
        name="predictions",
    )(x)  # fmt: skip


def _preprocess(
    images: keras.KerasTensor, image_size: int, normalization: Normalization | None
) -> keras.KerasTensor:
    """Resizes, repeats grey as three channels and normalizes, in float32 throughout."""
    resize = keras.layers.Resizing(
        image_size, image_size, "bilinear", antialias=True, dtype="float32", name="resize"
    )
    # TensorFlow's antialiased resize has no XLA kernel, and Keras does not know it.
    resize.supports_jit = keras.backend.backend() != "tensorflow"
    grey = resize(images)
    if normalization is not None:
        grey = normalized(grey, normalization)
    bgr = keras.layers.Concatenate(dtype="float32", name="grey_to_bgr")([grey, grey, grey])
    if normalization is not None:
        return keras.layers.Rescaling(list(BGR_STD), dtype="float32", name="imagenet_scale")(bgr)
    return keras.layers.Rescaling(
        1.0, offset=[-mean for mean in BGR_MEAN], dtype="float32", name="subtract_mean"
    )(bgr)


def set_trainable(model: keras.Model, from_block: str | None) -> int:
    """Freezes the base below a block and frees the rest; the head is always trained.

    What was fitted on the train images stays as it is.

    Compile the model afterwards: what Keras compiled before does not see the change.

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
    """Draws the weights of the head's two layers anew; biases become 0, dropout begins again.

    Args:
        model: a model of `build_model` or `build_head`.
        seed: any integer from 0; all that a head draws in training follows from it.
    """
    for step, name in enumerate(("head", "predictions")):
        layer = model.get_layer(name)
        draw = type(layer.kernel_initializer)(seed=2 * seed + step)
        layer.kernel.assign(draw(layer.kernel.shape))
        layer.bias.assign(keras.ops.zeros_like(layer.bias))
    dropout = model.get_layer("dropout")
    if dropout.rate > 0:
        dropout.seed_generator.state.assign([seed, 0])
