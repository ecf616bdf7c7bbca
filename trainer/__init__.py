"""From a prepared dataset to a trained, evaluated network.

    >>> import trainer
    >>> run = trainer.fit(trainer.Config(classes=4, dataset="phantom"), "runs/first")
    >>> run.metrics["splits"]["test"]["balanced_accuracy"]

Read `config` (all settings; `config_flags` has their flags), `inputs` (what they name and do not
hold), `train` (a run on one page), `scoring` (what is said of its network), `board` (what
TensorBoard shows of it), `seeds`, `fold_assignment`, `cross_validation`; then the rooms, each of
which says in its docstring what it is for: `input_pipeline`, `augmentation`, `model`, `training`,
`execution`, `evaluation`, `inference`, `reporting`, `run`. `api` is what is used from Python; the
other files are commands.
"""

import importlib
from typing import Any

_PUBLIC = {
    "Config": "trainer.config",
    "ConfigError": "trainer.run.errors",
    "Options": "trainer.execution.options",
    "Run": "trainer.api",
    "RunError": "trainer.run.errors",
    "cross_validate": "trainer.api",
    "fit": "trainer.api",
    "load": "trainer.api",
}
__all__ = sorted(_PUBLIC)


def __getattr__(name: str) -> Any:
    """Imports a public name when it is first used: a command's flags come before TensorFlow."""
    if name not in _PUBLIC:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_PUBLIC[name]), name)


def __dir__() -> list[str]:
    """The public names, and those of the module."""
    return sorted({*globals(), *_PUBLIC})
