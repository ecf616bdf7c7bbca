"""The claims of a report: it stands alone, holds every section, and its numbers are the run's."""

import base64
import io
import json
import re

import numpy as np
import pytest
from PIL import Image

from tests.helpers.finished_runs import finished
from tests.helpers.pages import Page, require_alone
from trainer.evaluation import heatmaps
from trainer.reporting import figures, provenance, run_report
from trainer.reporting.results import Results
from trainer.run.text import estimate

HOSTILE = ("<script>alert(1)</script>", "a\"b'c & d", "$\\frac{x$", "{{ 7 * 7 }}")


def page(run) -> tuple[str, Page]:
    text = run_report.write(Results(run)).read_text(encoding="utf-8")
    return text, Page(text)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return finished(tmp_path_factory.mktemp("runs") / "a run", control=True)


@pytest.fixture(scope="module")
def written(run):
    return page(run)


@pytest.fixture
def without_charts(monkeypatch):
    """Drawing the charts takes most of the time of a page whose words are looked at."""
    monkeypatch.setattr(figures, "svg", lambda *_: b"<svg></svg>")


def test_every_section_is_there_and_the_contents_lead_to_it(written):
    ids = [attributes["id"] for attributes in written[1].all("section")]
    links = [attributes["href"] for attributes in written[1].all("a")]
    assert links == [f"#{each}" for each in ids]
    assert ids == ["result", "trained", "images-used", "curves", "classes", "examples", "time",
                   "repeat", "card"]  # fmt: skip


def test_the_page_fetches_nothing_and_runs_nothing(written):
    require_alone(*written)


def test_the_page_is_small(written):
    assert len(written[0].encode()) < 3 * 2**20


@pytest.mark.parametrize(("value", "low", "high", "said"), [
    (0.9961, 0.9747, 0.9991, "calls >99 % right, averaged over classes; for other patients like "
     "these, 97 to 100 %."),
    (1, 0.9273, 1, "calls 100 % right, averaged over classes; for other patients like these, at "
     "least 92 %."),
])  # fmt: skip
def test_what_a_score_means_is_not_rounded_to_more_than_it_is(value, low, high, said):
    shortcut = {"value": 0.5, "low": 0.4, "high": 0.6}
    first = next(run_report.meaning({"value": value, "low": low, "high": high}, shortcut))
    assert first.endswith(said)


def test_the_page_can_be_read_by_those_who_do_not_see_it(written):
    text, parsed = written
    assert text.startswith("<!DOCTYPE html>") and '<html lang="en">' in text
    assert all(attributes["alt"] for attributes in parsed.all("img"))
    assert all(attributes["scope"] in ("row", "col") for attributes in parsed.all("th"))
    assert len(parsed.all("h1")) == 1
    ids = [attributes["id"] for _, attributes in parsed.tags if "id" in attributes]
    assert len(ids) == len(set(ids))
    assert {each["aria-labelledby"] for each in parsed.all("section")} <= set(ids)


def test_numbers_are_those_of_metrics_json(run, written):
    metrics = json.loads((run / "metrics.json").read_text())
    shown = {attributes["value"] for attributes in written[1].all("data")}
    for scores in (*metrics["splits"].values(), metrics["control"]):
        for key in ("balanced_accuracy", "accuracy", "loss"):
            assert str(scores[key]["value"]) in shown
            assert estimate(scores[key]) in written[1].text
    for of_class in metrics["splits"]["test"]["classes"].values():
        for key in ("sensitivity", "specificity", "ppv", "roc_auc", "pr_auc"):
            assert str(of_class[key]["value"]) in shown
            assert estimate(of_class[key], decimals=2) in written[1].text
        for of in of_class["ppv_at_prevalence"].values():
            assert str(of["value"]) in shown
    counts = metrics["dataset"]["train_classes"]
    assert f"120 images of 30 patient groups: healthy {counts['healthy']}" in written[1].text


def test_each_number_stands_in_its_row_and_column(run, written):
    metrics, tables = Results(run).metrics, written[1].tables
    validation, test = metrics["splits"]["validation"], metrics["splits"]["test"]
    scored = {"validation": validation, "validation, re-framed": validation["stressed"],
              "test": test, "control": metrics["control"]}  # fmt: skip
    keys = {key.replace("_", " "): key for key in ("balanced_accuracy", "accuracy", "loss")}
    assert tables["Scores by split"] == {
        name: {"n": str(of["n"]), "patient groups": str(of["groups"])}
        | {column: estimate(of[key]) for column, key in keys.items()}
        for name, of in scored.items()
    }
    assert tables["Shortcut baselines"] == {
        name: {"network": estimate(of["balanced_accuracy"])}
        | {f"baseline, {key.replace('_', ' ')}": estimate(each["balanced_accuracy"])
           for key, each in of["shortcut_baseline"].items()}
        for name, of in (("validation", validation), ("test", test))
    }  # fmt: skip
    short = {"sensitivity": "sensitivity", "specificity": "specificity",
             "positive predictive value": "ppv", "ROC AUC": "roc_auc",
             "average precision": "pr_auc"}  # fmt: skip
    by_class = tables["Scores by class"]
    assert {*next(iter(by_class.values()))} == {"n", "patient groups", *short}
    for name, of in test["classes"].items():
        shown = {column: estimate(of[key], decimals=2) for column, key in short.items()}
        counts = {"n": str(of["n"]), "patient groups": str(of["groups"])}
        assert by_class[name] == counts | shown
    used = tables["Splits by class"]
    for name in ("validation", "test"):
        table = Results(run).predictions.of_split(name)
        images, patients, groups = (used[name][key] for key in ("images", "patients",
                                                                "patient groups"))  # fmt: skip
        people, apart = len(set(table.patients)), len(set(table.groups))
        assert [images, patients, groups] == ["80", str(people), str(apart)]
        assert people != apart != 80


