"""`tfds build`: every config, its files, its refusals, a killed build."""

import csv
import fcntl
import functools
import http.server
import json
import os
import pathlib
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time

import numpy as np
import pytest
import tensorflow_datasets as tfds

import covid_tfds
from covid_tfds import cohen
from covid_tfds.errors import DatasetError
from tests.covid_tfds import sources
from tests.covid_tfds.pictures import encoded, film

ROOT = pathlib.Path(covid_tfds.__file__).parents[1]
TFDS = [sys.executable, "-m", "tensorflow_datasets.scripts.cli.main"]


class BuilderTest(tfds.testing.DatasetBuilderTestCase):
    """What TFDS itself asks of a builder, on pictures made for it."""

    DATASET_CLASS = covid_tfds.Builder
    BUILDER_CONFIG_NAMES_TO_TEST = ["full"]  # noqa: RUF012
    SPLITS = {"train": 22, "validation": 2, "test": 7, "control": 2}  # noqa: RUF012
    # Films are read by plain file functions, from folders and zips alike.
    MOCK_OUT_FORBIDDEN_OS_FUNCTIONS = False


def build(config, folder: pathlib.Path, manual: pathlib.Path | None = None):
    builder = covid_tfds.Builder(config=config, data_dir=folder)
    download = tfds.download.DownloadConfig(manual_dir=manual)
    builder.download_and_prepare(download_config=download)
    return builder


def examples(builder, split: str) -> list[dict]:
    return list(tfds.as_numpy(builder.as_dataset(split=split)))


def test_article_has_its_splits_and_names_drift_and_the_torn_patient(tmp_path, capsys):
    sources.write_article(tmp_path / "manual")
    builder = build("article", tmp_path, tmp_path / "manual")
    sizes = {name: split.num_examples for name, split in builder.info.splits.items()}
    assert sizes == {"train": 216, "validation": 54, "test": 36}
    printed = capsys.readouterr().out
    assert "Patients in test and train, as published: cohen/13." in printed
    assert "69 Cohen films are not the bytes of the article's day" in printed


def test_article_grouped_keeps_patients_apart_at_the_same_sizes(tmp_path):
    sources.write_article(tmp_path / "manual")
    builder = build("article_grouped", tmp_path, tmp_path / "manual")
    sizes = {name: split.num_examples for name, split in builder.info.splits.items()}
    assert sizes == {"train": 216, "validation": 54, "test": 36}
    groups = {s: {e["group"] for e in examples(builder, s)} for s in sizes}
    assert not (groups["train"] & groups["test"] or groups["train"] & groups["validation"]
                or groups["validation"] & groups["test"])  # fmt: skip


def test_strict_refuses_drift(tmp_path):
    sources.write_article(tmp_path / "manual")
    config = covid_tfds.covid_tfds_dataset_builder.CovidConfig(
        name="article_strict", films="article", strict=True
    )
    with pytest.raises(DatasetError, match="69 Cohen films are not the bytes"):
        build(config, tmp_path, tmp_path / "manual")


def test_missing_films_of_the_article_are_listed_path_by_path(tmp_path):
    sources.write_article(tmp_path)
    gone = [
        next((tmp_path / "chest_xray/train/NORMAL").iterdir()),
        next((tmp_path / "covid-chestxray-dataset/images").iterdir()),
    ]
    for path in gone:
        path.unlink()
    with pytest.raises(DatasetError) as refused:
        build("article", tmp_path / "data", tmp_path)
    assert "2 of the article's 306 films are missing" in str(refused.value)
    assert all(path.name in str(refused.value) for path in gone)


def test_an_example_carries_what_the_source_knew(tmp_path):
    rows = [sources.row("a.png", "7", sex="F", age="41", view="AP Supine")]
    sources.write_kaggle(tmp_path, sources.KAGGLE)
    sources.write_cohen(tmp_path, rows)
    builder = build("full", tmp_path / "data", tmp_path)
    everything = [e for split in builder.info.splits for e in examples(builder, split)]
    example = next(e for e in everything if e["film_id"] == b"cohen/a.png")
    assert example["image"].dtype == np.uint8
    assert example["image"].shape == (120, 100, 1)
    texts = {k: v.decode() for k, v in example.items() if isinstance(v, bytes)}
    assert texts["patient"] == texts["group"] == "cohen/7"
    assert (texts["sex"], texts["view"], texts["licence"]) == ("F", "AP Supine", "CC BY 4.0")
    assert (texts["original_mode"], texts["original_format"]) == ("L", "PNG")
    assert (example["age"], example["original_width"], example["original_height"]) == (41, 100, 120)
    assert example["label"] == covid_tfds.films.LABELS.index("covid19")


