"""How a dataset comes to stand: killed, overwritten, by TFDS' own command and a user's mistakes."""

import fcntl
import json
import os
import pathlib
import shutil
import subprocess
import sys
import threading
import time

import pytest
import tensorflow as tf
import tensorflow_datasets as tfds

import covid_tfds
from covid_tfds import collect_phantom, phantom, verify
from covid_tfds.config import CovidConfig
from covid_tfds.errors import DatasetError, message_for_command
from tests.covid_tfds import made_sources
from tests.covid_tfds.made_sources import TINY, own_images, stored
from tests.helpers import commands
from tests.helpers.images import encoded, radiograph

pytestmark = pytest.mark.usefixtures("drawn_once")

ROOT = pathlib.Path(covid_tfds.__file__).parents[1]
TFDS = "tensorflow_datasets.scripts.cli.main"


def in_process(*flags: str, cwd: pathlib.Path = ROOT) -> commands.Ended:
    """As `tfds_build`, in a process of its own."""
    return commands.process(TFDS, "build", *flags, cwd=cwd)


@pytest.fixture(params=["here", pytest.param("in a process", marks=pytest.mark.slow)])
def build_command(request, tfds_build):
    """TFDS' own command."""
    return tfds_build if request.param == "here" else in_process


@pytest.mark.slow
@pytest.mark.parametrize("cwd,dataset", [(ROOT, ["covid_tfds"]), (ROOT / "covid_tfds", [])])
def test_tfds_build_finds_the_dataset_from_the_root_and_inside(
    build_command, tmp_path, cwd, dataset
):
    flags = (*dataset, f"--config={json.dumps(TINY)}", f"--data_dir={tmp_path}")
    done = build_command(*flags, cwd=cwd)
    assert done.status == 0, done.err
    *_, where, command = done.out.rstrip().splitlines()
    assert where == f"in {tmp_path}/covid_tfds/tiny/2.0.0"
    flags = f"--dataset=tiny --classes=4 --data_dir={tmp_path}"
    assert command == f"next: python -m trainer.main {flags}"
    loaded = tfds.builder_from_directory(tmp_path / "covid_tfds" / "tiny" / "2.0.0")
    assert loaded.info.splits["train"].num_examples > 20


def test_a_users_mistake_gets_no_traceback(build_command, tmp_path):
    manual = tmp_path / "manual"
    made_sources.write(manual / "something.txt", b"x")
    flags = ("covid_tfds", "--config=full", f"--manual_dir={manual}", f"--data_dir={tmp_path}")
    done = build_command(*flags)
    assert done.status == 1
    assert "The Kaggle images are not in" in done.err
    assert "chest_xray/{train,test}/{NORMAL,PNEUMONIA}" in done.err
    assert "something.txt" in done.err
    assert "Traceback" not in done.err


@pytest.mark.parametrize(
    "config,message",
    [
        ('{"name": "x", "films": "phantom"}', '"films" is called "images" since 2.0.0'),
        ('{"name": "x", "images": }', "A flag is not JSON at character 25"),
    ],
)
def test_a_wrong_config_gets_one_sentence(build_command, config, message):
    done = build_command("covid_tfds", f"--config={config}")
    assert done.status == 1
    assert message in done.err
    assert "Traceback" not in done.err


@pytest.mark.parametrize("config", ["full", "article", "folder"])
def test_a_missing_manual_folder_says_what_belongs_into_it(tmp_path, config):
    with pytest.raises(DatasetError) as refused:
        covid_tfds.build(config, manual_dir=tmp_path / "nowhere", data_dir=tmp_path)
    assert "nowhere" in str(refused.value)
    assert ("images.csv" in str(refused.value)) == (config == "folder")
    assert ("chest_xray" in str(refused.value)) == (config != "folder")


@pytest.mark.slow
def test_a_killed_build_leaves_nothing_behind_the_next(tmp_path):
    folder = tmp_path / "covid_tfds" / "tiny"
    flags = [f"--config={json.dumps(TINY | {'patients': 4000})}", f"--data_dir={tmp_path}"]
    with commands.started(TFDS, "build", "covid_tfds", *flags) as killed:
        while not list(folder.glob("incomplete.*")):
            assert killed.poll() is None, "the build never began"
            time.sleep(0.05)
    assert list(folder.glob("incomplete.*"))
    covid_tfds.build(CovidConfig(**TINY), data_dir=tmp_path)
    assert [path.name for path in folder.iterdir() if path.name != ".lock"] == ["2.0.0"]


