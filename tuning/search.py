"""The search loop: KerasTuner's, with trials that fail with a reason and a state that survives."""

import contextlib
from collections.abc import Callable
from typing import Any

from keras_tuner.src import errors
from keras_tuner.src.engine import base_tuner
from keras_tuner.src.engine import trial as trial_lib

from trainer.run import command
from trainer.run.errors import RunError
from tuning import memory
from tuning.folder import Folder
from tuning.hypermodel import ClassifierHyperModel
from tuning.oracles import Kept
from tuning.pulse import Pulse
from tuning.worker import Client

_EXPECTED = f"{errors.FailedTrialError.__name__}: "  # what KerasTuner's traceback ends with
ALONE = "alone"  # id of the one process of a search without workers


class Tuner(base_tuner.BaseTuner):
    """Runs trials: in one process with the oracle in it, or as a worker of a chief."""

    def __init__(
        self,
        oracle: Kept,
        hypermodel: ClassifierHyperModel,
        folder: Folder,
        pulse: Pulse,
        check: Callable[[], None],
    ) -> None:
        """Has run no trial yet.

        Args:
            oracle: Of the search; a worker's has no state.
            hypermodel: What is trained.
            folder: Where the state is.
            pulse: Where each step of a trial is noted.
            check: Called before each trial; may raise to end the search.
        """
        self._folder, self._pulse, self._check = folder, pulse, check
        super().__init__(
            oracle, hypermodel, directory=str(folder.root.parent), project_name=folder.root.name
        )
        self.tuner_id = ALONE
        self._memory = memory.Memory()

    def work_for(self, client: Client) -> None:
        """Takes trials from a chief."""
        self.oracle, self.tuner_id = client, client.tuner_id

    def run_trial(self, trial: trial_lib.Trial, *args: Any, **kwargs: Any) -> dict[str, float]:
        """Trains and scores a trial."""
        hp, living = trial.hyperparameters, contextlib.nullcontext()
        if isinstance(self.oracle, Client):
            living = self.oracle.alive(trial.trial_id, self._pulse)
        with living:
            return self.hypermodel.fit(hp, self.hypermodel.build(hp))

    def _run_and_update_trial(self, trial: trial_lib.Trial, *args: Any, **kwargs: Any) -> None:
        """As KerasTuner's, which takes all other errors for a failure of the trial."""
        try:
            super()._run_and_update_trial(trial, *args, **kwargs)
        except RunError as error:
            # Wrong for every trial, or no chief to report to: this one is not to blame.
            raise errors.FatalRuntimeError(str(error)) from error
        except Exception:
            command.raise_if_interrupted()  # a trial that the user stopped has not failed
            raise

    def on_trial_end(self, trial: trial_lib.Trial) -> None:
        """Reports the end; where a trial failed as it may, the reason is enough."""
        if trial.message and _EXPECTED in trial.message:
            trial.message = trial.message.rpartition(_EXPECTED)[2].strip()
        self.oracle.end_trial(trial)
        if self._memory.has_climbed():
            memory.replace_process()

    def pre_create_trial(self) -> None:
        """Looks whether to go on."""
        self._check()

    # KerasTuner builds models to find the space and writes files; here both are done otherwise.

    def _populate_initial_space(self) -> None:
        """The space is in the oracle from the start."""

    def _get_tuner_fname(self) -> str:
        """Nothing is reloaded by KerasTuner."""
        return str(self._folder.root / "no such file")

    def save(self) -> None:
        """The oracle writes its state itself."""


def run(tuner: Tuner) -> None:
    """Runs trials until there are none.

    Raises:
        RunError: What is wrong is wrong for every trial.
    """
    try:
        tuner.search()
    except errors.FatalRuntimeError as error:
        raise RunError(str(error)) from error
