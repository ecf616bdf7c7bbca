"""What every training starts from: the dataset, the precision, the weights, the network."""

import dataclasses
import sys
from typing import Any

import keras
import tensorflow as tf

from trainer import (
    augmentation,
    autotune,
    backbone,
    dataset,
    input_pipeline,
    normalisation,
    run_folder,
)
from trainer import weights as weights_lib
from trainer.config import Config, cache_folder
from trainer.errors import RunError


@dataclasses.dataclass(frozen=True)
class Start:
    """Opened, chosen and built, before the first step.

    Attributes:
        config: As asked for, with the dataset's name in place of `auto`.
        films: The dataset.
        model: The network, nothing trained.
        weights: What its convolutions started from.
        normalisation: What was fitted on the train films, if anything.
        jit: Whether XLA compiles the frozen part.
        facts: What config.json holds.
    """

    config: Config
    films: dataset.Dataset
    model: keras.Model
    weights: weights_lib.Weights
    normalisation: normalisation.Normalisation | None
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
    films = dataset.open_dataset(config.dataset, config.data_dir, config.classes)
    print(f"Dataset {films.name}: {films.why}.")
    if facts.get("hparams", {}).get("dataset_fingerprint", films.fingerprint) != films.fingerprint:
        print("The search of --hparams saw other films than these; its values may not suit them.")
    config = dataclasses.replace(config, dataset=films.name.split("/")[1])
    policy, jit, reason = _precision(config)
    print(f"Precision {policy}: {reason}.")
    keras.config.set_dtype_policy(policy)
    weights = weights_lib.vgg16_weights(config.weights, cache_folder(config.cache_dir))
    print(f"Weights: {weights.source}.", flush=True)
    if augmentation.flips(config.augmentation):
        print(f"Augmentation {config.augmentation} flips films: hearts change sides. Is it meant?")
    fitted = _normalisation(config, films)
    facts |= {
        "config": config.to_json(),
        "command": sys.argv,
        "dataset": {"name": films.name, "fingerprint": films.fingerprint},
        "weights": {"source": weights.source, "sha256": weights.sha256},
        "precision": policy,
        **run_folder.provenance(),
    }
    model = network(config, weights, fitted)
    return Start(config, films, model, weights, fitted, jit, facts)


def network(
    config: Config, weights: weights_lib.Weights, fitted: normalisation.Normalisation | None
) -> keras.Model:
    """Builds the network of a config; all that is random in it follows from the config's seed."""
    keras.utils.set_random_seed(config.seed)
    model = backbone.build_model(
        image_size=config.image_size, weights=weights, normalisation=fitted, **head(config)
    )
    backbone.reset_head(model, config.seed)
    return model


def head(config: Config) -> dict[str, Any]:
    """What `backbone` builds a head from, by argument."""
    names = ("classes", "head_units", "dropout", "pooling", "l2")
    return {name: getattr(config, name) for name in names}


def _precision(config: Config) -> tuple[str, bool, str]:
    """The policy, whether to compile with XLA, and the reason in words."""
    try:
        policy, reason = backbone.choose_precision(config.precision)
    except ValueError as error:
        raise RunError(str(error)) from None
    if not config.autotune:
        return policy, False, reason
    found = autotune.trials(config.precision, config.image_size)
    return found[0].policy, found[0].jit, autotune.text(found)


def _normalisation(config: Config, films: dataset.Dataset) -> normalisation.Normalisation | None:
    if config.normalisation == "imagenet":
        return None
    squares = input_pipeline.squares(films.splits["train"], config.image_size)
    return normalisation.fit(config.normalisation, squares)
