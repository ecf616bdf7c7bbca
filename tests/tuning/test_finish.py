"""What is written of a search's trials is what they were."""

import csv
import json

from tests.helpers.pictures import saved
from tests.helpers.searches import ended_search
from trainer.config import Config
from tuning import finish, plots

SPACE = ["--head_units=4:64:linear", "--learning_rate=1e-3:1e-2:log", "--epochs=9"]


def test_best_hparams_are_those_of_the_best_trial(tmp_path):
    spec, rows = ended_search(tmp_path / "s", [0.25, 0.75, 0.5], *SPACE, "--data_dir=here")
    assert [row["rank"] for row in rows] == [3, 1, 2]
    written = json.loads(spec.folder.best.read_text())
    values = {name: rows[1][name] for name in ("head_units", "learning_rate")}
    assert (written["values"], written["score"]) == (values, 0.75)
    assert written["trial"] == rows[1]["trial"]
    assert (written["trials"], written["failed"]) == (3, 0)
    assert Config.from_json(written["config"]) == Config(epochs=9, **values)
    assert not written["config"].keys() & {"data_dir", "cache_dir"}
    with open(spec.folder.root / "trials.csv", newline="") as file:
        table = list(csv.DictReader(file))
    assert [float(row["learning_rate"]) for row in table] == [row["learning_rate"] for row in rows]


def test_less_is_better_where_it_is(tmp_path):
    flags = [*SPACE, "--objective=val_accuracy", "--direction=min"]
    _, rows = ended_search(tmp_path / "s", [0.5, 0.25], *flags)
    assert [row["rank"] for row in rows] == [2, 1]


def test_of_equal_scores_the_lower_loss_is_best_on_the_screen_and_in_every_picture(
    tmp_path, monkeypatch
):
    spec, rows = ended_search(tmp_path / "s", [0.5, 0.5, 0.25], *SPACE, losses=[0.9, 0.7, 0.8])
    assert [row["rank"] for row in rows] == [2, 1, 3]
    assert json.loads(spec.folder.best.read_text())["trial"] == rows[1]["trial"]
    figures = saved(monkeypatch, plots)
    assert finish.finish(spec, None, 0)
    for figure in figures[:2]:  # parallel coordinates, objective by parameter
        labels = [text.get_text() for text in figure.axes[-1].get_legend().get_texts()]
        assert [label for label in labels if label.startswith("best:")] == ["best: trial 1, 0.5"]


def test_the_closing_comparison_is_of_what_best_hparams_say(tmp_path, monkeypatch):
    spec, _ = ended_search(tmp_path / "s", [0.5], *SPACE, "--tuner=hyperband")
    best = Config.from_json(json.loads(spec.folder.best.read_text())["config"])
    assert best.epochs < spec.space.unsearched().epochs
    compared = []

    def compare(bench, *configs):
        compared.extend(configs)
        return {}

    monkeypatch.setattr(finish.final, "compare", compare)
    monkeypatch.setattr(finish.final, "text", str)
    finish.finish(spec, object(), 2)
    assert compared[0] == best
