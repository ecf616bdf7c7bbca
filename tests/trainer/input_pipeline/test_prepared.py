"""Which datasets are there, which one `auto` is, and what a name that is not there is answered."""

import os
import pathlib
import subprocess
import sys

import pytest
import tensorflow_datasets as tfds

import covid_tfds
from trainer.input_pipeline import prepared
from trainer.run.errors import RunError


def place(root: pathlib.Path, *names: str, version: str = "2.0.0", classes="healthy\ncovid19\n"):
    """Folders as TFDS leaves them, of a dataset's names and labels alone."""
    for name in names:
        folder = root / "covid_tfds" / name / version
        folder.mkdir(parents=True)
        (folder / "dataset_info.json").write_text("{}")
        (folder / "label.labels.txt").write_text(classes, encoding="utf-8")


def test_names_are_those_of_the_builder():
    assert covid_tfds.Builder.name == prepared.DATASET
    assert prepared._SYNTHETIC_CLASSES == covid_tfds.LABELS
    configs = {config.name for config in covid_tfds.Builder.BUILDER_CONFIGS}
    assert set(prepared._CONFIGS) == configs | {"folder"}


def test_looking_for_a_dataset_imports_nothing_heavy():
    program = (
        "import sys, trainer.inputs\n"
        "print({'tensorflow', 'tensorflow_datasets', 'keras', 'covid_tfds'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True,
                          check=True)  # fmt: skip
    assert done.stdout == "set()\n"


def test_the_usual_folder_is_that_of_tfds(monkeypatch, tmp_path):
    # TFDS looks at the variable once, when it is imported.
    assert str(prepared.root_of("")) == os.path.expanduser(tfds.core.constants.DATA_DIR)
    monkeypatch.delenv("TFDS_DATA_DIR", raising=False)
    assert prepared.root_of("") == pathlib.Path("~/tensorflow_datasets").expanduser()
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path))
    assert prepared.root_of("") == tmp_path
    assert prepared.root_of("/else") == pathlib.Path("/else")
    monkeypatch.setenv("MY_DATA", str(tmp_path))
    monkeypatch.setenv("TFDS_DATA_DIR", "$MY_DATA/d")
    assert prepared.root_of("") == tmp_path / "d"
    monkeypatch.setenv("TFDS_DATA_DIR", "gs://bucket/data")  # no folder of this name is made
    with pytest.raises(RunError, match="is in a bucket"):
        prepared.root_of("")


@pytest.mark.parametrize(
    ("built", "taken"),
    [(("article", "full"), "full"), (("article", "phantom"), "article"), (("phantom",), "phantom"),
     ((), "phantom")],
)  # fmt: skip
def test_auto_prefers_full_then_article_and_says_why(tmp_path, built, taken):
    place(tmp_path, *built)
    chosen = prepared.find("auto", str(tmp_path))
    assert chosen.name == taken
    assert (chosen.folder is None) is (taken not in built)
    if taken == "phantom":
        why = f"neither full nor article is built in {tmp_path}: synthetic images stand in"
    else:
        why = f"the first of full, article, phantom that is built in {tmp_path}"
    assert chosen.why == why
    assert prepared.find(taken, str(tmp_path)).why == ""


def test_the_newest_version_is_taken_and_stray_folders_are_not(tmp_path):
    place(tmp_path, "full")
    for stray in ("2.0.0_old", "10.0.0.incompleteX", "01.0.0", "backup", ".hidden", "3.0"):
        place(tmp_path, "full", version=stray)
    (tmp_path / "covid_tfds" / "full" / "3.0.0").mkdir()  # TFDS did not come to its end
    folder = tmp_path / "covid_tfds" / "full"
    assert prepared.find("full", str(tmp_path)).folder == folder / "2.0.0"
    place(tmp_path, "full", version="2.10.0")
    place(tmp_path, "full", version="2.9.0")
    assert prepared.find("full", str(tmp_path)).folder == folder / "2.10.0"


