"""The claims of the sentences and scores that go with every answer of a network."""

import json

import pytest

from tests.helpers.predictions import baseline, run_folder
from trainer.evaluation import notes, summary
from trainer.evaluation.metrics import run_metrics


@pytest.fixture
def metrics(tmp_path):
    """Of a run with nothing to warn of; no two entries are one object."""
    run_folder(tmp_path)
    values = json.loads(json.dumps(run_metrics(tmp_path, baseline(0.1))))
    values["dataset"]["synthetic"] = values["confounding"]["confounded"] = False
    return values


def words(metrics) -> list[str]:
    """The first words of each sentence."""
    return [sentence.partition(":")[0] for sentence in notes.notes_of(metrics)]


def test_a_run_with_nothing_to_warn_of_has_no_notes(metrics):
    assert notes.notes_of(metrics) == ()


def test_everything_that_makes_an_answer_worth_less_is_a_note(metrics):
    metrics["dataset"] |= {
        "synthetic": True,
        "planted_shortcut": True,
        "images_without_patient": 3,
        "groups_in_more_than_one_split": {"a person": ["train", "test"]},
    }
    metrics["confounding"] = {"confounded": True, "cramers_v": 0.875}
    assert words(metrics) == [
        "SYNTHETIC", "PLANTED SHORTCUT", "CONFOUNDED", "PATIENTS UNKNOWN", "LEAK"
    ]  # fmt: skip
    text = " ".join(notes.notes_of(metrics))
    assert "3 images of the dataset name no patient" in text
    assert "Cramer's V 0.88" in text and "with 1 patient group of test in a split" in text
    assert "a person" not in text


@pytest.mark.parametrize(
    ("value", "low", "full", "masked", "sentence"),
    [
        (0.8, 0.7, 0.69, 0.69, ""),
        (0.8, 0.7, 0.7, 0.6, "NOT CLEARLY ABOVE THE SHORTCUT BASELINE on test: balanced accuracy "
         "0.800 [0.700, 0.900] against 0.700 for a linear model that hardly sees the lungs."),
        (1, 0.7436, 0.9, 0.6, "NOT CLEARLY ABOVE THE SHORTCUT BASELINE on test: balanced accuracy "
         "1 (at least 0.743) against 0.900 for a linear model that hardly sees the lungs."),
        (0.8, 0.7, 0.8, 0.75, "NOT ABOVE THE SHORTCUT BASELINE on test: balanced accuracy 0.800 "
         "against 0.800 for a linear model that hardly sees the lungs."),
        (0.8, 0.7, 0.9, 0.95, "NOT ABOVE THE SHORTCUT BASELINE on test: balanced accuracy 0.800 "
         "against 0.950 for a linear model that cannot see the lungs."),
    ],
)  # fmt: skip
def test_a_network_has_to_be_clearly_above_the_baselines(
    value, low, full, masked, sentence, metrics
):
    scores = metrics["splits"]["test"]
    high = min(1, value + 0.1)
    scores["balanced_accuracy"] |= {"value": value, "low": low, "high": high}
    for name, reached in (("full_image", full), ("lungs_masked", masked)):
        scores["shortcut_baseline"][name]["balanced_accuracy"]["value"] = reached
    assert list(notes.notes_of(metrics)) == [sentence] * bool(sentence)


@pytest.mark.parametrize(
    ("splits", "scored", "said"),
    [
        (["train", "test"], ["validation", "test"], "test"),
        (["validation", "test"], ["validation", "test"], "validation and test"),
        (["train", "validation"], ["validation", "test"], "validation"),
        (["train", "test"], ["validation"], ""),
        (["test", "control"], ["validation", "test"], ""),
    ],
)
def test_a_group_of_two_splits_leaks_where_one_is_trained_on_and_the_other_scored(
    splits, scored, said, metrics
):
    metrics["dataset"]["groups_in_more_than_one_split"] = {"a person": splits}
    metrics["splits"] = {name: metrics["splits"][name] for name in scored}
    assert (notes.leaking(metrics) == {"a person": splits}) is bool(said)
    leak = [sentence for sentence in notes.notes_of(metrics) if sentence.startswith("LEAK")]
    assert len(leak) == bool(said)
    assert not said or f"1 patient group of {said} in a split that the network was" in leak[0]


def test_the_summary_prints_the_same_sentences(metrics, tmp_path):
    metrics["splits"]["test"]["balanced_accuracy"]["low"] = 0.05
    metrics["confounding"]["confounded"] = True
    metrics["dataset"]["groups_in_more_than_one_split"] = {"g7": ["train", "test"]}
    shown = " ".join(summary.run_summary(metrics, tmp_path).split())
    assert len(notes.notes_of(metrics)) == 3
    for sentence in notes.notes_of(metrics):
        assert sentence in shown


def test_the_scores_are_of_what_was_opened_beside_the_higher_baseline(metrics):
    shortcuts = metrics["splits"]["test"]["shortcut_baseline"]
    shortcuts["lungs_masked"]["balanced_accuracy"]["value"] = 0.4
    scores = notes.scores_of(metrics)
    test = metrics["splits"]["test"]
    assert (scores["split"], scores["n"], scores["groups"]) == ("test", 80, 40)
    assert scores["balanced_accuracy"] == test["balanced_accuracy"]
    assert scores["shortcut_baseline"]["value"] == 0.4
    for name, each in test["classes"].items():
        kept = {key: each[key] for key in ("sensitivity", "specificity")}
        assert scores["classes"][name] == kept
    metrics["opened"]["test"] = False
    assert notes.scores_of(metrics)["split"] == "validation"
