"""From a config to a trained, judged model in a run folder."""

import pathlib
from collections.abc import Mapping
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from tensorboard.plugins.hparams import api as hparams

from trainer import feeds, judge
from trainer.augmentation import random
from trainer.base import Base
from trainer.config import Config
from trainer.input_pipeline import dataset, decode
from trainer.model import vgg16
from trainer.run import files
from trainer.run.errors import RunError
from trainer.run.run_dir import FOLDERS
from trainer.training import adam, callbacks
from trainer.training.setup import start

_SAMPLES = 8  # images shown in TensorBoard as they are and augmented


def train_and_evaluate(config: Config, run_dir: pathlib.Path, **facts: Any) -> dict:
    """Trains in phases, keeps the best validation epoch, scores validation and test once each.

    Args:
        config: The run.
        run_dir: An empty folder made by `run_dir.prepare`.
        facts: What else config.json is to hold.

    Returns:
        What metrics.json holds (see `judge.judge`).

    Raises:
        RunError: The dataset or the weights are missing, or fine-tuning moved nothing.
    """
    started = start(config, **facts)
    config, images, model = started.config, started.images, started.model
    files.write_json(run_dir / "config.json", started.facts)
    for name in FOLDERS:
        (run_dir / name).mkdir(exist_ok=True)
    base = Base(config, model, started.jit)
    try:
        record, best_epoch, feed = _fit(base, images, run_dir)
        with files.written_whole(run_dir / "model.keras") as beside:
            model.save(beside)

        def probabilities(split: str) -> np.ndarray:
            return callbacks.predict(feed.scored, feed.split(split))

        result = judge.judge(config, images, probabilities, record, best_epoch, run_dir)
    finally:
        base.close()
    _write_hparams(config, result, run_dir)
    return result


