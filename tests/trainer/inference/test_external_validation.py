"""A bare network on images with classes: what is known of them, and where its scores go."""

import dataclasses
import json
import pathlib
import shutil
import subprocess
import sys

import pytest

from tests.helpers import images_of
from tests.helpers.commands import ROOT
from tests.helpers.small_networks import lively
from trainer.inference import external_scores, external_validation, labelled_images
from trainer.model import saved
from trainer.model.about import About
from trainer.run.errors import ConfigError, RunError

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("undrawn", "loaded_once")]

NAMES = ("healthy", "covid19")
ABOUT = About(
    class_names=NAMES, image_size=64, align="none", dataset="covid_tfds/tiny/2.0.0",
    fingerprint="0" * 64, synthetic=True, version="2.0.0", notes=(),
)  # fmt: skip


@pytest.fixture(scope="module")
def bare(tmp_path_factory) -> pathlib.Path:
    """A file .keras that says of which dataset it is."""
    path = tmp_path_factory.mktemp("network") / "bare.keras"
    saved.save(lively(), path, NAMES, ABOUT)
    return path


@pytest.fixture(scope="module")
def folder(tiny, tmp_path_factory) -> pathlib.Path:
    """Images of two classes, those of each from a place of its own."""
    above = tmp_path_factory.mktemp("data") / "hospital"
    above.mkdir()
    rows = ["path,label,patient,source"]
    labels = [tiny.class_names[label] for label in tiny.splits["test"].labels]
    for i, (name, (_, data)) in enumerate(
        zip(labels, images_of.encoded(tiny, "test"), strict=True)
    ):
        if name in NAMES:
            (above / f"{i}.png").write_bytes(data)
            rows.append(f"{i}.png,{name},p{i},{'near' if name == 'healthy' else 'far'}")
    (above / "images.csv").write_text("\n".join(rows) + "\n")
    return above


@pytest.fixture(scope="module")
def on_its_dataset(bare, data_dir, tmp_path_factory):
    output = tmp_path_factory.mktemp("scores") / "out"
    return external_validation.evaluate(bare, data_dir=str(data_dir), output=output)


def test_a_network_is_scored_on_the_dataset_that_its_file_names(on_its_dataset):
    assert on_its_dataset.metrics["dataset"]["name"] == "covid_tfds/tiny/2.0.0"
    assert on_its_dataset.metrics["left_out"]["checked"] is False


def test_of_images_that_are_not_aligned_no_pose_is_looked_at(bare, data_dir, monkeypatch):
    """Its numbers would be whatever the memory holds."""
    monkeypatch.setattr(external_scores.alignment, "at_bounds", None)
    external_validation.evaluate(bare, data_dir=str(data_dir), output=None)


def test_of_images_that_are_not_aligned_no_pose_is_written(on_its_dataset):
    assert "alignment" not in on_its_dataset.metrics
    written = {path.name for path in on_its_dataset.path.iterdir()}
    assert {"metrics.json", "predictions.csv"} <= written and "alignment.csv" not in written


def test_a_network_that_names_no_dataset_is_scored_on_what_is_given_alone(tmp_path, data_dir):
    saved.save(lively(), tmp_path / "silent.keras", NAMES)
    with pytest.raises(ConfigError, match=r"does not say its dataset\. Give --dataset or --images"):
        external_validation.evaluate(tmp_path / "silent.keras", data_dir=str(data_dir))


def test_scores_of_the_same_images_are_written_over_and_other_files_are_not(
    on_its_dataset, bare, data_dir, folder, tmp_path
):
    there = on_its_dataset.path / "metrics.json"
    before = there.read_bytes()
    there.write_bytes(before.replace(b'"notice"', b'"old"'))
    external_validation.evaluate(bare, data_dir=str(data_dir), output=on_its_dataset.path)
    assert there.read_bytes() == before
    (tmp_path / "thesis.tex").write_text("mine")
    for taken in (tmp_path, on_its_dataset.path):
        with pytest.raises(ConfigError, match="holds something else than this network's scores"):
            external_validation.evaluate(bare, images=folder, output=taken)
    assert there.read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]


def test_a_network_that_was_moved_is_the_same_and_another_dataset_of_the_name_is_not(
    on_its_dataset, bare, data_dir, tmp_path
):
    there = shutil.copytree(on_its_dataset.path, tmp_path / "out")
    moved = shutil.copy(bare, tmp_path / "moved.keras")
    external_validation.evaluate(moved, data_dir=str(data_dir), output=there)
    values = json.loads((there / "metrics.json").read_text())
    values["dataset"]["fingerprint"] = "0" * 64  # as of other images under the same name
    (there / "metrics.json").write_text(json.dumps(values))
    with pytest.raises(ConfigError, match="holds something else than this network's scores"):
        external_validation.evaluate(bare, data_dir=str(data_dir), output=there)


@pytest.mark.parametrize("left", ["predictions.csv", ".4711.0123abcd.metrics.json"])
def test_what_a_call_that_was_killed_left_is_written_over(bare, data_dir, tmp_path, left):
    code = (
        "import os, pathlib; from trainer.run import run_dir\n"
        f"with run_dir.held(pathlib.Path({str(tmp_path)!r}), 'output'): os.kill(os.getpid(), 9)"
    )
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False, timeout=120)
    (tmp_path / left).write_text("torn")
    assert {path.name for path in tmp_path.iterdir()} == {".lock", left}
    evaluated = external_validation.evaluate(bare, data_dir=str(data_dir), output=tmp_path)
    assert (evaluated.path / "metrics.json").is_file()
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(".")]


@pytest.mark.parametrize("split", ["validation", "test"])
def test_a_bare_network_whose_run_has_not_opened_test_does_not_open_it(
    split, data_dir, tiny, tmp_path
):
    scores = {"split": split, "classes": {}}
    about = dataclasses.replace(ABOUT, fingerprint=tiny.fingerprint_of(NAMES), scores=scores)
    saved.save(lively(), tmp_path / "bare.keras", NAMES, about)
    if split == "validation":
        for of_test, said in (
            (
                "test",
                "has not opened test of covid_tfds/tiny.* give another --dataset, or --images",
            ),
            ("validation", "what it remembers. Give another --dataset or --images"),
        ):
            with pytest.raises(RunError, match=said):
                external_validation.evaluate(
                    tmp_path / "bare.keras", data_dir=str(data_dir), split=of_test
                )
    else:
        external_validation.evaluate(tmp_path / "bare.keras", data_dir=str(data_dir), output=None)


def test_sources_that_go_with_the_classes_are_said_to_do_so(bare, folder, tmp_path):
    evaluated = external_validation.evaluate(bare, images=folder, output=tmp_path / "out")
    assert evaluated.metrics["confounding"]["cramers_v"] == pytest.approx(1)
    notes = json.loads((tmp_path / "out" / "metrics.json").read_text())["notes"]
    assert any(note.startswith("CONFOUNDED: in these images") for note in notes)


def test_a_folder_of_which_no_image_can_be_read_is_one_sentence(tmp_path):
    for name in NAMES:
        (tmp_path / name).mkdir()
        (tmp_path / name / "a.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    with (
        pytest.raises(RunError, match=r"No image of .* can be used: truncated or damaged\. Mend"),
        labelled_images.of_folder(tmp_path, ""),
    ):
        pass
