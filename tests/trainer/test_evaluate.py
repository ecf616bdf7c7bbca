"""`trainer.evaluate`: a run's network on its own test, on another dataset and on a folder."""

import csv
import json
import pathlib
import shutil
import types

import numpy as np
import pytest

import covid_tfds
import trainer
from covid_tfds.config import CovidConfig
from tests.covid_tfds.reading.made_files import TWELVE, dicom
from tests.helpers import commands, images_of, trainings
from trainer.evaluation import images_used, poses, predictions
from trainer.evaluation.metrics import NOTICE
from trainer.inference import external_validation, labelled_images, run_dataset
from trainer.run.errors import ConfigError, RunError

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("undrawn", "loaded_once")]

# Of the tiny dataset's four classes the network has two.
OURS, OTHERS = ("healthy", "covid19"), ("bacterial", "viral")
FOLDERS = {"healthy": "Normal", "covid19": "covid-19"}


@pytest.fixture(scope="module")
def run(data_dir, tmp_path_factory) -> pathlib.Path:
    folder = tmp_path_factory.mktemp("run") / "run"
    changes = {"epochs": 1, "classes": 2, "align": "chest", "width": 0.3}
    trainings.run(trainings.quick(data_dir, **changes), folder)
    return folder


@pytest.fixture(scope="module")
def other(tmp_path_factory) -> pathlib.Path:
    """Holds `covid_tfds/other`, drawn otherwise."""
    folder = tmp_path_factory.mktemp("other")
    config = CovidConfig(name="other", images="phantom", patients=40, seed=7)
    covid_tfds.Builder(config=config, data_dir=folder).download_and_prepare()
    return folder


@pytest.fixture(scope="module")
def hospital(tiny, tmp_path_factory) -> pathlib.Path:
    """A folder a class: images of test, two of train, one of validation, one of a new class."""
    folder = tmp_path_factory.mktemp("data") / "hospital"
    for name in (*FOLDERS.values(), "tuberculosis"):
        (folder / name).mkdir(parents=True)
    for split, most in (("test", 1000), ("train", 2), ("validation", 1)):
        for i, (name, data) in enumerate(of_our_classes(tiny, split)[:most]):
            (folder / FOLDERS[name] / f"{split}{i:03}.png").write_bytes(data)
    (folder / "Normal" / "broken.png").write_bytes(data[:90])
    (folder / "tuberculosis" / "new.dcm").write_bytes(dicom(TWELVE, 12, PatientID="PERSON-7"))
    return folder


def of_our_classes(tiny, split) -> list[tuple[str, bytes]]:
    labels = [tiny.class_names[label] for label in tiny.splits[split].labels]
    encoded = [data for _, data in images_of.encoded(tiny, split)]
    return [pair for pair in zip(labels, encoded, strict=True) if pair[0] in OURS]


def evaluate(*words) -> commands.Ended:
    return commands.run("trainer.evaluate", *map(str, words))


def own(run) -> dict:
    return json.loads((run / "metrics.json").read_text())


def assert_same_test(found: dict, wanted: dict) -> None:
    assert found["confusion"] == wanted["confusion"]
    assert found["shortcut_baseline"] == wanted["shortcut_baseline"]
    assert found["balanced_accuracy"] == wanted["balanced_accuracy"]
    assert found["loss"]["value"] == pytest.approx(wanted["loss"]["value"], abs=1e-6)


@pytest.fixture(scope="module")
def on_own_test(run, tmp_path_factory) -> tuple[commands.Ended, pathlib.Path]:
    folder = tmp_path_factory.mktemp("own") / "out"
    ended = evaluate(f"--run={run}", f"--output={folder}")
    assert ended.status == 0, ended.err
    return ended, folder


def test_on_the_runs_own_test_it_gives_the_runs_own_scores(run, on_own_test):
    folder = on_own_test[1]
    result = json.loads((folder / "metrics.json").read_text())
    assert_same_test(result["splits"]["test"], own(run)["splits"]["test"])
    left_out = result["left_out"]
    assert left_out["checked"] and left_out["unknown_classes"].keys() == set(OTHERS)
    assert not left_out["trained_on"] and not left_out["patient_of_validation"]
    table = predictions.read(folder / "predictions.csv")
    wanted = predictions.read(run / "predictions.csv").of_split("test")
    assert table.image_ids == wanted.image_ids and table.groups == wanted.groups
    np.testing.assert_allclose(table.probabilities, wanted.probabilities, atol=1e-6)
    aligned = poses.read(folder / "alignment.csv")
    assert aligned.image_ids == table.image_ids
    assert result["alignment"]["images"] == len(table.labels)
    assert images_used.read(folder / "images_used.csv")["image_id"] == table.image_ids


