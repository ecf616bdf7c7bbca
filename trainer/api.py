"""The trainer from Python: `fit`, `load` and `cross_validate`, with the commands' own guards.

What the commands refuse, these refuse, with `ConfigError` for a setting and `RunError` for a run
that can't go on. Nothing here ends the process, handles a signal or leaves Keras' settings changed;
only `Config(deterministic=True)` binds TensorFlow to deterministic operations for good.
"""

import dataclasses
import functools
import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from trainer import inputs
from trainer.config import Config, check_folds
from trainer.evaluation import history as history_lib
from trainer.evaluation import predictions as predictions_lib
from trainer.evaluation.predictions import Predictions
from trainer.execution import ray
from trainer.execution.options import Options
from trainer.model import about
from trainer.run import manifest, saved_state
from trainer.run import run_dir as run_dirs
from trainer.run.errors import RunError
from trainer.run.files import expanded
from trainer.run.libraries import heavy_imports, keras_settings
from trainer.run.manifest import GROWING, Identity, Manifest

if TYPE_CHECKING:
    import keras

    from trainer.inference.answers import Answer
    from trainer.inference.exports import Exported
    from trainer.inference.external_validation import Evaluated
    from trainer.inference.file_explanations import Explained

_METRICS = ("metrics.json", "crossval.json")


