"""Searches without training: metrics follow from values, so that any two searches compare."""

import itertools
import json
import math
import os
import pathlib
import re

import keras_tuner
import numpy as np
import pytest

from tests.helpers import flips, run_folders
from tests.helpers.proposals import (
    OBJECTIVE,
    OPENED,
    SMALL,
    configurations,
    contents,
    metrics_of,
    opened,
    searched,
    space,
)
from trainer.run import run_dir
from trainer.run.errors import RunError
from tuning import oracle, samplers

BUDGETS = {"random": 9, "bayesian": 8, "grid": 9, "hyperband": 0}
READERS = {"random": keras_tuner.RandomSearch, "bayesian": keras_tuner.BayesianOptimization,
           "grid": keras_tuner.GridSearch, "hyperband": keras_tuner.Hyperband}  # fmt: skip


@pytest.fixture(autouse=True)
def closed():
    """Whatever a test leaves open, as a search that is killed does."""
    yield
    while OPENED:
        OPENED.pop().close()


def cuts(log: bytes, every: int = 1) -> list[bytes]:
    """The log up to each line's end, and up to somewhere in the next."""
    ends = [0, *itertools.accumulate(map(len, log.splitlines(keepends=True)))]
    inside = [(2 * end + following) // 3 for end, following in itertools.pairwise(ends)]
    return [log[:end] for end in sorted({*ends[::every], *inside[::every], len(log) - 1})]


# Interruptions


@pytest.mark.slow
@pytest.mark.parametrize("tuner", BUDGETS)
def test_a_search_that_is_killed_anywhere_ends_as_an_undisturbed_one(tuner, tmp_path):
    undisturbed = searched(tuner, tmp_path / "log.jsonl", BUDGETS[tuner])
    log = (tmp_path / "log.jsonl").read_bytes()
    assert len(undisturbed.trials) >= 8
    for number, cut in enumerate(cuts(log, every={"bayesian": 4, "hyperband": 3}.get(tuner, 1))):
        path = tmp_path / f"{number}.jsonl"
        path.write_bytes(cut)
        assert contents(searched(tuner, path, BUDGETS[tuner])) == contents(undisturbed)
        assert path.read_bytes() == log


@pytest.mark.parametrize("tuner", ["random", "grid"])
def test_how_many_trials_run_and_end_in_which_order_changes_nothing(tuner, tmp_path):
    truth = contents(searched(tuner, tmp_path / "log.jsonl", 12))
    for order in range(2):
        path = tmp_path / f"together{order}.jsonl"
        assert contents(searched(tuner, path, 12, together=3, order=order)) == truth
        for number, cut in enumerate(cuts(path.read_bytes(), every=3)):
            killed = tmp_path / f"{order}.{number}.jsonl"
            killed.write_bytes(cut)
            assert contents(searched(tuner, killed, 12, together=3, order=7)) == truth


@pytest.mark.parametrize("tuner", ["bayesian", "hyperband"])
def test_searches_with_several_trials_at_a_time_are_opened_again(tuner, tmp_path):
    # Hyperband's first two brackets have 14 trials, and the third begins without one.
    of = space(head_units="16:1024:log2", pooling="flatten,max")
    for order in range(4):
        path = tmp_path / f"{order}.jsonl"
        whole = searched(tuner, path, BUDGETS[tuner], of, together=4, order=order)
        assert contents(opened(tuner, path, of)) == contents(whole)


def test_trials_that_ran_when_the_search_was_killed_are_running(tmp_path):
    proposals = opened("random", tmp_path / "log.jsonl")
    ids = [proposals.propose(0).trial_id for _ in range(4)]
    proposals.end(ids[1], {OBJECTIVE: 0.5})
    proposals.close()
    again = opened("random", tmp_path / "log.jsonl")
    assert [trial.trial_id for trial in again.running()] == ["0000", "0002", "0003"]
    assert again.trials["0001"].score == 0.5
    assert not again.finished(4)


def test_a_process_that_lost_the_folder_writes_nothing_into_the_log(tmp_path):
    path, theirs = tmp_path / "log.jsonl", b"of another process\n"
    with run_dir.held(tmp_path, "search_dir"):
        proposals = opened("random", path)
        trial = proposals.propose(9).trial_id
        run_folders.taken_over(tmp_path)
        path.write_bytes(theirs)
        with pytest.raises(RunError, match="it took the folder over"):
            proposals.end(trial, {OBJECTIVE: 0.5})
    assert path.read_bytes() == theirs


# Budgets and exhaustion


@pytest.mark.parametrize("tuner", ["random", "grid", "bayesian"])
def test_a_budget_that_grows_gives_the_search_that_began_with_it(tuner, tmp_path):
    first, more = (7, 9) if tuner == "bayesian" else (18, 25)
    for budget in (first, more):
        grown = searched(tuner, tmp_path / "grown.jsonl", budget)
        assert len(grown.trials) == budget
        assert not grown.exhausted
    assert contents(grown) == contents(searched(tuner, tmp_path / "whole.jsonl", more))


def test_a_budget_of_one_trial_is_one_trial(tmp_path):
    assert len(searched("random", tmp_path / "log.jsonl", 1).trials) == 1


@pytest.mark.slow
@pytest.mark.parametrize("tuner", ["random", "grid", "bayesian"])
def test_all_of_a_small_space_is_run_once_and_then_it_is_exhausted(tuner, tmp_path):
    path = tmp_path / "log.jsonl"
    proposals = searched(tuner, path, 18, SMALL)
    assert len(set(configurations(proposals, SMALL))) == len(proposals.trials) == 18
    assert not proposals.exhausted
    for _ in range(2):
        again = opened(tuner, path, SMALL)
        assert again.finished(18)
        assert again.propose(19) is None
        assert again.exhausted
        assert again.finished(19)
        again.close()
    assert len(again.trials) == 18


@pytest.mark.parametrize("tuner", ["random", "grid", "bayesian"])
def test_a_space_is_exhausted_once_with_several_trials_at_a_time(tuner, tmp_path):
    of = space(head_units="64,128,256", dropout="0,0.25,0.5")
    proposals = searched(tuner, tmp_path / "log.jsonl", 0, of, together=4)
    assert len(set(configurations(proposals, of))) == len(proposals.trials) == 9
    assert proposals.exhausted


@pytest.mark.parametrize("tuner", ["random", "grid", "bayesian"])
def test_what_has_no_effect_makes_no_new_configuration(tuner, tmp_path):
    conditional = space(augmentation="none,radiograph", views="2,4,8")
    proposals = searched(tuner, tmp_path / "log.jsonl", 0, conditional)
    assert proposals.exhausted
    tried = configurations(proposals, conditional)
    assert len(tried) == len(set(tried)) == 1 + 3


def test_hyperband_draws_no_configuration_twice(tmp_path):
    of = space(augmentation="none,radiograph", views="2:40:linear", head_units="64,128,256")
    proposals = searched("hyperband", tmp_path / "log.jsonl", 0, of)
    values = [trial.hyperparameters.values for trial in proposals.trials.values()]
    drawn = [of.config({**each, "tuner/epochs": 1}) for each in values if not each["tuner/round"]]
    assert len(drawn) == len(set(drawn)) == 9 + 5 + 3
    assert len(values) > len(drawn)


def test_a_range_of_integers_is_gone_through_to_its_end(tmp_path, monkeypatch):
    monkeypatch.setattr(samplers, "_DRAWS", 3)  # nearly all are draws of what was tried
    of = space(batch_size="8:19:linear")
    proposals = searched("random", tmp_path / "log.jsonl", 0, of)
    sizes = [trial.hyperparameters.values["batch_size"] for trial in proposals.trials.values()]
    assert sorted(sizes) == list(range(8, 20))


# What is proposed


@pytest.mark.parametrize("tuner", ["random", "bayesian", "grid"])
def test_the_first_trial_has_the_trainers_defaults(tuner, tmp_path):
    first = opened(tuner, tmp_path / "log.jsonl").propose(0)
    assert first.hyperparameters.values == {"head_units": 256, "learning_rate": 1e-4}


def test_seeds_draw_different_trials(tmp_path):
    values = []
    for seed in (0, 1, 2):
        of = space(seed=seed, head_units="32:256:log2", learning_rate="1e-5:1e-2:log")
        proposals = searched("random", tmp_path / f"{seed}.jsonl", 4, of)
        values += [trial.hyperparameters.values["learning_rate"]
                   for trial in list(proposals.trials.values())[1:]]  # fmt: skip
    assert len(set(values)) == 9


def test_grid_has_kerastuners_combinations_in_its_order(tmp_path):
    of = space(head_units="64:256:log2", dropout="0.25,0,0.5", pooling="flatten,max")
    proposals = searched("grid", tmp_path / "log.jsonl", 0, of)
    ours = [trial.hyperparameters.values for trial in proposals.trials.values()]
    hyperparameters = keras_tuner.HyperParameters()
    of.declare(hyperparameters)
    theirs = keras_tuner.oracles.GridSearchOracle(
        objective=keras_tuner.Objective(OBJECTIVE, "max"), hyperparameters=hyperparameters
    )
    theirs.save = theirs._save_trial = lambda *_: None
    theirs.verbose = 0
    for values in ours:
        trial = theirs.create_trial("one")
        assert trial.hyperparameters.values == values
        theirs.update_trial(trial.trial_id, {OBJECTIVE: 0.5})
        trial.status = "COMPLETED"
        theirs.end_trial(trial)
    assert theirs.create_trial("one").status == "STOPPED"


@pytest.mark.slow
def test_bayesian_takes_the_best_untried_where_kerastuners_optimum_was_tried(tmp_path, monkeypatch):
    oracles, optima = keras_tuner.oracles.BayesianOptimizationOracle, []
    vector_to_values = oracles._vector_to_values

    def noted(oracle, vector):
        optima.append(vector_to_values(oracle, vector))
        return optima[-1]

    monkeypatch.setattr(oracles, "_vector_to_values", noted)
    of = space(head_units="32:2048:log2")
    proposals = opened("bayesian", tmp_path / "log.jsonl", of)
    oracle, hp = proposals.oracle, proposals.oracle.hyperparameters.space[0]
    oracle.beta, others = 0.01, 0  # the optimum is where the best was
    while trial := proposals.propose(6):
        units = trial.hyperparameters.values["head_units"]
        if optima and optima.pop()["head_units"] != units:
            tried = [
                each.hyperparameters.values["head_units"] for each in proposals.trials.values()
            ]
            untried = [units, *(set(hp.values) - set(tried))]
            mean, sd = oracle.gpr.predict([[hp.value_to_prob(v)] for v in untried], return_std=True)
            expected = mean - oracle.beta * sd
            assert expected[0] == pytest.approx(expected.min(), abs=1e-6)
            others += expected.max() > expected.min() + 0.1
        score = -((math.log2(units) - 8) ** 2)  # best: the default, which comes first
        proposals.end(trial.trial_id, {OBJECTIVE: score})
    assert others


# Ends


def test_a_trial_ends_once(tmp_path):
    proposals = opened("random", tmp_path / "log.jsonl")
    trial_id = proposals.propose(0).trial_id
    with pytest.raises(ValueError, match="no val_balanced_accuracy"):
        proposals.end(trial_id, {"val_loss": 0.5})
    proposals.end(trial_id, {OBJECTIVE: 0.5, "val_loss": float("nan")}, step=7)
    with pytest.raises(ValueError, match="ended already"):
        proposals.end(trial_id, {OBJECTIVE: 0.9})
    trial = proposals.trials[trial_id]
    assert (trial.score, trial.best_step, trial.message) == (0.5, 7, None)
    assert trial.metrics.metrics.keys() == {OBJECTIVE}


def test_trials_that_fail_keep_their_reason_and_the_search_goes_on(tmp_path):
    proposals = opened("random", tmp_path / "log.jsonl")
    for _ in range(4):  # KerasTuner gives up after three in a row
        proposals.end(proposals.propose(0).trial_id, None, reason="Out of memory")
    proposals.end(proposals.propose(0).trial_id, {OBJECTIVE: float("nan")})
    proposals.end(proposals.propose(0).trial_id, {OBJECTIVE: 0.5})
    proposals.close()
    trials = opened("random", tmp_path / "log.jsonl").trials.values()
    assert [trial.status for trial in trials] == ["FAILED"] * 5 + ["COMPLETED"]
    assert [trial.message for trial in trials][3:] == [
        "Out of memory",
        "Its val_balanced_accuracy is nan.",
        None,
    ]


# Logs that are not this search's


@pytest.mark.parametrize(
    "line",
    [
        "",
        "{",
        "[]",
        '{"event": "begun"}',
        '{"event": "began", "trial": "0002", "values": {}}',
        oracle._line({"event": "paused", "trial": "0002"}).decode().rstrip(),
    ],
)
def test_an_unreadable_line_is_refused_with_its_number(line, tmp_path):
    path = tmp_path / "log.jsonl"
    searched("random", path, 4)
    lines = path.read_text().splitlines()
    lines[4] = line
    path.write_text("\n".join(lines) + "\n")
    with pytest.raises(RunError, match=r"Line 5 of .*log\.jsonl can't be read"):
        opened("random", path)


@pytest.mark.parametrize("line", [1, 2, 3])
def test_events_that_can_not_follow_each_other_are_refused(line, tmp_path):
    path = tmp_path / "log.jsonl"
    searched("random", path, 4)
    lines = path.read_text().splitlines()
    lines.insert(line + 1, lines[line])
    path.write_text("\n".join(lines) + "\n")
    with pytest.raises(RunError, match=f"Line {line + 2} of"):
        opened("random", path)


@pytest.mark.parametrize("changed", ["learning_rate", "tuner/round", "tuner/epochs"])
def test_a_log_of_values_that_hyperband_does_not_propose_is_refused(changed, tmp_path):
    path = tmp_path / "log.jsonl"
    searched("hyperband", path, 0)
    lines = path.read_text().splitlines()
    event = json.loads(lines[20])
    del event["crc"]
    event["values"][changed] += 1
    lines[20] = oracle._line(event).decode()
    path.write_text("\n".join(lines) + "\n")
    with pytest.raises(RunError, match=r"Line 21 of .* another version"):
        opened("hyperband", path)


def test_a_log_in_which_hyperband_went_on_before_its_trials_had_ended_is_refused(tmp_path):
    path = tmp_path / "log.jsonl"
    searched("hyperband", path, 0)
    lines = path.read_text().splitlines()
    path.write_text("".join(f"{line}\n" for line in lines if '"ended"' not in line))
    with pytest.raises(RunError, match=r"Line \d+ of .* another version"):
        opened("hyperband", path)


def test_a_trial_that_hyperband_begins_after_all_were_tried_is_refused(tmp_path):
    path, two = tmp_path / "log.jsonl", space(learning_rate="1e-4,1e-3")
    searched("hyperband", path, 0, two)
    events = [json.loads(line) for line in path.read_text().splitlines()]
    begun = [event for event in events if event["event"] == "begun"]
    later = {"event": "begun", "trial": f"{len(begun):04d}", "values": begun[-1]["values"]}
    lines = [line for line in path.read_text().splitlines() if '"over"' not in line]
    path.write_text("\n".join([*lines, oracle._line(later).decode().rstrip()]) + "\n")
    with pytest.raises(RunError, match=rf"Line {len(lines) + 1} of .* another version"):
        opened("hyperband", path, two)


def test_a_changed_bit_is_refused_and_named(tmp_path):
    path = tmp_path / "log.jsonl"
    searched("random", path, 3)
    before, rng = path.read_bytes(), np.random.default_rng(0)
    for _ in range(flips.COUNT):
        with flips.one_bit(path, rng), pytest.raises(RunError, match=re.escape(str(path))):
            opened("random", path)
        assert path.read_bytes() == before
    path.write_bytes(before[:-1] + b"\v")  # the end of the last line
    with pytest.raises(RunError, match=r"The last line of .*log\.jsonl has another end"):
        opened("random", path)


# Plain KerasTuner


def read_plainly(tuner: str, folder: pathlib.Path) -> keras_tuner.Tuner:
    objective = keras_tuner.Objective(OBJECTIVE, "max")
    return READERS[tuner](
        lambda hp: None, objective=objective, directory=folder.parent, project_name=folder.name
    )


@pytest.mark.parametrize("tuner", BUDGETS)
def test_plain_kerastuner_opens_what_is_exported(tuner, tmp_path, capsys):
    proposals = opened(tuner, tmp_path / "log.jsonl", SMALL)
    for _ in range(7):
        trial = proposals.propose(0)
        proposals.end(trial.trial_id, metrics_of(trial), step=3, reason="Diverged")
        proposals.export(tmp_path)
    proposals.propose(0)  # runs
    proposals.export(tmp_path, final=True)
    plain = read_plainly(tuner, tmp_path)
    best = proposals.oracle.get_best_trials()[0]
    assert plain.get_best_hyperparameters()[0].values == best.hyperparameters.values
    assert sorted(plain.oracle.trials) == list(proposals.trials)[:7]
    for trial_id, trial in plain.oracle.trials.items():
        assert trial.get_state() == proposals.trials[trial_id].get_state()
    capsys.readouterr()
    plain.results_summary()
    assert f"Trial {best.trial_id} summary" in capsys.readouterr().out


def test_plain_kerastuner_opens_what_a_killed_search_has_exported(tmp_path):
    proposals = opened("random", tmp_path / "log.jsonl")
    for count in range(1, 31):
        trial = proposals.propose(0)
        proposals.end(trial.trial_id, {OBJECTIVE: 0.5})
        proposals.export(tmp_path)
        os.utime(tmp_path / f"trial_{trial.trial_id}/trial.json", (0, 0))  # another write is seen
        if count % 6 == 0:  # a process that knows of nothing that was exported
            proposals.close()
            proposals = opened("random", tmp_path / "log.jsonl")
            assert len(read_plainly("random", tmp_path).oracle.trials) == count
    assert {path.stat().st_mtime for path in tmp_path.glob("trial_*/trial.json")} == {0}