def test_the_screen_has_the_table_and_all_that_belongs_to_it(run, on_own_test):
    ended, folder = on_own_test
    out = ended.out
    assert max(map(len, out.replace(str(folder), "").replace(str(run), "").splitlines())) <= 80
    text = " ".join(out.split())
    metrics = own(run)["splits"]["test"]
    n, groups = metrics["n"], metrics["groups"]
    assert f"n = {n} images of {groups} patient groups" in text
    for words in (
        "left out: none; none of these has the pixels, or a known patient, of what the network "
        "has seen",
        "of classes that the network does not have, bacterial (",
        "shortcut baseline, lungs masked", "of the network's own run: SYNTHETIC",
        f"folder: {folder}", NOTICE,
    ):  # fmt: skip
        assert words in text


def test_what_the_network_has_seen_is_left_out_and_counted(run, tiny):
    evaluated = trainer.load(run).evaluate(split="all")
    used = images_used.read(run / "images_used.csv")["split"]
    left_out = evaluated.metrics["left_out"]
    assert left_out["trained_on"] == used.count("train")
    assert left_out["validation"] == used.count("validation")
    assert set(evaluated.predictions.splits) == {"test"}
    (scores,) = evaluated.metrics["splits"].values()
    assert_same_test(scores, own(run)["splits"]["test"])
    with pytest.raises(RunError, match=r"No image of .*, train, can score the network"):
        trainer.load(run).evaluate(split="train")


def test_of_a_network_alone_nothing_is_checked_and_no_baseline_computed(run, data_dir, tmp_path):
    bare = shutil.copy(run / "model.keras", tmp_path / "of_a_friend.keras")
    words = f"--data_dir={data_dir}", f"--output={tmp_path / 'out'}"
    ended = evaluate(f"--run={bare}", "--dataset=tiny", *words)
    assert ended.status == 0, ended.err
    text = " ".join(ended.out.split())
    assert "Not checked: a model.keras alone" in text and text.count("not computed") == 3
    result = json.loads((tmp_path / "out" / "metrics.json").read_text())
    assert result["left_out"]["checked"] is False
    assert result["splits"]["test"]["shortcut_baseline"] is None
    assert result["splits"]["test"]["n"] == own(run)["splits"]["test"]["n"]


@pytest.mark.parametrize("split", ["train", "validation", "all"])
def test_a_network_alone_is_not_scored_on_what_it_was_trained_on(split, run, data_dir, tmp_path):
    bare = shutil.copy(run / "model.keras", tmp_path / "of_a_friend.keras")
    with pytest.raises(RunError, match=r"was trained on train of .*tiny.* what it remembers"):
        trainer.load(bare).evaluate("tiny", split=split, data_dir=data_dir)


def test_a_folder_is_scored_as_the_dataset_that_its_images_are_of(run, hospital, tmp_path):
    evaluated = trainer.load(run).evaluate(
        images=hospital, data_dir=tmp_path, output=tmp_path / "out"
    )
    (scores,) = evaluated.metrics["splits"].values()
    wanted = own(run)["splits"]["test"]
    assert scores["confusion"] == wanted["confusion"]
    left_out = evaluated.metrics["left_out"]
    assert (left_out["trained_on"], left_out["validation"]) == (2, 1)
    assert left_out["unknown_classes"] == {"tuberculosis": 1}
    assert left_out["unusable"] == {"truncated or damaged": 1}
    with open(tmp_path / "out" / "left_out.csv", newline="") as file:
        rows = {row["image_id"]: row["reason"] for row in csv.DictReader(file)}
    assert rows["own/Normal/broken.png"] == "truncated or damaged"
    assert rows["own/tuberculosis/new.dcm"] == "unknown_class"
    assert list(rows.values()).count("trained_on") == 2
    notes = " ".join(evaluated.metrics["images"])
    assert "images have no patient: each of them counts as its own" in notes
    assert all(b"PERSON" not in each.read_bytes() for each in (tmp_path / "out").iterdir())