def test_a_confounded_run_says_so_beside_what_control_shows(run, written):
    control = json.loads((run / "metrics.json").read_text())["control"]
    share = estimate(control["classes"]["covid19"]["specificity"])
    words = " ".join(written[1].text.split())
    assert "CONFOUNDED: in train, class and source go together" in words
    assert f"the share not called covid19: {share}" in words
    assert words.index("CONFOUNDED:") < words.index("What was trained on what", 200)
    assert words.index("Research use, not for diagnosis.") > 0


@pytest.mark.usefixtures("without_charts")
def test_of_a_planted_shortcut_control_is_shown_as_what_it_is(tmp_path):
    changes = {"synthetic": True, "dataset": {"planted_shortcut": True}}
    run = finished(tmp_path / "run", control=True, **changes)
    control = json.loads((run / "metrics.json").read_text())["control"]
    words = " ".join(page(run)[1].text.split())
    share = estimate(control["balanced_accuracy"])
    assert f"on images with the marker of another class: {share}" in words
    assert "not called covid19" not in words


MEANS = {
    0.2: "whole interval is above that: it sees what a thumbnail does not show",
    0.56: "whole interval is above the number, and not above its interval.",
    0.65: "which is within the network's interval. That the network is better is not shown.",
    0.9: "The network is not above it: its score shows nothing about lungs.",
}


@pytest.mark.usefixtures("without_charts")
@pytest.mark.parametrize("baseline", MEANS)
def test_a_sentence_says_what_the_score_means_beside_its_baseline(baseline, tmp_path):
    run = finished(tmp_path / "run", baseline=baseline)
    network = Results(run).metrics["splits"]["test"]["balanced_accuracy"]
    assert network["low"] < 0.65 < network["value"] < 0.9
    words = " ".join(page(run)[1].text.split())
    assert [each for each in MEANS.values() if each in words] == [MEANS[baseline]]


@pytest.mark.usefixtures("without_charts")
def test_synthetic_stands_across_the_page_of_drawn_images_alone(written, tmp_path):
    _, parsed = page(finished(tmp_path / "run", synthetic=True))
    assert parsed.all("body") == [{"class": "synthetic"}]
    assert "SYNTHETIC:" in parsed.text
    assert written[1].all("body") == [{}] and "SYNTHETIC:" not in written[1].text


@pytest.mark.usefixtures("without_charts")
def test_a_run_that_did_not_open_test_is_shown_by_validation(tmp_path):
    run = finished(tmp_path / "run", test=False)
    words = " ".join(page(run)[1].text.split())
    assert "balanced accuracy on validation" in words
    assert "so the score is too high. Test was not opened." in words
    assert "balanced accuracy on test" not in words


@pytest.mark.usefixtures("without_charts")
def test_two_classes(tmp_path):
    parsed = page(finished(tmp_path / "run", names=("healthy", "covid19")))[1]
    assert "2 classes: healthy and covid19" in parsed.text


@pytest.mark.slow
def test_names_of_classes_and_images_are_text(tmp_path):
    run = finished(tmp_path / "<b>run", names=HOSTILE, prefix="<img src=x onerror=alert(1)>")
    text, parsed = page(run)
    for name in HOSTILE:
        assert name in parsed.text
    assert "<img src=x onerror=alert(1)>test/" in parsed.text
    assert "Report of the run <b>run" in parsed.text
    assert parsed.all("script") == parsed.all("b") == []
    assert all(each["src"].startswith("data:") for each in parsed.all("img"))
    assert not re.search(r"<img src=x|<script", text)


def test_images_have_their_heatmap_and_all_probabilities(run, written):
    drawn, table = Results(run).heatmaps, Results(run).predictions.of_split("test")
    figures = [each for each in written[1].all("figure") if "image" in each["class"].split()]
    assert len(figures) == len(drawn.image_ids)
    row = table.image_ids.index(drawn.image_ids[0])
    wrong = drawn.kinds.count("worst")
    assert [each["class"] for each in figures[:wrong]] == ["image wrong"] * wrong
    called = table.class_names[table.predicted[row]]
    alts = [each["alt"] for each in written[1].all("img")]
    truth = table.class_names[table.labels[row]]
    assert f"Chest X-ray {drawn.image_ids[0]}, true class {truth}" in alts
    assert f"The same with its heatmap of the class {called}" in alts


