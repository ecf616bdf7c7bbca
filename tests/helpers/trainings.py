"""Trainings of a tiny network on the tiny dataset: whole runs, or what the loop needs alone."""

import contextlib
import dataclasses
import functools
import pathlib
from collections.abc import Iterator
from unittest import mock

import keras
from tensorflow.python.framework import config as tf_config

from tests.helpers import datasets
from trainer import train
from trainer.config import Config
from trainer.evaluation import history
from trainer.input_pipeline import dataset
from trainer.model import networks
from trainer.run import run_dir
from trainer.training.setup import set_up
from trainer.training.training import Training

# Some channels of VGG16 at its smallest size, images as they are: the whole way in a second.
QUICK = Config(
    dataset="tiny", image_size=32, align="none", width=0.1, weights="none", batch_size=16, epochs=2,
    head_units=8, dropout=0.0, precision="float32", learning_rate=1e-3,
)  # fmt: skip
GAIN = 1.5  # of every convolution of a network with random weights
opened_once = functools.cache(dataset.open_dataset)  # by folder and classes
TUNED = {"fine_tune_from": "block5", "fine_tune_epochs": 1, "fine_tune_learning_rate": 1e-3}


def quick(data_dir: pathlib.Path, cache_dir: pathlib.Path | None = None, **changes) -> Config:
    """The config, with some fields changed; the cache is shared unless another is given."""
    folders = {"data_dir": str(data_dir), "cache_dir": str(cache_dir or data_dir / "cache")}
    return dataclasses.replace(QUICK, **{**folders, **changes})


@contextlib.contextmanager
def training(config: Config, images=None) -> Iterator[Training]:
    """A training that is ready to begin, on the dataset's splits or on other images by name."""
    before = keras.config.dtype_policy()
    try:
        with mock.patch.object(dataset, "open_dataset", opened_once):
            setup = set_up(config)
        with contextlib.closing(setup.opened):
            config = setup.config
            nets = networks.build(config, setup.precision, setup.weights, setup.normalization)
            for model in {nets.trained, nets.served}:
                _enliven(model)
            images = images or setup.dataset.splits
            score = ("validation", "test")
            yield Training(setup, config, images, train="train", score=score, networks=nets)
    finally:
        keras.config.set_dtype_policy(before)


def _enliven(model: keras.Model) -> None:
    """Scales the random kernels up: as they are, all images give nearly the same activations."""
    for layer in model.layers:
        if isinstance(layer, keras.layers.Conv2D):
            layer.kernel.assign(layer.kernel * GAIN)


def write_weights(path: pathlib.Path) -> None:
    """Writes a VGG16 of random weights that tells images apart, as a Keras file (59 MB)."""
    model = keras.applications.VGG16(include_top=False, weights=None, input_shape=(32, 32, 3))
    draw = keras.initializers.HeNormal(seed=5)
    for layer in model.layers:
        if isinstance(layer, keras.layers.Conv2D):
            layer.kernel.assign(draw(layer.kernel.shape))
    model.save_weights(path)


def run(config: Config, folder: pathlib.Path, **arguments) -> dict:
    """A whole run into a folder, as `trainer.main` does it; what it sets ends with it."""
    before = keras.config.dtype_policy()
    try:
        with datasets.read_once():
            return train.train_and_evaluate(config, run_dir.plain(folder), **arguments)
    finally:
        keras.config.set_dtype_policy(before)
        tf_config.disable_op_determinism()


def epochs(folder: pathlib.Path) -> list[dict]:
    """The rows of history.csv, without what depends on the machine's load."""
    load = {"images_per_second", "input_wait"}
    rows = history.read(folder / "history.csv")
    return [{name: value for name, value in row.items() if name not in load} for row in rows]
