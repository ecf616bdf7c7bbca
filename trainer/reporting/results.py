"""What a run left in its folder, read for a report or a comparison."""

import dataclasses
import functools
import pathlib
from collections.abc import Mapping
from typing import Any

from trainer.evaluation import heatmaps as heatmaps_lib
from trainer.evaluation import history as history_lib
from trainer.evaluation import images_used, predictions
from trainer.evaluation.heatmaps import Heatmaps
from trainer.evaluation.predictions import Predictions
from trainer.run import files, manifest
from trainer.run.errors import RunError
from trainer.run.manifest import HEATMAPS, TIMES, Manifest

_MEND = "Put back a copy of it, or train again with --overwrite."
_SEEDS, _FOLDS = "seeds.json", "crossval.json"
_FEW = 3  # folders in a message


@dataclasses.dataclass(frozen=True)
class Results:
    """The tables and numbers of a run; each file is read at its first use.

    Attributes:
        path: The folder of the run.
    """

    path: pathlib.Path

    @functools.cached_property
    def origin(self) -> Mapping[str, Any]:
        """What config.json holds."""
        return self._json("config.json", "config", "dataset")

    @functools.cached_property
    def metrics(self) -> Mapping[str, Any]:
        """What metrics.json holds, see `metrics.run_metrics`."""
        return self._json("metrics.json", "splits", "opened")

    @functools.cached_property
    def seeds(self) -> Mapping[str, Any] | None:
        """What seeds.json holds, see `seeds.train_seeds`; None of anything else."""
        return self._json(_SEEDS, "seeds", "splits") if self.has(_SEEDS) else None

    @functools.cached_property
    def folds(self) -> Mapping[str, Any] | None:
        """What crossval.json holds, see `cross_validation_metrics`; None of anything else."""
        return self._json(_FOLDS, "pooled", "by_fold") if self.has(_FOLDS) else None

    @functools.cached_property
    def predictions(self) -> Predictions:
        """The probabilities of every scored image."""
        return predictions.read(self._whole("predictions.csv"))

    @functools.cached_property
    def history(self) -> list[dict[str, Any]]:
        """One dictionary an epoch."""
        return history_lib.read(self._whole("history.csv"))

    @functools.cached_property
    def used(self) -> Mapping[str, list[str]]:
        """The columns of images_used.csv."""
        return images_used.read(self._whole("images_used.csv"))

    @functools.cached_property
    def heatmaps(self) -> Heatmaps | None:
        """Where the network looked in some images; None where it was not drawn."""
        return heatmaps_lib.read(self._whole(HEATMAPS)) if self.has(HEATMAPS) else None

    @functools.cached_property
    def times(self) -> Mapping[str, float] | None:
        """Seconds that each part of the run took; None where no clock was read."""
        return self._json(TIMES) if self.has(TIMES) else None

    @property
    def source_control(self) -> Mapping[str, Any] | None:
        """Of the images of the COVID-19 source without COVID-19 the share not called so, an E.

        None where no such images were scored; with a planted shortcut, control has others.
        """
        control = self.metrics.get("control")
        if not control or self.metrics["dataset"]["planted_shortcut"]:
            return None
        return control["classes"].get("covid19", {}).get("specificity")

    @property
    def several(self) -> bool:
        """Whether it is of several seeds, or of folds."""
        return self.has(_SEEDS) or self.has(_FOLDS)

    def has(self, name: str) -> bool:
        """Whether a file of this name is in the folder."""
        return (self.path / name).exists()

    def _json(self, name: str, *keys: str) -> dict[str, Any]:
        return files.read_json(self._whole(name), *keys, mend=_MEND)

    def _whole(self, name: str) -> pathlib.Path:
        manifest.require_whole(self.path, name)
        return self.path / name


def finished(run: str | pathlib.Path) -> Results:
    """The results of a run that has ended.

    Args:
        run: Its folder.

    Raises:
        RunError: As for `ended`, or it is of several seeds or a cross-validation.
    """
    results = ended(run)
    if results.has(_FOLDS):
        raise RunError(
            f"{results.path} holds a cross-validation, whose scores are in {_FOLDS}. Give the "
            "folder of a run."
        )
    if results.has(_SEEDS):
        raise RunError(
            f"{results.path} holds runs of several seeds. Give the folder of one of them: "
            f"{_seeds(results.path)}."
        )
    return results


def ended(run: str | pathlib.Path) -> Results:
    """The results of a run, of several seeds or of a cross-validation, which has ended.

    Args:
        run: Its folder.

    Raises:
        RunError: It is no folder, or that of something else, or what it holds has not ended.
    """
    path = pathlib.Path(files.expanded(run))
    if path.suffix == ".keras":
        raise RunError(
            f"{path} is a network, and its scores are in the folder of its run. Give that folder."
        )
    if not path.is_dir():
        raise RunError(f"{path} is no folder. Give that of a run.")
    there = Manifest.read(path)
    if there is None:
        raise RunError(
            f"{path} holds no run of this release. Give the folder of one: trainer.main prints it."
        )
    if there.files is None:
        raise RunError(
            f"{path} holds a run that has not ended, so it has no scores yet. Its command goes on "
            "with it."
        )
    return Results(path)


def _seeds(path: pathlib.Path) -> str:
    """The folders of some seeds, in words."""
    names = sorted((each.name for each in path.glob("seed_*")), key=lambda name: (len(name), name))
    more = ["..."] if len(names) > _FEW else []
    return ", ".join([*(str(path / name) for name in names[:_FEW]), *more])