def test_cohen_is_fetched_when_it_is_not_there(tmp_path, monkeypatch):
    sources.write_kaggle(tmp_path / "manual", sources.KAGGLE)
    sources.write_cohen(tmp_path / "served", [sources.row("a.png", "7")])
    root = tmp_path / "served" / "covid-chestxray-dataset"
    root = root.rename(root.with_name(f"covid-chestxray-dataset-{cohen.PINNED_COMMIT}"))
    shutil.make_archive(str(root), "zip", root_dir=root.parent, base_dir=root.name)
    handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=root.parent)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        address = f"http://127.0.0.1:{server.server_port}/{root.name}.zip"
        monkeypatch.setattr(cohen, "url", lambda commit: address)
        builder = build("full", tmp_path, tmp_path / "manual")
        server.shutdown()
    assert b"cohen/a.png" in {
        e["film_id"] for s in builder.info.splits for e in examples(builder, s)
    }


def test_a_failed_fetch_says_where_to_put_the_films(tmp_path, monkeypatch):
    sources.write_kaggle(tmp_path / "manual", sources.KAGGLE)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    monkeypatch.setattr(cohen, "url", lambda commit: f"http://127.0.0.1:{port}/{commit}.zip")
    with pytest.raises(DatasetError) as refused:
        build("full", tmp_path, tmp_path / "manual")
    assert "could not be fetched" in str(refused.value)
    assert "covid-chestxray-dataset/metadata.csv" in str(refused.value)


def test_unusable_files_are_left_out_and_the_build_goes_on(tmp_path):
    sources.write_kaggle(tmp_path, sources.KAGGLE)
    rows = [sources.row(f"{name}.png", name) for name in ("good", "empty", "text", "cut")]
    sources.write_cohen(tmp_path, rows)
    images = tmp_path / "covid-chestxray-dataset" / "images"
    (images / "empty.png").write_bytes(b"")
    (images / "text.png").write_bytes(b"no film")
    (images / "cut.png").write_bytes(encoded(film(size=(600, 500)))[:5000])
    builder = build("full", tmp_path / "data", tmp_path)
    with open(builder.data_path / "exclusions.csv", newline="") as file:
        left_out = {row["file"]: row["reason"] for row in csv.DictReader(file)}
    assert left_out == {
        "cohen/images/empty.png": "empty file",
        "cohen/images/text.png": "not an image",
        "cohen/images/cut.png": "truncated or damaged",
    }
    with open(builder.data_path / "ATTRIBUTION.csv", newline="") as file:
        listed = [row["film_id"] for row in csv.DictReader(file)]
    stored = [e["film_id"].decode() for s in builder.info.splits for e in examples(builder, s)]
    assert sorted(listed) == sorted(stored)
    assert "left out 3" in (builder.data_path / "summary.txt").read_text()


def test_a_built_dataset_is_loaded_without_touching_its_folder(tmp_path, capsys):
    config = covid_tfds.covid_tfds_dataset_builder.CovidConfig(
        name="tiny", films="phantom", patients=40
    )
    builder = build(config, tmp_path)
    assert "found" in capsys.readouterr().out
    (builder.data_path.parent / ".lock").unlink()
    build(config, tmp_path)
    assert "found" not in capsys.readouterr().out
    assert not (builder.data_path.parent / ".lock").exists()


def test_own_films_need_no_table(tmp_path, capsys):
    for number in range(60):
        name = f"manual/{('NORMAL', 'covid')[number % 2]}/{number}.png"
        sources.write(tmp_path / name, encoded(film(number)))
    builder = build("folder", tmp_path, tmp_path / "manual")
    assert sum(split.num_examples for split in builder.info.splits.values()) == 60
    assert "No patients are given" in capsys.readouterr().out


def test_own_splits_that_tear_a_patient_stop_the_build(tmp_path):
    for seed, name in enumerate(("a.png", "b.png")):
        sources.write(tmp_path / "manual" / name, encoded(film(seed)))
    table = "path,label,patient,split\na.png,viral,anna,train\nb.png,viral,anna,test\n"
    (tmp_path / "manual/films.csv").write_text(table)
    with pytest.raises(DatasetError, match="own/anna: test, train"):
        build("folder", tmp_path, tmp_path / "manual")