@pytest.mark.usefixtures("without_charts")
def test_a_run_without_heatmaps_has_a_report(tmp_path):
    run = finished(tmp_path / "run")
    (run / "heatmaps.npz").unlink()
    assert "This run's folder holds no heatmaps." in page(run)[1].text


@pytest.mark.slow
def test_large_images_are_shown_small(tmp_path):
    run = finished(tmp_path / "run")
    before = heatmaps.read(run / "heatmaps.npz")
    shape = (len(before.kinds), 600, 600)
    squares = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    large = heatmaps.Heatmaps("test", before.image_ids, before.kinds, squares, before.maps)
    (run / "manifest.json").unlink()  # of another heatmaps.npz
    heatmaps.write(run / "heatmaps.npz", large)
    assert len(page(run)[0]) < 3 * 2**20


@pytest.mark.usefixtures("without_charts")
def test_the_flow_of_images_adds_up(tmp_path):
    reasons = {f"reason {i}": i for i in range(1, 16)}
    stored = {"train": 150, "validation": 80, "test": 90, "control": 7}
    images = {"stored": stored, "left_out": reasons}
    run = finished(tmp_path / "run", test=False, dataset={"images": images})
    words = " ".join(page(run)[1].text.split())
    for line in (
        f"found by the build of the dataset{sum(reasons.values()) + 327}",
        "left out: reason 1515", "left out: reason 44", "left out: 3 other reasons6",
        "in the dataset327", "not opened: test90", "not opened: control7",
        "of classes that the run does not have30", "read by the run200",
    ):  # fmt: skip
        assert line in words, line


@pytest.mark.usefixtures("without_charts")
def test_the_flow_begins_with_what_is_stored_where_the_builds_reasons_were_lost(tmp_path):
    images = {"stored": {"train": 120, "validation": 80, "test": 80}, "left_out": None}
    run = finished(tmp_path / "run", dataset={"images": images})
    words = " ".join(page(run)[1].text.split())
    assert "in the dataset280" in words and "read by the run280" in words
    assert "found by the build" not in words and "left out:" not in words


@pytest.mark.usefixtures("without_charts")
def test_control_without_covid19_among_the_classes_shows_nothing(tmp_path, written):
    run = finished(tmp_path / "run", names=("clear", "pneumonia"), control=True)
    assert "Control:" in written[1].text and "Control:" not in page(run)[1].text


def test_the_flow_of_a_run_that_did_not_keep_it_says_so(written):
    assert "found, and left out: not in this run's folder" in written[1].text


@pytest.mark.usefixtures("without_charts")
def test_a_phase_is_shown_with_its_rates_and_their_schedule(tmp_path):
    flags = {
        "epochs": 2, "fine_tune_from": "block4", "fine_tune_epochs": 3,
        "fine_tune_learning_rate": 4e-5, "fine_tune_head_learning_rate": 2e-4,
        "fine_tune_schedule": "cosine", "fine_tune_warmup": 150,
    }  # fmt: skip
    text = page(finished(tmp_path / "tuned", flags=flags))[1].text
    assert "the head, 2 epochs, adam, learning rate 0.0001; from block4 on, 3 epochs, adam" in text
    assert "learning rate 4e-05, of the head 0.0002, warm-up of 150 steps and half a cosine" in text


def test_the_command_can_be_typed_again(written):
    assert "python -m trainer.main --classes=4 '--run_dir=a run'" in written[1].text


@pytest.mark.usefixtures("without_charts")
def test_the_time_of_each_part_is_shown_where_a_clock_was_read(written, tmp_path):
    assert "Where the time went" not in written[1].text
    run = finished(tmp_path / "run")
    (run / "times.json").write_text('{"opening": 1.0, "training": 3.0}')
    words = " ".join(page(run)[1].text.split())
    assert "training3.075 %" in words  # three cells
    assert "head: 906 images/s, the median of 12 epochs" in words


def test_pictures_can_be_opened(written):
    jpegs = [each["src"] for each in written[1].all("img") if "jpeg" in each["src"]]
    assert jpegs
    for address in jpegs:
        with Image.open(io.BytesIO(base64.b64decode(address.partition(",")[2]))) as image:
            image.load()
            assert max(image.size) <= 224


@pytest.mark.parametrize(
    ("weights", "words"), [("none", "the shares of classes in"), ("balanced", "equally frequent")]
)
def test_the_card_says_for_which_shares_of_classes_the_probabilities_are(weights, words, run):
    results = Results(run)
    results.origin["config"]["class_weights"] = weights
    assert words in dict(provenance._card(results))["probabilities"]


def test_patients_that_are_not_known_are_said_where_splits_are(run, without_charts):
    results = Results(run)
    assert "as far as patients are known" not in page(run)[1].text
    results.metrics["dataset"]["images_without_patient"] = 2
    text = run_report.write(results).read_text(encoding="utf-8")
    assert "No patient group is in two splits, as far as patients are known." in text
    assert "PATIENTS UNKNOWN: 2 images" in " ".join(Page(text).text.split())