def test_built_there_names_what_can_be_opened(tmp_path):
    assert prepared.built(tmp_path) == []
    place(tmp_path, "mine", "phantom")
    place(tmp_path, "old", version="1.0.0")
    place(tmp_path, "copy", version="2.0.0_old")
    for stray in ("downloads", ".incomplete.full", "full"):
        (tmp_path / "covid_tfds" / stray).mkdir()
    (tmp_path / "covid_tfds" / "notes.txt").write_text("mine")
    assert prepared.built(tmp_path) == ["mine", "phantom"]
    with pytest.raises(RunError, match=r"\(built there: mine, phantom\)"):
        prepared.find("full", str(tmp_path))


@pytest.mark.parametrize(
    ("given", "answer"),
    [
        ("ful", "Did you mean --dataset=full?"),
        ("Full", "Did you mean --dataset=full?"),
        ("fulll", "Did you mean --dataset=full?"),
        ("my", "Did you mean --dataset=my-own?"),
        ("phantoms", "Did you mean phantom? Build it: tfds build covid_tfds --config=phantom"),
        ("artikel", "Did you mean article? Build it: tfds build covid_tfds --config=article "),
        ("article", ". Build it: tfds build covid_tfds --config=article --manual_dir=DIR"),
        ("zebra", "Give one that is, or one of full, article, article_grouped, phantom, folder."),
    ],
)
def test_a_name_that_is_not_built_gets_the_nearest(tmp_path, given, answer):
    place(tmp_path, "full", "my-own")
    with pytest.raises(RunError) as error:
        prepared.find(given, str(tmp_path))
    text = str(error.value)
    assert text.startswith(f"--dataset={given} is not built in {tmp_path} (built there: full, my-")
    assert answer in text


def test_the_printed_command_can_be_pasted_whatever_the_folder_is_called(tmp_path):
    folder = tmp_path / "data of mine; $HOME"
    with pytest.raises(RunError) as error:
        prepared.find("full", str(folder))
    assert f"--data_dir='{folder}' (BUILD.md)" in str(error.value)


def test_a_dataset_of_an_earlier_release_is_refused_and_auto_does_not_pass_over_it(tmp_path):
    place(tmp_path, "full", version="1.0.0")
    for choice in ("full", "auto"):
        with pytest.raises(RunError, match=r"full/1\.0\.0 was built by an earlier release.*Build"):
            prepared.find(choice, str(tmp_path))


def test_classes_are_counted_without_tensorflow(tmp_path):
    place(tmp_path, "mine", classes="gesund\nKöln\n\n")
    place(tmp_path, "one", classes="healthy")
    mine, one = (prepared.find(name, str(tmp_path)) for name in ("mine", "one"))
    prepared.require_classes(mine, 2)
    with pytest.raises(RunError, match=r"mine/2\.0\.0 has 2: gesund, Köln\. Give --classes=2\."):
        prepared.require_classes(mine, 3)
    with pytest.raises(RunError, match=r"has 1: healthy\. Add images of a second one\."):
        prepared.require_classes(one, 2)
    with pytest.raises(RunError, match=r"covid_tfds/phantom has 4: .*Give --classes=4"):
        prepared.require_classes(prepared.find("phantom", str(tmp_path)), 5)


def test_classes_that_can_not_be_read_are_left_to_the_opening(tmp_path):
    place(tmp_path, "mine")
    found = prepared.find("mine", str(tmp_path))
    (found.folder / "label.labels.txt").write_bytes(b"\xff\xfe")
    prepared.require_classes(found, 9)
    (found.folder / "label.labels.txt").unlink()
    prepared.require_classes(found, 9)


def test_a_folder_that_can_not_be_read_is_a_sentence(tmp_path):
    (tmp_path / "file").write_text("x")
    assert prepared.find("phantom", str(tmp_path / "file")).folder is None
    with pytest.raises(RunError, match=r"can't be read \(File name too long\)\. Give another"):
        prepared.find("full", str(tmp_path / ("a" * 300)))


def test_images_that_a_build_left_out_are_counted_by_reason(tmp_path):
    (tmp_path / "exclusions.csv").write_text('file,reason\na,"CT, not an X-ray"\nb,x\nc,x\n')
    assert prepared.left_out(tmp_path) == {"CT, not an X-ray": 1, "x": 2}
    (tmp_path / "exclusions.csv").write_text("file,reason\n")
    assert prepared.left_out(tmp_path) == {}
    (tmp_path / "exclusions.csv").unlink()
    assert prepared.left_out(tmp_path) is None
