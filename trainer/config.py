"""Everything a run depends on: a frozen record, and every bound in one place.

Imports neither TensorFlow nor the dataset, so that `--helpshort` answers at once.
"""

import dataclasses
import functools
import json
import math
import numbers
import os
import pathlib
from typing import Any

from trainer.augmentation import presets
from trainer.run.errors import ConfigError, RunError
from trainer.run.files import expanded, flag_lines

BLOCKS = ("block1", "block2", "block3", "block4", "block5")
NORMALIZATIONS = ("imagenet", "featurewise", "zca")
PRECISIONS = ("auto", "float32", "mixed_bfloat16", "mixed_float16")
OPTIMIZERS = ("adam", "sgd")
DISTRIBUTIONS = ("auto", "none", "mirrored")
MIN_IMAGE_SIZE = 32  # pixels; VGG16 halves an image five times
CACHE_HELP = (
    "Folder of cached squares, activations and converted weights. Default: ~/.cache/covid_tfds."
)
HPARAMS_FILE = "best_hparams.json"
# Settings that have no effect where a choice is "none", and what to choose in its place.
BELONGING = {
    "fine_tune_from": ("fine_tune_epochs", "fine_tune_learning_rate"),
    "augmentation": ("views", *presets.STRENGTHS),
}
USUAL_CHOICE = {"fine_tune_from": "block5", "augmentation": "radiograph"}


@dataclasses.dataclass(frozen=True)
class Phase:
    """A part of a training with one set of trained layers and one optimizer.

    Attributes:
        name: "head" or "fine_tune".
        first_block: The first block of VGG16 that is trained; None trains the head alone.
        epochs: Numbers of its epochs, counted from 0 over the whole training.
        learning_rate: The optimizer's.
    """

    name: str
    first_block: str | None
    epochs: range
    learning_rate: float

    @property
    def frozen_until(self) -> str | None:
        """Name of the last layer that stays as it is; None where all blocks are trained."""
        frozen = BLOCKS[: BLOCKS.index(self.first_block)] if self.first_block else BLOCKS
        return f"{frozen[-1]}_pool" if frozen else None


def _option(default: Any, text: str, choices: tuple[str, ...] = ()) -> Any:
    return dataclasses.field(default=default, metadata={"help": text, "choices": choices})


_OVERRIDES = "0: none. -1: as the preset of --augmentation has it."


