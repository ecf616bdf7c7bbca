"""What a search writes of its trials and removes again, without a training."""

import types

import numpy as np
import pytest

from tests.helpers import datasets, run_folders
from tests.helpers.proposals import OBJECTIVE, SPACE, metrics_of, opened
from trainer.execution.tasks import Ended, Task
from trainer.run import run_dir
from trainer.run.errors import RunError
from tuning import trainings
from tuning.folder import Folder
from tuning.record import Record
from tuning.settings import Settings, Spec
from tuning.trial import TrialResult


@pytest.fixture
def proposals(tmp_path):
    """A search without a trial."""
    made = opened("random", tmp_path / "log.jsonl")
    yield made
    made.close()


@pytest.fixture(autouse=True)
def baselines(monkeypatch):
    """No linear model is fitted."""
    of = {name: {"value": 0.5, "low": 0.4, "high": 0.6} for name in ("full_image", "lungs_masked")}
    monkeypatch.setattr(trainings, "shortcut_baselines", lambda *_: of)


def record(proposals, folder, **settings) -> Record:
    described = Settings(objective=OBJECTIVE, **settings)
    return Record(Spec(Folder(folder), SPACE, described), proposals)


class Killed(BaseException):
    """Stands for the end of the process."""


class Searched:
    """A search whose trials get a score and a network without a training."""

    def __init__(self, proposals, folder, **settings) -> None:
        self.proposals, self.folder = proposals, folder
        self.record = record(proposals, folder, **settings)
        self.record.begin(types.SimpleNamespace(ended=lambda *_: None))
        labels = np.arange(8) % 4
        self.probabilities = np.eye(4, dtype=np.float32)[labels][None]
        images = datasets.made(labels)
        dataset = types.SimpleNamespace(splits={"validation": images})
        self.record._setup = types.SimpleNamespace(dataset=dataset)

    def begin(self) -> str:
        return self.proposals.propose(0).trial_id

    def end(self, trial: str, score: float, loss: float = 0.5) -> list[str]:
        """Ends a trial; the trials that have a network then."""
        measured = {OBJECTIVE: score, "val_loss": loss, "epoch": 1.0, "seconds": 1.0,
                    "val_images": 8.0, "val_groups": 8.0}  # fmt: skip
        result = TrialResult(measured, [], self.probabilities, trial.encode())
        self.record.ended(Ended(Task(trial, Killed), result))
        return self.networks()

    def networks(self) -> list[str]:
        paths = sorted(self.folder.glob("*/checkpoint.weights.h5"))
        beside = sorted(self.folder.glob("*/build_config.json"))
        assert [path.parent for path in paths] == [path.parent for path in beside]
        kept = [path.parent.name.removeprefix("trial_") for path in paths]
        assert [path.read_bytes().decode() for path in paths] == kept
        return kept


def test_the_networks_of_the_best_trials_are_kept_as_they_are_ranked(proposals, tmp_path):
    searched = Searched(proposals, tmp_path, keep_best=2)
    scores = [0.5, 0.7, 0.9, 0.1, 0.7, 0.9]  # of equal ones the earlier is the better one
    kept = [searched.end(searched.begin(), score) for score in scores]
    assert kept == [["0000"], ["0000", "0001"], *[["0001", "0002"]] * 3, ["0002", "0005"]]
    assert searched.end(searched.begin(), 0.9, loss=0.1) == ["0002", "0006"]
    assert not (tmp_path / "trial_0003" / "build_config.json").exists()  # was never among them


def test_of_equal_trials_the_one_that_began_first_is_kept_whichever_ends_first(proposals, tmp_path):
    searched = Searched(proposals, tmp_path, keep_best=1)
    trials = [searched.begin() for _ in range(3)]
    assert searched.end(trials[1], 1.0) == ["0001"]
    assert searched.end(trials[0], 1.0) == ["0000"]
    assert searched.end(trials[2], 1.0) == ["0000"]
    assert searched.record.best["trial"] == "0000"
    assert (tmp_path / "trial_0000" / "predictions.csv").exists()  # as of each that was best


@pytest.mark.parametrize("logged", [False, True])
def test_a_kill_while_a_trial_is_recorded_loses_no_network_of_the_best(
    logged, proposals, tmp_path, monkeypatch
):
    searched = Searched(proposals, tmp_path, keep_best=1)
    searched.end(searched.begin(), 0.5)
    end, trial = proposals.end, searched.begin()

    def dying(*arguments, **options):
        if logged:
            end(*arguments, **options)
        raise Killed

    with monkeypatch.context() as patch, pytest.raises(Killed):
        patch.setattr(proposals, "end", dying)
        searched.end(trial, 0.9)
    assert searched.networks() == ["0000", "0001"]
    searched.record.end()  # as of a process that goes on
    assert searched.networks() == (["0001"] if logged else ["0000"])


def test_a_trial_that_ends_when_the_search_was_taken_over_leaves_no_file(proposals, tmp_path):
    searched = Searched(proposals, tmp_path / "search", keep_best=1)
    with run_dir.held(searched.folder, "search_dir"):
        searched.end(searched.begin(), 0.5)
        before, trial = sorted(searched.folder.rglob("*")), searched.begin()
        run_folders.taken_over(searched.folder)
        with pytest.raises(RunError, match="it took the folder over"):
            searched.end(trial, 0.9)
        assert sorted(searched.folder.rglob("*")) == before


def test_what_is_missing_beside_the_best_values_is_known(proposals, tmp_path):
    searched = Searched(proposals, tmp_path)
    assert not searched.record.lacks_baselines  # of no trial
    searched.end(searched.begin(), 0.5)
    assert searched.record.lacks_baselines
    searched.record.end()
    assert not record(proposals, tmp_path).lacks_baselines


def test_a_trial_of_the_defaults_that_failed_is_compared_with_nothing(proposals, tmp_path):
    defaults, other = proposals.propose(9), proposals.propose(9)
    proposals.end(defaults.trial_id, None, step=0, reason="Diverged")
    proposals.end(other.trial_id, metrics_of(other), step=1)
    written = record(proposals, tmp_path)
    assert written.best["trial"] == other.trial_id
    shown = []
    written.begin(types.SimpleNamespace(note=shown.append))
    written._compare_with_default()
    assert shown == []
