"""What a search writes of its trials and removes again, without a training."""

import pytest

from tests.helpers.proposals import OBJECTIVE, SPACE, metrics_of, opened
from tuning.folder import Folder
from tuning.record import Record
from tuning.settings import Settings, Spec


@pytest.fixture
def proposals(tmp_path):
    """A search without a trial."""
    made = opened("random", tmp_path / "log.jsonl")
    yield made
    made.close()


def record(proposals, folder, **settings) -> Record:
    described = Settings(objective=OBJECTIVE, **settings)
    return Record(Spec(Folder(folder), SPACE, described), proposals)


def test_networks_are_kept_while_they_are_among_the_best_or_equal_the_last_of_them(
    proposals, tmp_path
):
    written, rows, kept = record(proposals, tmp_path, keep_best=2), [], []
    for number, score in enumerate([0.5, 0.7, 0.9, 0.1, 0.7]):
        rows.append({"trial": f"000{number}", OBJECTIVE: score})
        order = sorted(rows, key=lambda row: -row[OBJECTIVE])
        written._keep_networks(f"000{number}", bytes([number]), order)
        kept.append([path.parent.name[-1] for path in sorted(tmp_path.glob("*/*.weights.h5"))])
    assert kept == [["0"], ["0", "1"], ["1", "2"], ["1", "2"], ["1", "2", "4"]]
    assert not (tmp_path / "trial_0003").exists()  # was never among them
    beside = sorted(path.parent.name[-1] for path in tmp_path.glob("*/build_config.json"))
    assert beside == kept[-1]
    assert (tmp_path / "trial_0004" / "checkpoint.weights.h5").read_bytes() == b"\4"


def test_a_trial_of_the_defaults_that_failed_is_compared_with_nothing(proposals, tmp_path):
    defaults, other = proposals.propose(9), proposals.propose(9)
    proposals.end(defaults.trial_id, None, step=0, reason="Diverged")
    proposals.end(other.trial_id, metrics_of(other), step=1)
    written = record(proposals, tmp_path)
    assert written.best["trial"] == other.trial_id
    written._compare_with_default()
    assert not hasattr(written, "_table")  # nothing was shown