@dataclasses.dataclass(frozen=True)
class Config:
    """A training run. One field is one flag; the field's help is the flag's.

    Paths may be `pathlib` paths and begin with `~`; they are kept as expanded strings.

        >>> Config(classes=2, epochs=12).epochs
        12

    Raises:
        ConfigError: A value of the wrong type or out of bounds, or values that contradict each
            other.
    """

    classes: int = _option(
        4,
        "The first so many of the dataset: 2 are healthy and covid19, 3 add bacterial, 4 viral.",
    )
    dataset: str = _option(
        "auto",
        "Config of covid_tfds that was built: full, article, article_grouped, phantom, folder or "
        "one of your own. auto takes full, else article, else phantom, and says which.",
    )
    data_dir: str = _option("", "Where datasets are. Default: $TFDS_DATA_DIR or TFDS' own.")
    cache_dir: str = _option("", CACHE_HELP)
    cache_gib: float = _option(
        20.0,
        "GiB that squares and activations may take; the least recently used go first.",
    )
    image_size: int = _option(150, "Pixels of a side of the square that images are scaled to.")
    batch_size: int = _option(32, "Images a step.")
    epochs: int = _option(40, "Epochs of the head on the frozen base.")
    optimizer: str = _option("adam", "sgd has Nesterov's momentum of 0.9.", OPTIMIZERS)
    learning_rate: float = _option(1e-4, "The optimizer's rate for the head.")
    weight_decay: float = _option(0.0, "Of trained kernels, decoupled: AdamW's, times the rate.")
    head_units: int = _option(256, "Units of the dense layer.")
    pooling: str = _option("flatten", "Between VGG16 and the head.", ("flatten", "average", "max"))
    dropout: float = _option(0.5, "Share of the head's units dropped in training.")
    l2: float = _option(0.0, "Weight in the loss of the squares of the head's kernels.")
    label_smoothing: float = _option(
        0.0, "Share of each training label that is spread evenly over all classes."
    )
    augmentation: str = _option(
        "none",
        "article: rotation 50, shifts 20 %, flips and so on; radiograph: milder, without flips. "
        f"One of: {presets.SYNTAX}.",
    )
    shift: float = _option(-1.0, "Of views: within +- this share, up to 0.5. " + _OVERRIDES)
    zoom: float = _option(-1.0, "Of views: scales within 1 +- zoom, up to 0.9. " + _OVERRIDES)
    contrast: float = _option(-1.0, "Of views: factors within 1 +- it, up to 0.9. " + _OVERRIDES)
    normalization: str = _option(
        "imagenet",
        "imagenet: subtract its mean; featurewise: standardise, zca: whiten, both fitted on the "
        "train images.",
        NORMALIZATIONS,
    )
    views: int = _option(
        8,
        "Augmented views of each image, passed through the frozen part once, cached and used in "
        "turn by the epochs. 0: a new view each epoch, through the whole network.",
    )
    width: float = _option(
        1.0, "Share of VGG16's channels, for quick trials; other than 1 needs --weights=none."
    )
    weights: str = _option(
        "imagenet", "imagenet, none (random), or a Keras file with VGG16's layers."
    )
    precision: str = _option(
        "auto",
        "Of the arithmetic. auto takes what the hardware does well.",
        PRECISIONS,
    )
    autotune: bool = _option(
        False, "Measure for some seconds which precision, with or without XLA, is fastest here."
    )
    fine_tune_from: str = _option(
        "none", "Then train VGG16 from this block up. none keeps it frozen.", ("none", *BLOCKS)
    )
    fine_tune_epochs: int = _option(5, "Epochs of fine-tuning (with --fine_tune_from).")
    fine_tune_learning_rate: float = _option(1e-5, "The optimizer's rate in fine-tuning.")
    class_weights: str = _option(
        "none", "balanced: every class weighs the same in the loss.", ("none", "balanced")
    )
    early_stopping: int = _option(
        0, "End a phase after so many epochs without a better validation. 0: never."
    )
    checkpoint_every: float = _option(
        60.0, "Seconds between two saved states of a training, from which it goes on after a kill."
    )
    distribute: str = _option(
        "auto",
        "mirrored: each batch is divided among all accelerators of this machine; auto does so "
        "where there are several.",
        DISTRIBUTIONS,
    )
    seed: int = _option(1, "Of weights, order, dropout and augmentation.")
    deterministic: bool = _option(False, "Bit-equal runs, somewhat slower.")
    as_published: bool = _option(
        False, "Print beside each number how the 2020 article would have read it."
    )

    def __post_init__(self) -> None:
        """Checks every field, then the fields against each other."""
        for field in dataclasses.fields(self):
            value, choices = _converted(field, getattr(self, field.name)), field.metadata["choices"]
            object.__setattr__(self, field.name, value)
            if choices:
                _require(value in choices, field.name, value, "one of " + ", ".join(choices))
        for name in ("data_dir", "cache_dir", "weights"):
            self._expand(name)
        _require(self.classes >= 2, "classes", self.classes, "2 or more")
        try:
            _ = self.augmentation_ranges
        except ValueError:
            _require(False, "augmentation", self.augmentation, f"one of: {presets.SYNTAX}")
        low = MIN_IMAGE_SIZE
        _require(low <= self.image_size <= 1024, "image_size", self.image_size, f"{low} to 1024")
        for name in ("batch_size", "epochs", "head_units", "fine_tune_epochs"):
            _require(getattr(self, name) >= 1, name, getattr(self, name), "1 or more")
        for name in ("learning_rate", "fine_tune_learning_rate", "width"):
            _require(0 < getattr(self, name) <= 1, name, getattr(self, name), "above 0, at most 1")
        for name in ("dropout", "label_smoothing"):
            _require(0 <= getattr(self, name) < 1, name, getattr(self, name), "0 to below 1")
        for name in ("l2", "weight_decay"):
            _require(0 <= getattr(self, name) <= 1, name, getattr(self, name), "0 to 1")
        for name, most in presets.STRENGTHS.items():
            value, wanted = getattr(self, name), f"0 to {most}, or -1 for that of the preset"
            _require(value == -1 or 0 <= value <= most, name, value, wanted)
        every = self.checkpoint_every
        _require(0 <= every < math.inf, "checkpoint_every", every, "seconds, 0 or more")
        _require(self.early_stopping >= 0, "early_stopping", self.early_stopping, "0 or more")
        _require(0 <= self.cache_gib < math.inf, "cache_gib", self.cache_gib, "GiB, 0 or more")
        _require(0 <= self.views <= 1000, "views", self.views, "0 to 1000")
        _require(0 <= self.seed < 2**31, "seed", self.seed, "0 to 2147483647")
        _require(bool(self.dataset), "dataset", self.dataset, "a name, or auto")
        self._check_together()

    def _expand(self, name: str) -> None:
        try:
            object.__setattr__(self, name, expanded(getattr(self, name)))
        except RunError as error:
            raise ConfigError(f"--{name} can't be used: {error}") from None

    def _check_together(self) -> None:
        for choice, belonging in BELONGING.items():
            for name in belonging if getattr(self, choice) == "none" else ():
                if getattr(self, name) != getattr(type(self), name):
                    raise ConfigError(
                        f"--{name}={getattr(self, name)} has no effect without --{choice}. "
                        f"Add --{choice}={USUAL_CHOICE[choice]}, or leave it out."
                    )
        if self.width != 1 and self.weights != "none":
            raise ConfigError(
                f"--width={self.width:g} leaves no place for weights of all of VGG16's channels. "
                "Add --weights=none, or leave it out."
            )
        if self.as_published and self.augmentation != "article":
            raise ConfigError(
                f"--as_published reads validation through the article's augmentation, and "
                f"--augmentation is {self.augmentation}. Add --augmentation=article."
            )

    @functools.cached_property
    def augmentation_ranges(self) -> presets.Ranges | None:
        """How far views may stray from the image; None without augmentation."""
        strengths = {name: getattr(self, name) for name in presets.STRENGTHS}
        return presets.ranges(self.augmentation, **strengths)

    @property
    def view_count(self) -> int:
        """Views of an image: 1 without augmentation, 0 where every epoch makes a new one."""
        return 1 if self.augmentation_ranges is None else self.views

    @property
    def phases(self) -> tuple[Phase, ...]:
        """The phases in their order."""
        head = Phase("head", None, range(self.epochs), self.learning_rate)
        if self.fine_tune_from == "none":
            return (head,)
        later = range(self.epochs, self.epochs + self.fine_tune_epochs)
        return head, Phase("fine_tune", self.fine_tune_from, later, self.fine_tune_learning_rate)

    def to_json(self) -> dict[str, Any]:
        """A JSON-able dictionary; `from_json` undoes it."""
        return dataclasses.asdict(self)

    def to_flags(self) -> str:
        """Lines for a `--flagfile` that repeats the run."""
        return flag_lines(self.to_json())

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> "Config":
        """The config of a run's config.json.

        Raises:
            ConfigError: A key that is no field, or a value out of bounds.
        """
        if "normalisation" in values:
            raise ConfigError(
                "These settings are of release 1.0.0 (`normalisation` is `normalization` since "
                "2.0.0). Train again: python -m trainer.main."
            )
        unknown = values.keys() - {field.name for field in dataclasses.fields(cls)}
        if unknown:
            raise ConfigError(f"Unknown settings {sorted(unknown)}. Was the file written by hand?")
        return cls(**values)

    @classmethod
    def read(cls, run_dir: pathlib.Path) -> "Config":
        """The config a run folder was trained with."""
        return cls.from_json(json.loads((run_dir / "config.json").read_text())["config"])


