"""Search of the trainer's settings with KerasTuner, here or on a Ray cluster.

    >>> import trainer, tuning
    >>> search = tuning.run(trainer.Config(classes=4), {"head_units": "64:1024:log2"}, "searches/a")
    >>> search.best.hyperparameters.values

Read `space` (what is searched) and `settings` (how); `search` (the loop: propose, run, record);
`oracle` and `samplers` (what proposes, and the log that everything goes on from), `trial` (what is
run) and `trainings` (what trials share), `record` (what is written); `results` and `table` (what is
shown); `comparison` and `retraining` (the end); `folder` (where) and `room` (what it takes on the
disk). `api` and `tuner` are what is used from Python, `main` is the command.
"""

import importlib
from typing import Any

_PUBLIC = {
    "ClassifierHyperModel": "tuning.trial",
    "Search": "tuning.api",
    "Settings": "tuning.settings",
    "load": "tuning.api",
    "run": "tuning.api",
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
