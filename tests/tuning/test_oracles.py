"""The oracles' promise: from any written state the search goes on as if nothing had happened."""

import json

import pytest
from keras_tuner.src.engine import trial as trial_lib

from tests.helpers.searches import SPACE, TRIALS, metrics_of, open_oracle, run_trials
from tuning import oracles
from tuning.space import Space, parse

# Only every so many states are gone on from: bayesian thinks, hyperband has hundreds.
TOO_SLOW = {"bayesian": 9, "hyperband": 7}


def contents(oracle) -> dict[str, tuple]:
    return {
        trial_id: (trial.status, trial.hyperparameters.values, trial.score,
                   trial.metrics.get_history("val_accuracy"))
        for trial_id, trial in oracle.trials.items()
    }  # fmt: skip


@pytest.mark.parametrize("tuner", TRIALS)
def test_every_written_state_leads_to_the_same_end(tuner, tmp_path, monkeypatch):
    states = []
    save = oracles.Kept._save

    def noted(oracle):
        save(oracle)
        states.append((tmp_path / "state.json").read_text())

    monkeypatch.setattr(oracles.Kept, "_save", noted)
    undisturbed = open_oracle(tuner, tmp_path)
    run_trials(undisturbed)
    truth = contents(undisturbed)
    assert len(truth) >= 8
    assert {status for status, *_ in truth.values()} == {"COMPLETED"}
    monkeypatch.undo()
    for number, state in enumerate(states[:: TOO_SLOW.get(tuner, 1)]):
        folder = tmp_path / str(number)
        folder.mkdir()
        (folder / "state.json").write_text(state)
        again = open_oracle(tuner, folder)
        run_trials(again)
        assert contents(again) == truth


@pytest.mark.parametrize("tuner", ["random", "bayesian"])
def test_the_first_trial_is_the_trainers_default(tuner, tmp_path):
    oracle = open_oracle(tuner, tmp_path)
    assert oracle.create_trial("one").hyperparameters.values == SPACE.defaults()
    assert SPACE.defaults() == {"head_units": 256, "learning_rate": 1e-4}


def test_grid_goes_through_all_combinations_once(tmp_path):
    oracle = open_oracle("grid", tmp_path, trials=0)
    run_trials(oracle)
    values = [tuple(trial.hyperparameters.values.values()) for trial in oracle.trials.values()]
    # A range without steps has ten values, and its default is one more.
    assert len(values) == len(set(values)) == 4 * (10 + 1)


def test_grid_proposes_to_all_workers_at_once(tmp_path):
    oracle = open_oracle("grid", tmp_path, trials=0)
    for turn in range(6):
        held = {oracle.create_trial(f"{turn}.{number}").trial_id for number in range(3)}
        assert len(held) == 3
    assert len(oracle.trials) == len(oracle.ongoing_trials) == 18


def test_a_worker_that_comes_while_the_last_trials_run_has_to_wait(tmp_path):
    oracle = open_oracle("random", tmp_path, trials=1)
    last = oracle.create_trial("a")
    assert oracle.create_trial("b").status == "IDLE"
    assert oracle.tuner_ids == {"a", "b"}
    oracle.take_back("a", "it died")
    assert oracle.create_trial("b").trial_id == last.trial_id
    oracle.update_trial(last.trial_id, metrics_of(last))
    last.status = "COMPLETED"
    oracle.end_trial(last)
    assert oracle.create_trial("b").status == "STOPPED"
    assert not oracle.tuner_ids


def test_a_small_space_is_exhausted_once_and_for_all(tmp_path):
    few = Space((parse("head_units", "4,8,16"), parse("pooling", "max,average")), {"epochs": 9})
    for seed in range(8):
        oracle = open_oracle("random", tmp_path / str(seed), trials=20, space=few, seed=seed)
        run_trials(oracle)
        known = set(oracle.trials)
        assert 0 < len(known) <= 6
        for again in (
            oracle,
            open_oracle("random", tmp_path / str(seed), 20, space=few, seed=seed),
        ):
            for _ in range(20):
                assert again.create_trial("other").status == "STOPPED"
            assert again.is_exhausted()
            assert set(again.trials) == known