def check_folds(config: Config, folds: int, repeats: int) -> None:
    """Refuses too few folds or repeats, and settings that have no place with folds.

    Raises:
        ConfigError: The message says which.
    """
    _require(folds >= 2, "folds", folds, "2 or more")
    _require(repeats >= 1, "repeats", repeats, "1 or more")
    for name, why in (
        ("early_stopping", "a fold would choose the epoch that it scores"),
        ("as_published", "the article had no folds"),
    ):
        if getattr(config, name):
            raise ConfigError(f"--{name} has no place with folds: {why}. Leave it out.")
    if config.normalization != "imagenet":
        raise ConfigError(
            f"--normalization={config.normalization} is fitted to the images that are trained on, "
            "which differ from fold to fold. Use --normalization=imagenet."
        )


def cache_folder(cache_dir: str) -> pathlib.Path:
    """The folder that `--cache_dir` names, or the default."""
    return pathlib.Path(expanded(cache_dir or "~/.cache/covid_tfds"))


def _converted(field: dataclasses.Field, value: Any) -> Any:
    """The value as the field's own type, so that it can be written to JSON."""
    if getattr(value, "shape", None) == () and hasattr(value, "item"):  # a scalar of NumPy's
        value = value.item()
    if field.type is str and isinstance(value, (str, os.PathLike)):
        return os.fspath(value)
    if field.type is float and isinstance(value, numbers.Real) and not isinstance(value, bool):
        return float(value)
    if field.type is int and isinstance(value, numbers.Integral) and not isinstance(value, bool):
        return int(value)
    if field.type is bool and isinstance(value, (bool, numbers.Integral)) and value in (0, 1):
        return bool(value)
    wanted = {str: "text", float: "a number", int: "a whole number", bool: "True or False"}
    _require(False, field.name, value, wanted[field.type])


def _require(holds: bool, name: str, value: Any, wanted: str) -> None:
    if not holds:
        raise ConfigError(f"--{name} is {value!r}. Give {wanted}.")
