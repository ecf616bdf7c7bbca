"""KerasTuner's oracles, so that nothing is lost or counted twice when anything is killed.

An oracle proposes the trials and holds their results. KerasTuner writes it as many files, one after
the other, each in place: a kill between two of them loses a trial or runs one again, a kill within
one leaves what can't be read, and some of what grid and bayesian need is not written at all. Here
the whole state is one file that is replaced after each event.
"""

import contextlib
import json
import pathlib
import threading
from collections import defaultdict
from collections.abc import Callable, Iterator
from typing import Any

import keras_tuner
import numpy as np
from keras_tuner.src.engine import metrics_tracking
from keras_tuner.src.engine import trial as trial_lib

from trainer.run import files
from tuning.settings import Settings
from tuning.space import Space

RUNNING, COMPLETED, FAILED = "RUNNING", "COMPLETED", "FAILED"
# KerasTuner's words: for a trial that is to run again, and for answers without a trial.
_WAITING, NOT_NOW, _OVER = "INVALID", "IDLE", "STOPPED"
_NOBODY = "nobody"  # a worker's id
_NEVER = 10**9  # failures in a row: KerasTuner's own check would leave its lock taken


class Kept:
    """Goes in front of an oracle class; see the module.

    Attributes:
        deaths: By trial, how often the process that ran it was lost.
        dataset: Fingerprint of the images that the trials saw; "" before the first.
    """

    def keep(
        self, path: pathlib.Path, space: Space, attempts: int, ended: Callable[[Any], None]
    ) -> None:
        """Says where the state goes.

        Args:
            path: The file.
            space: Its defaults make the first trial where the tuner leaves that free.
            attempts: A trial whose process was lost so often has failed.
            ended: Called with each trial that ended.
        """
        self._path, self._space, self._attempts, self._ended = path, space, attempts, ended
        self._changing = threading.RLock()
        self._depth = 0
        self._ended_texts: dict[str, str] = {}
        self.deaths: dict[str, int] = defaultdict(int)
        self.dataset = ""

    # What KerasTuner calls

    def create_trial(self, tuner_id: str) -> trial_lib.Trial:
        """A trial for a worker; the one it has where it comes back without having ended it."""
        with self._event():
            if tuner_id in self.ongoing_trials:
                self.take_back(tuner_id, "the process that ran it was killed")
            trial = self._next(tuner_id)
            if trial.status == _OVER and self.open_trials:
                # A trial that runs may be lost, and somebody has to be there to run it again.
                trial.status = NOT_NOW
                self.tuner_ids.add(tuner_id)
        # A copy, as workers get it: KerasTuner writes to it before its end is reported.
        return trial_lib.Trial.from_state(trial.get_state())

    def update_trial(self, trial_id: str, metrics: dict, step: int = 0) -> trial_lib.Trial:
        """Takes a trial's metrics: those of the last report, and none once it has ended."""
        with self._event():
            trial = self.trials[trial_id]
            self._claim(trial)
            if trial.status == RUNNING:
                trial.metrics = metrics_tracking.MetricsTracker()
                super().update_trial(trial_id, metrics, step)
            return trial

    def end_trial(self, trial: trial_lib.Trial) -> None:
        """Ends a trial, once."""
        with self._event():
            known = self.trials[trial.trial_id]
            self._claim(known)
            if known.status != RUNNING:
                return
            super().end_trial(trial)
        with self._changing:  # what is written of it is written by one thread
            self._ended(known)

    def populate_space(self, trial_id: str) -> dict[str, Any]:
        """What the tuner proposes; the trainer's defaults, or what is nearest, come first."""
        if not self.trials and self._first_is_free:
            return {"status": RUNNING, "values": self._space.defaults()}
        return super().populate_space(trial_id)

    _first_is_free = True

    def save(self) -> None:
        """Writes the whole state, unless an event is under way, which writes it at its end."""
        if not self._depth:
            self._save()

    def _save_trial(self, trial: trial_lib.Trial) -> None:
        """Trials are part of the state's one file."""

    def reload(self) -> None:
        """Reads the state; trials that ran are still their workers'."""
        state = json.loads(self._path.read_text())
        self.trials = {
            trial_id: trial_lib.Trial.from_state(each)
            for trial_id, each in sorted(state["trials"].items())
        }
        self.deaths.update(state["deaths"])
        self.dataset = state["dataset"]
        self.set_state(state["oracle"])

    # What the chief calls

    @contextlib.contextmanager
    def _event(self) -> Iterator[None]:
        """One change of the state, written when it is whole; events follow one another."""
        with self._changing:
            self._depth += 1
            try:
                yield
            finally:
                self._depth -= 1
            self.save()

    def _save(self) -> None:
        oracle = self.get_state()
        oracle["tried_so_far"].sort()  # equal states are equal files
        trials = ",\n".join(
            f"{json.dumps(trial_id)}: {self._text(trial)}"
            for trial_id, trial in self.trials.items()
        )
        rest = {"deaths": self.deaths, "dataset": self.dataset, "oracle": oracle}
        with files.written_whole(self._path) as beside:
            beside.write_text(f'{{"trials": {{\n{trials}}},\n{json.dumps(rest)[1:]}\n')

    def _text(self, trial: trial_lib.Trial) -> str:
        """A trial as JSON; one that ended does not change any more."""
        found = self._ended_texts.get(trial.trial_id)
        if found is None:
            found = json.dumps(trial.get_state(), allow_nan=False)
            if trial.status in (COMPLETED, FAILED):
                self._ended_texts[trial.trial_id] = found
        return found

    def _next(self, tuner_id: str) -> trial_lib.Trial:
        """KerasTuner's answer; one without a trial leaves no trace, however often it is called.

        It says that a small space is exhausted when it has drawn what is known 21 times. Asked
        again with further draws, it would draw another trial now and then.
        """
        before = self._seed_state
        trial = super().create_trial(tuner_id)
        if trial.status != RUNNING:
            self._seed_state = before
        return trial

    def _wait(self, trial: trial_lib.Trial) -> None:
        """Leaves a trial to the next worker that asks."""
        trial.status = _WAITING
        self._retry_queue.append(trial.trial_id)

    def _claim(self, trial: trial_lib.Trial) -> None:
        """A result that comes after its trial was taken back, and before it ran again, counts."""
        if trial.trial_id in self._retry_queue:
            self._retry_queue.remove(trial.trial_id)
            trial.status = RUNNING

    def take_back(self, tuner_id: str, why: str) -> None:
        """Gives a lost worker's trial to the next that asks, or fails it after many losses."""
        with self._event():
            self.tuner_ids.discard(tuner_id)
            trial = self.ongoing_trials.pop(tuner_id, None)
            if trial is None or trial.status != RUNNING:
                return
            self.deaths[trial.trial_id] += 1
            if self.deaths[trial.trial_id] < self._attempts:
                self._wait(trial)
                return
            self.ongoing_trials[tuner_id] = trial
            ended = trial_lib.Trial(trial.hyperparameters, trial.trial_id, FAILED)
            ended.message = (
                f"{why[0].upper()}{why[1:]}, {self._attempts} times. Does it run out of memory?"
            )
            self.end_trial(ended)

    def expect(self, tuner_ids: set[str]) -> None:
        """Takes back the trials of all workers but these: nobody else is there."""
        for tuner_id in set(self.ongoing_trials) - tuner_ids:
            self.take_back(tuner_id, "the process that ran it was killed")

    def saw(self, fingerprint: str) -> bool:
        """Notes what images a worker has; False where others had other images."""
        if self.dataset:
            return self.dataset == fingerprint
        with self._event():
            self.dataset = fingerprint
        return True

    def is_exhausted(self) -> bool:
        """Whether there is no further trial; the one that there is waits for a worker."""
        with self._event():
            trial = self._next(_NOBODY)
            if trial.status == RUNNING:
                self.ongoing_trials.pop(_NOBODY)
                self.tuner_ids.discard(_NOBODY)
                self._wait(trial)
            return trial.status == _OVER

    @property
    def open_trials(self) -> int:
        """Trials that run or wait to run again."""
        with self._changing:
            return len(self.ongoing_trials) + len(self._retry_queue)


