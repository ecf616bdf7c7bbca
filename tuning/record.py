"""What is written and printed when a trial ends, and what of it is read again later."""

import contextlib
import functools
import pathlib
from collections.abc import Sequence
from typing import Any

from trainer import cross_validation
from trainer.config import Config
from trainer.evaluation import predictions
from trainer.execution.tasks import Ended
from trainer.run import command, files, machine, run_dir
from trainer.run.errors import RunError
from trainer.run.text import counted, wrapped
from trainer.training.setup import Setup
from tuning import results, trainings
from tuning.folder import read_result
from tuning.oracle import Proposals
from tuning.settings import Spec
from tuning.table import Table
from tuning.trial import TrialResult

_HOPELESS = 5  # failures, since a process began, of a search that has no finished trial
_COMPARED_EVERY = 10  # trials
_PREDICTIONS, _ERROR = "predictions.csv", "error.txt"
# Measured: docs/results.md, "Searches". Who searches should know before the hours are spent.
_PUBLIC = {"cohen", "kaggle"}  # sources of the public images
_NO_GAIN = (
    "On the public images no search so far has beaten the trainer's defaults on new folds "
    "(docs/results.md): the closing comparison shows whether this one does."
)
# Where KerasTuner's `get_best_models` looks for a trial's network.
_WEIGHTS, _BUILD = "checkpoint.weights.h5", "build_config.json"