@dataclasses.dataclass(frozen=True)
class Run:
    """What a run or a cross-validation left in its folder; everything is read at its first use.

    A file that is not what the run wrote is refused with a RunError that names it.

    Attributes:
        path: The folder, or a network alone: a file .keras, which has nothing but `model`,
            `predict`, `explain`, `evaluate` and `export`.
        finished: Whether the run has ended. One that has not has a config, a history and a model:
            that of its best epoch so far.
        best_epoch: The epoch whose weights the model has, from 1; None of a cross-validation.
    """

    path: Path
    finished: bool = True
    best_epoch: int | None = None

    @functools.cached_property
    def config(self) -> Config:
        """The settings, as resolved."""
        self._whole("config.json")
        return Config.read(self.path)

    @functools.cached_property
    def metrics(self) -> dict[str, Any]:
        """All numbers: see `evaluation.metrics.run_metrics` and `cross_validation_metrics`."""
        self._require_finished("metrics")
        there = (name for name in _METRICS if (self.path / name).exists())
        name = next(there, _METRICS[0])
        return json.loads(self._whole(name).read_text(encoding="utf-8"))

    @functools.cached_property
    def history(self) -> list[dict[str, Any]]:
        """One dictionary an epoch; none for a cross-validation."""
        path = self._whole("history.csv")
        return history_lib.read(path) if path.exists() else []

    @functools.cached_property
    def predictions(self) -> Predictions:
        """The probabilities of every scored image."""
        self._require_finished("predictions")
        return predictions_lib.read(self._whole("predictions.csv"))

    def model(self) -> "keras.Model":
        """The network, as `model.keras` holds it: from images to probabilities.

        That of a run that has not ended has the weights of `best_epoch`; it is built, for which the
        dataset is opened.

            >>> trainer.load("runs/a").model().predict(images)

        Returns:
            A model of [batch, height, width, 1] in 0..255 to float32 [batch, classes].

        Raises:
            RunError: It is a cross-validation, or a file is damaged.
        """
        if self.best_epoch is None and not self._bare:
            raise RunError(f"{self.path} holds a cross-validation, which keeps no network.")
        with keras_settings():
            with heavy_imports():
                from trainer import train
            if self._bare:
                return train.saved_network(self.path)
            if self.finished:
                return train.saved_network(self._whole("model.keras"))
            return train.best_network_so_far(self.path)

    def predict(self, paths: str | Path | Sequence[str | Path]) -> "list[Answer]":
        """The network's answers for files, as `python -m trainer.predict` gives them.

            >>> trainer.load("runs/a").predict(["a.png"])
            [Answer(file='a.png', probabilities={'healthy': 0.83, ...}, error='')]

        Args:
            paths: A file of any kind that the dataset reads, a folder, a zip or a pattern; or
                several of them.

        Returns:
            An answer for each file, in the files' order: `file`, `class_name`, `probabilities` (by
            class name; None where there is an `error`) and `notes`, what the answer is worth.
            Files in folders and zips that are no images, by content and by name, have none.

        Raises:
            RunError: There is no network, or it is damaged.
        """
        given = [paths] if isinstance(paths, str | Path) else list(paths)
        with keras_settings():
            with heavy_imports():
                from trainer.inference import answers, image_files, network
            return list(answers.answers(network.load(self.path), image_files.ImageFiles(given)))

    def explain(
        self,
        paths: str | Path | Sequence[str | Path],
        *,
        class_name: str = "",
        masks: str | Path = "",
        output: str | Path = "",
    ) -> "Explained":
        """Where in images the network looks, as `python -m trainer.explain` shows it.

            >>> explained = trainer.load("runs/a").explain("a.png", output="explained")
            >>> explained.explanations[0].gradcam.shape, explained.check

        Args:
            paths: As for `predict`.
            class_name: The class that maps are of; "": of each image the most probable.
            masks: A folder of masks of the lungs.
            output: A folder for a picture of each; "": none are drawn.

        Raises:
            ConfigError: The network has no such class.
            RunError: There is no network, no file, or no folder of masks; or a mask is none.
        """
        given = [paths] if isinstance(paths, str | Path) else list(paths)
        with keras_settings():
            with heavy_imports():
                from trainer.inference import file_explanations
            return file_explanations.explain(
                self.path, given, class_name=class_name, masks=masks, output=output
            )

    def evaluate(
        self,
        dataset: str = "",
        *,
        split: str = "",
        images: str | Path = "",
        data_dir: str | Path = "",
        output: str | Path | None = None,
    ) -> "Evaluated":
        """Scores the network on other images, as `python -m trainer.evaluate` does.

            >>> evaluated = trainer.load("runs/a").evaluate("article", split="all")
            >>> evaluated.metrics["splits"]["all"]["balanced_accuracy"]["value"]

        Args:
            dataset: Name of a prepared dataset; "" is the one that the network was trained on.
            split: One of its splits, or "all"; "" is test.
            images: A folder of labelled images in place of a dataset.
            data_dir: Folder of datasets; "" is that of the run, or TFDS' own.
            output: A folder for what is written; "" is evaluations/RUN-DATASET-SPLIT, or
                RUN-FOLDER of images; None writes nothing.

        Returns:
            `metrics` (see docs/evaluating.md), `predictions` and `path`.

        Raises:
            ConfigError: There is no such split, the folder holds something else, or images are
                given with a dataset or a split.
            RunError: There is no network, no such images, or the network has seen them all.
        """
        with keras_settings():
            with heavy_imports():
                from trainer.inference import external_validation
            return external_validation.evaluate(
                self.path, dataset=dataset, split=split, images=images, data_dir=str(data_dir),
                output=output,
            )  # fmt: skip

    def export(
        self, formats: str | Sequence[str], output: str | Path, *, quantize: str = "none"
    ) -> "list[Exported]":
        """Writes the network for other runtimes, as `python -m trainer.export` does.

            >>> trainer.load("runs/a").export(["savedmodel", "onnx"], "exported")

        Args:
            formats: "savedmodel", "onnx" or "litert", or several of them.
            output: A folder.
            quantize: "none" or "float16".

        Returns:
            Of each format its path, size, time of an image, and difference to Keras.

        Raises:
            ConfigError: There is no such format, or it can't be quantized.
            RunError: A package or the network is missing, or a format gives other probabilities.
        """
        with keras_settings():
            with heavy_imports():
                from trainer.inference import exports
            kinds = [formats] if isinstance(formats, str) else list(formats)
            return exports.export(self.path, kinds, output, quantize).made

    @property
    def _bare(self) -> bool:
        """Whether it is a network without a run."""
        return self.path.suffix == about.SUFFIX

    def _whole(self, name: str) -> Path:
        if self._bare:
            raise RunError(
                f"{self.path} is a network alone and has no {name}. Give the folder of its run."
            )
        manifest.require_whole(self.path, name)
        return self.path / name

    def _require_finished(self, what: str) -> None:
        if not self.finished:
            raise RunError(
                f"{self.path} holds a run that has not ended, so it has no {what} yet. Its command "
                f"goes on with it; its best epoch so far is {self.best_epoch}."
            )


