"""The trials of a search, and the log from which it goes on where it stopped.

The log is the truth: a line for each proposal and each end, on the disk before anything follows
from it. It is replayed through KerasTuner's own methods. What plain KerasTuner reads is written
beside it.
"""

import contextlib
import functools
import json
import math
import os
import pathlib
import zlib
from collections.abc import Mapping
from typing import Any, Self

import keras_tuner
from keras_tuner.engine.metrics_tracking import infer_metric_direction
from keras_tuner.engine.trial import Trial, TrialStatus

from trainer.run import files
from trainer.run.errors import RunError
from tuning.samplers import ORACLES, Untried
from tuning.settings import Settings
from tuning.space import Space

_GROWTH = 1.1  # of the ended trials between two states that are written

_direction = functools.cache(infer_metric_direction)  # it builds a Keras metric: a millisecond


class Proposals:
    """The trials of a search: what is proposed, what runs, what has ended.

    Belongs to one process. `open` makes one.

    Attributes:
        oracle: KerasTuner's.
    """

    def __init__(self, oracle: Untried, path: pathlib.Path) -> None:
        """Opens the log; `open` makes the oracle, too.

        Args:
            oracle: Without a trial.
            path: Of the log.
        """
        self.oracle = oracle
        self._exported = 0  # ended trials that have their file
        self._over = False  # whether there is no further trial, whatever ends
        self._stated = 0  # ended trials in the state that was written last
        if not path.exists():
            with files.written_whole(path) as beside:
                beside.touch()
        self._path, self._file = path, path.open("a+b")
        try:
            self._replay(path)
        except BaseException:
            self._file.close()
            raise

    @classmethod
    def open(cls, settings: Settings, space: Space, path: pathlib.Path) -> Self:
        """Goes on from a log, or begins one.

        Args:
            settings: Of the search; its budget is given to `propose`.
            space: What is searched. Seed and epochs (hyperband) are its config's.
            path: Of the log; its folder exists.

        Raises:
            RunError: The log can't be read, or is of another search.
        """
        config = space.config({})
        # Without a number of trials KerasTuner's ids have four digits, however many there are.
        hyperband = settings.tuner == "hyperband"
        options = {"max_epochs": config.epochs} if hyperband else {"max_trials": None}
        objective = keras_tuner.Objective(settings.objective, settings.direction)
        oracle = ORACLES[settings.tuner](space, config.seed, objective=objective, **options)
        return cls(oracle, path)

    @property
    def trials(self) -> Mapping[str, Trial]:
        """All that began, by id, in order."""
        return self.oracle.trials

    @property
    def exhausted(self) -> bool:
        """Whether the space has no further configuration, as the last proposal showed."""
        return self.oracle.exhausted

    def running(self) -> list[Trial]:
        """Trials that began and have not ended, in order; after a kill they are to be run."""
        return [trial for trial in self.trials.values() if trial.status == TrialStatus.RUNNING]

    def finished(self, budget: int) -> bool:
        """Whether nothing is left to run: no trial runs, and a further one is known not to come.

        Args:
            budget: As of `propose`.
        """
        return not self.running() and (self._over or 0 < budget <= len(self.trials))

    def propose(self, budget: int) -> Trial | None:
        """Begins the next trial.

        Args:
            budget: Trials that may begin in all; 0: without limit.

        Returns:
            The trial; None where there is none now: the budget is spent, the space is exhausted,
            or hyperband has run all its rounds or waits for a trial to end.

        Raises:
            RunError: Another process took the folder over.
        """
        if self._over or 0 < budget <= len(self.trials):
            return None
        trial = self._begin()
        if trial.status == TrialStatus.RUNNING:
            values = trial.hyperparameters.values
            self._log({"event": "begun", "trial": trial.trial_id, "values": values})
            return trial
        if trial.status == TrialStatus.STOPPED:
            self._over = True
            self._log({"event": "over", "exhausted": self.exhausted})
        return None

    def end(
        self,
        trial_id: str,
        metrics: Mapping[str, float] | None,
        *,
        step: int = 0,
        reason: str = "",
    ) -> None:
        """Ends a trial.

        Args:
            trial_id: Of one that runs.
            metrics: By name, the objective among them; None: it failed. One whose objective is
                not finite has failed, other metrics that are not finite are left out.
            step: The epoch that they are of.
            reason: Why it failed; "" where it did not.

        Raises:
            ValueError: The trial does not run, or the objective is missing.
            RunError: Another process took the folder over.
        """
        objective = self.oracle.objective.name
        if self.trials[trial_id].status != TrialStatus.RUNNING:
            raise ValueError(f"Trial {trial_id} has ended already.")
        if metrics is not None and objective not in metrics:
            raise ValueError(f"The metrics {', '.join(metrics)} have no {objective}.")
        if metrics is not None and not math.isfinite(metrics[objective]):
            reason = reason or f"Its {objective} is {metrics[objective]}."
            metrics = None
        event = {
            "event": "ended",
            "trial": trial_id,
            "status": TrialStatus.FAILED if metrics is None else TrialStatus.COMPLETED,
            "metrics": {k: float(v) for k, v in (metrics or {}).items() if math.isfinite(v)},
            "step": int(step),
            "message": reason,
        }
        self._log(event)
        self._end(**event)

    def export(self, folder: pathlib.Path, *, final: bool = False) -> None:
        """Writes what plain KerasTuner opens: each ended trial once, the oracle's state at times.

        Args:
            folder: KerasTuner's project folder, which exists.
            final: Whether to write the state in any case; else when many more trials have ended.
        """
        for trial_id in self.oracle.end_order[self._exported :]:
            path = folder / f"trial_{trial_id}" / "trial.json"
            path.parent.mkdir(exist_ok=True)
            if not path.exists():
                files.write_json(path, self.trials[trial_id].get_state())
            self._exported += 1
        if not final and self._exported < max(1, self._stated * _GROWTH):
            return
        # Running trials have no file, which KerasTuner's reader would look for.
        files.write_json(folder / "oracle.json", {**self.oracle.get_state(), "ongoing_trials": {}})
        files.write_json(folder / "tuner0.json", {})
        self._stated = self._exported

    def close(self) -> None:
        """Closes the log."""
        self._file.close()

    def _begin(self) -> Trial:
        # Each trial is KerasTuner's worker of its own: one worker has one trial at a time.
        return self.oracle.create_trial(f"trial_{len(self.trials)}")

    def _end(
        self,
        event: str,
        trial: str,
        status: str,
        metrics: Mapping[str, float],
        step: int,
        message: str,
    ) -> None:
        ended, objective = self.trials[trial], self.oracle.objective
        for name in metrics:
            direction = objective.direction if name == objective.name else _direction(name)
            ended.metrics.register(name, direction or "min")
        if metrics:
            self.oracle.update_trial(trial, dict(metrics), step)
        ended.status, ended.message = status, message or None
        self.oracle.end_trial(ended)

    def _log(self, event: Mapping[str, Any]) -> None:
        files.require_held(self._path)  # else the lines are another process'
        self._file.write(_line(event) + b"\n")
        self._file.flush()
        os.fsync(self._file.fileno())

    def _replay(self, path: pathlib.Path) -> None:
        """Repeats the events of the log, and removes a last line that a kill has torn."""
        self._file.seek(0)
        text = self._file.read()
        whole = text.rfind(b"\n") + 1
        self._require_torn(text[whole:], path)
        for number, line in enumerate(text[:whole].splitlines(), start=1):
            try:
                event = json.loads(line)
                del event["crc"]
                if _line(event) != line:
                    raise ValueError("its checksum is another")
                self._repeat(event)
            except (ValueError, KeyError, TypeError) as error:
                raise RunError(
                    f"Line {number} of {path} can't be read ({error}). Restore the file, or begin "
                    "a search in another folder."
                ) from error
        self._file.truncate(whole)  # now that the file is known to be a log
        self.oracle.logged = None

    @staticmethod
    def _require_torn(tail: bytes, path: pathlib.Path) -> None:
        """Refuses a last line that is whole but for its end: no kill leaves one."""
        with contextlib.suppress(ValueError):
            json.loads(tail[:-1])
            raise RunError(
                f"The last line of {path} has another end than was written. Restore the file, or "
                "begin a search in another folder."
            )

    def _repeat(self, event: Any) -> None:
        match event:
            case {"event": "begun", "trial": trial_id, "values": values}:
                self.oracle.logged = values
                trial = self._begin()
                if (trial.trial_id, trial.hyperparameters.values) != (trial_id, values):
                    raise ValueError(
                        f"{trial_id} is not what is proposed now: another version wrote it"
                    )
            case {"event": "ended", "trial": trial_id}:
                if self.trials[trial_id].status != TrialStatus.RUNNING:
                    raise ValueError(f"{trial_id} has ended before")
                self._end(**event)
            case {"event": "over", "exhausted": exhausted}:
                self._over, self.oracle.exhausted = True, exhausted
            case _:
                raise ValueError("no event")


def _line(event: Mapping[str, Any]) -> bytes:
    """A line of the log, without its end: the event and a checksum of it."""
    crc = zlib.crc32(json.dumps(event, allow_nan=False).encode())
    return json.dumps({**event, "crc": crc}, allow_nan=False).encode()
