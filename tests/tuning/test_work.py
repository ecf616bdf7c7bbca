"""When a search gives up: trial after trial has failed, and none is done."""

import pytest

from tests.helpers import searches
from trainer.run.errors import RunError
from tuning import oracles, work
from tuning.folder import Folder
from tuning.roles import Search


def begun(root):
    """A process of a search, without its images: its oracle, and what looks whether to go on."""
    space, settings = searches.parsed("--max_trials=30")
    spec = Search(Folder(root), space, settings, timeout=60.0, attempts=3)
    spec.folder.begin(spec.identity, overwrite=False)
    reporter = work._Reporter(spec)
    return work._resumed(spec, reporter, ()), reporter


def end(oracle, *statuses):
    for status in statuses:
        trial = oracle.create_trial("one")
        if status == oracles.COMPLETED:
            metrics = {"val_balanced_accuracy": 0.5, "val_loss": 1.0, "seconds": 1.0}
            oracle.update_trial(trial.trial_id, metrics)
        trial.status = status
        trial.message = "Out of memory." if status == oracles.FAILED else None
        oracle.end_trial(trial)


def test_a_search_whose_trials_all_fail_ends_and_may_be_tried_again(tmp_path):
    oracle, reporter = begun(tmp_path)
    end(oracle, *[oracles.FAILED] * 4)
    reporter.check()
    end(oracle, oracles.FAILED)
    with pytest.raises(RunError, match=r"All of the 5 trials so far failed; the last: Out of mem"):
        reporter.check()
    oracle, reporter = begun(tmp_path)  # the cause is mended, perhaps
    reporter.check()
    end(oracle, *[oracles.FAILED] * 4)
    reporter.check()
    end(oracle, oracles.FAILED)
    with pytest.raises(RunError, match="All of the 10 trials"):
        reporter.check()


def test_a_finished_trial_keeps_the_search_going_whatever_fails_later(tmp_path):
    oracle, reporter = begun(tmp_path)
    end(oracle, oracles.COMPLETED)
    oracle, reporter = begun(tmp_path)
    end(oracle, *[oracles.FAILED] * 9)
    reporter.check()
