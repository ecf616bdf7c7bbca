"""The head of a network: two dense layers above the blocks, once for each member of an ensemble.

The members of an ensemble stand side by side in one flat model. The first has the names of a
network of one member; `suffix` is what follows them in a copy.
"""

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
from keras import ops

from trainer.config import BLOCKS

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
_TRAINED = ("head", "last")  # layers of a head that have weights


def suffix(member: int) -> str:
    """What follows the names of a member's layers: nothing for the first, 0, then `_2`, `_3`."""
    return f"_{member + 1}" if member else ""


def head_layers(
    x: keras.KerasTensor,
    *,
    classes: int,
    head_units: int,
    dropout: float,
    pooling: str,
    l2: float = 0.0,
    member: int = 0,
) -> keras.KerasTensor:
    """The layers of one head, from what block 5 gives to probabilities; see `vgg16.build_model`.

    Args:
        x: What the last pooling gives, [batch, height, width, channels].
        classes: As for `vgg16.build_model`, and so are the other arguments.
        head_units: Units of the hidden layer.
        dropout: Share of the hidden units dropped in training.
        pooling: One of `POOLINGS`.
        l2: Weight in the loss of the squares of the two kernels.
        member: Number of the ensemble's member, from 0.

    Returns:
        float32 [batch, classes].
    """
    end, penalty = suffix(member), keras.regularizers.L2(l2) if l2 else None
    x = keras.layers.Rescaling(FEATURE_SCALE, name=f"unit_scale{end}")(x)
    x = POOLINGS[pooling](name=f"{pooling}_pooling{end}")(x)
    x = keras.layers.Dense(
        head_units, activation="relu", kernel_regularizer=penalty, name=f"head{end}"
    )(x)
    x = keras.layers.Dropout(dropout, name=f"dropout{end}")(x)
    # float32 under any policy: the small differences between probabilities are the loss.
    float32 = {"dtype": "float32"}
    units = 1 if classes == 2 else classes
    x = keras.layers.Dense(units, kernel_regularizer=penalty, name=f"last{end}", **float32)(x)
    if classes == 2:
        x = keras.layers.Concatenate(name=f"two_logits{end}", **float32)([ops.zeros_like(x), x])
    x = keras.layers.Identity(name=f"logits{end}", **float32)(x)
    return keras.layers.Softmax(name=f"probabilities{end}", **float32)(x)


def averaged(probabilities: Sequence[keras.KerasTensor]) -> keras.KerasTensor:
    """The mean of the members' probabilities; those of a single one as they are."""
    if len(probabilities) == 1:
        return probabilities[0]
    return keras.layers.Average(dtype="float32", name="mean_probabilities")(probabilities)


def build_head(of_block5: keras.KerasTensor, *, ensemble: int = 1, **arguments: Any) -> keras.Model:
    """Builds the head of `vgg16.build_model` alone.

    Args:
        of_block5: What the last pooling gives, [batch, height, width, channels]; its shape counts.
        ensemble: How many heads stand side by side.
        arguments: Those of `head_layers` but for the member.

    Returns:
        A model from what block 5 gives of images to their probabilities.
    """
    # It bears the name of the layer that gives its rows, so that `part` cuts it as a whole model.
    rows = keras.Input(of_block5.shape[1:], dtype=of_block5.dtype, name=f"{BLOCKS[-1]}_pool")
    each = [head_layers(rows, **arguments, member=member) for member in range(ensemble)]
    return keras.Model(rows, averaged(each), name="head")


def is_of_head(path: str) -> bool:
    """Whether the path of a variable, such as "last_2/kernel", is that of a head's."""
    return path.startswith(_TRAINED)


def member_seed(seed: int, member: int) -> int:
    """The seed of an ensemble's member: what it draws, a network alone of this seed draws, too.

    Args:
        seed: Of the ensemble, 0 to below 2^31.
        member: Its number, from 0.

    Returns:
        The same for the first member; else hashed, so that the ensembles of neighbouring seeds have
        no member in common.
    """
    if not member:
        return seed
    return int(np.random.SeedSequence((seed, member)).generate_state(1)[0] >> 1)


def reset_head(model: keras.Model, seed: int) -> None:
    """Draws new weights for the two layers of each head; biases become 0, dropout begins again.

    Args:
        model: A model of `vgg16.build_model` or `build_head`.
        seed: 0 to below 2^31; all that the heads draw in training follows from it.
    """
    names, member = {layer.name for layer in model.layers}, 0
    while f"{_TRAINED[0]}{suffix(member)}" in names:
        end, own = suffix(member), member_seed(seed, member)
        for step, name in enumerate(_TRAINED):
            layer = model.get_layer(f"{name}{end}")
            draw = type(layer.kernel_initializer)(seed=2 * own + step)
            layer.kernel.assign(draw(layer.kernel.shape))
            layer.bias.assign(ops.zeros(layer.bias.shape))
        dropout = model.get_layer(f"dropout{end}")
        if dropout.rate > 0:
            dropout.seed_generator.state.assign([own, 0])
        member += 1
