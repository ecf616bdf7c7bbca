"""What TensorBoard shows of a run beside its numbers: samples, pictures, texts, its network.

All of it is of train and validation images: a table or a picture to choose by shows no test image.
"""

import dataclasses
import os
import pathlib
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf
from sklearn.metrics import confusion_matrix
from tensorboard.plugins.pr_curve import summary as pr_curve

from trainer.augmentation.layer import Augmentation
from trainer.augmentation.random import uniform_draws
from trainer.config import Config
from trainer.evaluation import heatmaps, notes, plots
from trainer.evaluation.predictions import Predictions
from trainer.evaluation.sheets import sheet
from trainer.inference import gradcam
from trainer.input_pipeline.dataset import Images, class_counts
from trainer.model import vgg16
from trainer.run import machine
from trainer.run.manifest import EVENTS, OF_THE_MACHINE
from trainer.run.text import estimate, short_names
from trainer.training import aligned, hparams
from trainer.training.curves import CURVES, WITHOUT_CURVES
from trainer.training.setup import Setup
from trainer.training.training import Training
from trainer.training.validation import predictions_of

_SHOWN = 8  # images of a sheet
_LETTERS = 11  # of a class' name below one, where a share stands before it
_COMPARED = ("balanced_accuracy", "accuracy", "loss")  # runs, in HPARAMS
_THRESHOLDS = 101  # of a precision-recall curve
_OUTER = re.compile(r"^(\^?)[^/]+/")  # scope of an operation's name


def writer_of(folder: pathlib.Path) -> tf.summary.SummaryWriter:
    """Opens a new file for TensorBoard; where that fails, a line says so and nothing is written.

    Args:
        folder: Of the run.
    """
    path = os.fsencode(folder / "tensorboard")  # whose letters may be none
    try:
        return tf.summary.create_file_writer(path, filename_suffix=EVENTS)
    except tf.errors.OpError as error:
        machine.print_failed(CURVES, error, WITHOUT_CURVES)
        return tf.summary.create_noop_writer()


def write_begin(writer: tf.summary.SummaryWriter, setup: Setup, training: Training) -> None:
    """Writes what is known before the first step.

    Args:
        writer: Where to.
        setup: Of the run.
        training: Of it.
    """
    with writer.as_default(step=0):
        _write_samples(setup)
        tf.summary.text("run/config", _config_text(setup.config))
        tf.summary.text("run/dataset", _dataset_text(setup))
        _write_network(training)
    writer.flush()


def write_end(
    setup: Setup,
    training: Training,
    result: Mapping[str, Any],
    table: Predictions,
    folder: pathlib.Path,
    pictured: int,
) -> None:
    """Writes a run's row of HPARAMS, what goes with its scores, and its best epoch's pictures.

    Args:
        setup: Of the run.
        training: Whose networks have the best epoch's weights.
        result: Of `metrics.run_metrics`.
        table: What the network gives of validation images, and of others.
        folder: Of the run.
        pictured: The epoch, from 1, whose pictures were drawn last.
    """
    scores, best = result["splits"]["validation"], result["best_epoch"]
    measured = {f"val_{name}": scores[name]["value"] for name in _COMPARED}
    measured["val_stressed_balanced_accuracy"] = scores["stressed"]["balanced_accuracy"]["value"]
    writer = writer_of(folder)
    with writer.as_default(step=0):
        hparams.write_row(setup.config, {**measured, "epoch": best}, folder)
        tf.summary.text("run/notes", _notes_text(result))
    if pictured != best:
        with writer.as_default(step=best):
            Pictures(setup, training)(table.of_split("validation").probabilities)
    writer.close()


class Pictures:
    """Draws what a network makes of the validation images."""

    def __init__(self, setup: Setup, training: Training) -> None:
        """Chooses the images whose heatmaps are drawn: the first of each class, in turn.

        Args:
            setup: Of the run.
            training: Whose network, as it is served, is shown.
        """
        self._setup, self._training = setup, training
        self._images = images = training.images["validation"]
        self._fixed = heatmaps.in_turn(np.arange(len(images)), images.labels)[:_SHOWN]

    def __call__(self, probabilities: np.ndarray) -> None:
        """Writes to the default writer of TensorBoard's summaries, at its default step.

        Args:
            probabilities: float32 [n, classes], of the validation images.
        """
        table = predictions_of(self._images, probabilities)
        names = table.class_names
        counts = confusion_matrix(table.labels, table.predicted, labels=range(len(names)))
        title = f"validation, epoch {int(tf.summary.experimental.get_step())}"
        _write_image("validation/confusion", plots.confusion_figure(counts, names, title=title))
        worst = heatmaps.select(table, _SHOWN)["worst"]
        if len(worst):
            shown = self._squares(worst)
            _write_image("validation/misclassified", sheet(shown, _captions(table, worst)))
        squares = self._squares(self._fixed)
        maps = gradcam.heatmaps(self._training.networks.served, squares[..., None])
        overlays = [gradcam.overlay(*each) for each in zip(squares, maps, strict=True)]
        _write_image("validation/gradcam", sheet(overlays, _captions(table, self._fixed)))
        for c, name in enumerate(names):
            curve = pr_curve.pb(
                f"validation_pr/{name}", table.labels == c, probabilities[:, c].astype(float),
                num_thresholds=_THRESHOLDS,
            )  # fmt: skip
            tf.summary.experimental.write_raw_pb(curve.SerializeToString())

    def _squares(self, at: np.ndarray) -> np.ndarray:
        """uint8 [n, size, size], as the network gets them."""
        return self._setup.squares(self._images.take(at), self._setup.config.image_size)[..., 0]


