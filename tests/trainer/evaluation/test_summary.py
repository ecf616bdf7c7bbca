"""The claims of the last screens: at most 80 columns, nothing left out, one format of a score."""

import dataclasses
import json
import pathlib
import re

import numpy as np
import pytest

from tests.helpers.predictions import (
    DATASET,
    align,
    baseline,
    called,
    joined,
    make,
    random_predictions,
    run_folder,
)
from trainer.evaluation.metrics import cross_validation_metrics, of_seeds, run_metrics, score
from trainer.evaluation.summary import (
    BASELINES,
    NOTICE,
    cross_validation_summary,
    run_summary,
    seeds_summary,
)
from trainer.run.text import estimate

RUN = pathlib.Path("runs/a")


def shown(folder, **more):
    run_folder(folder, **more)
    metrics = run_metrics(folder, baseline())
    text = run_summary(metrics, RUN)
    assert max(map(len, text.split("\n"))) <= 80
    return metrics, text


def test_the_summary_of_a_run_holds_what_a_reader_has_to_know(tmp_path):
    metrics, text = shown(tmp_path)
    assert "full (synthetic images), 4 classes\n" in text
    assert "trained on 120 images of 30 patient groups: healthy 30, covid19 30," in text
    assert "best epoch 11 of 12, chosen on validation\n" in text
    metrics["epochs"] = 11
    last = " ".join(run_summary(metrics, RUN).split())
    assert (
        "best epoch 11 of 11, chosen on validation: the last one, so that more epochs may be"
        in last
    )
    for split, scores in metrics["splits"].items():
        value, low, high = (scores["balanced_accuracy"][key] for key in ("value", "low", "high"))
        line = next(line for line in text.split("\n") if line.startswith(f"  {split}"))
        interval = f"{value:.3f} [{low:.3f}, {high:.3f}]"
        assert line.endswith(f"  {interval}, n = 80 images of 40 patient groups")
        accuracy = scores["accuracy"]
        assert f"{accuracy['value']:.3f} [{accuracy['low']:.3f}, {accuracy['high']:.3f}]" in text
    for key, label in BASELINES.items():
        line = next(line for line in text.split("\n") if label in line)
        assert line.split("  ")[-2:] == [
            estimate(baseline()[split][key]["balanced_accuracy"])
            for split in ("validation", "test")
        ]
    assert "linear model of 32 x 32 pixels" in text
    by_class = text[text.index("\ntest ") :].split("\n")
    for name, scores in metrics["splits"]["test"]["classes"].items():
        line = next(line for line in by_class if line.startswith(f"  {name} "))
        assert line.split()[1] == str(scores["n"])
        shares = [estimate(scores[key], decimals=2) for key in ("sensitivity", "specificity")]
        assert re.split("  +", line.strip())[2:] == [
            *shares,
            estimate(scores["roc_auc"], decimals=2),
        ]
    assert "tensorboard --logdir=runs/a" in text
    assert text.endswith(NOTICE)


def test_validation_in_other_frames_stands_below_validation(tmp_path):
    metrics, text = shown(tmp_path)
    scores = metrics["splits"]["validation"]["stressed"]["balanced_accuracy"]
    lines = text.split("\n")
    (at,) = (i for i, line in enumerate(lines) if line.startswith("  re-framed "))
    assert lines[at - 1].startswith("  validation ") and lines[at + 1].startswith("  test ")
    assert f"  {scores['value']:.3f} [" in lines[at] and "n = 80 images of 40" in lines[at]
    assert "  Re-framed: the images of validation" in text


def test_the_summary_of_aligned_images_counts_poses_in_doubt(tmp_path):
    _, text = shown(tmp_path)
    assert "align" not in text
    align(tmp_path)
    metrics = run_metrics(tmp_path, baseline())
    text = run_summary(metrics, RUN)
    assert max(map(len, text.split("\n"))) <= 80
    plain = text.replace("\n  ", " ")
    line = "alignment: 1 of 1,280 images at the bounds of the pose, 2 with a weak correlation: "
    assert f"{line}alignment.csv\n" in plain
    assert "a linear model of 32 x 32 pixels of aligned images, which hardly sees" in plain
    assert metrics["alignment"] == {
        "template": "a template", "images": 1280, "at_bounds": 1, "weak": 2,
    }  # fmt: skip


