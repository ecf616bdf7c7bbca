"""What every training starts from: the dataset, the precision, the weights, the network."""

import dataclasses
import sys
from typing import Any

import keras
import tensorflow as tf

from trainer.augmentation import layer
from trainer.config import Config, cache_folder
from trainer.input_pipeline import batches, dataset
from trainer.model import normalization, precision, vgg16
from trainer.model import weights as weights_lib
from trainer.run import run_dir
from trainer.run.errors import RunError


@dataclasses.dataclass(frozen=True)
class Start:
    """Opened, chosen and built, before the first step.

    Attributes:
        config: As asked for, with the dataset's name in place of `auto`.
        images: The dataset.
        model: The network, nothing trained.
        weights: What its convolutions started from.
        normalization: What was fitted on the train images, if anything.
        jit: Whether XLA compiles the frozen part.
        facts: What config.json holds.
    """

    config: Config
    images: dataset.Dataset
    model: keras.Model
    weights: weights_lib.Weights
    normalization: normalization.Normalization | None
    jit: bool
    facts: dict[str, Any]


def start(config: Config, **facts: Any) -> Start:
    """Opens the dataset, chooses the precision, fetches the weights and builds the network.

    Prints a line on each. Seeds everything and sets Keras' global precision.

    Args:
        config: The run.
        facts: What else config.json is to hold.

    Raises:
        RunError: The dataset or the weights are missing, or the precision can't be had.
    """
    keras.utils.set_random_seed(config.seed)
    if config.deterministic:
        tf.config.experimental.enable_op_determinism()
    images = dataset.open_dataset(config.dataset, config.data_dir, config.classes)
    print(f"Dataset {images.name}: {images.why}.")
    if (
        facts.get("hparams", {}).get("dataset_fingerprint", images.fingerprint)
        != images.fingerprint
    ):
        print("The search of --hparams saw other images than these; its values may not suit them.")
    config = dataclasses.replace(config, dataset=images.name.split("/")[1])
    policy, jit, reason = _precision(config)
    print(f"Precision {policy}: {reason}.")
    keras.config.set_dtype_policy(policy)
    weights = weights_lib.vgg16_weights(config.weights, cache_folder(config.cache_dir))
    print(f"Weights: {weights.source}.", flush=True)
    if layer.flips(config.augmentation):
        print(f"Augmentation {config.augmentation} flips images: hearts change sides. Is it meant?")
    fitted = _normalization(config, images)
    facts |= {
        "config": config.to_json(),
        "command": sys.argv,
        "dataset": {"name": images.name, "fingerprint": images.fingerprint},
        "weights": {"source": weights.source, "sha256": weights.sha256},
        "precision": policy,
        **run_dir.provenance(),
    }
    model = network(config, weights, fitted)
    return Start(config, images, model, weights, fitted, jit, facts)


def network(
    config: Config, weights: weights_lib.Weights, fitted: normalization.Normalization | None
) -> keras.Model:
    """Builds the network of a config; all that is random in it follows from the config's seed."""
    keras.utils.set_random_seed(config.seed)
    model = vgg16.build_model(
        image_size=config.image_size, weights=weights, normalization=fitted, **head(config)
    )
    vgg16.reset_head(model, config.seed)
    return model


def head(config: Config) -> dict[str, Any]:
    """What `backbone` builds a head from, by argument."""
    names = ("classes", "head_units", "dropout", "pooling", "l2")
    return {name: getattr(config, name) for name in names}


def _precision(config: Config) -> tuple[str, bool, str]:
    """The policy, whether to compile with XLA, and the reason in words."""
    try:
        policy, reason = precision.choose_precision(config.precision)
    except ValueError as error:
        raise RunError(str(error)) from None
    if not config.autotune:
        return policy, False, reason
    found = precision.trials(config.precision, config.image_size)
    return found[0].policy, found[0].jit, precision.text(found)


def _normalization(config: Config, images: dataset.Dataset) -> normalization.Normalization | None:
    if config.normalization == "imagenet":
        return None
    squares = batches.squares(images.splits["train"], config.image_size)
    return normalization.fit(config.normalization, squares)