def _fit(
    base: Base, images: dataset.Dataset, run_dir: pathlib.Path
) -> tuple[callbacks.Record, int, feeds.Feed]:
    """Runs the phases and leaves the best epoch's weights in the model; returns the last feed."""
    config, model = base.config, base.model
    train, held_out = images.splits["train"], images.splits["validation"]
    best = run_dir / "checkpoints" / "best.weights.h5"
    validation = callbacks.Validation(base.trained(), held_out.labels, best)
    published = callbacks.PublishedValidation(held_out.labels, config.batch_size)
    writer = tf.summary.create_file_writer(str(run_dir / "tensorboard"))
    _write_samples(writer, base, train)
    record = callbacks.Record(run_dir / "history.csv")
    followers = [callbacks.Board(writer, validation, images.class_names), record]
    source, epoch = feeds.Feeds(base, images.splits), 0
    for phase, block, epochs, rate in phases(config):
        if validation.best_epoch:
            validation.restore_best()
        vgg16.set_trainable(model, block)
        feed = source.feed(block, range(epoch, epoch + epochs))
        steps = -(-len(train.labels) // config.batch_size)
        compiled(feed.trained, config, rate, at_once(steps, feed.steps_at_once))
        validation.look_at(feed.scored, feed.split("validation"))
        published.look_at(feed.scored, feed.published)
        record.phase = phase
        progress = callbacks.Progress(
            phase, epochs, len(train.labels), config.batch_size, feed.meter
        )
        stop = callbacks.EarlyStopping(validation, epoch, config.early_stopping)
        optional = [published] * config.as_published + [stop] * bool(config.early_stopping)
        before = [keras.ops.convert_to_numpy(weight) for weight in model.trainable_weights]
        feed.trained.fit(
            smoothed(feed.train, config),
            initial_epoch=epoch,
            epochs=epoch + epochs,
            steps_per_epoch=steps,
            class_weight=class_weights(config, train.labels),
            callbacks=[validation, progress, *optional, *followers],
            shuffle=False,  # the pipeline does
            verbose=0,
        )
        _require_moved(model, before, phase)
        print(progress.speed(feed.advice), flush=True)
        epoch = record.rows[-1]["epoch"]
    validation.restore_best()
    record.mark_kept(validation.best_epoch)
    writer.close()
    return record, validation.best_epoch, feed


def phases(config: Config) -> list[tuple[str, str | None, int, float]]:
    """(name, first trained block or None, epochs, learning rate) of each phase."""
    phases = [("head", None, config.epochs, config.learning_rate)]
    if config.fine_tune_from != "none":
        rate = config.fine_tune_learning_rate
        phases.append(("fine_tune", config.fine_tune_from, config.fine_tune_epochs, rate))
    return phases


def keep_rows(base: Base, splits: Mapping[str, dataset.Images], quiet: bool) -> bool:
    """Computes what all phases will take of the store.

    Args:
        base: Of the run.
        splits: Images of `train` and `validation`.
        quiet: Whether to keep to itself what the store spares.

    Returns:
        Whether the last phase trains on kept rows of the lowest cut.
    """
    source, epoch = feeds.Feeds(base, splits, quiet=quiet), 0
    for _, block, epochs, _ in phases(base.config):
        feed = source.feed(block, range(epoch, epoch + epochs))
        epoch += epochs
    return feed.trained is base.trained()


def at_once(steps: int, most: int) -> int:
    """Steps an execution: a divisor of the epoch's, since Keras would run into the next one."""
    return max(n for n in range(1, most + 1) if steps % n == 0)


def compiled(
    model: keras.Model, config: Config, learning_rate: float, steps_at_once: int
) -> keras.Model:
    """Compiles a model or a part of it for training on `smoothed` batches, and returns it."""
    if config.classes == 2:
        loss = keras.losses.BinaryCrossentropy(label_smoothing=config.label_smoothing)
    elif config.label_smoothing:
        loss = keras.losses.CategoricalCrossentropy(label_smoothing=config.label_smoothing)
    else:
        loss = keras.losses.SparseCategoricalCrossentropy()
    model.compile(
        optimizer=adam.adam(learning_rate),
        loss=loss,
        metrics=["accuracy"],
        # XLA slows VGG16 down on CPUs (.7 of the speed), and the resize has no XLA kernel.
        jit_compile=False,
        steps_per_execution=steps_at_once,
    )
    return model


def smoothed(batches: tf.data.Dataset, config: Config) -> tf.data.Dataset:
    """Batches of (input, int64 [batch] labels) with labels as the loss of `compiled` takes them."""
    if config.classes == 2 or not config.label_smoothing:
        return batches
    # Keras smooths one-hot labels only.
    return batches.map(lambda rows, labels: (rows, tf.one_hot(labels, config.classes)))


def class_weights(config: Config, labels: np.ndarray) -> dict[int, float] | None:
    """Weight of each class in the loss; None: every image weighs the same."""
    if config.class_weights == "none":
        return None
    counts = dataset.class_counts(labels, config.classes)
    return {i: len(labels) / (config.classes * count) for i, count in enumerate(counts)}


def _require_moved(model: keras.Model, before: list[np.ndarray], phase: str) -> None:
    """A phase that trains nothing is an error, not a success (it has been published as one)."""
    names = [weight.path for weight in model.trainable_weights]
    still = [
        name
        for name, old, new in zip(names, before, model.trainable_weights, strict=True)
        if np.array_equal(old, keras.ops.convert_to_numpy(new))
    ]
    if still:
        raise RunError(
            f"The phase {phase} left {', '.join(still[:4])} as it was. Raise its learning rate, or "
            "lower it if the loss in history.csv is not finite."
        )


def _write_samples(writer: tf.summary.SummaryWriter, base: Base, train: dataset.Images) -> None:
    """Shows in TensorBoard what the network is fed: the first images and their first view."""
    first = train.encoded[:_SAMPLES]
    images = decode.squares(first, base.config.image_size, train.image_ids)[..., None]
    with writer.as_default(step=0):
        tf.summary.image("images/stored", images / 255, max_outputs=_SAMPLES)
        if base.augment is not None:
            numbers = random.uniform_draws(train.image_ids[:_SAMPLES], 0, base.config.seed)
            views = base.augment(images, numbers)
            tf.summary.image("images/augmented", views / 255, max_outputs=_SAMPLES)


def _write_hparams(config: Config, result: dict, run_dir: pathlib.Path) -> None:
    """One row of TensorBoard's HParams table: a table to choose by, so without the test split."""
    chosen = {k: v for k, v in config.to_json().items() if not k.endswith("_dir")}
    with tf.summary.create_file_writer(str(run_dir / "tensorboard")).as_default(step=0):
        hparams.hparams(chosen)
        for name in ("balanced_accuracy", "accuracy", "loss"):
            value = result["splits"]["validation"][name]["value"]
            tf.summary.scalar(f"hparams/validation_{name}", value)