def test_a_network_that_is_not_above_its_shortcut_baseline_gets_a_line(tmp_path):
    metrics = json.loads(json.dumps(shown(tmp_path)[0]))  # no two entries are one object
    model = "for a linear model that"
    words = "NOT ABOVE THE SHORTCUT BASELINE"
    for split, value, full, masked, said in (
        ("test", 0.667, 1.0, 1.0, f"0.667 against 1.000 {model} cannot see the lungs."),
        ("test", 0.667, 0.7, 0.6, f"0.667 against 0.700 {model} hardly sees the lungs."),
        ("validation", 0.6, 0.6, 0.5, f"0.600 against 0.600 {model} hardly sees the lungs."),
        ("test", 0.7, 0.69, 0.69, ""),
    ):  # fmt: skip
        for each in metrics["splits"].values():
            each["balanced_accuracy"]["value"] = 0.99
        scores = metrics["splits"][split]
        scores["balanced_accuracy"]["value"] = value
        for name, baseline_value in (("full_image", full), ("lungs_masked", masked)):
            scores["shortcut_baseline"][name]["balanced_accuracy"]["value"] = baseline_value
        lines = run_summary(metrics, RUN)
        assert lines.count(words) == (1 if said else 0)
        assert said in lines.replace("\n  ", " ")
        assert not said or f"{words} on {split}: balanced accuracy" in lines
        assert max(map(len, lines.split("\n"))) <= 80


def of_few_patients(folder, right: int) -> dict:
    """Metrics of a test split with 44 images of a class and 3 of the other, so many right."""
    labels, shares = called(40, 4, classes=2)
    few = called(right, 3 - right, classes=2, true_class=1)
    groups = [f"g{i}" for i in range(44)] + ["h0", "h0", "h1"]
    table = make(labels + few[0], np.concatenate((shares, few[1])), groups)
    metrics, _ = shown(folder, classes=2)
    baselines = {"shortcut_baseline": baseline()["test"]}
    metrics["splits"]["test"] = {**score(table), **baselines}
    return metrics


def test_the_limit_that_is_further_away_is_the_one_that_a_class_makes(tmp_path):
    metrics = of_few_patients(tmp_path, right=0)
    balanced = metrics["splits"]["test"]["balanced_accuracy"]
    above = balanced["high"] - balanced["value"]
    assert above > balanced["value"] - balanced["low"]
    part = metrics["splits"]["test"]["classes"]["covid19"]["sensitivity"]["high"] / 2
    said = f"test: the high limit is {above:.2f} above the value, {part:.2f} of it since covid19"
    assert f"{said} has 2 patient groups" in " ".join(run_summary(metrics, RUN).split())


def test_a_class_that_makes_the_interval_is_named_and_counted_by_group(tmp_path):
    metrics = of_few_patients(tmp_path, right=3)
    text = run_summary(metrics, RUN)
    assert max(map(len, text.split("\n"))) <= 80
    balanced = metrics["splits"]["test"]["balanced_accuracy"]
    low = metrics["splits"]["test"]["classes"]["covid19"]["sensitivity"]["low"]
    half, part = balanced["value"] - balanced["low"], (1 - low) / 2
    said = f"test: the low limit is {half:.2f} below the value, {part:.2f} of it since covid19 has"
    assert f"  {said} 2\n    patient groups\n" in text
    assert "  validation: " not in text
    (row,) = [line for line in text.split("\n") if line.startswith("  covid19 ")]
    assert f"1 (at least {np.floor(low * 100) / 100:.2f})" in row
    assert "  covid19: 2 patient groups, 3 of 3 images right (2 of 2 and 1 of 1)\n" in text
    assert "too few patients" not in text


