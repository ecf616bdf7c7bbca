"""The claim that what docstrings list of the JSON files is what is in them, no more and no less."""

import inspect
import json
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
from trainer import seeds
from trainer.evaluation import metrics

CODE = {"FEW", "SPLITS", "score", "stressed_score"}  # names in backquotes that are no fields
ESTIMATE = {"value", "low", "high", "n", "n_effective", "groups", "interval"}


def listed(function):
    """The fields in backquotes in the "Returns" of a docstring."""
    returns = inspect.getdoc(function).partition("Returns:\n")[2].partition("Raises:")[0]
    return set(re.findall(r"`(\w+)`", returns)) - CODE


@pytest.fixture
def run(tmp_path):
    """The numbers of a run that has everything, and a class of few groups."""
    run_folder(tmp_path, control=True, as_published=True, classes=2)
    align(tmp_path)
    metrics.run_metrics(tmp_path, baseline())
    return json.loads((tmp_path / "metrics.json").read_text(), parse_constant=pytest.fail)


def test_an_estimate_has_the_documented_fields(run):
    text = inspect.getdoc(metrics.score)
    assert set(re.findall(r'"(\w+)"', text[text.index("E is {") : text.index("}")])) == ESTIMATE
    for split in (*run["splits"].values(), run["control"]):
        assert set(split["balanced_accuracy"]) == set(split["loss"]) == ESTIMATE
        for each in split["classes"].values():
            assert all(set(each[key]) == ESTIMATE for key in metrics.CLASS_SCORES)


def test_a_score_has_the_documented_numbers():
    labels, shares = called(9, 0, classes=2)
    few = called(3, 1, classes=2, true_class=1)
    groups = [f"g{i}" for i in range(9)] + ["h0", "h0", "h1", "h1"]
    score = metrics.score(make(labels + few[0], np.concatenate((shares, few[1])), groups))
    of_class = score["classes"]["covid19"]
    assert listed(metrics.score) == {*score, *of_class, *score["calibration"]}


def test_a_run_has_the_documented_numbers(run):
    split = run["splits"]["validation"]
    beside = {"shortcut_baseline", "stressed"}
    assert listed(metrics.run_metrics) == {*run, *run["dataset"], *beside, "template"}
    assert run["alignment"]["template"]
    assert split.keys() - beside <= listed(metrics.score)
    assert listed(metrics.stressed_score) == {*split["stressed"]}


def test_a_cross_validation_has_the_documented_numbers():
    n = 60
    tables = [
        make(np.arange(n) % 3, random_predictions(n, 3, seed=r).probabilities) for r in (0, 1)
    ]
    table = joined(*tables, repeats=np.repeat([0, 1], n), folds=[*(np.arange(n) // 3 % 5)] * 2)
    result = metrics.cross_validation_metrics(table, {"made": "up"}, DATASET)
    json.dumps(result, allow_nan=False)
    of_fold = result["by_fold"].keys() - {"n", "groups"}
    assert listed(metrics.cross_validation_metrics) == {*result, *result["dataset"], *of_fold}


def test_several_seeds_have_the_documented_numbers(run):
    result = seeds.table_of([1, 2], [run, run])
    names = {*result} | {"balanced_accuracy", "n", "groups", "stressed", "pooled"}
    names |= {*result["splits"]["test"]["balanced_accuracy"]}
    assert {*result["splits"]["validation"]} == {"balanced_accuracy", "n", "groups", "stressed"}
    assert listed(seeds.train_seeds) == names | {*result["dataset"]}
