"""Searches from Python: `run` and `load`, with the command's own guards.

What the command refuses, these refuse, with `ConfigError` for a setting and `RunError` for a search
that can't go on. Nothing here ends or replaces the process, or handles a signal.
"""

import dataclasses
import functools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from trainer import inputs
from trainer.config import Config
from trainer.execution import ray
from trainer.execution.options import Options
from trainer.run.errors import RunError
from trainer.run.files import expanded
from trainer.run.libraries import heavy_imports, keras_settings
from tuning import settings as settings_lib
from tuning.folder import Folder, read_result
from tuning.settings import Settings
from tuning.space import Space

if TYPE_CHECKING:
    import keras
    import keras_tuner
    from keras_tuner.engine.trial import Trial


@dataclasses.dataclass(frozen=True)
class Search:
    """What a search left in its folder.

    Attributes:
        path: The folder, which KerasTuner knows as `directory`/`project_name`.
    """

    path: Path

    @functools.cached_property
    def tuner(self) -> "keras_tuner.Tuner":
        """KerasTuner's own tuner, opened on the folder.

        `results_summary()`, `get_best_hyperparameters()` and, of a search with `keep_best`,
        `get_best_models()` work as they do anywhere.
        """
        with keras_settings(), heavy_imports():
            from tuning.tuner import opened
        return opened(Folder(self.path))

    @property
    def trials(self) -> "list[Trial]":
        """KerasTuner's trials, in the order they were begun."""
        return [trial for _, trial in sorted(self.tuner.oracle.trials.items())]

    @property
    def best(self) -> "Trial":
        """The trial of rank 1 in trials.csv.

        Raises:
            RunError: None has finished.
        """
        if not Folder(self.path).best.is_file():
            raise _without_best(self.path)
        number, trials = read_result(Folder(self.path).best).get("trial"), self.tuner.oracle.trials
        if number not in trials:
            raise RunError(
                f"{Folder(self.path).best} names no trial of the search. Remove it: the command of "
                "the search writes it again."
            )
        return trials[number]


def run(
    config: Config,
    space: Mapping[str, str],
    search_dir: str | Path,
    settings: Settings | None = None,
    *,
    execution: Options | None = None,
    callbacks: "Sequence[keras.callbacks.Callback]" = (),
    overwrite: bool = False,
) -> Search:
    """Searches, as `python -m tuning.main` does, or goes on with a search.

        >>> space = {"head_units": "64:1024:log2", "dropout": "0:0.5:0.1"}
        >>> search = tuning.run(trainer.Config(), space, "searches/a")
        >>> search.best.score

    Args:
        config: What is trained; the values of the searched settings count for nothing.
        space: A range or choices for each searched setting, as its flag has it.
        search_dir: The folder.
        settings: How to search; 20 random trials unless given.
        execution: Where trials run; in this process unless given.
        callbacks: Further Keras callbacks; each training of each trial gets copies. They see
            `loss`, `accuracy`, `val_loss`, `val_accuracy` and `val_balanced_accuracy` after each
            epoch, and the objective that re-frames images; with folds the first two.
        overwrite: Whether to remove a search that is there.

    Returns:
        The search.

    Raises:
        ConfigError: A setting is out of bounds, the folder holds another search, or `callbacks` is
            no list.
        RunError: The dataset or the weights are missing, or no trial can be trained.
    """
    inputs.require_callbacks(callbacks)
    searched, chosen = Space.of(config, space), settings or Settings()
    chosen.check(searched)
    described = settings_lib.described(
        searched, chosen, search_dir, callbacks=callbacks, overwrite=overwrite
    )
    with ray.connected(execution or Options()) as cluster, keras_settings():
        with heavy_imports():
            from tuning import search
        search.run(described, cluster, overwrite=overwrite)
    return Search(described.folder.root)


def load(search_dir: str | Path) -> Search:
    """Opens what a search left.

    Args:
        search_dir: Its folder.

    Raises:
        RunError: The folder holds no search, or one of which no trial has finished.
    """
    folder = Folder(Path(expanded(search_dir)))
    if not folder.log.exists():
        raise RunError(
            f"{folder.root} holds no search. Give the folder of one: python -m tuning.main "
            "--search_dir=DIR."
        )
    if not folder.best.exists():
        raise _without_best(folder.root)
    return Search(folder.root)


def _without_best(path: Path) -> RunError:
    return RunError(
        f"No trial of {path} has finished: trials.csv has the reasons of those that failed."
    )