def test_one_limit_is_explained_where_it_stands(tmp_path):
    metrics, text = shown(tmp_path)
    assert "at least" not in text
    for value, low, high, words in ((1.0, 0.6, 1.0, "at least 0.60"), (0.0, 0.0, 0.3, "at most")):
        area = {"value": value, "low": low, "high": high}
        metrics["splits"]["test"]["classes"]["viral"]["roc_auc"] = area
        text = run_summary(metrics, RUN)
        assert words in text and "the other limit is the value; this one is of 97.5 %)\n" in text


def test_validation_by_class_fits_where_test_is_not_opened(tmp_path):
    metrics, _ = shown(tmp_path)
    metrics["opened"]["test"] = False
    del metrics["splits"]["test"]
    classes = metrics["splits"]["validation"]["classes"]
    classes["a name that is cut"] = classes.pop("viral")
    for each in classes.values():
        area = {"value": 0.5, "low": 0.4, "high": 0.6}
        each |= {"n": 12345, **dict.fromkeys(("sensitivity", "specificity", "roc_auc"), area)}
    text = run_summary(metrics, RUN)
    assert max(map(len, text.split("\n"))) <= 80
    assert "\nvalidation            n  sensitivity" in text
    assert "  test: not opened; the same command" in text


def test_an_interval_that_ranks_nothing_is_called_so(tmp_path):
    metrics, text = shown(tmp_path)
    assert "too few patients" not in text
    metrics["splits"]["test"]["balanced_accuracy"] |= {"low": 0.3, "high": 0.85}
    assert "  test: too few patients to rank models\n" in run_summary(metrics, RUN)


def test_a_planted_shortcut_is_named_and_shown_by_control(tmp_path):
    metrics, text = shown(tmp_path, control=True, planted=True)
    control = metrics["control"]["balanced_accuracy"]
    value, low, high = (control[key] for key in ("value", "low", "high"))
    assert "PLANTED SHORTCUT" in text
    assert f"  {value:.3f} [{low:.3f}, {high:.3f}], n = 6 images of 6 patient groups\n" in text
    assert "COVID-19 source" not in text  # which is the control of the public images
    assert "PLANTED" not in shown(tmp_path, control=True)[1]


def test_warnings_come_where_there_is_something_to_warn_of(tmp_path):
    metrics, text = shown(tmp_path, control=True, shared={"g7": ["train", "test"]})
    v = metrics["confounding"]["cramers_v"]
    assert "CONFOUNDED" in text and f"(Cramer's V {v:.2f})" in " ".join(text.split())
    assert "n = 6 images of 6 patient groups" in text
    assert "The scores are too high.\n  g7 in train and test\n" in text
    needed = metrics["splits"]["test"]["patients_for_5_points"]
    assert f"a test needs some {needed} patients" in text
    metrics["confounding"]["confounded"] = False
    metrics["dataset"]["groups_in_more_than_one_split"] = {}
    narrow = metrics["splits"]["test"]["accuracy"]
    wide = dict(narrow)
    narrow |= {"low": narrow["value"] - 0.04, "high": narrow["value"] + 0.04}
    assert "a test needs" not in run_summary(metrics, RUN)  # it has that interval
    narrow |= wide
    assert "a test needs" in run_summary(metrics, RUN)
    metrics["splits"]["test"]["patients_for_5_points"] = 40
    del metrics["control"]
    text = run_summary(metrics, RUN)
    for word in ("CONFOUNDED", "LEAK", "control", "a test needs"):
        assert word not in text


def test_of_many_shared_groups_some_are_named(tmp_path):
    shared = {f"group {i}": ["train", "validation", "test"] for i in range(40)}
    _, text = shown(tmp_path, shared=shared)
    assert "group 4 in train and validation and test; and 35 more" in text.replace("\n  ", " ")


def test_the_articles_reading_fits(tmp_path):
    _, text = shown(tmp_path, as_published=True, classes=2)
    assert "accuracy as published" in text


