"""Everything a run depends on: a frozen record, its flags, and every bound in one place.

Imports neither TensorFlow nor the dataset, so that `--helpshort` answers at once.
"""

import dataclasses
import json
import pathlib
from collections.abc import Collection
from typing import Any

from absl import flags

from trainer.augmentation import presets

CLASSES = (2, 3, 4)
BLOCKS = ("block1", "block2", "block3", "block4", "block5")
NORMALIZATIONS = ("imagenet", "featurewise", "zca")
PRECISIONS = ("auto", "float32", "mixed_bfloat16", "mixed_float16")
MIN_IMAGE_SIZE = 32  # pixels; VGG16 halves an image five times
CACHE_HELP = (
    "Where converted weights and the frozen part's activations are kept. "
    "Default: ~/.cache/covid_tfds."
)


class ConfigError(ValueError):
    """A flag, or two flags together, that make no sense; the message says how to mend it."""


def _option(default: Any, text: str, choices: tuple[str, ...] = ()) -> Any:
    return dataclasses.field(default=default, metadata={"help": text, "choices": choices})


@dataclasses.dataclass(frozen=True)
class Config:
    """A training run. One field is one flag; the field's help is the flag's.

    Raises:
        ConfigError: A value out of bounds, or values that contradict each other.
    """

    classes: int = _option(4, "2: healthy, covid19; 3: and bacterial; 4: and viral.")
    dataset: str = _option(
        "auto",
        "Config of covid_tfds that was built: full, article, article_grouped, phantom, folder or "
        "one of your own. auto takes full, else article, else phantom, and says which.",
    )
    data_dir: str = _option("", "Where datasets are. Default: $TFDS_DATA_DIR or TFDS' own.")
    cache_dir: str = _option("", CACHE_HELP)
    cache_gib: float = _option(
        20.0, "GiB the kept activations may take; the least recently used are removed first."
    )
    image_size: int = _option(150, "Pixels of a side of the square that images are scaled to.")
    batch_size: int = _option(32, "Images a step.")
    epochs: int = _option(40, "Epochs of the head on the frozen base.")
    learning_rate: float = _option(1e-4, "Adam's rate for the head.")
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
    normalization: str = _option(
        "imagenet",
        "imagenet: subtract its mean; featurewise: standardise, zca: whiten, both fitted on the "
        "train images.",
        NORMALIZATIONS,
    )
    views: int = _option(
        8,
        "Augmented views of each image, passed through the frozen part once, kept in --cache_dir "
        "and taken in turn by the epochs. 0: a new view each epoch, through the whole network.",
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
    fine_tune_learning_rate: float = _option(1e-5, "Adam's rate in fine-tuning.")
    class_weights: str = _option(
        "none", "balanced: every class weighs the same in the loss.", ("none", "balanced")
    )
    early_stopping: int = _option(
        0, "End a phase after so many epochs without a better validation. 0: never."
    )
    seed: int = _option(1, "Of weights, order, dropout and augmentation.")
    deterministic: bool = _option(False, "Bit-equal runs, somewhat slower.")
    as_published: bool = _option(
        False, "Print beside each number how the 2020 article would have read it."
    )

    def __post_init__(self) -> None:
        """Checks every field, then the fields against each other."""
        _require(self.classes in CLASSES, "classes", self.classes, "2, 3 or 4")
        for field in dataclasses.fields(self):
            choices, value = field.metadata["choices"], getattr(self, field.name)
            if choices:
                _require(value in choices, field.name, value, "one of " + ", ".join(choices))
        try:
            presets.ranges(self.augmentation)
        except ValueError:
            _require(False, "augmentation", self.augmentation, f"one of: {presets.SYNTAX}")
        low = MIN_IMAGE_SIZE
        _require(low <= self.image_size <= 1024, "image_size", self.image_size, f"{low} to 1024")
        for name in ("batch_size", "epochs", "head_units", "fine_tune_epochs"):
            _require(getattr(self, name) >= 1, name, getattr(self, name), "1 or more")
        for name in ("learning_rate", "fine_tune_learning_rate"):
            _require(0 < getattr(self, name) <= 1, name, getattr(self, name), "above 0, at most 1")
        for name in ("dropout", "label_smoothing"):
            _require(0 <= getattr(self, name) < 1, name, getattr(self, name), "0 to below 1")
        _require(0 <= self.l2 <= 1, "l2", self.l2, "0 to 1")
        _require(self.early_stopping >= 0, "early_stopping", self.early_stopping, "0 or more")
        _require(self.cache_gib >= 0, "cache_gib", self.cache_gib, "0 or more")
        _require(0 <= self.views <= 1000, "views", self.views, "0 to 1000")
        _require(0 <= self.seed < 2**31, "seed", self.seed, "0 to 2147483647")
        _require(bool(self.dataset), "dataset", self.dataset, "a name, or auto")
        self._check_together()

    def _check_together(self) -> None:
        if self.fine_tune_from == "none":
            for name in ("fine_tune_epochs", "fine_tune_learning_rate"):
                if getattr(self, name) != getattr(type(self), name):
                    raise ConfigError(
                        f"--{name}={getattr(self, name)} has no effect without --fine_tune_from. "
                        "Add --fine_tune_from=block5, or leave it out."
                    )
        if self.augmentation == "none" and self.views != type(self).views:
            raise ConfigError(
                f"--views={self.views} has no effect without --augmentation. "
                "Add --augmentation=radiograph, or leave it out."
            )
        if self.as_published and self.augmentation != "article":
            raise ConfigError(
                f"--as_published reads validation through the article's augmentation, and "
                f"--augmentation is {self.augmentation}. Add --augmentation=article."
            )

    def to_json(self) -> dict[str, Any]:
        """A JSON-able dictionary; `from_json` undoes it."""
        return dataclasses.asdict(self)

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> "Config":
        """The config of a run's config.json.

        Raises:
            ConfigError: A key that is no field, or a value out of bounds.
        """
        unknown = values.keys() - {field.name for field in dataclasses.fields(cls)}
        if unknown:
            raise ConfigError(f"Unknown settings {sorted(unknown)}. Was the file written by hand?")
        return cls(**values)

    @classmethod
    def read(cls, run_dir: pathlib.Path) -> "Config":
        """The config a run folder was trained with."""
        return cls.from_json(json.loads((run_dir / "config.json").read_text())["config"])


def define_flags(values: flags.FlagValues = flags.FLAGS, *, without: Collection[str] = ()) -> None:
    """Defines one absl flag a field, but for those that are named."""
    define = {
        bool: flags.DEFINE_boolean,
        int: flags.DEFINE_integer,
        float: flags.DEFINE_float,
        str: flags.DEFINE_string,
    }
    for field in dataclasses.fields(Config):
        if field.name in without:
            continue
        choices = field.metadata["choices"]
        text = field.metadata["help"] + (f" One of {', '.join(choices)}." if choices else "")
        define[field.type](field.name, field.default, text, flag_values=values)


def define_run_flags(values: flags.FlagValues = flags.FLAGS) -> None:
    """Defines the two flags that say where a run goes."""
    flags.DEFINE_string(
        "run_dir", "", "Folder of the run. Default: runs/DATASET-CLASSES-TIME.", flag_values=values
    )
    flags.DEFINE_boolean("overwrite", False, "Replace an existing run folder.", flag_values=values)


def from_flags(values: flags.FlagValues) -> Config:
    """The config that the parsed flags ask for.

    Raises:
        ConfigError: As for `Config`.
    """
    return Config(**{field.name: values[field.name].value for field in dataclasses.fields(Config)})


def cache_folder(cache_dir: str) -> pathlib.Path:
    """The folder that `--cache_dir` names, or the default."""
    return pathlib.Path(cache_dir or "~/.cache/covid_tfds").expanduser()


def _require(holds: bool, name: str, value: Any, wanted: str) -> None:
    if not holds:
        raise ConfigError(f"--{name} is {value!r}. Give {wanted}.")
