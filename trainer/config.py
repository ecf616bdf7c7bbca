"""Everything a run depends on: a frozen record, and every bound in one place.

Imports neither TensorFlow nor the dataset, so that `--helpshort` answers at once.
"""

import dataclasses
import functools
import math
import numbers
import pathlib
import re
from typing import Any

from trainer.augmentation import presets
from trainer.run.errors import ConfigError, RunError
from trainer.run.files import expanded, flag_lines, read_json
from trainer.run.records import Bounds, convert, require

BLOCKS = ("block1", "block2", "block3", "block4", "block5")
NORMALIZATIONS = ("imagenet", "featurewise", "zca")
PRECISIONS = ("auto", "float32", "mixed_bfloat16", "mixed_float16")
OPTIMIZERS = ("adam", "sgd")
DISTRIBUTIONS = ("auto", "none", "mirrored")
ALIGNMENTS = ("none", "chest")
MIN_IMAGE_SIZE = 32  # pixels; VGG16 halves an image five times
PATHS = ("data_dir", "cache_dir", "weights")
HPARAMS_FILE = "best_hparams.json"
MOST_FOLDS = 1000  # and repeats of them
MOST_SEED = 2_000_000_000  # further ones, of seeds, repeats and trials, stay below 2**31
BEFORE = {"align": "none"}  # what was done before there was such a setting, and was its default
SCHEDULES = ("constant", "cosine")
# Settings that have no effect where a choice is one of `OFF`, and what to choose in its place.
OFF = ("none", "constant")
BELONGING = {
    "fine_tune_from": ("fine_tune_epochs", "fine_tune_learning_rate",
                       "fine_tune_head_learning_rate", "fine_tune_schedule", "fine_tune_warmup"),
    "fine_tune_schedule": ("fine_tune_warmup",),
    "augmentation": ("views", *presets.STRENGTHS),
}  # fmt: skip
USUAL_CHOICE = {"fine_tune_from": "block5", "augmentation": "radiograph",
                "fine_tune_schedule": "cosine"}  # fmt: skip


@dataclasses.dataclass(frozen=True)
class Phase:
    """A part of a training with one set of trained layers and one optimizer.

    Attributes:
        name: "head" or "fine_tune".
        first_block: The first block of VGG16 that is trained; None trains the head alone.
        epochs: Numbers of its epochs, counted from 0 over the whole training.
        learning_rate: The optimizer's, or the highest of its schedule.
        head_factor: The head's learning rate in multiples of that.
        warmup: Steps of warm-up ahead of half a cosine, see `Steps`; None: the rate is constant.
    """

    name: str
    first_block: str | None
    epochs: range
    learning_rate: float
    head_factor: float = 1.0
    warmup: int | None = None

    @property
    def frozen_until(self) -> str | None:
        """Name of the last layer that stays as it is; None where all blocks are trained."""
        frozen = BLOCKS[: BLOCKS.index(self.first_block)] if self.first_block else BLOCKS
        return f"{frozen[-1]}_pool" if frozen else None


def _option(
    group: str,
    default: Any,
    short: str,
    bounds: Bounds | None = None,
    *,
    more: str = "",
    choices: tuple[str, ...] = (),
) -> Any:
    """A field with what its flag shows; see `run.definitions.define`."""
    metadata = {"group": group, "short": short, "more": more, "choices": choices, "bounds": bounds}
    return dataclasses.field(default=default, metadata=metadata)


def _is_augmentation(flag: str) -> bool:
    try:
        presets.ranges(flag)
    except ValueError:
        return False
    return True


