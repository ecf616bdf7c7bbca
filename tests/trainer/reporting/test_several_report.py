"""The claims of the report of several trainings: seeds of a run, folds of a cross-validation."""

import dataclasses
import itertools
import json
import re

import numpy as np
import pytest

import trainer
from tests.helpers.finished_runs import finished
from tests.helpers.pages import Page, require_alone
from tests.helpers.predictions import DATASET, baseline, random_predictions
from trainer import seeds as seeds_lib
from trainer.evaluation import metrics, predictions
from trainer.reporting import results, run_report, several_report
from trainer.run import files, run_dir
from trainer.run.text import estimate


def page(folder):
    text = several_report.write(results.ended(folder)).read_text(encoding="utf-8")
    return text, Page(text)


def of_seeds(folder, **changes):
    """Three runs below a folder, of which the first has a report."""
    folders = [finished(folder / f"seed_{i}", skill=1 + i, **changes) for i in range(3)]
    run_report.write(results.finished(folders[0]))
    table = seeds_lib.table_of([0, 1, 2], [results.finished(each).metrics for each in folders])
    seeds_lib._pool(table["splits"], folders)
    opened = run_dir.plain(folder)
    opened.begin(files.read_json(folders[0] / "config.json", mend=""))
    files.write_json(folder / "seeds.json", table)
    opened.finish()
    return folder


def of_folds(folder):
    """Two repeats of two folds."""
    one = random_predictions(120, split="train")
    table = predictions.repeated([one, random_predictions(120, split="train", skill=2.0)])
    folds = np.tile(np.arange(120) // 60, 2)
    table = dataclasses.replace(table, folds=folds)
    shortcut = {name: {**of, "mean": 0.5, "sd": 0.1} for name, of in baseline()["test"].items()}
    result = metrics.cross_validation_metrics(table, shortcut, DATASET)
    opened = run_dir.plain(folder / "folds")
    opened.begin(files.read_json(finished(folder / "run") / "config.json", mend=""))
    files.write_json(folder / "folds" / "crossval.json", result)
    predictions.write(folder / "folds" / "predictions.csv", table)
    opened.finish()
    return folder / "folds"


@pytest.fixture(scope="module")
def seeds(tmp_path_factory):
    return of_seeds(tmp_path_factory.mktemp("runs"), control=True)


def test_seeds_are_shown_by_their_mean_and_each_with_its_interval(seeds):
    table = json.loads((seeds / "seeds.json").read_text())["splits"]["test"]
    _, parsed = page(seeds)
    shown = [each["value"] for each in parsed.all("data")]
    assert shown[0] == str(table["pooled"]["balanced_accuracy"]["value"])
    assert set(map(str, table["balanced_accuracy"]["values"])) <= set(shown)
    assert estimate(table["pooled"]["balanced_accuracy"]) in parsed.text
    for of_class in table["pooled"]["classes"].values():
        assert str(of_class["sensitivity"]["value"]) in shown
    assert "python -m trainer.main --flagfile=flags.txt" in parsed.text
    assert "--seeds=3" in parsed.text


def test_each_seed_and_each_fold_has_its_own_numbers_in_its_row(seeds, tmp_path):
    table = json.loads((seeds / "seeds.json").read_text())["splits"]["test"]
    rows = page(seeds)[1].tables["Seeds"]
    for i, value in enumerate(table["balanced_accuracy"]["values"]):
        row = rows[str(i)]
        assert row["balanced accuracy"].startswith(f"{value:.3f} [")
        assert (row["n"], row["patient groups"]) == (str(table["n"]), str(table["groups"]))
    assert table["n"] != table["groups"]
    by_fold = json.loads((of_folds(tmp_path) / "crossval.json").read_text())["by_fold"]
    rows = page(tmp_path / "folds")[1].tables["Folds"]
    for repeat, fold in itertools.product(range(2), range(2)):
        row = rows[f"{fold + 1} of repeat {repeat + 1}"]
        value, n, groups = (by_fold[key][repeat][fold] for key in ("values", "n", "groups"))
        assert row["balanced accuracy"].startswith(f"{value:.3f} [")
        assert (row["n"], row["patient groups"]) == (str(n), str(groups))
    assert len({value for row in by_fold["values"] for value in row}) == 4


def test_from_python_one_of_them_is_opened(seeds):
    with pytest.raises(trainer.RunError, match=r"several seeds\. Give .* one of them, .*seed_0 "):
        trainer.load(seeds)
    assert trainer.load(seeds / "seed_0").finished


def test_a_seed_with_a_report_is_a_link_that_stays_in_the_folder(seeds):
    links = [each["href"] for each in page(seeds)[1].all("a")]
    assert links == ["seed_0/report.html"] and (seeds / links[0]).is_file()


def test_each_seed_has_its_control_and_confounded_is_said(seeds):
    parsed = page(seeds)[1]
    assert "CONFOUNDED:" in parsed.text
    for i in range(3):
        share = results.finished(seeds / f"seed_{i}").source_control
        assert str(share["value"]) in [each["value"] for each in parsed.all("data")]


@pytest.mark.slow
def test_seeds_that_did_not_open_test_are_shown_by_validation(tmp_path):
    words = " ".join(page(of_seeds(tmp_path, test=False))[1].text.split())
    assert "balanced accuracy on validation, the mean of 3 seeds" in words
    assert "Test was not opened." in words and "Control" not in words


def test_folds_are_shown_out_of_fold_and_each_with_its_interval(tmp_path):
    folder = of_folds(tmp_path)
    table = json.loads((folder / "crossval.json").read_text())
    text, parsed = page(folder)
    words = " ".join(parsed.text.split())
    assert "python -m trainer.crossval --flagfile=flags.txt" in words
    assert "--folds=2" in words and "--repeats=2" in words
    assert "cross-validation of 2 folds x 2 repeats" in words
    shown = [each["value"] for each in parsed.all("data")]
    assert shown[0] == str(table["pooled"]["balanced_accuracy"]["value"])
    assert {str(value) for row in table["by_fold"]["values"] for value in row} <= set(shown)
    assert re.search(r"1 of repeat 1\s*0", words) and "2 of repeat 2" in words
    require_alone(text, parsed)
