"""A search as its flags describe it, and which part of it a process has.

KerasTuner's own variables say which: KERASTUNER_TUNER_ID (with `chief` in it, or any other name for
a worker), KERASTUNER_ORACLE_IP and KERASTUNER_ORACLE_PORT; none of them for one process alone.
"""

import dataclasses
import os
from collections.abc import Mapping
from typing import Any

from trainer.run.errors import ConfigError
from tuning import settings as settings_lib
from tuning.folder import Folder
from tuning.settings import Settings
from tuning.space import Space

_VARIABLES = ("KERASTUNER_TUNER_ID", "KERASTUNER_ORACLE_IP", "KERASTUNER_ORACLE_PORT")


@dataclasses.dataclass(frozen=True)
class Search:
    """A search as its flags describe it.

    Attributes:
        folder: Where it is kept.
        space: What is searched.
        settings: How.
        timeout: Seconds after which a silent worker or chief is taken for dead.
        attempts: A trial whose process was lost so often has failed.
    """

    folder: Folder
    space: Space
    settings: Settings
    timeout: float
    attempts: int

    @property
    def identity(self) -> dict[str, Any]:
        """See `settings.identity`."""
        return settings_lib.identity(self.settings, self.space)


def address() -> str:
    """HOST:PORT of the chief."""
    return ":".join(os.environ[name] for name in _VARIABLES[1:])


def role(environment: Mapping[str, str] = os.environ) -> str:
    """`alone`, `chief` or `worker`.

    Raises:
        ConfigError: Some of KerasTuner's variables are set and some are not, or empty.
    """
    there = [name for name in _VARIABLES if name in environment]
    if not there:
        return "alone"
    missing = [name for name in _VARIABLES if not environment.get(name)]
    if missing:
        raise ConfigError(
            f"{', '.join(there)} is set, and {', '.join(missing)} is not, or is empty. Set all "
            "three for a chief and workers, or none."
        )
    return "chief" if "chief" in environment["KERASTUNER_TUNER_ID"] else "worker"