def test_long_names_of_many_classes_fit(tmp_path):
    run_folder(tmp_path)
    metrics = run_metrics(tmp_path, baseline())
    metrics["dataset"]["train_classes"] = {f"a rather long class name {i}": 12345 for i in range(9)}
    each = metrics["splits"]["test"]["classes"]["viral"]
    metrics["splits"]["test"]["classes"] = dict.fromkeys(metrics["dataset"]["train_classes"], each)
    for scores in metrics["splits"].values():
        scores |= {"n": 12345, "groups": 12345}
    text = run_summary(metrics, RUN)
    assert max(map(len, text.split("\n"))) <= 80
    assert "a rather long class name 8 12345" in text.replace("\n  ", " ")


@pytest.mark.filterwarnings("error")
def test_what_is_not_defined_is_no_number(tmp_path):
    run_folder(tmp_path)
    metrics = run_metrics(tmp_path, baseline())
    nothing = {"value": None, "low": None, "high": None, "n": 0, "interval": "undefined"}
    metrics["splits"]["test"]["classes"]["viral"] |= {"sensitivity": nothing, "roc_auc": nothing}
    line = next(x for x in run_summary(metrics, RUN).split("\n") if x.startswith("  viral "))
    assert line.count("not defined") == 2


def test_the_summary_of_a_cross_validation(tmp_path):
    n = 60
    tables = [
        make(np.arange(n) % 3, random_predictions(n, 3, seed=r).probabilities) for r in (0, 1)
    ]
    table = joined(*tables, repeats=np.repeat([0, 1], n), folds=[*(np.arange(n) // 3 % 5)] * 2)
    balanced = {"value": 0.49, "low": 0.412, "high": 0.6}
    shortcut = {"balanced_accuracy": balanced, "mean": 0.5, "sd": 0.03, "values": [0.47, 0.53]}
    baselines = {"full_image": shortcut, "lungs_masked": shortcut}
    metrics = cross_validation_metrics(table, baselines, DATASET)
    text = cross_validation_summary(metrics, RUN)
    assert max(map(len, text.split("\n"))) <= 80
    assert "full, 5 folds x 2 repeats\n" in text
    pooled, by_fold = metrics["pooled"]["balanced_accuracy"], metrics["by_fold"]
    assert (
        f"  {pooled['value']:.3f} [{pooled['low']:.3f}, {pooled['high']:.3f}], "
        "n = 60 images of 60 patient groups\n"
    ) in text
    rows = {line.strip()[:12]: line.split() for line in text.split("\n")}
    spread = [f"{by_fold[key]:.3f}" for key in ("mean", "sd")]
    assert rows["network      "[:12]][-2:] == spread
    assert rows["shortcut bas"][-2:] == ["0.500", "0.030"]
    for name, at in (("lowest", np.argmin), ("highest", np.argmax)):
        repeat, fold = divmod(int(at(by_fold["values"])), 5)
        value, low, high = (by_fold[key][repeat][fold] for key in ("values", "low", "high"))
        shown = f"{value:.3f} [{low:.3f}, {high:.3f}], n = 12 images of 12 patient groups"
        assert f"  {name} fold: {shown}\n" in text
    assert text.count("0.490 [0.412, 0.600]") == 2
    below = f"balanced accuracy {pooled['value']:.3f} against 0.490 for a linear model that cannot"
    assert below in " ".join(text.split())
    assert by_fold["n"] == [[12] * 5] * 2
    assert "report:     python -m trainer.report --run=runs/a\n" in text
    assert text.endswith(NOTICE)
    assert not re.search("UNKNOWN|CONFOUNDED|PLANTED|LEAK", text)


def test_what_makes_the_scores_of_folds_less_than_they_look_is_said():
    n = 24
    one = dataclasses.replace(
        random_predictions(n, 2), sources=[("kaggle", "cohen")[i % 2] for i in range(n)],
        labels=np.arange(n) % 2, patients=[f"image{i}" for i in range(n)],
    )  # fmt: skip
    table = dataclasses.replace(
        joined(one, one, repeats=np.repeat([0, 1], n)), folds=np.tile(np.arange(n) % 2, 2)
    )
    shortcut = {"balanced_accuracy": baseline()["test"]["full_image"]["balanced_accuracy"],
                "mean": 0.5, "sd": 0.03}  # fmt: skip
    data = {**DATASET, "planted_shortcut": True}
    metrics = cross_validation_metrics(table, dict.fromkeys(BASELINES, shortcut), data)
    assert metrics["dataset"]["images_without_patient"] == n
    text = " ".join(cross_validation_summary(metrics, RUN).split())
    for words in ("CONFOUNDED: ", "PLANTED SHORTCUT: ", f"PATIENTS UNKNOWN: {n} images of"):
        assert words in text


SEEDS = """
full (synthetic images), 3 seeds

balanced accuracy, mean of the seeds, with its 95 % interval over patient groups
  validation  0.800 [0.457, 0.988], n = 270 images of 210 patient groups
  re-framed   0.600 [0.457, 0.988], n = 270 images of 210 patient groups
  test        0.750 [0.457, 0.988], n = 632 images of 446 patient groups

                                   validation            test
  shortcut baseline, full image    0.438 [0.338, 0.537]  0.500 [0.400, 0.600]
  shortcut baseline, lungs masked  0.406 [0.306, 0.506]  0.469 [0.369, 0.569]
  Shortcut baseline: the balanced accuracy of a linear model of 32 x 32 pixels,
  which hardly sees the lungs. A network has to be far above it.

  seed  best epoch  validation         re-framed          test
  8             30  0.80 [0.74, 0.86]  0.60 [0.54, 0.66]  0.75 [0.69, 0.81]
  9              7  0.90 [0.84, 0.96]  0.70 [0.64, 0.76]  0.77 [0.71, 0.83]
  10           100  0.70 [0.64, 0.76]  0.50 [0.44, 0.56]  0.73 [0.67, 0.79]
  sd                0.100              0.100              0.020
  Re-framed: the images of validation in other frames, larger, smaller and
  shifted at random. A network that goes by the frame of an image is lower here.
  sd is the deviation over seeds, by chance in training; what the choice of
  patients adds is in the intervals.

NOT CLEARLY ABOVE THE SHORTCUT BASELINE on test: balanced accuracy 0.750 [0.457,
  0.988] against 0.469 for a linear model that cannot see the lungs.
PATIENTS UNKNOWN: 7 images of the dataset name no patient and count as one each.
  A person's images may be both in what is trained on and in what is scored,
  which makes scores too high, and intervals too narrow.
For an interval of +-5 points of the accuracy a test needs some 1000 patients.

run folder: runs/a
            seeds.json, seed_*/
report:     python -m trainer.report --run=runs/a
curves:     tensorboard --logdir=runs/a
"""


def test_the_summary_of_several_seeds():
    def of(*values, n, groups):
        score = {"values": values, "mean": np.mean(values), "sd": np.std(values, ddof=1)}
        score |= {"low": np.subtract(values, 0.06), "high": np.add(values, 0.06)}
        mean = {"value": np.mean(values), "low": 0.4567, "high": 0.9876}
        pooled = {"balanced_accuracy": mean, "accuracy": mean}
        return {"balanced_accuracy": score, "n": n, "groups": groups, "pooled": pooled}

    stressed = {"stressed": of(0.6, 0.7, 0.5, n=270, groups=210)}
    result = {
        "dataset": {"name": "full", "synthetic": True}, "seeds": [8, 9, 10],
        "best_epochs": [30, 7, 100],
        "splits": {"validation": of(0.8, 0.9, 0.7, n=270, groups=210) | stressed,
                   "test": of(0.75, 0.77, 0.73, n=632, groups=446)},
    }  # fmt: skip
    result["splits"]["test"]["pooled"] |= {"patients_for_5_points": 1000, "groups": 446}
    first = {
        "dataset": {"planted_shortcut": False, "images_without_patient": 7},
        "confounding": {"confounded": False}, "control": {"of": "one seed"},
        "splits": {name: {"shortcut_baseline": of} for name, of in baseline().items()},
    }  # fmt: skip
    text = seeds_summary(result, of_seeds(result, first), RUN)
    assert text == SEEDS + NOTICE
    assert max(map(len, text.split("\n"))) <= 80