_MOST = 1_000_000  # of what is counted: numbers beyond are slips, and some no tensor can hold
_COUNT = Bounds(f"1 to {_MOST}", lambda n: 1 <= n <= _MOST)
_RATE = Bounds("above 0, at most 1", lambda share: 0 < share <= 1)
_MEMBERS = Bounds("1 to 20", lambda n: 1 <= n <= 20)
_SHARE = Bounds("0 to below 1", lambda share: 0 <= share < 1)
_WEIGHT = Bounds("0 to 1", lambda weight: 0 <= weight <= 1)
_SIZE = Bounds(f"{MIN_IMAGE_SIZE} to 1024", lambda side: MIN_IMAGE_SIZE <= side <= 1024)
_PATIENCE = Bounds(f"0 to {_MOST}", lambda n: 0 <= n <= _MOST)
_GIB = Bounds(f"GiB, 0 to {_MOST}", lambda size: 0 <= size <= _MOST)
_PRESET = Bounds(f"one of: {presets.SYNTAX}", _is_augmentation)
_NAME = Bounds(
    "the name of a config alone, such as full, or auto",
    lambda name: re.fullmatch(r"[^\W_][\w.-]{0,99}", name) is not None,
)


def _strength(name: str) -> Any:
    most = presets.STRENGTHS[name]
    text = f"0 to {most}, or -1 for that of the preset"
    shorts = {
        "shift": "Views are shifted by up to this share",
        "zoom": "Views are scaled within 1 +- zoom",
        "contrast": "Views' contrast is within 1 +- contrast",
    }
    bounds = Bounds(text, lambda value: value == -1 or 0 <= value <= most)
    return _option("augmentation", -1.0, shorts[name], bounds, more="0 is none.")


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
        "data", 4, "The first so many of the dataset", Bounds("2 or more", lambda n: n >= 2),
        more="Of the public images 2 are healthy and covid19, 3 add bacterial, 4 viral.",
    )  # fmt: skip
    dataset: str = _option(
        "data", "auto", "The one that was built, by its name", _NAME,
        more="A config of covid_tfds: full, article, article_grouped, phantom, folder or one of "
        "your own. auto takes full, else article, else phantom, and says which.",
    )  # fmt: skip
    data_dir: str = _option("data", "", "Where datasets are; else TFDS' own folder",
                            more="Without it $TFDS_DATA_DIR counts.")  # fmt: skip
    cache_dir: str = _option("data", "", "Cached rows; else ~/.cache/covid_tfds",
                             more="And activations, squares, converted weights.")  # fmt: skip
    cache_gib: float = _option(
        "data", 20.0, "What the cache may take", _GIB,
        more="It is that of squares and activations; the least recently used go first.",
    )  # fmt: skip
    image_size: int = _option("data", 150, "Side of the square images, in pixels", _SIZE)
    align: str = _option(
        "data", "chest", "how images are framed", choices=ALIGNMENTS,
        more="chest: each image is scaled and shifted until its lungs lie as those of a fixed "
        "template, inside the saved network, too; none: the whole image.",
    )  # fmt: skip
    batch_size: int = _option("training", 32, "Images a step", _COUNT)
    epochs: int = _option("training", 40, "Epochs of the head on the frozen base", _COUNT)
    optimizer: str = _option("training", "adam", "", choices=OPTIMIZERS,
                             more="sgd has Nesterov's momentum of 0.9.")  # fmt: skip
    learning_rate: float = _option("training", 1e-4, "The head's learning rate", _RATE)
    weight_decay: float = _option(
        "training", 0.0, "Of trained kernels, decoupled", _WEIGHT, more="AdamW's, times the rate."
    )
    head_units: int = _option("network", 256, "Units of the dense layer", _COUNT)
    pooling: str = _option("network", "flatten", "ahead of the head",
                           choices=("flatten", "average", "max"))  # fmt: skip
    dropout: float = _option("network", 0.5, "Share of the head's units dropped", _SHARE,
                             more="In training alone.")  # fmt: skip
    ensemble: int = _option(
        "network", 1, "Members whose probabilities are averaged", _MEMBERS,
        more="Each has a head, and blocks that are fine-tuned, of its own; what is frozen is "
        "passed once for all. They train side by side and are one saved network.",
    )  # fmt: skip
    l2: float = _option("network", 0.0, "Weight of the head's squared kernels", _WEIGHT,
                        more="In the loss.")  # fmt: skip
    label_smoothing: float = _option(
        "training", 0.0, "Share of a label spread over all classes", _SHARE
    )
    augmentation: str = _option(
        "augmentation", "none", "none|article|radiograph, see --help", _PRESET,
        more="article: rotation 50, shifts 20 %, flips and so on; radiograph: milder, without "
        "flips.",
    )  # fmt: skip
    shift: float = _strength("shift")
    zoom: float = _strength("zoom")
    contrast: float = _strength("contrast")
    normalization: str = _option(
        "data", "imagenet", "", choices=NORMALIZATIONS,
        more="imagenet: subtract its mean; featurewise: standardise, zca: whiten, both fitted on "
        "the train images.",
    )  # fmt: skip
    views: int = _option(
        "augmentation", 8, "Views an image, cached; 0: ever new ones",
        Bounds("0 to 1000", lambda n: 0 <= n <= 1000),
        more="They are passed through the frozen part once, and used in turn by the epochs. 0 "
        "makes a new view each epoch, which goes through the whole network.",
    )  # fmt: skip
    width: float = _option("network", 1.0, "Share of VGG16's channels, for trials", _RATE,
                           more="Other than 1 needs --weights=none.")  # fmt: skip
    weights: str = _option("network", "imagenet", "What VGG16 starts from: imagenet|none|FILE",
                           Bounds("imagenet, none or a file", bool),
                           more="none is random; a Keras file has VGG16's layers.")  # fmt: skip
    precision: str = _option("machine", "auto", "", choices=PRECISIONS,
                             more="auto takes what the hardware does well.")  # fmt: skip
    autotune: bool = _option(
        "machine", False, "Measure which precision is fastest here",
        more="For some seconds, with and without XLA.",
    )  # fmt: skip
    fine_tune_from: str = _option("training", "none", "", choices=("none", *BLOCKS),
                                  more="Then VGG16 is trained from this block up. none keeps it "
                                  "frozen.")  # fmt: skip
    fine_tune_epochs: int = _option("training", 5, "Epochs of fine-tuning", _COUNT,
                                    more="With --fine_tune_from.")  # fmt: skip
    fine_tune_learning_rate: float = _option("training", 1e-5, "Learning rate of fine-tuning",
                                             _RATE)  # fmt: skip
    fine_tune_head_learning_rate: float = _option(
        "training", 0.0, "The head's then; 0: the same", _WEIGHT,
        more="0 takes --fine_tune_learning_rate for the head, too.",
    )  # fmt: skip
    fine_tune_schedule: str = _option(
        "training", "constant", "", choices=SCHEDULES,
        more="Of fine-tuning's rates. cosine: a warm-up, then half a cosine to 0 at the last step.",
    )  # fmt: skip
    fine_tune_warmup: int = _option(
        "training", 150, "Steps of warm-up, with cosine", _PATIENCE,
        more="The rate rises from 0 in a line. It takes at most half of fine-tuning's steps.",
    )  # fmt: skip
    class_weights: str = _option(
        "training", "none", "in the loss", choices=("none", "balanced"),
        more="balanced: every class weighs the same.",
    )  # fmt: skip
    early_stopping: int = _option(
        "training", 0, "Epochs without a better one; 0: never", _PATIENCE,
        more="A phase ends after so many without a better validation.",
    )  # fmt: skip
    checkpoint_every: float = _option(
        "machine", 60.0, "Seconds between two saved states",
        Bounds("seconds, 0 or more", lambda seconds: 0 <= seconds < math.inf),
        more="A training goes on from the last after a kill.",
    )  # fmt: skip
    distribute: str = _option(
        "machine", "auto", "over accelerators", choices=DISTRIBUTIONS,
        more="mirrored: each batch is divided among all accelerators of this machine; auto does "
        "so where there are several.",
    )  # fmt: skip
    seed: int = _option("training", 1, "Of weights, order, dropout, augmentation",
                        Bounds("0 to 2000000000", lambda seed: 0 <= seed <= MOST_SEED))  # fmt: skip
    deterministic: bool = _option("machine", False, "Bit-equal runs, somewhat slower")
    test: bool = _option(
        "output", True, "Score the test split; --notest: not yet",
        more="--notest reads no image of test and control, so that settings can be chosen without "
        "them. The same command on the same --run_dir with --test then scores the run that ended.",
    )  # fmt: skip
    as_published: bool = _option(
        "output", False, "Beside each number the 2020 article's",
        more="How it would have read the number, that is.",
    )  # fmt: skip

    def __post_init__(self) -> None:
        """Checks every field, then the fields against each other."""
        convert(self)
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            choices, bounds = field.metadata["choices"], field.metadata["bounds"]
            if choices:
                require(value in choices, field.name, value, "one of " + ", ".join(choices))
            if bounds:
                require(bounds.hold(value), field.name, value, bounds.text)
        for name in PATHS:
            self._expand(name)
        self._check_together()

    def _expand(self, name: str) -> None:
        try:
            object.__setattr__(self, name, expanded(getattr(self, name)))
        except RunError as error:
            raise ConfigError(f"--{name} can't be used: {error}") from None

    def _check_together(self) -> None:
        for choice, belonging in BELONGING.items():
            for name in belonging if getattr(self, choice) in OFF else ():
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
        for both, why in (
            (self.as_published and self.ensemble > 1, "--as_published reads the one network of the "
             f"article, and --ensemble is {self.ensemble}"),
            (self.as_published and not self.test, "--as_published reads test images as the article "
             "did, and --notest leaves them unread"),
            (self.deterministic and self.autotune, "--deterministic repeats a run bit by bit, and "
             "--autotune may measure another precision each time"),
        ):  # fmt: skip
            if both:
                raise ConfigError(f"{why}. Leave one of them out.")

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
        rate = self.fine_tune_learning_rate
        factor = (self.fine_tune_head_learning_rate or rate) / rate
        warmup = self.fine_tune_warmup if self.fine_tune_schedule == "cosine" else None
        return head, Phase("fine_tune", self.fine_tune_from, later, rate, factor, warmup)

    def to_json(self) -> dict[str, Any]:
        """A JSON-able dictionary; `from_json` undoes it."""
        return dataclasses.asdict(self)

    def to_flags(self) -> str:
        """Lines for a `--flagfile` that repeats the run."""
        return flag_lines(self.to_json())

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> "Config":
        """The config of a run's config.json, of an earlier revision's, too.

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
        return cls(**{**BEFORE, **values})

    @classmethod
    def read(cls, run_dir: pathlib.Path) -> "Config":
        """The config a run folder was trained with."""
        mend = "Put back a copy of it: the command that began the run writes it again."
        return cls.from_json(read_json(run_dir / "config.json", "config", mend=mend)["config"])


def check_folds(config: Config, folds: int, repeats: int, name: str = "repeats") -> None:
    """Refuses too few folds or repeats, and settings that have no place with folds.

    Args:
        config: Of each fold.
        folds: How many.
        repeats: Of them.
        name: What the flag of the repeats is called.

    Raises:
        ConfigError: The message says which.
    """
    for flag, value, least in (("folds", folds, 2), (name, repeats, 1)):
        whole = isinstance(value, numbers.Integral) and not isinstance(value, bool)
        holds = whole and least <= value <= MOST_FOLDS
        require(holds, flag, value, f"{least} to {MOST_FOLDS}")
    for name, why in (
        ("early_stopping", "a fold would choose the epoch that it scores"),
        ("as_published", "the article had no folds"),
    ):
        if getattr(config, name):
            raise ConfigError(f"--{name} has no place with folds: {why}. Leave it out.")
    if not config.test:
        raise ConfigError(
            "--notest has no place with folds: they never read the test split. Leave it out."
        )
    if config.normalization != "imagenet":
        raise ConfigError(
            f"--normalization={config.normalization} is fitted to the images that are trained on, "
            "which differ from fold to fold. Use --normalization=imagenet."
        )


def cache_folder(cache_dir: str) -> pathlib.Path:
    """The folder that `--cache_dir` names, or the default."""
    return pathlib.Path(expanded(cache_dir or "~/.cache/covid_tfds"))
