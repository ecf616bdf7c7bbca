"""What a search found, taken over by a training: `--hparams=SEARCH/best_hparams.json`."""

import dataclasses
import json
import pathlib
from collections.abc import Mapping
from typing import Any

from absl import flags

from trainer.config import Config, ConfigError

FILE = "best_hparams.json"
_HELP = f"A search's {FILE}: train as its best trial did. Flags beside it change that."


@dataclasses.dataclass(frozen=True)
class Hparams:
    """The best trial of a search.

    Attributes:
        config: What it trained, by field of `Config`.
        origin: Where it comes from: the file, the search, the trial, its values and its score.
    """

    config: dict[str, Any]
    origin: dict[str, Any]


def define_flag(values: flags.FlagValues = flags.FLAGS) -> None:
    """Defines `--hparams`."""
    flags.DEFINE_string("hparams", "", _HELP, flag_values=values)


def read(path: pathlib.Path) -> Hparams:
    """Reads the file of a search.

    Raises:
        ConfigError: It is not there, or no such file.
    """
    try:
        found = json.loads(path.read_text())
        config = dict(found.pop("config"))
        values = dict(found["values"])
        Config.from_json(config)
    except OSError as error:
        raise ConfigError(
            f"--hparams={path} can't be read ({error.strerror}). Give the {FILE} of a search."
        ) from None
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ConfigError(
            f"--hparams={path} is not what a search writes ({error}). Give the {FILE} of a search."
        ) from None
    return Hparams(config, {"file": str(path), **found, "values": values})


def applied(hparams: Hparams, given: Mapping[str, Any]) -> tuple[Config, dict[str, Any]]:
    """The config of a search's best trial, with what was given on the command line.

    Args:
        hparams: Of the search.
        given: Flags that were given, by name of the field.

    Returns:
        The config, and what config.json is to say of where it comes from: `origin` and `changed`,
        the searched values that the command line replaced.

    Raises:
        ConfigError: They contradict each other.
    """
    values = hparams.origin["values"]
    changed = {
        name: {"search": values[name], "flag": flag}
        for name, flag in given.items()
        if name in values and values[name] != flag
    }
    return Config(**{**hparams.config, **given}), {**hparams.origin, "changed": changed}