def fit(
    config: Config,
    run_dir: str | Path | None = None,
    *,
    overwrite: bool = False,
    callbacks: "Sequence[keras.callbacks.Callback]" = (),
) -> Run:
    """Trains and evaluates a network, as `python -m trainer.main` does.

    A run of `Config(test=False)` is scored on validation alone; the same call with `test=True`
    scores it on test and control when it has ended.

        >>> run = trainer.fit(trainer.Config(classes=2, dataset="phantom"), "runs/first")
        >>> run.metrics["splits"]["test"]["balanced_accuracy"]["value"]

    Args:
        config: What is trained.
        run_dir: The folder of the run; runs/DATASET-CLASSES-TIME unless given.
        overwrite: Whether to replace a run that is there.
        callbacks: Further Keras callbacks, EarlyStopping for example; they see `loss`, `accuracy`,
            `val_loss`, `val_accuracy` and `val_balanced_accuracy` after each epoch.

    Returns:
        The run.

    Raises:
        ConfigError: The folder holds a run, or can't be written, or `callbacks` is no list.
        RunError: The dataset or the weights are missing, or the training failed.
    """
    inputs.require_callbacks(callbacks)
    config = inputs.for_run(config, run_dir or "", overwrite=overwrite)
    default = f"{config.dataset}-{config.classes}"
    identity = Identity("trainer.main", config.to_json(), GROWING)
    with run_dirs.create(run_dir or "", default, identity, overwrite=overwrite) as folder:
        if not run_dirs.nothing_left(folder):
            with keras_settings():
                with heavy_imports():
                    from trainer.train import train_and_evaluate
                train_and_evaluate(config, folder, callbacks)
        return load(folder.path)


def cross_validate(
    config: Config,
    folds: int = 5,
    repeats: int = 3,
    run_dir: str | Path | None = None,
    *,
    overwrite: bool = False,
    execution: Options | None = None,
) -> Run:
    """Cross-validates a configuration, as `python -m trainer.crossval` does.

    Args:
        config: What is trained.
        folds: From 2.
        repeats: From 1.
        run_dir: The folder; runs/crossval-DATASET-CLASSES-TIME unless given.
        overwrite: Whether to replace what is there.
        execution: Where folds are trained, `trainer.Options(workers=4)` for
            example; in this process unless given.

    Returns:
        The cross-validation.

    Raises:
        ConfigError, RunError: As for `fit`, or there are too few patient groups.
    """
    check_folds(config, folds, repeats)
    config = inputs.for_run(config, run_dir or "", overwrite=overwrite)
    default = f"crossval-{config.dataset}-{config.classes}"
    numbers = {"folds": folds, "repeats": repeats}
    identity = Identity("trainer.crossval", config.to_json() | numbers)
    with run_dirs.create(run_dir or "", default, identity, overwrite=overwrite) as folder:
        if not run_dirs.nothing_left(folder):
            with ray.connected(execution or Options()) as cluster, keras_settings():
                with heavy_imports():
                    from trainer import cross_validation
                cross_validation.cross_validate(config, folds, repeats, folder, cluster)
        return load(folder.path)


def load(run_dir: str | Path) -> Run:
    """Opens what a run or a cross-validation left, or what a run has so far.

        >>> trainer.load("runs/a")
        Run(path=PosixPath('runs/a'), finished=False, best_epoch=31)

    Args:
        run_dir: Its folder; or a network alone, a file whose name ends in ".keras".

    Raises:
        RunError: There is no such file, or it is damaged; or the folder holds no run of which an
            epoch was saved, one of release 1.0.0, or several seeds, or its state or manifest is
            damaged.
    """
    path = Path(expanded(run_dir))
    if path.suffix == about.SUFFIX:
        about.read(path)
        return Run(path)
    there = Manifest.read(path)
    if there is None and any((path / name).exists() for name in _METRICS):
        raise RunError(
            f"{path} holds a run of an earlier release, which this release does not read. Train it "
            "again: python -m trainer.main."
        )
    saved = None
    if there is not None and there.files is None:
        saved = saved_state.read(path / saved_state.FILE)
    if saved is not None and saved.best_epoch is not None:
        return Run(path, False, saved.best_epoch)
    if there is None or there.files is None:
        raise RunError(
            f"{path} holds no run of which an epoch was saved. Give the folder of one, or train: "
            "trainer.fit(trainer.Config(), folder)."
        )
    if (path / "seeds.json").exists():
        one = min(path.glob(saved_state.SEED), default=path / saved_state.SEED)
        raise RunError(
            f"{path} holds runs of several seeds. Give the folder of one of them, {one} for "
            "example."
        )
    best = next((row["epoch"] for row in Run(path).history if row["best"]), None)
    return Run(path, True, best)
