"""VGG16 for grey images: the layers, and the cut between frozen and trained.

The model takes images as they are and holds built-in Keras layers and operations only, so that a
saved one loads anywhere without this code. It is flat: `get_layer("block4_pool")`, for example,
gives a layer of VGG16. On the way an image becomes `square`, then `grey_to_bgr`, then the five
blocks, then the head up to `logits` and `probabilities`. Where images are aligned, `pose` is before
the square.

An ensemble has one of each layer below the first block that is ever trained, and from there up one
of each for every member, side by side; what it gives is the mean of the members' probabilities.
"""

import hashlib
import json
from collections.abc import Sequence

import keras
import numpy as np

from trainer.config import BLOCKS, MIN_IMAGE_SIZE, Config
from trainer.input_pipeline import alignment, resize
from trainer.model.head import POOLINGS, averaged, head_layers, suffix
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


def build_model(
    *,
    classes: int,
    image_size: int,
    head_units: int,
    dropout: float,
    pooling: str,
    weights: Weights,
    align: str = "none",
    l2: float = 0.0,
    normalization: Normalization | None = None,
    width: float = 1.0,
    ensemble: int = 1,
    trained_from: str | None = None,
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
        align: how images are framed before they are resized: "none", or "chest" as in `alignment`.
        l2: weight in the loss of the squares of the head's two kernels, at least 0.
        normalization: what was fitted on the train images; None subtracts ImageNet's means.
        width: share of VGG16's channels, above 0; other than 1 only without weights.
        ensemble: how many members, at least 1.
        trained_from: the first block of `BLOCKS` that each member has its own of, all equal; None:
            members have all blocks in common.

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
    framed = (
        resize.squared(images, image_size)
        if align == "none"
        else alignment.aligned(images, image_size)[0]
    )
    squares = keras.layers.Identity(dtype="float32", name=SQUARE)(framed)
    cut = len(BLOCKS) if trained_from is None else BLOCKS.index(trained_from)
    shared = _blocks(_bgr(squares, normalization), BLOCKS[:cut], width)
    of_members = [
        head_layers(
            _blocks(shared, BLOCKS[cut:], width, member),
            classes=classes, head_units=head_units, dropout=dropout, pooling=pooling, l2=l2,
            member=member,
        )
        for member in range(ensemble)
    ]  # fmt: skip
    model = keras.Model(images, averaged(of_members), name="vgg16")
    for name, arrays in (weights.layers or {}).items():
        model.get_layer(name).set_weights(arrays)
    for layer in [each for each in model.layers if each.name.startswith(BLOCKS[cut:])]:
        for copy in _of_members(model, layer.name)[1:]:
            copy.set_weights(layer.get_weights())
    return model


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


def _blocks(
    x: keras.KerasTensor, blocks: Sequence[str], width: float, member: int = 0
) -> keras.KerasTensor:
    """The convolutions and the pooling of some blocks, named as in keras.applications."""
    end = suffix(member)
    for block in blocks:
        convolutions, channels = _BLOCKS[BLOCKS.index(block)]
        filters = _filters(channels, width)
        for number in range(1, convolutions + 1):
            name = f"{block}_conv{number}{end}"
            x = keras.layers.Conv2D(filters, 3, padding="same", activation="relu", name=name)(x)
        x = keras.layers.MaxPooling2D(2, name=f"{block}_pool{end}")(x)
    return x


def _of_members(model: keras.Model, name: str) -> list[keras.Layer]:
    """The layer of a name and the other members' copies of it, in the members' order."""
    layers = {layer.name: layer for layer in model.layers}
    copies: list[keras.Layer] = []
    while f"{name}{suffix(len(copies))}" in layers:
        copies.append(layers[f"{name}{suffix(len(copies))}"])
    return copies


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
        By name: those of `BLOCKS`, then "head"; of all members where each has its own.
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
    for name in (*trained_blocks(config), "head"):
        counts[name] *= config.ensemble
    return counts


def trained_blocks(config: Config) -> tuple[str, ...]:
    """The blocks that a config ever trains."""
    first = config.fine_tune_from
    return BLOCKS[BLOCKS.index(first) :] if first in BLOCKS else ()


def part(model: keras.Model, below: str, upto: str, jit: bool = False) -> keras.Model:
    """The layers of a model between two of its layers; it shares the model's weights.

    Args:
        model: A model of `build_model`, or of `head.build_head`.
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


def top(model: keras.Model, below: str, upto: str) -> keras.Model:
    """What all members make of the output of one layer; it shares the model's weights.

    Args:
        model: A model of `build_model`, or of `head.build_head`.
        below: The layer whose output is the input. Where members have copies of it, the input takes
            the place of the output of each.
        upto: "logits", or "probabilities": their mean over the members.

    Returns:
        A model to the logits of each member, a list where there are several, or to probabilities.
    """
    inputs = [layer.output for layer in _of_members(model, below)]
    outputs = [layer.output for layer in _of_members(model, upto)]
    if len(outputs) == 1:
        return part(model, below, upto)
    output = model.output if upto == "probabilities" else outputs
    if len(inputs) == 1:
        between = keras.Model(inputs[0], output)
    else:
        rows = keras.Input(inputs[0].shape[1:], dtype=inputs[0].dtype, name=below)
        between = keras.Model(rows, keras.Model(inputs, output)([rows] * len(inputs)))
    between.jit_compile = False
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
        layer.trainable = not layer.name.startswith((*frozen, "whiten", "align_"))
    return sum(int(np.prod(weight.shape)) for weight in model.trainable_weights)