def _captions(table: Predictions, at: Iterable[int]) -> list[str]:
    names = short_names(table.class_names, _LETTERS)
    return [
        f"true: {names[table.labels[i]]}\n{table.probabilities[i].max():.0%} "
        f"{names[table.predicted[i]]}"
        for i in at
    ]


def _write_image(tag: str, picture: np.ndarray) -> None:
    tf.summary.image(tag, picture[None])


def _write_samples(setup: Setup) -> None:
    """Shows what the network gets: some train images of each class, and their first view."""
    config, images = setup.config, setup.dataset.splits["train"]
    first = images.take(heatmaps.in_turn(np.arange(len(images)), images.labels)[:_SHOWN])
    squares = setup.squares(first, config.image_size)
    shown = {"stored": squares}
    if config.align != "none":
        shown = {"stored": aligned.stored_squares(setup, first), "aligned": squares}
    if config.augmentation_ranges is not None:
        draws = uniform_draws(first.image_ids, 0, config.seed)
        views = np.asarray(Augmentation(config.augmentation_ranges)(squares, draws))
        shown["augmented"] = np.round(views).astype(np.uint8)
    for name, each in shown.items():
        _write_image(f"images/{name}", sheet(each[..., 0], _labels(first)))


def _labels(images: Images) -> Sequence[str]:
    names = short_names(images.class_names, _LETTERS)
    return [names[label] for label in images.labels]


def _write_network(training: Training) -> None:
    """The operations of each layer from the squares on: those before them would fill the page."""
    part = training.networks.probabilities(vgg16.SQUARE)
    squares = tf.TensorSpec(part.inputs[0].shape, part.inputs[0].dtype)
    traced = tf.function(lambda batch: part(batch, training=False), autograph=False)
    graph = traced.get_concrete_function(squares).graph.as_graph_def()
    for node in graph.node:  # a graph of one closed box, the model, would be all that one sees
        node.name = _OUTER.sub(r"\1", node.name)
        node.input[:] = [_OUTER.sub(r"\1", each) for each in node.input]
    tf.summary.graph(graph)


def _config_text(config: Config) -> str:
    """Every setting; first, and in bold, those that are not the default."""
    plain, bold = [], []
    for field in dataclasses.fields(Config):
        if field.name not in OF_THE_MACHINE:
            value = getattr(config, field.name)
            if value == field.default:
                plain.append((f"`--{field.name}`", value))
            else:
                bold.append((f"**`--{field.name}`**", f"**{value}**"))
    return _table(("flag", "value"), [*bold, *plain])


def _dataset_text(setup: Setup) -> str:
    data, names = setup.origin["dataset"], setup.dataset.class_names
    kind = "Synthetic images. " if data["synthetic"] else ""
    rows = []
    for split in ("train", "validation"):
        images = setup.dataset.splits[split]
        counts = class_counts(images.labels, len(names))
        rows.append((split, len(images), len(set(images.groups.tolist())), *counts))
    head = f"`{data['name']}`, fingerprint `{data['fingerprint']}`. {kind}"
    return f"{head}\n\n{_table(('split', 'images', 'patient groups', *names), rows)}"


def _notes_text(result: Mapping[str, Any]) -> str:
    """What the network gets on validation, and the sentences that go with that."""
    scores = result["splits"]["validation"]
    shown = {"balanced accuracy": scores["balanced_accuracy"]}
    for name, each in scores["shortcut_baseline"].items():
        shown[f"shortcut baseline, {name.replace('_', ' ')}"] = each["balanced_accuracy"]
    rows = [(name, estimate(each)) for name, each in shown.items()]
    own = {**result, "splits": {"validation": scores}}
    sentences = [f"* {note}" for note in notes.notes_of(own)] or ["No warnings."]
    table = _table(("validation", "value and 95 % interval"), rows)
    return "\n".join([f"Best epoch: {result['best_epoch']}.", "", table, "", *sentences])


def _table(head: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    """A table in Markdown."""
    lines = [head, ["---"] * len(head), *rows]
    cells = [[str(cell).replace("|", "\\|") for cell in line] for line in lines]
    return "\n".join(f"| {' | '.join(line)} |" for line in cells)