def test_a_table_names_patients_and_sources(run, hospital, tiny, tmp_path):
    folder = shutil.copytree(hospital, tmp_path / "tabled")
    shutil.rmtree(folder / "tuberculosis")
    names = sorted((folder / "covid-19").glob("test*.png"))
    rows = [f"covid-19/{path.name},covid19,p{i // 2},far" for i, path in enumerate(names)]
    (folder / "images.csv").write_text("\n".join(["path,label,patient,source", *rows]) + "\n")
    evaluated = trainer.load(run).evaluate(images=folder)
    (scores,) = evaluated.metrics["splits"].values()
    assert scores["n"] == len(names) and scores["patients"] == (len(names) + 1) // 2
    assert set(evaluated.predictions.sources) == {"far"}
    healthy, covid19 = scores["classes"].values()
    assert healthy["sensitivity"]["value"] is None
    assert covid19["sensitivity"]["value"] == scores["balanced_accuracy"]["value"]
    text = " ".join(evaluated.metrics["images"])
    assert "no image of healthy: no sensitivity there" in text and "one class only" not in text


def test_classes_of_no_network_are_one_sentence(run, hospital, tmp_path):
    (tmp_path / "lungs").mkdir()
    shutil.copytree(hospital / "Normal", tmp_path / "lungs" / "clear")
    with pytest.raises(RunError, match=r"They are of clear, and it has healthy and covid19"):
        trainer.load(run).evaluate(images=tmp_path / "lungs")


def test_a_folder_without_images_is_one_sentence(tmp_path):
    with (
        pytest.raises(RunError, match="is no folder"),
        labelled_images.of_folder(tmp_path / "none", ""),
    ):
        pass
    with (
        pytest.raises(RunError, match="holds no images of your own"),
        labelled_images.of_folder(tmp_path, ""),
    ):
        pass