BAD_CONFIGS = {
    "films is 'all'": {"films": "all"},
    "patients is 3": {"films": "phantom", "patients": 3},
    "strict is for the article": {"films": "full", "strict": True},
    "are for phantom": {"films": "full", "shortcut": True},
}


@pytest.mark.parametrize("message", BAD_CONFIGS)
def test_a_config_that_makes_no_sense_is_refused(message):
    with pytest.raises(DatasetError, match=message):
        covid_tfds.covid_tfds_dataset_builder.CovidConfig(name="x", **BAD_CONFIGS[message])


def phantom(shortcut: bool = False) -> str:
    values = {"name": "tiny", "films": "phantom", "patients": 40, "shortcut": shortcut}
    return json.dumps(values)


def command_line(*flags: str, cwd: pathlib.Path = ROOT) -> subprocess.CompletedProcess:
    return subprocess.run(
        [*TFDS, "build", *flags], cwd=cwd, capture_output=True, text=True, timeout=300, check=False
    )


@pytest.mark.parametrize("cwd,dataset", [(ROOT, ["covid_tfds"]), (ROOT / "covid_tfds", [])])
def test_tfds_build_finds_the_dataset_from_the_root_and_inside(tmp_path, cwd, dataset):
    done = command_line(*dataset, f"--config={phantom()}", f"--data_dir={tmp_path}", cwd=cwd)
    assert done.returncode == 0, done.stderr
    assert done.stdout.rstrip().splitlines()[-1].endswith("covid_tfds/tiny/1.0.0")
    loaded = tfds.builder_from_directory(tmp_path / "covid_tfds" / "tiny" / "1.0.0")
    assert loaded.info.splits["train"].num_examples > 20


def test_a_users_mistake_gets_no_traceback(tmp_path):
    empty = tmp_path / "manual"
    empty.mkdir()
    (empty / "something.txt").write_text("x")
    flags = ("covid_tfds", "--config=full", f"--manual_dir={empty}", f"--data_dir={tmp_path}")
    done = command_line(*flags)
    assert done.returncode == 1
    assert "The Kaggle films are not in" in done.stderr
    assert "chest_xray/{train,test}/{NORMAL,PNEUMONIA}" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_killed_build_leaves_nothing_behind_the_next(tmp_path):
    folder = tmp_path / "covid_tfds" / "tiny"
    config = json.loads(phantom()) | {"patients": 4000}
    flags = ["covid_tfds", f"--config={json.dumps(config)}", f"--data_dir={tmp_path}"]
    killed = subprocess.Popen(
        [*TFDS, "build", *flags], cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    deadline = time.monotonic() + 120
    while not list(folder.glob("incomplete.*/*.tfrecord*")):
        assert killed.poll() is None and time.monotonic() < deadline, (
            "the build never began to write"
        )
        time.sleep(0.05)
    os.kill(killed.pid, signal.SIGKILL)
    killed.wait()
    assert list(folder.glob("incomplete.*"))
    assert (
        command_line("covid_tfds", f"--config={phantom()}", f"--data_dir={tmp_path}").returncode
        == 0
    )
    assert [path.name for path in folder.iterdir() if path.name != ".lock"] == ["1.0.0"]


def test_two_builds_of_one_config_do_not_meet(tmp_path):
    folder = tmp_path / "covid_tfds" / "phantom"
    folder.mkdir(parents=True)
    with open(folder / ".lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(DatasetError, match=r"Another build .* is under way"):
            build("phantom", tmp_path)


def test_real_films_article(tmp_path, real_films, capsys):
    builder = build("article", tmp_path, real_films)
    sizes = {name: split.num_examples for name, split in builder.info.splits.items()}
    assert sizes == {"train": 216, "validation": 54, "test": 36}
    printed = capsys.readouterr().out
    assert "Patients in test and train, as published: cohen/13." in printed
    assert "4 Cohen films are not the bytes of the article's day: ciaa199.pdf-001-a.png" in printed


def test_real_films_full(tmp_path, real_films):
    builder = build("full", tmp_path, real_films)
    test = examples(builder, "test")
    assert sum(e["source"] == b"kaggle" for e in test) == 234 + 242 + 148  # the official folder
    assert "groups in more than one split: 0" in (builder.data_path / "summary.txt").read_text()
    control = examples(builder, "control")
    assert {e["source"] for e in control} == {b"cohen"}
    assert covid_tfds.films.LABELS.index("covid19") not in {e["label"] for e in control}
