"""`trainer.predict`: the answers of a run's network for files, at every door."""

import csv
import io
import json
import os
import pathlib
import re
import shutil
import subprocess
import sys
import zipfile

import numpy as np
import pytest

import trainer
from tests.covid_tfds.reading.made_files import TWELVE, dicom
from tests.helpers import commands, images_of, trainings
from trainer.evaluation import predictions
from trainer.evaluation.metrics import NOTICE
from trainer.model import about

pytestmark = pytest.mark.usefixtures("undrawn", "loaded_once")


@pytest.fixture(scope="module")
def run(data_dir, tmp_path_factory) -> pathlib.Path:
    folder = tmp_path_factory.mktemp("run") / "run"
    changes = {"epochs": 1, "align": "chest", "width": 0.3}
    trainings.run(trainings.quick(data_dir, **changes), folder)
    return folder


@pytest.fixture(scope="module")
def files(tiny, tmp_path_factory) -> pathlib.Path:
    """The images of test as PNG files by the number of their row in predictions.csv."""
    folder = tmp_path_factory.mktemp("files")
    for i, (_, data) in enumerate(images_of.encoded(tiny, "test")):
        (folder / f"{i:03}.png").write_bytes(data)
    return folder


@pytest.fixture(scope="module")
def wanted(run, tiny, files) -> dict[str, np.ndarray]:
    """By file, the probabilities that the run scored."""
    rows = predictions.read(run / "predictions.csv").of_split("test")
    of = dict(zip(rows.image_ids, rows.probabilities, strict=True))
    ids = [name for name, _ in images_of.encoded(tiny, "test")]
    assert rows.probabilities.std(axis=0).max() > 1e-4  # the network tells images apart
    return {str(files / f"{i:03}.png"): of[name] for i, name in enumerate(ids)}


@pytest.fixture(scope="module")
def few(files, tmp_path_factory) -> pathlib.Path:
    """Two images, a radiograph of a person, a damaged file and one of another kind."""
    folder = tmp_path_factory.mktemp("few")
    for name in ("000.png", "001.png"):
        shutil.copy(files / name, folder)
    made = dicom(
        TWELVE, 12, PatientID="PERSON-7", PatientName="Doe^Jane", PatientBirthDate="19500101"
    )
    (folder / "person.dcm").write_bytes(made)
    (folder / "wrong.png").write_bytes((files / "000.png").read_bytes()[:900])
    (folder / "notes.txt").write_text("of mine")
    return folder


def predict(run, *words) -> commands.Ended:
    return commands.run("trainer.predict", f"--run={run}", *map(str, words))


def probabilities(rows: list[dict]) -> dict[str, np.ndarray]:
    return {
        row["file"]: np.array([float(row[name]) for name in row if name.startswith("p_")])
        for row in rows
    }


def assert_equal(found: dict, wanted: dict) -> None:
    assert list(found) == list(wanted)
    for name, row in found.items():
        np.testing.assert_allclose(row, wanted[name], atol=1e-6)


def test_a_datasets_own_files_get_the_probabilities_that_the_run_scored(run, files, wanted):
    ended = predict(run, files, "--format=csv")
    assert ended.status == 0
    assert_equal(probabilities(list(csv.DictReader(io.StringIO(ended.out)))), wanted)


@pytest.mark.slow
def test_so_they_do_of_the_network_alone_from_python_and_in_a_zip(run, files, wanted, tmp_path):
    bare = shutil.copy(run / "model.keras", tmp_path / "of_a_friend.keras")
    with zipfile.ZipFile(tmp_path / "files.zip", "w") as archive:
        for path in sorted(files.iterdir()):
            archive.write(path, path.name)
    answers = trainer.load(bare).predict(tmp_path / "files.zip")
    found = {str(files / pathlib.Path(each.file).name): each for each in answers}
    assert_equal({k: list(each.probabilities.values()) for k, each in found.items()}, wanted)
    assert answers[0].notes == about.read(bare).notes
    assert [each.file for each in trainer.load(run).predict([str(files / "*1.png")])] == sorted(
        map(str, files.glob("*1.png"))
    )


