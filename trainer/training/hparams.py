"""A row of TensorBoard's HPARAMS table: a run and a trial of a search write theirs alike.

So a folder that holds runs and searches shows one table.
"""

import dataclasses
import hashlib
import pathlib
from collections.abc import Mapping
from typing import Any

import tensorflow as tf
from tensorboard.plugins.hparams import api

from trainer.config import BELONGING, OFF, Config

# The columns: first what one compares runs by. What is of the machine alone has none.
COLUMNS = (
    "classes", "dataset", "image_size", "align", "learning_rate", "batch_size", "epochs",
    "head_units", "pooling", "dropout", "ensemble", "l2", "weight_decay", "label_smoothing",
    "optimizer", "augmentation", "shift", "zoom", "contrast", "views", "normalization",
    "fine_tune_from", "fine_tune_epochs", "fine_tune_learning_rate", "fine_tune_head_learning_rate",
    "fine_tune_schedule", "fine_tune_warmup", "class_weights", "early_stopping", "weights", "width",
    "precision", "seed",
)  # fmt: skip
FIRST = COLUMNS[: COLUMNS.index("pooling")]
METRICS = (
    "val_balanced_accuracy", "val_balanced_accuracy_sd", "val_stressed_balanced_accuracy",
    "val_accuracy", "val_loss", "epoch", "seconds", "parameters",
)  # fmt: skip
_TAG = "hparams/{}"
_TYPES: dict[str, Any] = {field.name: field.type for field in dataclasses.fields(Config)}


class _AnyOf(api.Domain):
    """All values of a type: TensorBoard hides rows whose values are outside of a domain."""

    def __init__(self, kind: type, *, first: bool) -> None:
        self._kind, self._first = kind, first

    @property
    def dtype(self) -> type:
        return self._kind

    def sample_uniform(self, rng: Any = None) -> Any:
        raise NotImplementedError

    def update_hparam_info(self, hparam_info: Any) -> None:
        hparam_info.differs = self._first  # TensorBoard shows these first, and both by name
        names = {bool: "DATA_TYPE_BOOL", str: "DATA_TYPE_STRING"}
        hparam_info.type = (
            hparam_info.DESCRIPTOR.fields_by_name["type"]
            .enum_type.values_by_name[names.get(self._kind, "DATA_TYPE_FLOAT64")]
            .number
        )


def write_row(config: Config, measured: Mapping[str, float], folder: pathlib.Path) -> None:
    """Writes the row to the default writer of TensorBoard's summaries, at its default step.

    Args:
        config: What was trained; a setting without effect is left blank.
        measured: By name, of `METRICS`; of validation images, since a table to choose by shows no
            score of test images.
        folder: Of the run or the trial, which names the row.
    """
    api.hparams_config(
        [api.HParam(name, _AnyOf(_TYPES[name], first=name in FIRST)) for name in COLUMNS],
        [api.Metric(_TAG.format(name), display_name=name) for name in METRICS],
    )
    idle = [
        each
        for choice, belonging in BELONGING.items()
        if getattr(config, choice) in OFF
        for each in belonging
    ]
    values = {name: getattr(config, name) for name in COLUMNS if name not in idle}
    api.hparams(values, trial_id=row_name(folder))
    for name in METRICS:
        if measured.get(name) is not None:
            tf.summary.scalar(_TAG.format(name), float(measured[name]))


def row_name(folder: pathlib.Path) -> str:
    """`runs/a (1b2c)`: the folder's name in the one above, and a sign that no other folder has."""
    path = folder.absolute()
    sign = hashlib.sha256(str(path).encode("utf-8", "surrogateescape")).hexdigest()[:4]
    name = f"{path.parent.name}/{path.name} ({sign})"
    return name.encode("utf-8", "backslashreplace").decode()  # TensorBoard knows letters alone
