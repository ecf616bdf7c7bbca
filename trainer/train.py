"""From a config to a trained, judged model in a run folder."""

import dataclasses
import pathlib
import sys

import keras
import numpy as np
import tensorflow as tf
from tensorboard.plugins.hparams import api as hparams

from covid_tfds.films import LABELS
from trainer import (
    augmentation,
    backbone,
    callbacks,
    dataset,
    decoding,
    feeds,
    judge,
    run_folder,
)
from trainer import weights as weights_lib
from trainer.config import Config
from trainer.errors import RunError

_SAMPLES = 8  # films shown in TensorBoard as they are and augmented


def train_and_evaluate(config: Config, run_dir: pathlib.Path) -> dict:
    """Trains in phases, keeps the best validation epoch, scores validation and test once each.

    Args:
        config: The run.
        run_dir: An empty folder made by `run_folder.prepare`.

    Returns:
        What metrics.json holds (see `judge.judge`).

    Raises:
        RunError: The dataset or the weights are missing, or fine-tuning moved nothing.
    """
    keras.utils.set_random_seed(config.seed)
    if config.deterministic:
        tf.config.experimental.enable_op_determinism()
    films = dataset.open_dataset(config.dataset, config.data_dir, config.classes)
    print(f"Dataset {films.name}: {films.why}.")
    config = dataclasses.replace(config, dataset=films.name.split("/")[1])
    policy, reason = _precision(config)
    print(f"Precision {policy}: {reason}.")
    keras.config.set_dtype_policy(policy)
    weights = weights_lib.vgg16_weights(config.weights, cache_dir(config))
    print(f"Weights: {weights.source}.", flush=True)
    if augmentation.flips(config.augmentation):
        print(f"Augmentation {config.augmentation} flips films: hearts change sides. Is it meant?")
    run_folder.write_json(
        run_dir / "config.json",
        {
            "config": config.to_json(),
            "command": sys.argv,
            "dataset": {"name": films.name, "fingerprint": films.fingerprint},
            "weights": {"source": weights.source, "sha256": weights.sha256},
            "precision": policy,
            **run_folder.provenance(),
        },
    )
    model = backbone.build_model(
        classes=config.classes,
        image_size=config.image_size,
        head_units=config.head_units,
        dropout=config.dropout,
        pooling=config.pooling,
        weights=weights,
    )
    record, best_epoch = _fit(config, films, model, run_dir)
    with run_folder.written_whole(run_dir / "model.keras") as beside:
        model.save(beside)
    result = judge.judge(config, films, model, record, best_epoch, run_dir)
    _write_hparams(config, result, run_dir)
    return result


def cache_dir(config: Config) -> pathlib.Path:
    """Where converted weights are kept."""
    return pathlib.Path(config.cache_dir or "~/.cache/covid_tfds").expanduser()


def _precision(config: Config) -> tuple[str, str]:
    try:
        return backbone.choose_precision(config.precision)
    except ValueError as error:
        raise RunError(str(error)) from None


def _fit(
    config: Config, films: dataset.Dataset, model: keras.Model, run_dir: pathlib.Path
) -> tuple[callbacks.Record, int]:
    """Runs the phases and leaves the best epoch's weights in the model."""
    train, held_out = films.splits["train"], films.splits["validation"]
    best = run_dir / "checkpoints" / "best.weights.h5"
    validation = callbacks.Validation(model, held_out.labels, best)
    published = callbacks.PublishedValidation(held_out.labels, config.batch_size)
    writer = tf.summary.create_file_writer(str(run_dir / "tensorboard"))
    _write_samples(writer, config, train)
    record = callbacks.Record(run_dir / "history.csv")
    followers = [callbacks.Board(writer, validation, LABELS[: config.classes]), record]
    source = feeds.feeds(config, films, model)
    epoch = 0
    for phase, block, epochs, rate in _phases(config):
        if validation.best_epoch:
            validation.restore_best()
        backbone.set_trainable(model, block)
        feed = source.feed(block, range(epoch, epoch + epochs))
        _compile(feed.trained, config, rate)
        validation.look_at(feed.scored, feed.validation)
        published.look_at(feed.scored, feed.published)
        record.phase = phase
        progress = callbacks.Progress(phase, epochs, len(train.labels), config.batch_size)
        stop = callbacks.EarlyStopping(validation, epoch, config.early_stopping)
        optional = [published] * config.as_published + [stop] * bool(config.early_stopping)
        before = [keras.ops.convert_to_numpy(weight) for weight in model.trainable_weights]
        feed.trained.fit(
            feed.train,
            initial_epoch=epoch,
            epochs=epoch + epochs,
            steps_per_epoch=-(-len(train.labels) // config.batch_size),
            class_weight=_class_weights(config, train.labels),
            callbacks=[validation, progress, *optional, *followers],
            shuffle=False,  # the pipeline does
            verbose=0,
        )
        _require_moved(model, before, phase)
        epoch = record.rows[-1]["epoch"]
    validation.restore_best()
    record.mark_kept(validation.best_epoch)
    writer.close()
    return record, validation.best_epoch


def _phases(config: Config) -> list[tuple[str, str | None, int, float]]:
    """(name, first trained block or None, epochs, learning rate) of each phase."""
    phases = [("head", None, config.epochs, config.learning_rate)]
    if config.fine_tune_from != "none":
        rate = config.fine_tune_learning_rate
        phases.append(("fine_tune", config.fine_tune_from, config.fine_tune_epochs, rate))
    return phases


def _compile(model: keras.Model, config: Config, learning_rate: float) -> None:
    binary = config.classes == 2
    model.compile(
        optimizer=keras.optimizers.Adam(learning_rate),
        loss="binary_crossentropy" if binary else "sparse_categorical_crossentropy",
        metrics=["accuracy"],
        # XLA slows VGG16 down on CPUs (.7 of the speed), and the resize has no XLA kernel.
        jit_compile=False,
    )


def _class_weights(config: Config, labels: np.ndarray) -> dict[int, float] | None:
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


def _write_samples(writer: tf.summary.SummaryWriter, config: Config, train: dataset.Films) -> None:
    """Shows in TensorBoard what the network is fed: the first films and their first view."""
    first = train.images[:_SAMPLES]
    films = decoding.squares(first, config.image_size, train.film_ids)[..., None]
    augment = augmentation.augmentation(config.augmentation)
    with writer.as_default(step=0):
        tf.summary.image("films/stored", films / 255, max_outputs=_SAMPLES)
        if augment is not None:
            numbers = augmentation.uniform_draws(train.film_ids[:_SAMPLES], 0, config.seed)
            views = augment(films, numbers)
            tf.summary.image("films/augmented", views / 255, max_outputs=_SAMPLES)


def _write_hparams(config: Config, result: dict, run_dir: pathlib.Path) -> None:
    """One row of TensorBoard's HParams table: a table to choose by, so without the test split."""
    chosen = {k: v for k, v in config.to_json().items() if not k.endswith("_dir")}
    with tf.summary.create_file_writer(str(run_dir / "tensorboard")).as_default(step=0):
        hparams.hparams(chosen)
        for name in ("balanced_accuracy", "accuracy", "loss"):
            value = result["splits"]["validation"][name]["value"]
            tf.summary.scalar(f"hparams/validation_{name}", value)