def test_a_bad_file_is_a_row_and_status_1_at_the_end(run, few):
    ended = predict(run, few, few / "gone.png", "--format=csv")
    rows = {pathlib.Path(row["file"]).name: row for row in csv.DictReader(io.StringIO(ended.out))}
    assert ended.status == 1
    errors = {name: row["error"] for name, row in rows.items()}
    assert errors == {"000.png": "", "001.png": "", "person.dcm": "",
                      "wrong.png": "truncated or damaged", "gone.png": "no such file"}  # fmt: skip
    assert "2 of 5 files can't be used; the errors are in their rows." in ended.err
    assert f"1 file of another kind left out: {few}/notes.txt." in ended.err


def test_a_folder_of_other_files_alone_has_no_answer(run, tmp_path):
    (tmp_path / "of mine").mkdir()
    (tmp_path / "of mine" / "notes.txt").write_text("of mine")
    for more in (f"--output={tmp_path / 'answers.csv'}", "--format=json"):
        ended = predict(run, tmp_path / "of mine", more)
        assert ended.status == 1 and f"There is no image in {tmp_path / 'of mine'}." in ended.err
        assert "1 file of another kind left out" in ended.err and not ended.out
    assert not (tmp_path / "answers.csv").exists()


@pytest.mark.slow
def test_a_run_folder_of_any_name_can_be_written_down(run, files, tmp_path):
    named = shutil.copytree(run, tmp_path / os.fsdecode(b"r\xe9"))
    ended = predict(named, files / "000.png", "--format=json", f"--output={tmp_path / 'a.json'}")
    assert ended.status == 0, ended.err
    path = json.loads((tmp_path / "a.json").read_text(encoding="utf-8"))["network"]["path"]
    assert path.startswith(str(tmp_path / "r"))


@pytest.mark.parametrize("kind", ["table", "csv", "json", "jsonl", "parquet"])
def test_what_the_answers_are_worth_is_in_every_output_and_no_person(kind, run, few, tmp_path):
    output, page = tmp_path / "answers", tmp_path / "page.html"
    ended = predict(run, few, f"--format={kind}", f"--output={output}", f"--gallery={page}")
    assert (ended.status, ended.out) == (1, "")
    whole = output.read_bytes()
    notes = about.read(run / "model.keras").notes
    for sentence in notes:
        assert sentence.partition(":")[0].encode() in whole
    for text in (ended.err, page.read_text()):
        assert all(sentence in text for sentence in (*notes, NOTICE))
    for written in (whole, page.read_bytes(), ended.err.encode()):
        assert not re.search(rb"PERSON|Doe|Jane|1950", written)


def test_a_table_is_printed_with_what_it_is_worth_below(run, few):
    ended = predict(run, few / "000.png", few / "wrong.png")
    lines = ended.out.splitlines()
    assert lines[0].split() == ["file", "class", "healthy", "covid19", "bacterial", "viral"]
    assert lines[1].split()[0] == str(few / "000.png")
    assert lines[2].split(maxsplit=1) == [str(few / "wrong.png"), "ERROR: truncated or damaged"]
    assert lines[-1] == NOTICE and lines[-2] in about.read(run / "model.keras").notes
    assert NOTICE not in ended.err


