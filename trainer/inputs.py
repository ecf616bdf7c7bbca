"""What a config names and does not hold: its dataset and its file of weights.

Both are looked for before TensorFlow is imported and before a folder is made, so that a typo is
answered at once and nothing bears the name `auto`. So is what was given for `callbacks`.
"""

import contextlib
import dataclasses
import os
import pathlib
from collections.abc import Sequence

from trainer.config import Config, cache_folder
from trainer.input_pipeline import prepared
from trainer.run import names
from trainer.run.errors import ConfigError, RunError
from trainer.run.files import expanded
from trainer.run.given import nearest_there
from trainer.run.manifest import Manifest
from trainer.run.text import wrapped

_WEIGHTS = ("imagenet", "none")


def resolved(config: Config, began: str = "") -> Config:
    """The config with the name of a dataset in place of `auto`; prints which, and why.

    Args:
        config: As it was given.
        began: The dataset of a run or a search that is to go on: `auto` stays what it was then.

    Raises:
        RunError: The folder of datasets can't be read, or holds one of an earlier release.
    """
    if config.dataset != prepared.AUTO:
        return config
    if began not in ("", prepared.AUTO):
        name, why = began, "with which it began"
    else:
        chosen = prepared.find(config.dataset, config.data_dir)
        name, why = chosen.name, chosen.why
    print(wrapped(f"--dataset=auto is {name}: {why}."), flush=True)
    return dataclasses.replace(config, dataset=name)


def for_run(config: Config, run_dir: str | os.PathLike, *, overwrite: bool) -> Config:
    """`resolved` and `check`, for a run that may go on in its folder, or have ended there.

    Args:
        config: As it was given.
        run_dir: The folder, or "" for a new one.
        overwrite: Whether a run that is there is replaced.

    Raises:
        RunError: As for `resolved` and `check`, or the folder's manifest is damaged.
    """
    there = None
    if run_dir and not overwrite:
        with contextlib.suppress(OSError):  # the folder is refused when it is opened
            there = Manifest.read(pathlib.Path(expanded(run_dir)))
    origin = (there and there.origin) or {}
    config = resolved(config, origin.get("config", {}).get("dataset", ""))
    if there is None or there.files is None:  # one that has ended may have nothing left to open
        check(config)
    return config


def check(config: Config) -> None:
    """Refuses a dataset or a file of weights that is not there, and classes that are too many.

    Args:
        config: Of `resolved`.

    Raises:
        RunError: With the nearest name that is there.
    """
    found = prepared.find(config.dataset, config.data_dir)
    prepared.require_classes(found, config.classes)
    _require_weights(config.weights)
    require_cache_folder(config.cache_dir)


def require_callbacks(callbacks: object) -> None:
    """Refuses what is no list of Keras callbacks: one alone, a class without its parentheses.

    Raises:
        ConfigError: The message says what it is.
    """
    if not isinstance(callbacks, Sequence) or isinstance(callbacks, (str, bytes)):
        raise ConfigError(
            f"callbacks is {type(callbacks).__name__}. Give a list of Keras callbacks: "
            "callbacks=[keras.callbacks.EarlyStopping(patience=3)], for example."
        )
    for number, callback in enumerate(callbacks):
        if isinstance(callback, type):
            raise ConfigError(
                f"callbacks[{number}] is the class {callback.__name__}. Give an instance of it: "
                f"{callback.__name__}(...)."
            )
        if not callable(getattr(callback, "set_model", None)):  # without importing Keras
            raise ConfigError(
                f"callbacks[{number}] is {callback!r}, no Keras callback. Give instances of "
                "keras.callbacks.Callback."
            )


def require_cache_folder(cache_dir: str) -> None:
    """Refuses a cache folder in whose place, or above whose place, a file is.

    Args:
        cache_dir: As given; "" is the default.

    Raises:
        RunError: The message says which file.
    """
    path = cache_folder(cache_dir)
    there = nearest_there(path)
    if not os.path.isdir(there):
        raise RunError(
            f"The cache folder {path} can't be used ({there} is no folder). Give another "
            "--cache_dir."
        )


def _require_weights(choice: str) -> None:
    if choice in _WEIGHTS or os.path.isfile(choice):
        return
    folder, name = os.path.split(choice)
    try:
        names_there = [n for n in os.listdir(folder or ".") if n.endswith((".h5", ".keras"))]
        beside = [n for n in names_there if os.path.isfile(os.path.join(folder, n))]
    except OSError:
        beside = []
    meant = names.nearest(choice, _WEIGHTS, most=1)
    meant += [os.path.join(folder, each) for each in names.nearest(name, beside, most=1)]
    did_you = f"Did you mean --weights={meant[0]}? " if meant else ""
    raise RunError(
        f"There is no file of weights {choice}{' (a folder)' if os.path.isdir(choice) else ''}. "
        f"{did_you}Name a .h5, .weights.h5 or .keras file of a VGG16, or use --weights=imagenet."
    )
