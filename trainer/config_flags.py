"""The flags of a config, and a config of the flags that were given."""

import dataclasses
import json
import pathlib
from collections.abc import Collection
from typing import Any

from absl import flags

from trainer.config import BELONGING, HPARAMS_FILE, OFF, Config
from trainer.run.definitions import define
from trainer.run.errors import ConfigError
from trainer.run.files import expanded

OF_RUNS = ("test",)  # fields that are no flag of a command that never scores the test split


def define_flags(values: flags.FlagValues = flags.FLAGS, *, without: Collection[str] = ()) -> None:
    """Defines one absl flag a field, but for those that are named."""
    for field in dataclasses.fields(Config):
        if field.name not in without:
            define(field.name, field.default, values=values, **shown_of(field))


def shown_of(field: dataclasses.Field) -> dict[str, Any]:
    """What `define` shows of a field of `Config`."""
    bounds = field.metadata["bounds"]
    return {**field.metadata, "bounds": bounds.text if bounds else ""}


def define_hparams_flag(values: flags.FlagValues = flags.FLAGS) -> None:
    """Defines `--hparams`, with which a training takes the best values of a search."""
    define(
        "hparams", "", f"A search's {HPARAMS_FILE}: train so", "training",
        more="It is trained as its best trial was. Flags beside it change that.", values=values,
    )  # fmt: skip


def define_network_flag(values: flags.FlagValues = flags.FLAGS) -> None:
    """Defines `--run`, with which a command takes a trained network; see `network_of`."""
    define("run", "", "Folder of a run, or a model.keras", "network", values=values)


def network_of(values: flags.FlagValues) -> str:
    """What `--run` names, unseen.

    Raises:
        ConfigError: It was not given.
    """
    if not values["run"].value:
        raise ConfigError("--run is missing. Give the folder of a run, or a model.keras.")
    return values["run"].value


def define_run_flags(values: flags.FlagValues = flags.FLAGS) -> None:
    """Defines the two flags that say where a run goes."""
    define(
        "run_dir", "", "Its folder; else a new one in runs/", "output",
        more="That is called DATASET-CLASSES-TIME, with crossval- before it of a cross-validation.",
        values=values,
    )  # fmt: skip
    define("overwrite", False, "Replace a run that is in the folder", "output", values=values)


def define_profile_flag(values: flags.FlagValues = flags.FLAGS) -> None:
    """Defines `--profile`, which traces steps of a training."""
    define(
        "profile", "", "Steps START,STOP to trace, for TensorBoard", "output",
        bounds="two whole numbers, 1 or more, the second not below the first",
        more="Steps are counted from 1 where the command begins, and traced in whole calls (up "
        "to 32 steps where only the head is trained). python -m pip install -e '.[profile]', in "
        "the checkout, brings what shows the trace.",
        values=values,
    )  # fmt: skip


def steps_of(profile: str) -> range | None:
    """The steps that `--profile` names; None where it is empty.

    Raises:
        ConfigError: It is no pair of steps.
    """
    if not profile:
        return None
    first, comma, last = profile.partition(",")
    if comma and first.isdecimal() and last.isdecimal() and 1 <= int(first) <= int(last):
        return range(int(first), int(last) + 1)
    raise ConfigError(
        f"--profile={profile} is no pair of steps. Give START,STOP, two whole numbers from 1 on, "
        "the second not below the first."
    )


def from_flags(values: flags.FlagValues) -> Config:
    """The config that the parsed flags describe.

    Raises:
        ConfigError: As for `Config`.
    """
    names = [field.name for field in dataclasses.fields(Config) if field.name in values]
    given: dict[str, Any] = {name: values[name].value for name in names}
    return Config(**given)


def from_flags_and_hparams(values: flags.FlagValues) -> tuple[Config, dict[str, Any] | None]:
    """The config of the flags over that of the search which `--hparams` names, if any.

    Returns:
        The config; and where it comes from, for config.json: the file, the search, its best trial's
        values and score, and `changed`, the searched values that flags replaced. None without
        `--hparams`.

    Raises:
        ConfigError: As for `Config`, or the file is not what a search writes.
    """
    if not values["hparams"].value:
        return from_flags(values), None
    best, origin = _read_hparams(pathlib.Path(expanded(values["hparams"].value)))
    names = [field.name for field in dataclasses.fields(Config)]
    given = {name: values[name].value for name in names if values[name].present}
    # What the search found for a choice that a flag turns off has no effect, and was not given.
    off = [each for each in BELONGING if given.get(each) in OFF]
    idle = {name for each in off for name in BELONGING[each]} - given.keys()
    best = {name: value for name, value in best.items() if name not in idle}
    changed = {
        name: {"search": origin["values"][name], "flag": flag}
        for name, flag in given.items()
        if name in origin["values"] and origin["values"][name] != flag
    }
    return Config(**{**best, **given}), {**origin, "changed": changed}


def _read_hparams(path: pathlib.Path) -> tuple[dict[str, Any], dict[str, Any]]:
    give = f"Give the {HPARAMS_FILE} of a search."
    try:
        origin = _table(json.loads(path.read_text(encoding="utf-8")), "the file")
        best, values = (_table(origin[name], f"`{name}`") for name in ("config", "values"))
        best = Config.from_json(best).to_json()
    except OSError as error:
        raise ConfigError(f"--hparams={path} can't be read ({error.strerror}). {give}") from None
    except (ValueError, KeyError, RecursionError) as error:
        reason = f"it has no {error}" if isinstance(error, KeyError) else error
        raise ConfigError(
            f"--hparams={path} is not what a search writes ({reason}). {give}"
        ) from None
    rest = {name: value for name, value in origin.items() if name != "config"}
    return best, {"file": str(path), **rest, "values": values}


def _table(value: Any, what: str) -> dict[str, Any]:
    """The value, if it is what JSON writes in braces."""
    if not isinstance(value, dict):
        raise ValueError(f"{what} is no table of names and values")
    return value