@pytest.mark.parametrize("end", ["\n", "\r\n", pytest.param("\0", marks=pytest.mark.slow)])
def test_a_list_of_paths_is_read_from_stdin(end, run, files, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    shutil.copy(files / "001.png", "~tilde.png")
    names = [str(files / "002.png"), str(files / "001.png"), "~tilde.png"]
    listed = io.TextIOWrapper(io.BytesIO((end.join(names) + end).encode()))
    monkeypatch.setattr(sys, "stdin", listed)
    ended = predict(run, "-", files / "000.png", "--format=jsonl")
    rows = [json.loads(line)["file"] for line in ended.out.splitlines()]
    assert rows == [*names[:2], "./~tilde.png", str(files / "000.png")]


def test_the_page_holds_every_image_and_needs_no_network(run, few, tmp_path):
    odd = shutil.copy(few / "000.png", tmp_path / "<b>&.png")
    ended = predict(run, few, odd, f"--gallery={tmp_path / 'page.html'}", "--format=csv")
    page = (tmp_path / "page.html").read_text()
    assert page.count("<figure>") == len(ended.out.splitlines()) - 1 == 5
    assert page.count('<img loading="lazy"') == page.count('src="data:image/jpeg;base64,') == 4
    assert not re.search(r"https?:|<script|<link|@import|url\(", page)
    assert "&lt;b&gt;&amp;.png" in page and "<b>&" not in page
    assert page.endswith("</html>\n") and "5 files: " in page


def test_an_output_that_fails_leaves_what_was_there(run, few, tmp_path, monkeypatch):
    (tmp_path / "a.csv").write_text("mine")
    (tmp_path / "model.keras").write_bytes((run / "model.keras").read_bytes()[:-90])
    ended = predict(tmp_path / "model.keras", few, f"--output={tmp_path / 'a.csv'}")
    assert ended.status == 1 and "is damaged" in ended.err
    assert (tmp_path / "a.csv").read_text() == "mine"
    ended = predict(run, few, f"--output={tmp_path / 'no' / 'a.csv'}")
    assert ended.status == 1 and str(tmp_path / "no") in ended.err


def test_nothing_to_read_is_no_success(run, tmp_path):
    ended = predict(run, tmp_path)
    assert (ended.status, ended.out) == (1, "")
    assert f"There is no file in {tmp_path}." in ended.err


def test_a_list_without_a_path_is_a_sentence(run, monkeypatch):
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"\n")))
    ended = predict(run, "-")
    assert (ended.status, ended.out) == (1, "")
    assert "There is no file: stdin lists none." in ended.err


WRONG = {
    "--run is missing": ("a.png",),
    "There is no PATH": ("--run=x",),
    "--format is 'xml'": ("--run=x", "--format=xml", "a.png"),
    "is no text for a screen": ("--run=x", "--format=parquet", "a.png"),
}


@pytest.mark.parametrize("text", WRONG)
def test_a_wrong_command_line_is_status_2(text):
    ended = commands.run("trainer.predict", *WRONG[text])
    assert (ended.status, ended.out) == (2, "")
    assert text in ended.err


def test_a_run_that_is_not_there_is_noticed_before_tensorflow_is_loaded(tmp_path):
    program = (
        f"import runpy, sys; sys.argv = ['it', '--run={tmp_path}', 'a.png']\n"
        "try: runpy.run_module('trainer.predict', run_name='__main__')\n"
        "finally: print('heavy:', {'tensorflow', 'keras', 'covid_tfds'} & set(sys.modules))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode == 1 and "heavy: set()" in done.stdout
    assert done.stderr.startswith(f"{tmp_path} has no model.keras: it is no folder of a run")


def test_help_explains_the_paths_and_every_flag():
    for flag in ("--help", "--helpshort"):
        ended = commands.run("trainer.predict", flag)
        assert (ended.status, ended.err) == (0, "")
        assert max(map(len, ended.out.splitlines())) <= 80
        for name in ("--run=", "--format=table", "--output=", "--gallery=", "PATH..."):
            assert name in ended.out


@pytest.mark.slow
def test_a_network_alone_has_nothing_of_a_run(run, tmp_path):
    bare = trainer.load(shutil.copy(run / "model.keras", tmp_path / "m.keras"))
    images = np.full((1, 40, 50, 1), 7, np.uint8)
    assert bare.model().predict(images, verbose=0).shape == (1, 4)
    for name in ("config", "metrics", "history", "predictions"):
        with pytest.raises(trainer.RunError, match="is a network alone and has no"):
            getattr(bare, name)
    with pytest.raises(trainer.RunError, match="There is no file"):
        trainer.load(tmp_path / "n.keras")
