"""The flags of a config, and a config of the flags that were given."""

import dataclasses
import json
import pathlib
from collections.abc import Collection, Mapping
from typing import Any

from absl import flags

from trainer.config import HPARAMS_FILE, Config
from trainer.run.errors import ConfigError
from trainer.run.files import expanded


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


def define_hparams_flag(values: flags.FlagValues = flags.FLAGS) -> None:
    """Defines `--hparams`, with which a training takes the best values of a search."""
    text = f"A search's {HPARAMS_FILE}: train as its best trial did. Flags beside it change that."
    flags.DEFINE_string("hparams", "", text, flag_values=values)


def define_run_flags(values: flags.FlagValues = flags.FLAGS) -> None:
    """Defines the two flags that say where a run goes."""
    flags.DEFINE_string(
        "run_dir", "", "Folder of the run. Default: runs/DATASET-CLASSES-TIME.", flag_values=values
    )
    flags.DEFINE_boolean("overwrite", False, "Replace an existing run folder.", flag_values=values)


def from_flags(values: flags.FlagValues) -> Config:
    """The config that the parsed flags describe.

    Raises:
        ConfigError: As for `Config`.
    """
    return Config(**{field.name: values[field.name].value for field in dataclasses.fields(Config)})


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
    changed = {
        name: {"search": origin["values"][name], "flag": flag}
        for name, flag in given.items()
        if name in origin["values"] and origin["values"][name] != flag
    }
    return Config(**{**best, **given}), {**origin, "changed": changed}


def _read_hparams(path: pathlib.Path) -> tuple[dict[str, Any], dict[str, Any]]:
    try:
        origin: Mapping[str, Any] = json.loads(path.read_text())
        best, values = dict(origin["config"]), dict(origin["values"])
        Config.from_json(best)
    except OSError as error:
        raise ConfigError(
            f"--hparams={path} can't be read ({error.strerror}). Give the {HPARAMS_FILE} of a "
            "search."
        ) from None
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ConfigError(
            f"--hparams={path} is not what a search writes ({error}). Give the {HPARAMS_FILE} of a "
            "search."
        ) from None
    rest = {name: value for name, value in origin.items() if name != "config"}
    return best, {"file": str(path), **rest, "values": values}
