"""What a comparison says on the screen of runs that are not alike, and where there is nothing."""

import dataclasses

import pytest

from tests.helpers.finished_runs import SCORED, finished
from trainer.reporting import comparison, comparison_text
from trainer.reporting.results import Results
from trainer.run.text import score


def compared(*paths):
    return comparison.compare([Results(path) for path in paths])


@pytest.fixture(scope="module")
def alike(tmp_path_factory):
    """A run of drawn images, and the same of other ones; both have scored control."""
    folder = tmp_path_factory.mktemp("runs")
    return compared(
        finished(folder / "a", synthetic=True, control=True), finished(folder / "b", control=True)
    )


def text(of):
    return " ".join(comparison_text.text(of).split())


def test_drawn_images_of_one_run_are_named(alike):
    assert "SYNTHETIC: drawn images; no number says anything about X-rays." in text(alike)


def test_runs_of_sources_that_go_with_no_class_are_not_called_confounded(alike, tmp_path):
    assert "CONFOUNDED (A, B)" in text(alike)
    runs = [Results(finished(tmp_path / name)) for name in "ab"]
    runs[0].metrics["confounding"]["confounded"] = False  # kept from here on
    assert "CONFOUNDED (B)" in text(comparison.compare(runs))
    runs[1].metrics["confounding"]["confounded"] = False
    assert "CONFOUNDED" not in text(comparison.compare(runs))


def test_what_makes_the_scores_of_a_run_less_than_they_look_is_named(alike, tmp_path):
    torn = {"groups_in_more_than_one_split": {"cohen/7": ["test", "train"]}}
    runs = [
        Results(finished(tmp_path / name, dataset=dataset))
        for name, dataset in {"a": {}, "b": torn, "c": {"planted_shortcut": True}}.items()
    ]
    runs[2].metrics["dataset"]["images_without_patient"] = 3  # kept from here on
    named = {
        "LEAK": "(B): the dataset was published with patients of scored images",
        "PATIENTS UNKNOWN": "(C): images of the dataset name no patient",
        "PLANTED SHORTCUT": "(C): a marker in the corner goes with the class",
    }
    shown = text(comparison.compare(runs))
    for word, more in named.items():
        assert f"{word} {more}" in shown
        assert word not in text(alike)


def test_runs_of_the_same_settings_are_called_so(alike):
    assert alike.settings == {} and "config: the same" in text(alike)


def test_what_control_shows_is_beside_its_meaning(alike):
    of_a, of_b = (score(each, each["n"], each["groups"]) for each in alike.controls.values())
    head = f"{comparison_text.CONTROL} ({comparison_text.CONTROL_MEANS})"
    assert f"{head} A {of_a} B {of_b}" in text(alike)


def test_a_baseline_is_shown_of_the_runs_that_have_one_alone(alike):
    lines = comparison_text.text(alike).splitlines()
    row = next(i for i, line in enumerate(lines) if line.startswith("shortcut baselines"))
    assert [line[:4] for line in lines[row + 1 : row + 3]] == ["  A ", "  B "]
    one = dataclasses.replace(alike, baselines={**alike.baselines, "A": None})
    lines = comparison_text.text(one).splitlines()
    row = next(i for i, line in enumerate(lines) if line.startswith("shortcut baselines"))
    assert lines[row + 1].startswith("  B ") and not lines[row + 2].startswith("  ")


def test_images_that_not_all_scored_are_counted_and_no_baseline_of_others_is_shown(tmp_path):
    runs = [Results(finished(tmp_path / name)) for name in "ab"]
    digests = runs[1].used["image_sha256"]
    digests[:] = [digest if i % 2 else "0" * 64 for i, digest in enumerate(digests)]
    shown = text(comparison.compare(runs))
    half = SCORED // 2
    assert f"Images that not all runs scored are left out: {half} of A and {half} of B." in shown
    assert "shortcut baselines" not in shown and "control:" not in shown
