"""What grid takes of a range, and how hyperband goes on in a space that is too small for it."""

import collections

import pytest

from tests.helpers.proposals import (
    OBJECTIVE,
    OPENED,
    configurations,
    contents,
    opened,
    searched,
    space,
)
from tuning import samplers

FEW = space(pooling="flatten,average,max", optimizer="adam,sgd")  # the first bracket wants 9


@pytest.fixture(autouse=True)
def closed():
    """Whatever a test leaves open, as a search that is killed does."""
    yield
    while OPENED:
        OPENED.pop().close()


@pytest.mark.parametrize(("together", "order"), [(1, 0), (4, 0), (4, 1), (4, 2)])
def test_hyperband_trains_the_better_of_a_small_space_longer(together, order, tmp_path):
    path = tmp_path / "log.jsonl"
    whole = searched("hyperband", path, 0, FEW, together=together, order=order)
    values = [trial.hyperparameters.values for trial in whole.trials.values()]
    epochs = collections.Counter(each["tuner/epochs"] for each in values)
    assert len(set(configurations(whole, FEW))) == len(values)
    assert epochs == {1: 6, 3: 2, 9: 1}
    again = opened("hyperband", path, FEW)
    assert contents(again) == contents(whole)
    assert again.finished(0)


@pytest.mark.slow
def test_hyperband_in_a_small_space_goes_on_wherever_it_was_killed(tmp_path):
    whole = searched("hyperband", tmp_path / "log.jsonl", 0, FEW)
    log = (tmp_path / "log.jsonl").read_bytes()
    lines = log.splitlines(keepends=True)
    for count in range(len(lines)):
        path = tmp_path / f"{count}.jsonl"
        path.write_bytes(b"".join(lines[:count]))
        assert contents(searched("hyperband", path, 0, FEW)) == contents(whole)
        assert path.read_bytes() == log


@pytest.mark.parametrize("name", ["head_units", "learning_rate"])
def test_grid_takes_the_default_and_ten_values_of_a_range_without_steps(name, tmp_path):
    text = {"head_units": "64:1024:linear", "learning_rate": "1e-5:1e-2:log"}[name]
    of = space(**{name: text})
    proposals = searched("grid", tmp_path / "log.jsonl", 0, of)
    drawn = [trial.hyperparameters.values[name] for trial in proposals.trials.values()]
    assert drawn[0] == of.defaults()[name]
    assert len(set(drawn)) == len(drawn) == 11


def test_grid_takes_all_of_a_few_integers(tmp_path):
    of = space(batch_size="8:17:linear")
    proposals = searched("grid", tmp_path / "log.jsonl", 0, of)
    sizes = [trial.hyperparameters.values["batch_size"] for trial in proposals.trials.values()]
    assert sorted(sizes) == list(range(8, 18))


def test_grid_takes_all_of_a_list(tmp_path):
    of = space(batch_size="2,3,4,5,6,7,8,9,10,11,12,13")
    proposals = searched("grid", tmp_path / "log.jsonl", 0, of)
    sizes = [trial.hyperparameters.values["batch_size"] for trial in proposals.trials.values()]
    assert sorted(sizes) == list(range(2, 14))


@pytest.mark.parametrize("tuner", ["grid", "hyperband"])
def test_what_has_no_budget_has_a_number_of_trials(tuner, tmp_path):
    of = space(head_units="16:1024:linear", learning_rate="1e-3,1e-2")
    proposals = opened(tuner, tmp_path / "log.jsonl", of)
    while trial := proposals.propose(0):
        proposals.end(trial.trial_id, {OBJECTIVE: 0.5})
    assert len(proposals.trials) == samplers.most_trials(tuner, of) > 20
