"""Whether this machine's memory can hold a training: said before it begins, where it is certain.

The bounds are low ones: what has to be there at the same time whatever TensorFlow does. What they
let pass can still be too much.
"""

import psutil

from trainer.config import BLOCKS, Config
from trainer.input_pipeline import fill
from trainer.model import vgg16
from trainer.model.normalization import ZCA_IMAGES
from trainer.run.errors import ConfigFailedError
from trainer.run.text import counted

# Bytes of a number: of what is fitted, of weights, and of activations in any precision.
_FLOAT64, _FLOAT32, _SMALLEST = 8, 4, 2
_MOMENTS = {"adam": 2, "sgd": 1}  # numbers that the optimizer keeps of each weight


def require_parameters(config: Config) -> None:
    """Refuses a network whose weights, gradients and optimizer do not fit into the memory.

    Args:
        config: What is to be trained.

    Raises:
        ConfigFailedError: They do not.
    """
    counts = vgg16.parameters(config)
    members = _members(config)
    trained = sum(counts[name] for name in (*vgg16.trained_blocks(config), "head"))
    _require(
        trained * (2 + _MOMENTS[config.optimizer]) * _FLOAT32,
        f"--head_units={config.head_units} at --image_size={config.image_size}{members} makes "
        f"{trained:,} weights to train, which take",
        " with their gradients and the optimizer",
        f"Lower --head_units{' or --ensemble' if members else ''}, or give --pooling=average.",
    )


def require_batch(config: Config, images: int) -> None:
    """Refuses batches whose activations do not fit into the memory.

    Args:
        config: What is to be trained.
        images: Of an epoch.

    Raises:
        ConfigFailedError: They do not.
    """
    count, of_one, members = min(config.batch_size, images), 0, _members(config)
    for block in vgg16.trained_blocks(config):  # all that the gradient needs is kept
        convolutions, numbers = vgg16.activations(config, block)
        of_one += convolutions * numbers
    _require(
        count * of_one * config.ensemble * _SMALLEST,
        f"A batch of {counted(count, 'image')} (--batch_size={config.batch_size}) takes",
        f" of activations at --image_size={config.image_size}{members}",
        f"Lower --batch_size{', --ensemble' if members else ''} or --image_size, or train fewer "
        "blocks (--fine_tune_from).",
    )


def require_whitening(config: Config, images: int) -> None:
    """Refuses a whitening whose images do not fit into the memory, in float64, twice.

    Args:
        config: Of the training.
        images: Of train.

    Raises:
        ConfigFailedError: They do not.
    """
    count = min(images, ZCA_IMAGES)
    _require(
        2 * count * config.image_size**2 * _FLOAT64,
        f"--normalization=zca is fitted to {counted(count, 'image')} of --image_size="
        f"{config.image_size}, which takes",
        "",
        "Lower --image_size, or give --normalization=featurewise.",
    )


def require_pass(config: Config, missing: int) -> None:
    """Refuses images that can't pass the network, for which the rows of two layers are held.

    Args:
        config: Of the network.
        missing: Rows to compute, so many images at most.

    Raises:
        ConfigFailedError: They do not fit into the memory.
    """
    count = min(fill.BATCH, missing)
    _require(
        count * 2 * vgg16.activations(config, BLOCKS[0])[1] * _SMALLEST,
        f"{count} images of --image_size={config.image_size} pass the network at once, which takes",
        "",
        "Lower --image_size.",
    )


def _members(config: Config) -> str:
    return f" and --ensemble={config.ensemble}" if config.ensemble > 1 else ""


def _require(needed: int, what: str, of: str, mend: str) -> None:
    try:
        there = psutil.virtual_memory().total
    except OSError:  # a system that does not say
        return
    if needed > there:
        raise ConfigFailedError(
            f"{what} at least {needed / 2**30:,.1f} GiB{of}, and this machine has "
            f"{there / 2**30:,.1f} GiB of memory. {mend}"
        )
