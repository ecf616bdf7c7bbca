"""The dataset that a run's network was trained on, for what is compared with it later."""

import contextlib
import pathlib
from collections.abc import Sequence
from typing import Any

import numpy as np

from trainer.config import Config, cache_folder
from trainer.evaluation import baselines, linear_model
from trainer.inference.network import Network
from trainer.input_pipeline import stages
from trainer.input_pipeline.dataset import Dataset, open_dataset
from trainer.run import files
from trainer.run.errors import RunError
from trainer.run.manifest import CONFIG


def opened(network: Network, data_dir: str = "") -> Dataset:
    """The dataset that a network was trained on.

    Args:
        network: Of a run folder.
        data_dir: Where it may be if it is not where it was; "" looks nowhere else.

    Raises:
        RunError: It is not known or not there, or holds other images now.
    """
    if network.run is None:
        raise RunError(
            "A model.keras alone does not say where the images of its run are: give the run folder."
        )
    config = Config.read(network.run)
    try:
        return _opened(network.run, config, config.data_dir)
    except RunError:
        if data_dir:
            with contextlib.suppress(RunError):
                return _opened(network.run, config, data_dir)
        raise


def recorded(run: pathlib.Path) -> dict[str, Any]:
    """What a run's config.json says of its dataset: `name`, `fingerprint` and so on.

    Args:
        run: The run folder.

    Raises:
        DamagedError: The file does not say it.
    """
    mend = "Put back a copy of it, or give the model.keras alone."
    return files.read_json(run / CONFIG, "dataset", mend=mend)["dataset"]


def _opened(run: pathlib.Path, config: Config, data_dir: str) -> Dataset:
    dataset = open_dataset(config.dataset, data_dir, config.classes)
    if dataset.fingerprint != recorded(run)["fingerprint"]:
        raise RunError(
            f"{dataset.name} holds other images than those that the network was trained on. Bring "
            "these back: build it from the sources of that day."
        )
    return dataset


def shortcut_baseline(
    network: Network, squares: np.ndarray, labels: np.ndarray, groups: Sequence[str] | np.ndarray,
    data_dir: str = "",
) -> dict[str, Any]:  # fmt: skip
    """What the shortcut baselines of a run get on other images.

    They are the run's own linear models, which follow from its train images alone.

    Args:
        network: Of a run folder.
        squares: uint8 [n, 32, 32], 0..255, aligned as the network's are.
        labels: int64 [n], 0..classes-1.
        groups: n patient groups.
        data_dir: As for `opened`.

    Returns:
        As for a split of `baselines.shortcut_baseline`.

    Raises:
        RunError: As for `opened`, or the cache can't be used.
    """
    dataset = opened(network, data_dir)
    assert network.run is not None  # else nothing is opened
    cache_dir = cache_folder(Config.read(network.run).cache_dir)
    train = dataset.splits["train"]
    train = train.take(baselines.fitted_images(train.labels))
    stage = stages.square_stage(baselines.SIZE, network.align)
    with contextlib.closing(stages.OpenStages(cache_dir)) as cached:
        stages.fill_squares(dataset, train, [stage], cached)
        fitted = cached.rows(stage).read(train.digests, 0)[..., 0]
    return baselines.shortcut_baseline(
        fitted, train.labels, {"": (squares, labels, groups)}, len(network.class_names),
        cache_dir / linear_model.FOLDER,
    )[""]  # fmt: skip