def test_two_builds_of_the_same_sources_are_the_same_bytes(tmp_path):
    """So that a build that was killed and is repeated ends as if it had not been."""
    manual, built = own_images(tmp_path / "manual"), []
    for name in ("a", "b"):
        builder = covid_tfds.build("folder", manual_dir=manual, data_dir=tmp_path / name)
        built.append({path.name: path.read_bytes() for path in builder.data_path.iterdir()})
        time.sleep(1.1 if name == "a" else 0)  # so that a time in seconds differs
    assert built[0] == built[1]
    records = [record.numpy() for shard in builder.data_path.glob("*.tfrecord-*")
               for record in tf.data.TFRecordDataset(str(shard))]  # fmt: skip
    assert len(records) == 40
    # Protobuf's own order of features is another in each process, in which nothing else differs.
    for record in records:
        example = tf.train.Example.FromString(record)
        assert example.SerializeToString(deterministic=True) == record


def test_a_dataset_is_on_the_disk_before_it_has_its_name(tmp_path, monkeypatch):
    """All files, then the one that says that they are whole, then the folder; then its new name."""
    flushed, fsync = [], os.fsync

    def noted(handle: int) -> None:
        flushed.append(pathlib.Path(f"/proc/self/fd/{handle}").resolve())
        fsync(handle)

    monkeypatch.setattr(os, "fsync", noted)
    manual = own_images(tmp_path / "manual")
    flushed.clear()
    builder = covid_tfds.build("folder", manual_dir=manual, data_dir=tmp_path / "new")
    final = pathlib.Path(builder.data_path)
    assert set(flushed) >= {tmp_path, *final.parents[1:3]}  # the names of new folders
    building = [path for path in flushed if "incomplete." in str(path)]
    folder = building[-1]
    assert folder.name.startswith("incomplete.") and building[-2] == folder / "digests.json"
    assert {path.name for path in building[:-2]} == {path.name for path in final.iterdir()} - {
        "digests.json"
    }
    assert flushed[-1] == final.parent


def test_the_old_dataset_survives_a_build_that_fails(tmp_path):
    manual = own_images(tmp_path / "manual")
    covid_tfds.build("folder", manual_dir=manual, data_dir=tmp_path)
    for wrong in ("a typo", "empty"):
        (tmp_path / "empty").mkdir(exist_ok=True)
        with pytest.raises(DatasetError):
            covid_tfds.build(
                "folder", manual_dir=tmp_path / wrong, data_dir=tmp_path, overwrite=True
            )
        assert stored(covid_tfds.Builder(config="folder", data_dir=tmp_path)) == 40
    (manual / "healthy" / "copy.png").write_bytes((manual / "covid19/001.png").read_bytes())
    with pytest.raises(DatasetError, match="under two labels"):
        covid_tfds.build("folder", manual_dir=manual, data_dir=tmp_path, overwrite=True)
    assert stored(covid_tfds.Builder(config="folder", data_dir=tmp_path)) == 40


def test_the_old_dataset_survives_tfds_own_command_with_a_typo(tfds_build, tmp_path):
    manual = own_images(tmp_path / "manual")
    covid_tfds.build("folder", manual_dir=manual, data_dir=tmp_path)
    flags = ("--config=folder", f"--manual_dir={tmp_path / 'typo'}", f"--data_dir={tmp_path}")
    done = tfds_build("covid_tfds", *flags, "--overwrite")
    assert done.status == 1 and "The manual folder is not there, or empty" in done.err
    assert stored(covid_tfds.Builder(config="folder", data_dir=tmp_path)) == 40


def test_overwriting_replaces_images_and_classes(tmp_path):
    covid_tfds.build("folder", manual_dir=own_images(tmp_path / "a"), data_dir=tmp_path)
    for number in range(60):
        name = f"b/{('oedema', 'normal', 'effusion')[number % 3]}/{number}.png"
        made_sources.write(tmp_path / name, encoded(radiograph(100 + number)))
    builder = covid_tfds.build(
        "folder", manual_dir=tmp_path / "b", data_dir=tmp_path, overwrite=True
    )
    assert stored(builder) == 60
    loaded = tfds.builder_from_directory(builder.data_path)
    assert loaded.info.features["label"].names == ["healthy", "effusion", "oedema"]


def test_a_whole_dataset_that_a_kill_left_unnamed_is_named(tiny, tmp_path, monkeypatch):
    """Killed between the end of a build and its renaming, the new dataset takes its place."""
    images = stored(tfds.builder_from_directory(tiny))
    tiny.rename(tiny.with_name("incomplete.ABC_2.0.0"))
    monkeypatch.setattr(phantom, "draw", None)  # the build that finds it has nothing left to do
    assert stored(covid_tfds.build(CovidConfig(**TINY), data_dir=tmp_path)) == images
    assert not list(tiny.parent.glob("incomplete.*"))