def test_another_dataset_goes_to_a_folder_of_its_own(
    run, other, on_own_test, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    words = f"--run={run}", "--dataset=other", f"--data_dir={other}"
    ended = evaluate(*words)
    assert ended.status == 0, ended.err
    folder = tmp_path / "evaluations" / "run-other-test"
    assert "folder: evaluations/run-other-test" in ended.out
    first = {path.name: path.read_bytes() for path in folder.iterdir()}
    assert json.loads(first["metrics.json"])["splits"]["test"]["shortcut_baseline"]
    (folder / "predictions.csv").write_text("torn")
    (folder / "metrics.json").unlink()
    assert evaluate(*words).status == 0
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == first
    there = on_own_test[1] / "metrics.json"
    before = there.read_bytes()
    for taken in (there.parent, run):
        refused = evaluate(*words, f"--output={taken}")
        assert refused.status == 2 and "holds something else" in refused.err
    assert there.read_bytes() == before


@pytest.fixture
def changed(run, tmp_path):
    """The run with another config.json."""

    def change(**values) -> pathlib.Path:
        folder = shutil.copytree(run, tmp_path / "changed")
        origin = json.loads((folder / "config.json").read_text())
        origin["config"] |= values
        (folder / "manifest.json").unlink()
        (folder / "config.json").write_text(json.dumps(origin))
        return folder

    return change


def test_without_the_train_images_it_says_why_there_is_no_baseline(changed, other, tmp_path):
    moved = changed(data_dir=str(tmp_path))
    ended = evaluate(f"--run={moved}", "--dataset=other", f"--data_dir={other}",
                     f"--output={tmp_path / 'out'}")  # fmt: skip
    assert ended.status == 0, ended.err
    text = " ".join(ended.out.split())
    assert f"was not computed. --dataset=tiny is not built in {tmp_path}" in text


def test_a_dataset_that_was_moved_is_found_by_its_flag_for_the_baseline_too(
    changed, run, data_dir, tmp_path
):
    moved = changed(data_dir=str(tmp_path))
    ended = evaluate(f"--run={moved}", f"--data_dir={data_dir}", f"--output={tmp_path / 'out'}")
    assert ended.status == 0, ended.err
    result = json.loads((tmp_path / "out" / "metrics.json").read_text())
    assert_same_test(result["splits"]["test"], own(run)["splits"]["test"])


def test_other_images_under_the_name_of_the_runs_dataset_are_not_its_own(changed):
    folder = changed()
    origin = json.loads((folder / "config.json").read_text())
    origin["dataset"]["fingerprint"] = "0" * 64
    (folder / "config.json").write_text(json.dumps(origin))
    with pytest.raises(RunError, match=r"tiny.* holds other images than those .* trained on\."):
        run_dataset.opened(types.SimpleNamespace(run=folder))


def test_the_folder_of_one_of_several_seeds_bears_the_name_of_all(
    run, hospital, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    seed = shutil.copytree(run, tmp_path / "five" / "seed_0")
    evaluated = trainer.load(seed).evaluate(images=hospital, output="")
    assert evaluated.path == pathlib.Path("evaluations", "five-seed_0-hospital")


def test_a_folder_of_images_that_the_network_has_seen_says_how_others_are_told_apart(
    run, tiny, tmp_path
):
    for i, (name, data) in enumerate(of_our_classes(tiny, "train")[:4]):
        (tmp_path / name).mkdir(exist_ok=True)
        (tmp_path / name / f"{i}.png").write_bytes(data)
    with pytest.raises(RunError, match=r"there are 4 images .* give a source in images\.csv\."):
        trainer.load(run).evaluate(images=tmp_path)


@pytest.fixture
def closed(changed):
    """The run as one with `--notest` is: no file of it names an image of test."""

    def close(**values) -> pathlib.Path:
        folder = changed(test=False, **values)
        used = images_used.read(folder / "images_used.csv")
        kept = [place for place, split in enumerate(used["split"]) if split != "test"]
        columns = {name: [column[place] for place in kept] for name, column in used.items()}
        images_used.write(folder / "images_used.csv", columns)
        return folder

    return close


def test_a_test_that_the_run_has_not_opened_stays_so(closed, tmp_path):
    folder = closed()
    ended = evaluate(f"--run={folder}", "--split=all", f"--output={tmp_path / 'out'}")
    assert ended.status == 1 and "has not opened test of" in " ".join(ended.err.split())
    assert not (tmp_path / "out").exists()


@pytest.fixture
def of_test(tiny, tmp_path) -> pathlib.Path:
    """A folder of four images of the test split."""
    folder = tmp_path / "test"
    for i, (name, data) in enumerate(of_our_classes(tiny, "test")[:4]):
        (folder / name).mkdir(parents=True, exist_ok=True)
        (folder / name / f"{i}.png").write_bytes(data)
    return folder


def test_nor_is_it_opened_as_a_folder_of_its_images(closed, of_test):
    with pytest.raises(RunError, match=r"4 images of its test split.* command with --test opens"):
        external_validation.evaluate(closed(), images=of_test, output=None)


def test_where_its_dataset_is_gone_it_says_that_this_is_not_checked(closed, of_test, tmp_path):
    moved = closed(data_dir=str(tmp_path))
    evaluated = external_validation.evaluate(moved, images=of_test, output=None)
    said = " ".join(evaluated.metrics["images"])
    assert "Not checked: the images and patients of the test split" in said
    assert f"not at hand: --dataset=tiny is not built in {tmp_path}" in said
    left_out = evaluated.metrics["left_out"]
    assert left_out["unopened"] is left_out["patient_unopened"] is None
    assert left_out["trained_on"] == 0


@pytest.mark.parametrize("name", ["images_used.csv", "config.json"])
def test_a_run_that_does_not_say_what_it_saw_is_refused(name, run, tmp_path):
    folder = shutil.copytree(run, tmp_path / "run")
    (folder / "manifest.json").unlink()
    (folder / name).unlink()
    with pytest.raises(RunError, match=f"has no {name}, which says"):
        external_validation.evaluate(folder, output=None)


def test_a_split_that_is_not_there_is_named(run):
    with pytest.raises(ConfigError, match=r"--split is 'valid', and .* has test, train and valid"):
        trainer.load(run).evaluate(split="valid")


@pytest.mark.parametrize(
    "words,message",
    [([], "--run is missing"), (["--run=x", "images"], "are no flags"),
     (["--run=x", "--images=a", "--split=test"], "Give one kind"),
     (["--run=x", "--images=a", "--dataset=full"], "Give one kind"),
     (["--run=x.keras"], "There is no file x.keras")],
)  # fmt: skip
def test_what_makes_no_sense_is_refused_before_tensorflow(words, message):
    ended = evaluate(*words)
    assert ended.status in (1, 2) and message in ended.err


def test_so_is_it_in_python(run, hospital):
    with pytest.raises(ConfigError, match="images is given with dataset or split"):
        trainer.load(run).evaluate("tiny", images=hospital)
    with pytest.raises(ConfigError, match="images is given with dataset or split"):
        trainer.load(run).evaluate(split="validation", images=hospital)
