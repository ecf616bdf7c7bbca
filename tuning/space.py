"""What is searched: each parameter declared once, from its flag, checked before anything starts.

A flag holds one value (`256`: fixed), a range (`64:1024:log2`: searched) or choices
(`none,radiograph`: searched). `--search` names parameters to search over their usual ranges.
"""

import dataclasses
import itertools
from collections.abc import Mapping
from typing import Any

from absl import flags

from trainer import config as config_lib
from trainer import config_flags
from trainer.augmentation import presets
from trainer.config import BELONGING, OFF, Config
from trainer.run.definitions import define
from trainer.run.errors import ConfigError

# What can be searched, and where it is searched unless its flag says otherwise. What changes the
# views of an image has few steps: each distinct value costs passes of the frozen part.
USUAL = {
    "head_units": "64:1024:log2",
    "learning_rate": "1e-5:1e-2:log",
    "optimizer": "adam,sgd",
    "weight_decay": "1e-3:1:log",
    "dropout": "0:0.7:0.1",
    "l2": "1e-6:1e-2:log",
    "pooling": "flatten,average,max",
    "batch_size": "8:64:log2",
    "label_smoothing": "0:0.2:0.05",
    "image_size": "112,150,224",
    "align": "none,chest",
    "fine_tune_from": "none,block5",
    "augmentation": "none,radiograph",
    "views": "2:16:log2",
    "shift": "0:0.12:0.03",
    "zoom": "0:0.2:0.05",
    "contrast": "0:0.4:0.1",
}
_SEARCHED = ("head_units", "learning_rate")
# Every other combination of these has rows of its own in the cache.
_COSTLY = ("image_size", "align", "augmentation", *presets.STRENGTHS)
SYNTAX = (
    "one value, a range LOW:HIGH:SCALE (SCALE is linear, log, log2, log10 or a step), or choices "
    "A,B,C"
)
_FACTORS = {"log2": 2, "log10": 10}
_MOST_STEPS = 1000  # all of them are written with every trial
_FIELDS: dict[str, Any] = {  # dataclasses.Field, whose type is no text here
    field.name: field
    for field in dataclasses.fields(Config)
    if field.name not in config_flags.OF_RUNS
}


@dataclasses.dataclass(frozen=True)
class Parameter:
    """A searched setting of the trainer's `Config`.

    Attributes:
        name: Of the field.
        choices: Its values, or () for a range.
        low, high: Ends of the range, both in it.
        scale: `linear`, `log`, `log2`, `log10` or a step as text; "" for choices.
    """

    name: str
    choices: tuple[Any, ...] = ()
    low: float = 0.0
    high: float = 0.0
    scale: str = ""

    @property
    def log(self) -> bool:
        """Whether equal ratios, not equal differences, are equally likely."""
        return self.scale.startswith("log")

    @property
    def ends(self) -> tuple[Any, ...]:
        """Values that have to be allowed for all to be."""
        return self.choices or (self.low, self.high)

    def default(self, preset: presets.Ranges | None = None) -> Any:
        """The trainer's default; where it can't be drawn, the nearest number or first choice.

        Args:
            preset: Its strengths are what the trainer's defaults of strengths stand for.
        """
        value = _FIELDS[self.name].default
        if self.holds(value):
            return value
        if isinstance(value, str):
            return self.ends[0]
        if preset is not None and self.name in presets.STRENGTHS:
            value = getattr(preset, self.name)
        return min(self.values or self.ends, key=lambda drawn: abs(drawn - value))

    def holds(self, value: Any) -> bool:
        """Whether the value can be drawn."""
        if self.values:
            return value in self.values
        return self.low <= value <= self.high

    @property
    def values(self) -> tuple[Any, ...]:
        """All that can be drawn where that is countable by its flag: choices, or steps; else ()."""
        if self.choices or self.scale in ("linear", "log"):
            return self.choices
        kind, values = _FIELDS[self.name].type, []
        for step in itertools.count():
            if self.log:
                value = self.low * _FACTORS[self.scale] ** step
            else:
                value = self.low + float(self.scale) * step
            if value > self.high * (1 + 1e-9):
                break
            values.append(kind(float(f"{value:.12g}")))  # .3, not .30000000000000004
        return tuple(values)

    def declare(self, hp: Any, default: Any) -> None:
        """Declares the parameter in a `keras_tuner.HyperParameters`.

        Steps are declared as choices: KerasTuner counts those of 0:0.7:0.1 by floor division, and
        loses the last.

        Args:
            hp: Where it is declared.
            default: As of `default`.
        """
        if self.values:
            hp.Choice(self.name, list(self.values), default=default)
            return
        make = hp.Int if _FIELDS[self.name].type is int else hp.Float
        sampling = "log" if self.log else "linear"
        make(self.name, self.low, self.high, sampling=sampling, default=default)

    def __str__(self) -> str:
        """As its flag has it."""
        return ",".join(map(str, self.choices)) or f"{self.low:.12g}:{self.high:.12g}:{self.scale}"