class Random(Kept, keras_tuner.oracles.RandomSearchOracle):
    """Draws every trial by itself."""


class Hyperband(Kept, keras_tuner.oracles.HyperbandOracle):
    """Gives many trials few epochs, and the better ones more."""

    _first_is_free = False  # its brackets have to know of every trial


class Bayesian(Kept, keras_tuner.oracles.BayesianOptimizationOracle):
    """Draws trials where a Gaussian process expects most."""

    def populate_space(self, trial_id: str) -> dict[str, Any]:
        """As KerasTuner's, with draws that follow from the trial's number."""
        # Its own generator begins again in each process, and would propose after a kill what it
        # proposed before.
        self._random_state = np.random.RandomState(self.seed + len(self.trials))
        return super().populate_space(trial_id)


class Grid(Kept, keras_tuner.oracles.GridSearchOracle):
    """Goes through all combinations; of a range without steps ten values, or all integers."""

    _first_is_free = False  # it begins with the defaults itself

    def populate_space(self, trial_id: str) -> dict[str, Any]:
        """As KerasTuner's, for as many workers as there are."""
        found = super().populate_space(trial_id)
        if found["status"] == RUNNING:
            # KerasTuner proposes what follows a trial when it has ended, since the space may have
            # grown: workers would wait for each other. This space does not grow.
            self._populate_next.append(trial_id)
        return found

    def get_state(self) -> dict[str, Any]:
        """As KerasTuner's, and where the grid has got to."""
        order, at = [], next(iter(self._ordered_ids._memory), None)
        while at is not None:
            order.append(at)
            at = self._ordered_ids.next(at)
        return {**super().get_state(), "order": order, "next": self._populate_next}

    def set_state(self, state: dict[str, Any]) -> None:
        """Undoes `get_state`."""
        super().set_state(state)
        self._populate_next = list(state["next"])
        for trial_id in state["order"]:
            self._ordered_ids.insert(trial_id)


def make(settings: Settings, space: Space, seed: int, epochs: int) -> Kept:
    """The oracle of a search.

    Args:
        settings: Of the search.
        space: What is searched.
        seed: Of the proposals, from 0.
        epochs: The most that a trial trains (hyperband).
    """
    hyperparameters = keras_tuner.HyperParameters()
    space.declare(hyperparameters)
    common = {
        "objective": keras_tuner.Objective(settings.objective, settings.direction),
        "seed": seed + 1,  # KerasTuner takes 0 for none
        "hyperparameters": hyperparameters,
        "max_consecutive_failed_trials": _NEVER,
    }
    trials = {"max_trials": settings.max_trials or None}
    oracle = {
        "random": lambda: Random(**common, **trials),
        "bayesian": lambda: Bayesian(**common, **trials),
        "grid": lambda: Grid(**common, **trials),
        "hyperband": lambda: Hyperband(**common, max_epochs=epochs),
    }[settings.tuner]()
    oracle.verbose = 0
    return oracle