@pytest.mark.parametrize("struck", ["before the old is set aside", "after", "new is not whole"])
def test_a_kill_in_the_exchange_loses_neither_the_old_nor_the_new(phantoms, tmp_path, struck):
    final = shutil.copytree(phantoms[60], tmp_path / "covid_tfds" / "tiny" / "2.0.0")
    unfinished = shutil.copytree(phantoms[40], final.with_name("incomplete.ABC_2.0.0"))
    config = CovidConfig(**TINY)
    if struck != "before the old is set aside":
        final.rename(final.with_name("replaced.2.0.0"))
    if struck == "new is not whole":
        (unfinished / "digests.json").unlink()
        config = CovidConfig(**TINY | {"patients": 60})
    found = covid_tfds.build(config, data_dir=tmp_path)
    left = phantoms[60 if struck == "new is not whole" else 40]
    assert stored(found) == stored(tfds.builder_from_directory(left))
    assert not verify.verify(found.data_path).faults
    assert [path.name for path in final.parent.iterdir() if path.name != ".lock"] == ["2.0.0"]


def test_a_manual_folder_that_is_a_file_is_one_sentence(tmp_path):
    (tmp_path / "archive.zip").write_bytes(b"PK")
    with pytest.raises(DatasetError, match="is a file"):
        covid_tfds.build("full", manual_dir=tmp_path / "archive.zip", data_dir=tmp_path)


@pytest.mark.slow
def test_two_first_builds_wait_for_each_other(tmp_path, capsys):
    manual, folder = own_images(tmp_path / "manual"), tmp_path / "covid_tfds" / "folder"
    folder.mkdir(parents=True)
    with open(folder / ".lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        build = threading.Thread(
            target=covid_tfds.build, args=("folder",),
            kwargs={"manual_dir": manual, "data_dir": tmp_path},
        )  # fmt: skip
        build.start()
        until, printed = time.monotonic() + 60, ""
        while "Another build is under way" not in printed:
            assert time.monotonic() < until, printed
            time.sleep(0.05)
            printed += capsys.readouterr().out
        time.sleep(0.5)  # in which it would begin
        assert not list(folder.glob("[!.]*"))
    build.join(timeout=120)
    assert (folder / "2.0.0" / "dataset_info.json").is_file()


@pytest.mark.parametrize("most", [0, 3])
def test_a_limit_of_examples_is_counted_in_the_summary(tmp_path, most):
    asked = tfds.download.DownloadConfig(
        manual_dir=own_images(tmp_path / "manual"), max_examples_per_split=most
    )
    builder = covid_tfds.Builder(config="folder", data_dir=tmp_path)
    builder.download_and_prepare(download_config=asked)
    assert stored(builder) == 3 * most
    text = (builder.data_path / "summary.txt").read_text()
    assert f"stored {3 * most}: at most {most} a split" in text
    assert len((builder.data_path / "ATTRIBUTION.csv").read_text().splitlines()) == 1 + 3 * most


def test_an_interrupted_build_says_what_is_left(tfds_build, tmp_path, monkeypatch):
    def interrupted(*_, **__) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(collect_phantom, "read_all", interrupted)
    ended = tfds_build("covid_tfds", f"--config={json.dumps(TINY)}", f"--data_dir={tmp_path}")
    assert "Interrupted: nothing is left of this build" in ended.err
    assert ended.err.rstrip().endswith("130") and "Traceback" not in ended.err
    assert [path.name for path in (tmp_path / "covid_tfds/tiny").iterdir()] == [".lock"]
    monkeypatch.undo()
    with pytest.raises(KeyboardInterrupt), message_for_command():
        interrupted()


@pytest.mark.parametrize("argument", [{"version": "9.9.9"}, {"file_format": "stone"}])
def test_what_tfds_refuses_of_a_builder_stays_its_own_error(tmp_path, argument):
    with pytest.raises((AssertionError, ValueError), match=next(iter(argument.values()))):
        covid_tfds.Builder(config="phantom", data_dir=tmp_path, **argument)


def test_a_folder_that_can_not_be_written_is_one_sentence(tmp_path):
    (tmp_path / "covid_tfds").write_text("a file where a folder has to be")
    with pytest.raises(DatasetError, match="can't be written"):
        covid_tfds.build(CovidConfig(**TINY), data_dir=tmp_path)


def test_importing_installs_nothing_global():
    code = (
        "import sys; from absl import app; hook = sys.excepthook;"
        "handlers = list(app.EXCEPTION_HANDLERS); import covid_tfds;"
        "assert sys.excepthook is hook and app.EXCEPTION_HANDLERS == handlers"
    )
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True, timeout=120)