def test_a_result_counts_once_whoever_reports_it_again(tmp_path):
    ended = []
    oracle = open_oracle("random", tmp_path, ended=lambda trial: ended.append(trial.trial_id))
    trial = oracle.create_trial("one")
    for _ in range(2):
        oracle.update_trial(trial.trial_id, {"val_accuracy": 0.5})
        trial.status = "COMPLETED"
        oracle.end_trial(trial)
    oracle.update_trial(trial.trial_id, {"val_accuracy": 0.9})
    kept = oracle.get_trial(trial.trial_id)
    assert kept.score == 0.5
    assert [each.value for each in kept.metrics.get_history("val_accuracy")] == [[0.5]]
    assert ended == [trial.trial_id]
    assert oracle.end_order == [trial.trial_id]


def test_a_lost_workers_trial_goes_to_the_next_that_asks(tmp_path):
    oracle = open_oracle("random", tmp_path)
    lost, other = oracle.create_trial("a"), oracle.create_trial("b")
    oracle.take_back("a", "it died")
    assert oracle.open_trials == 2
    assert oracle.create_trial("c").trial_id == lost.trial_id != other.trial_id
    assert oracle.deaths == {lost.trial_id: 1}


def test_what_a_worker_reports_after_its_trial_was_taken_back_counts(tmp_path):
    oracle = open_oracle("random", tmp_path)
    trial = oracle.create_trial("slow")
    oracle.take_back("slow", "it made no step")
    oracle.update_trial(trial.trial_id, {"val_accuracy": 0.5})
    trial.status = "COMPLETED"
    oracle.end_trial(trial)
    assert oracle.get_trial(trial.trial_id).score == 0.5
    assert oracle.create_trial("next").trial_id != trial.trial_id
    assert len(oracle.trials) == 2


def test_a_worker_that_was_started_again_has_its_trial_back(tmp_path):
    oracle = open_oracle("random", tmp_path)
    trial = oracle.create_trial("a")
    assert oracle.create_trial("a").trial_id == trial.trial_id
    assert oracle.deaths[trial.trial_id] == 1


def test_a_trial_whose_process_is_lost_again_and_again_has_failed(tmp_path):
    oracle = open_oracle("random", tmp_path, trials=2)
    for _ in range(3):
        trial = oracle.create_trial("one")
        assert trial.trial_id == "0"
        oracle.take_back("one", "the process that ran it was killed")
    failed = oracle.get_trial("0")
    assert failed.status == "FAILED"
    assert failed.message.startswith("The process that ran it was killed, 3 times.")
    run_trials(oracle)
    assert [oracle.trials[each].status for each in ("0", "1")] == ["FAILED", "COMPLETED"]


def test_trials_of_unexpected_workers_only_are_taken_back(tmp_path):
    oracle = open_oracle("random", tmp_path)
    kept, lost = oracle.create_trial("worker0"), oracle.create_trial("worker1")
    oracle.expect({"worker0"})
    assert oracle.ongoing_trials.keys() == {"worker0"}
    assert oracle.create_trial("worker2").trial_id == lost.trial_id != kept.trial_id


def test_a_failed_trial_keeps_its_reason_and_the_search_goes_on(tmp_path):
    oracle = open_oracle("random", tmp_path)
    for _ in range(4):  # KerasTuner gives up after three in a row, with its lock taken
        trial = oracle.create_trial("one")
        failed = trial_lib.Trial(trial.hyperparameters, trial.trial_id, "FAILED")
        failed.message = "no finite probabilities"
        oracle.end_trial(failed)
    assert json.loads((tmp_path / "state.json").read_text())["trials"]["3"]["message"] == (
        "no finite probabilities"
    )
    run_trials(oracle)
    assert [trial.status for trial in oracle.trials.values()] == ["FAILED"] * 4 + ["COMPLETED"] * 5


def test_images_that_differ_from_those_before_are_seen(tmp_path):
    oracle = open_oracle("random", tmp_path)
    assert oracle.saw("these") and oracle.saw("these")
    assert not oracle.saw("others")
    assert not open_oracle("random", tmp_path).saw("others")
