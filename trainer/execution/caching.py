"""Fills the cache with all that a training reads, here or by the tasks of a cluster."""

from typing import TYPE_CHECKING

from trainer.config import Config
from trainer.execution.local import opened_executor
from trainer.input_pipeline import stress
from trainer.training.setup import set_up
from trainer.training.training import Training

if TYPE_CHECKING:
    from trainer.execution.ray import Cluster


def fill_cache(config: Config, cluster: "Cluster | None" = None) -> str:
    """Caches the squares and activations that `trainer.main` reads with the same flags.

    Args:
        config: Of the training.
        cluster: Of `execution.ray.connected`, where activations are computed; None: here.

    Returns:
        A line on what is cached.

    Raises:
        RunError: The dataset or the weights are missing, or the cache can't be used.
    """
    with opened_executor(cluster, lambda: set_up(config, stressed=True)) as tasks:
        setup, images = tasks.setup, stress.with_stressed(tasks.setup.dataset.splits)
        scored = [name for name, each in images.items() if name != "train" and len(each)]
        training = Training(setup, setup.config, images, train="train", score=scored)
    rows = sum(len(views) * len(images[name]) for _, name, views in training.reads)
    size = sum(
        stage.spec.row_bytes * len(views) * len(images[name])
        for stage, name, views in training.reads
    )
    return (
        f"{rows:,} rows, {size / 2**20:.1f} MiB, of {setup.dataset.name} are cached in "
        f"{setup.opened.cache_dir}: a training with these flags computes none of them."
    )