@dataclasses.dataclass(frozen=True)
class Space:
    """All searched parameters, and what the trainer's other settings are.

    Attributes:
        parameters: In the order of `USUAL`.
        fixed: Every other field of `Config` by name.
    """

    parameters: tuple[Parameter, ...]
    fixed: Mapping[str, Any]

    @classmethod
    def of(cls, config: Config, space: Mapping[str, str]) -> "Space":
        """A space around a config, for notebooks.

            >>> space = Space.of(Config(classes=2), {"head_units": "64,256", "dropout": "0.3"})
            >>> space.texts()
            {'head_units': '64,256'}
            >>> space.config({"head_units": 64}).dropout
            0.3

        Args:
            config: What all fields have that `space` does not name.
            space: By name of the field, what its flag would hold: a range, choices or one value.

        Raises:
            ConfigError: A text can't be read, or the trainer refuses a value.
        """
        unknown = [str(name) for name in space if name not in USUAL]
        if unknown:
            raise _unknown("The space", unknown)
        for name, text in space.items():
            if not isinstance(text, str):
                raise ConfigError(
                    f"{name} is {text!r} in the space. Give text, for example {USUAL[name]!r}."
                )
        if not config.test:
            raise ConfigError(
                "--notest has no place here: trials never read the test split. Leave it out."
            )
        return cls._of({name: getattr(config, name) for name in _FIELDS}, space)

    @classmethod
    def _of(cls, settings: Mapping[str, Any], texts: Mapping[str, str]) -> "Space":
        """A checked space of all settings and of what some flags hold in their place."""
        parsed = {name: parse(name, texts[name]) for name in USUAL if name in texts}
        parameters = tuple(each for each in parsed.values() if isinstance(each, Parameter))
        if not parameters:
            raise ConfigError(
                "Every parameter is fixed, so there is nothing to search. Give a range, such as "
                f"--head_units={USUAL['head_units']}."
            )
        settings = {**settings, **parsed}
        for parameter in parameters:
            settings.pop(parameter.name)
        space = cls(parameters, settings)
        space.check()
        return space

    def declare(self, hp: Any) -> None:
        """Declares every parameter in a `keras_tuner.HyperParameters`."""
        defaults = self.defaults()
        for parameter in self.parameters:
            parameter.declare(hp, defaults[parameter.name])

    def defaults(self) -> dict[str, Any]:
        """By name, the default of each parameter; `Parameter.default` says which."""
        preset = self._preset
        return {parameter.name: parameter.default(preset) for parameter in self.parameters}

    @property
    def _preset(self) -> presets.Ranges | None:
        """Of the augmentation, the first that is one where it is searched; None without one."""
        searched = {parameter.name: parameter.choices for parameter in self.parameters}
        choices = searched.get("augmentation", (self.fixed.get("augmentation", "none"),))
        named = next((choice for choice in choices if choice not in OFF), "none")
        return presets.PRESETS.get(named.partition("+")[0])

    def config(self, values: Mapping[str, Any]) -> Config:
        """The trainer's config of some values; equal wherever the same would be trained.

        Args:
            values: By name, of some parameters; the others have their defaults. Of a tuner's own,
                `tuner/epochs` counts, and the others do not. Where a searched choice is "none",
                what belongs to it does not count either.

        Raises:
            ConfigError: The trainer refuses them.
        """
        names = {parameter.name for parameter in self.parameters}
        settings = {**self.fixed, **self.defaults()}
        settings |= {name: value for name, value in values.items() if name in names}
        if "tuner/epochs" in values:
            settings["epochs"] = int(values["tuner/epochs"])
        for choice in names & BELONGING.keys():
            if settings[choice] in OFF:
                for each in BELONGING[choice]:
                    settings.pop(each, None)
        config, strengths = Config(**settings), names & presets.STRENGTHS.keys()
        if config.augmentation_ranges is None:
            return config
        ranges = config.augmentation_ranges  # -1 and what it stands for are one value
        return dataclasses.replace(config, **{name: getattr(ranges, name) for name in strengths})

    def effective(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """By parameter, its value in the config of some values; None where it has no effect.

        Args:
            values: See `config`.
        """
        config = self.config(values)
        shown = {parameter.name: getattr(config, parameter.name) for parameter in self.parameters}
        for choice in shown.keys() & BELONGING.keys():
            if shown[choice] in OFF:
                shown |= dict.fromkeys(shown.keys() & set(BELONGING[choice]))
        return shown

    def unsearched(self) -> Config:
        """The trainer's config without a search: its defaults, in the space or not."""
        return self.config({p.name: _FIELDS[p.name].default for p in self.parameters})

    def check(self) -> None:
        """Has the trainer check the ends of every range and every choice.

        Raises:
            ConfigError: It refuses one, or a parameter has no effect.
        """
        names = {parameter.name for parameter in self.parameters}
        for choice, belonging in BELONGING.items():
            idle = [name for name in belonging if name in names]
            if idle and self.fixed.get(choice) in OFF:
                usual = config_lib.USUAL_CHOICE[choice]
                raise ConfigError(
                    f"A search over {', '.join(idle)} has no effect without --{choice}. Add "
                    f"--{choice}={usual}, or --{choice}=none,{usual} to search that, too."
                )
        choices = [p for p in self.parameters if p.name in BELONGING]
        for values in itertools.product(*(p.choices for p in choices)):
            chosen = dict(zip((p.name for p in choices), values, strict=True))
            for parameter in self.parameters:
                for value in parameter.ends:
                    self.config({parameter.name: value, **chosen})

    def texts(self) -> dict[str, str]:
        """Each parameter as its flag has it."""
        return {parameter.name: str(parameter) for parameter in self.parameters}


def define_flags(values: flags.FlagValues = flags.FLAGS) -> None:
    """Defines the trainer's flags, those of what can be searched in the space's own words."""
    config_flags.define_flags(values, without=(*USUAL, *config_flags.OF_RUNS))
    define(
        "search", "", "Names to search over their usual ranges", "search",
        more=f"Default: {','.join(_SEARCHED)}. Any of: {', '.join(USUAL)}. Each distinct "
        f"combination of {', '.join(_COSTLY)} costs passes of all its views through the frozen "
        "part, so their usual ranges have few steps.",
        shown=",".join(_SEARCHED), values=values,
    )  # fmt: skip
    for name, usual in USUAL.items():
        shown = config_flags.shown_of(_FIELDS[name])
        shown["more"] += f" {SYNTAX[0].upper()}{SYNTAX[1:]}. Usual range: {usual}."
        shown["shown"] = usual if name in _SEARCHED else _FIELDS[name].default
        define(name, "", values=values, **shown)


def from_flags(values: flags.FlagValues) -> Space:
    """The space that the parsed flags declare.

    Raises:
        ConfigError: A flag can't be read, contradicts another, or the trainer refuses a value.
    """
    search = values["search"].value or ""
    named = [name.strip() for name in search.split(",") if name.strip()]
    unknown = [name for name in named if name not in USUAL]
    if unknown:
        raise _unknown("--search", unknown)
    given: dict[str, str]
    given = {name: text for name in USUAL if (text := values[name].value)}
    for name in named:
        if name in given and not isinstance(parse(name, given[name]), Parameter):
            raise ConfigError(
                f"--search names {name}, and --{name}={given[name]} fixes it. Leave one of them "
                f"out, or give a range such as {USUAL[name]}."
            )
    others = {n: f.default if n in USUAL else values[n].value for n, f in _FIELDS.items()}
    return Space._of(others, {**{name: USUAL[name] for name in named or _SEARCHED}, **given})


def parse(name: str, text: str) -> Parameter | Any:
    """A range or choices as a `Parameter`, a single value as itself.

    Raises:
        ConfigError: The text is none of them.
    """
    if "," in text:
        choices = tuple(_read(name, part, text) for part in text.split(","))
        if len(set(choices)) < len(choices):
            raise ConfigError(f"--{name}={text} names a choice twice. Name each once.")
        return Parameter(name, choices=choices)
    if ":" not in text:
        return _read(name, text, text)
    parts = text.split(":")
    if len(parts) != 3 or _FIELDS[name].type is str:
        raise _unread(name, text)
    low, high = (_read(name, part, text) for part in parts[:2])
    scale = parts[2]
    if not low < high:
        raise ConfigError(f"--{name}={text} ends below its start. Give LOW:HIGH with LOW < HIGH.")
    if scale in ("log", *_FACTORS):
        if low <= 0:
            raise ConfigError(
                f"--{name}={text} begins at {low:g}, which has no logarithm. Begin above 0."
            )
    elif scale != "linear":
        step = _read(name, scale, text)
        if not 0 < step <= high - low:
            raise ConfigError(
                f"--{name}={text} has a step of {step:g}. Give one above 0 and within the range."
            )
        if (high - low) / step > _MOST_STEPS:
            raise ConfigError(
                f"--{name}={text} has more than {_MOST_STEPS} steps. Give a larger one, or linear."
            )
    return Parameter(name, low=low, high=high, scale=scale)


def _read(name: str, part: str, text: str) -> Any:
    try:
        return _FIELDS[name].type(part)
    except ValueError:
        raise _unread(name, text) from None


def _unread(name: str, text: str) -> ConfigError:
    return ConfigError(
        f"--{name}={text} can't be read. Give {SYNTAX}, for example --{name}={USUAL[name]}."
    )


def _unknown(where: str, names: list[str]) -> ConfigError:
    return ConfigError(
        f"{where} names {', '.join(names)}, which can't be searched. Choose from: "
        f"{', '.join(USUAL)}."
    )
