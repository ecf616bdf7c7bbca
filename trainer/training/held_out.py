"""Trains a network on some images and scores others, writes nothing: one trial of a search."""

from collections.abc import Mapping, Sequence
from typing import Any

import keras

from trainer import feeds, train
from trainer.base import Base
from trainer.input_pipeline import dataset
from trainer.model import vgg16
from trainer.training import callbacks


class _Best(keras.callbacks.Callback):
    """Holds the logs of the epoch that `callbacks.Validation`, which comes before it, keeps."""

    def __init__(self, validation: callbacks.Validation) -> None:
        super().__init__()
        self._validation = validation
        self.logs: dict[str, float] = {}

    def on_epoch_end(self, epoch: int, logs: dict[str, Any]) -> None:
        if self._validation.best_epoch == epoch + 1:
            self.logs = {**logs, "epoch": epoch + 1}


def train_and_score(
    base: Base,
    splits: Mapping[str, dataset.Images],
    seed: int,
    follow: Sequence[keras.callbacks.Callback] = (),
) -> dict[str, float]:
    """Trains all phases with a new head and scores validation at each epoch's end.

    Args:
        base: Of the configuration; its model's lower weights are where the training begins.
        splits: Images of `train` and `validation`.
        seed: Of the head's weights, of dropout and of the images' order.
        follow: Further callbacks.

    Returns:
        Of the epoch that `trainer.main` would keep (see `callbacks.Validation`): `val_loss`,
        `val_accuracy`, `val_balanced_accuracy`, the training's `loss` and `accuracy`, and `epoch`,
        counted from 1.

    Raises:
        DivergedError: The network gives no finite probabilities any more.
        RunError: Its rows can't be kept.
    """
    config, labels = base.config, splits["train"].labels
    vgg16.reset_head(base.model, seed)
    validation = callbacks.Validation(base.trained(), splits["validation"].labels)
    best = _Best(validation)
    stopping = int(config.early_stopping > 0)
    source, epoch = feeds.Feeds(base, splits, seed=seed, quiet=True), 0
    for _, block, epochs, rate in train.phases(config):
        if validation.best_epoch:
            validation.restore_best()
        vgg16.set_trainable(base.model, block)
        feed = source.feed(block, range(epoch, epoch + epochs))
        steps = -(-len(labels) // config.batch_size)
        train.compiled(feed.trained, config, rate, train.at_once(steps, feed.steps_at_once))
        # Opening a pipeline costs as much as some steps of a head, so it is opened once.
        validation.look_at(feed.scored, list(feed.split("validation")))
        stop = callbacks.EarlyStopping(validation, epoch, config.early_stopping)
        history = feed.trained.fit(
            train.smoothed(feed.train, config),
            initial_epoch=epoch,
            epochs=epoch + epochs,
            steps_per_epoch=steps,
            class_weight=train.class_weights(config, labels),
            callbacks=[validation, best, *[stop] * stopping, *follow],
            shuffle=False,
            verbose=0,
        )
        epoch = history.epoch[-1] + 1
    return best.logs