class Record:
    """Writes what trials measured into the folder of a search.

    Attributes:
        rows: Of the trials, see `results.rows`.
        best: The row of the best trial; None where none is done.
    """

    def __init__(self, search: Spec, proposals: Proposals) -> None:
        """Reads what there is.

        Args:
            search: What is searched, and where.
            proposals: Its trials.
        """
        self._search, self._proposals = search, proposals
        self._folder, self._settings = search.folder, search.settings
        self._about = {"search_dir": str(search.folder.root), **run_dir.provenance()}
        self._known: dict[str, results.Row] = {}
        self.rows = results.rows(proposals.trials, search.space, search.settings, self._known)
        self.best = results.best_of(self.rows, search.settings)
        self._setup: Setup | None = None
        self._before = self._ended = sum(row["status"] != "RUNNING" for row in self.rows)
        if self._ended:
            ended = f"{counted(self._ended, 'trial')} {'has' if self._ended == 1 else 'have'} ended"
            print(wrapped(f"Going on in {self._folder.root}: {ended}."), flush=True)

    @property
    def lacks_baselines(self) -> bool:
        """Whether best_hparams.json lacks shortcut baselines for the best trial's `--align`."""
        if self.best is None:
            return False
        before, aligned = read_result(self._folder.best), self.config(self.best["trial"]).align
        return "shortcut_baseline" not in before or before.get("config", {}).get("align") != aligned

    def open(self, setup: Setup) -> None:
        """Takes the images of the trials, and says how they are scored on them."""
        self._about["dataset_fingerprint"] = setup.dataset.fingerprint
        self._setup = setup
        folds, images = self._settings.folds, trainings.scored_images(setup, self._settings.folds)
        how = f"{folds} patient-grouped folds" if folds else "the validation split"
        how += ", re-framed at random" * self._settings.stressed
        groups = counted(len(set(images.groups)), "patient group")
        n = f"n = {counted(len(images), 'image')} of {groups}"
        advice = f" {_NO_GAIN}" if _PUBLIC & set(images.sources.tolist()) else ""
        print(wrapped(f"Each trial is scored on {how}, {n}.{advice}"), flush=True)

    def begin(self, table: Table) -> None:
        """Shows what follows in a table."""
        self._table = table

    def ended(self, ended: Ended) -> None:
        """Writes a trial that ended: its files first, then its line in the log.

        Args:
            ended: The task of the trial.

        Raises:
            RunError: Trial after trial fails, and none is done, or another process took the folder.
        """
        files.require_held(self._folder.log)
        trial, result = ended.task.name, ended.value
        if ended.details:
            with self._whole(trial, _ERROR) as beside:
                beside.write_text(ended.details, encoding="utf-8")
        if result is not None:
            self._write_files(trial, result)
        metrics = None if result is None else result.metrics
        step = int(metrics.get("epoch", 0)) if metrics else 0
        self._proposals.end(trial, metrics, step=step, reason=ended.failure)
        self._ended += 1
        self._write()
        self._table.ended(next(row for row in self.rows if row["trial"] == trial), self.best)
        if self._ended % _COMPARED_EVERY == 0:
            self._compare_with_default()
        self._require_hope()
        command.raise_if_interrupted()

    def _write_files(self, trial: str, result: TrialResult) -> None:
        """What is kept of a trial beside its numbers."""
        space, settings = self._search.space, self._settings
        config = self.config(trial)
        values = space.effective(self._proposals.trials[trial].hyperparameters.values)
        row = {"trial": trial, "status": "COMPLETED", **values, **result.metrics}
        machine.attempted(
            f"The curves of trial {trial}", "The search goes on without them.",
            results.write_curves, self._folder.root, row, result.curves, space, settings,
        )  # fmt: skip
        rows = {each["trial"]: each for each in self.rows} | {trial: row}  # in its place
        order = results.ranked([*rows.values()], settings)
        if trial in (order[0]["trial"], self._default):
            assert self._setup is not None  # opened before a trial began
            images = trainings.scored_images(self._setup, settings.folds)
            fold = trainings.assigned(self._setup, settings, config)
            with self._whole(trial, _PREDICTIONS) as beside:
                table = cross_validation.as_predictions(images, fold, result.probabilities)
                predictions.write(beside, table)
        if result.weights is not None and trial in self._kept(order):
            with self._whole(trial, _WEIGHTS) as beside:
                beside.write_bytes(result.weights)
            with self._whole(trial, _BUILD) as beside:
                beside.write_text("{}", encoding="utf-8")

    def _kept(self, order: Sequence[results.Row]) -> list[str]:
        """The trials whose networks are kept, of `results.ranked`."""
        return [row["trial"] for row in order[: self._settings.keep_best]]

    def _remove_networks(self) -> None:
        """Removes the networks that, by the log, are not among the best any more."""
        keep = self._kept(results.ranked(self.rows, self._settings))
        for path in self._folder.root.glob(f"trial_*/{_WEIGHTS}") if keep else ():
            if path.parent not in map(self._folder.trial, keep):
                files.require_held(path)
                path.unlink()
                path.with_name(_BUILD).unlink(missing_ok=True)

    def _whole(self, trial: str, name: str) -> contextlib.AbstractContextManager[pathlib.Path]:
        """A file of a trial's folder, written whole."""
        self._folder.trial(trial).mkdir(exist_ok=True)
        return files.written_whole(self._folder.trial(trial) / name)

    def _write(self, *, final: bool = False) -> None:
        self.rows = results.write(
            self._folder.root, self._proposals.trials, self._search.space, self._settings,
            self._about, self._known, final=final,
        )  # fmt: skip
        self.best = results.best_of(self.rows, self._settings)
        self._proposals.export(self._folder.root, final=final)
        self._remove_networks()

    def end(self) -> None:
        """Writes what is written at the end alone, and prints the best trials."""
        shortcuts = self._shortcut_baselines()
        self._about |= {"shortcut_baseline": shortcuts} if shortcuts else {}
        self._write(final=True)
        print(results.leaderboard(self.rows, self._search.space, self._settings, shortcuts))

    def _shortcut_baselines(self) -> dict[str, Any] | None:
        """What linear models get on the images of the trials, fitted once a search."""
        if not self.lacks_baselines:
            return read_result(self._folder.best).get("shortcut_baseline")
        if self._setup is None or self.best is None:
            return None
        of_best = self.config(self.best["trial"])
        return trainings.shortcut_baselines(self._setup, self._settings, of_best)

    def config(self, trial: str) -> Config:
        """The trainer's config of a trial."""
        return self._search.space.config(self._proposals.trials[trial].hyperparameters.values)

    def epoch(self, config: Config) -> float | None:
        """The epoch that validation chose of a configuration, if it was a trial; from 1."""
        epochs = (
            row["epoch"]
            for row in self.rows
            if row["status"] == "COMPLETED" and self.config(row["trial"]) == config
        )
        return next(epochs, None)

    @functools.cached_property
    def _default(self) -> str | None:
        """Id of the trial of the trainer's defaults, or of what is nearest to them."""
        first = next(iter(self._proposals.trials), None)
        return None if self._settings.tuner == "hyperband" else first

    def _reference(self, default: str) -> str:
        """What the trial of `_default` is called."""
        is_default = self.config(default) == self._search.space.unsearched()
        return "the defaults" if is_default else "the values nearest to the defaults"

    def _compare_with_default(self) -> None:
        """Shows the best so far against the defaults, on the images that chose it."""
        if self.best is None or self._default is None:
            return
        paths = [
            self._folder.trial(each) / _PREDICTIONS for each in (self.best["trial"], self._default)
        ]
        if not all(path.exists() for path in paths):  # the trial of the defaults failed, say
            return
        assert self._setup is not None  # opened before a trial began
        images = trainings.scored_images(self._setup, self._settings.folds)
        best, default = (predictions.read(path).probabilities for path in paths)
        shape = (-1, len(images), best.shape[-1])
        self._table.note(
            results.against_default(
                best.reshape(shape), default.reshape(shape), images.labels, images.group_numbers,
                trial=self.best["trial"],
                trials=sum(row["status"] == "COMPLETED" for row in self.rows),
                reference=self._reference(self._default),
            )
        )  # fmt: skip

    def _require_hope(self) -> None:
        """Ends a search where trial after trial fails and none is done."""
        failed = [row for row in self.rows if row["status"] == "FAILED"]
        if self.best is None and len(failed) - self._before >= _HOPELESS:
            raise RunError(
                f"All of the {len(failed)} trials so far failed; the last: {failed[-1]['reason']} "
                "When that is mended, the same command without --overwrite goes on with the other "
                "trials; with it, it begins again."
            )
