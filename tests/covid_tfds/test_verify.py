"""A dataset that is not what its build wrote is found out, wherever a bit flipped."""

import atexit
import gc
import os
import pathlib
import re
import runpy
import shutil
import subprocess
import sys
from collections.abc import Callable

import numpy as np
import pytest
import tensorflow_datasets as tfds

import covid_tfds
from covid_tfds import digests, verify
from covid_tfds.config import CovidConfig
from tests.covid_tfds import made_sources
from tests.helpers import flips
from tests.helpers.commands import ROOT
from tests.helpers.images import encoded, radiograph


@pytest.fixture(scope="module")
def built(tmp_path_factory) -> pathlib.Path:
    return dataset(tmp_path_factory.mktemp("data"))


def dataset(folder: pathlib.Path, first: int = 0) -> pathlib.Path:
    """Builds one of 40 small images; their numbers begin with `first`."""
    for number in range(40):
        name = f"manual/{('healthy', 'covid19')[number % 2]}/{number:02}.png"
        made_sources.write(folder / name, encoded(radiograph(first + number)))
    config = CovidConfig(name="tiny", images="folder")
    builder = covid_tfds.build(config, manual_dir=folder / "manual", data_dir=folder)
    return pathlib.Path(builder.data_path)


@pytest.fixture
def copy(built, tmp_path) -> pathlib.Path:
    target = tmp_path / "covid_tfds" / "tiny" / "2.0.0"
    shutil.copytree(built, target)
    return target


def test_a_whole_dataset_is_whole(built, capsys):
    found = verify.verify(built)
    assert not found.faults
    assert found.images == 40
    for name in ("tiny", "covid_tfds/tiny", "tiny/2.0.0", str(built)):
        assert verify.main([name, f"--data_dir={built.parents[2]}"]) == 0
        assert f"whole: {found.images} images,\nfingerprint {found.fingerprint}" in (
            capsys.readouterr().out
        )


@pytest.mark.slow
def test_a_dataset_of_the_working_directory_is_not_taken_for_one_of_another_folder(
    built, tmp_path, monkeypatch, capsys
):
    monkeypatch.chdir(built.parents[1])
    assert verify.main(["tiny"]) == 0
    assert verify.main(["tiny", f"--data_dir={tmp_path}"]) == 2
    monkeypatch.chdir(built.parents[2])
    assert verify.main(["covid_tfds/tiny"]) == 0
    other = shutil.copytree(built, tmp_path / "covid_tfds" / "tiny" / "2.0.0")
    (other / "ATTRIBUTION.csv").unlink()
    assert verify.main(["covid_tfds/tiny", f"--data_dir={tmp_path}"]) == 1
    assert verify.main([str(built), f"--data_dir={tmp_path}"]) == 0


@pytest.mark.parametrize("place", [0.0, 0.3, 0.999])
@pytest.mark.parametrize("split", ["train", "validation", "test"])
def test_one_flipped_bit_in_any_shard_is_found(copy, capsys, place, split):
    path = next(copy.glob(f"*-{split}.tfrecord*"))
    data = bytearray(path.read_bytes())
    data[int(place * len(data))] ^= 1
    path.write_bytes(data)
    assert verify.main([str(copy)]) == 1
    assert f"{path.name} is damaged" in capsys.readouterr().out


def test_a_missing_shard_and_a_foreign_one_are_named(copy):
    path = next(copy.glob("*-train.tfrecord*"))
    path.rename(path.with_name("covid_tfds-train.tfrecord-00007-of-00009"))
    faults = verify.verify(copy).faults
    assert f"{path.name} is missing." in faults
    assert "covid_tfds-train.tfrecord-00007-of-00009 is not of this dataset." in faults


def files_of_a_build() -> list[str]:
    """Every kind of file that a build leaves."""
    return [
        "ATTRIBUTION.csv", "LICENSE", "croissant.json", "dataset_info.json", "digests.json",
        "exclusions.csv", "features.json", "label.labels.txt", "metadata.json", "notes.json",
        "summary.txt",
    ]  # fmt: skip


def test_the_list_of_files_is_that_of_a_build(built):
    beside = {path.name for path in built.iterdir() if "tfrecord" not in path.name}
    assert beside == set(files_of_a_build())


def test_what_a_system_leaves_beside_the_files_is_none_of_them(copy):
    (copy / ".ipynb_checkpoints").mkdir()
    for name in (".DS_Store", "Thumbs.db", ".nfs0001"):
        (copy / name).write_bytes(b"x")
    assert verify.main([str(copy)]) == 0


@pytest.mark.parametrize("harm", ["flipped", "emptied", "removed"])
@pytest.mark.parametrize("name", files_of_a_build())
def test_any_other_file_that_changed_is_found(copy, name, harm):
    path = copy / name
    if harm == "removed":
        path.unlink()
    else:
        data = bytearray(path.read_bytes())
        data[len(data) // 2] ^= 1
        path.write_bytes(data if harm == "flipped" else b"")
    assert verify.main([str(copy)]) == 1


FEW = ("croissant.json", "dataset_info.json", "digests.json", "train.tfrecord")


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=() if name in FEW else pytest.mark.slow)
        for name in (*files_of_a_build(), "train.tfrecord", "test.tfrecord")
    ],
)
def test_any_changed_bit_is_found_and_its_file_named(copy, name):
    path = next(copy.glob(f"*{name}*"))
    random = np.random.default_rng(0)
    for _ in range(flips.COUNT):
        with flips.one_bit(path, random):
            faults = verify.verify(copy).faults
        named = [fault for fault in faults if fault.startswith(f"{path.name} is ")]
        assert len(faults) == len(named) == 1 or (faults and name == digests.FILE)
    assert not verify.verify(copy).faults


def test_classes_that_changed_their_places_are_found(copy):
    path = copy / "label.labels.txt"
    path.write_text("\n".join(reversed(path.read_text().split())) + "\n")
    assert "label.labels.txt is damaged" in " ".join(verify.verify(copy).faults)


def test_shards_of_another_build_are_found_though_the_digests_were_made_again(copy, tmp_path):
    foreign = dataset(tmp_path / "other", first=40)
    for path in foreign.glob("*-train.tfrecord*"):
        shutil.copy(path, copy / path.name)
    digests.write(copy, digests.of_files(copy))
    assert verify.verify(copy).faults


def test_images_under_other_splits_are_found_though_the_digests_were_made_again(copy):
    test, validation = (next(copy.glob(f"*-{s}.tfrecord*")) for s in ("test", "validation"))
    info = (copy / "dataset_info.json").read_text()
    swapped = info.replace('"test"', '"?"').replace('"validation"', '"test"')
    (copy / "dataset_info.json").write_text(swapped.replace('"?"', '"validation"'))
    aside = test.read_bytes()
    test.write_bytes(validation.read_bytes())
    validation.write_bytes(aside)
    digests.write(copy, digests.of_files(copy))
    assert any("The fingerprint is not" in fault for fault in verify.verify(copy).faults)


Features = dict[str, list[bytes]]


def rewritten(folder: pathlib.Path, split: str, change: Callable[[list[Features]], None]) -> None:
    """Changes the text and the images of one split, and makes the digests again."""
    import tensorflow as tf

    (path,) = folder.glob(f"*-{split}.tfrecord*")
    examples = [
        tf.train.Example.FromString(data)
        for data in tf.data.TFRecordDataset(str(path)).as_numpy_iterator()
    ]
    found = [{n: list(f.bytes_list.value) for n, f in e.features.feature.items()} for e in examples]
    change(found)
    with tf.io.TFRecordWriter(str(path)) as file:
        for example, features in zip(examples, found, strict=True):
            for name, values in features.items():
                if values:
                    example.features.feature[name].bytes_list.value[:] = values
            file.write(example.SerializeToString())
    digests.write(folder, digests.of_files(folder))


def other_pixels(examples: list[Features]) -> None:
    examples[1]["image"] = [encoded(radiograph(999))]


def one_image_twice(examples: list[Features]) -> None:
    examples[1] |= examples[0]


def a_group_of_two_splits(examples: list[Features]) -> None:
    examples[1]["group"] = [b"own/anna"]


CHANGES = {
    other_pixels: r"Pixels of 2 images changed: own/\w+/\d+\.png, own/\w+/\d+\.png\.",
    one_image_twice: r"Images are stored twice: own/\w+/\d+\.png, own/\w+/\d+\.png\.",
    a_group_of_two_splits: r"Groups are in two splits: own/anna\.",
}


@pytest.mark.parametrize("change", CHANGES)
def test_images_that_were_changed_are_named_though_the_digests_were_made_again(copy, change):
    for split in ("train", "test"):
        rewritten(copy, split, change)
    faults = verify.verify(copy).faults
    assert any(re.fullmatch(CHANGES[change], fault) for fault in faults), faults


def test_a_file_that_holds_no_examples_is_found_though_the_digests_were_made_again(copy):
    next(copy.glob("*-test.tfrecord*")).write_bytes(b"of another kind " * 9)
    digests.write(copy, digests.of_files(copy))
    (fault,) = verify.verify(copy).faults
    assert fault.startswith("The images can't be read: ") and "\n" not in fault


def test_an_error_without_words_is_called_by_its_kind(built, monkeypatch):
    def refuse(_) -> None:
        raise AssertionError

    monkeypatch.setattr(tfds, "builder_from_directory", refuse)
    assert verify.verify(built).faults == ["The images can't be read: AssertionError"]


@pytest.mark.slow
def test_the_articles_list_is_compared_with_the_published_one(tmp_path):
    made_sources.write_article(tmp_path / "manual")
    builder = covid_tfds.build("article", manual_dir=tmp_path / "manual", data_dir=tmp_path)
    found = verify.verify(builder.data_path)
    assert not found.faults
    assert "Images, splits and labels are those of the article." in found.remarks

    def renamed(examples: list[Features]) -> None:
        examples[0]["image_id"] = [b"cohen/another.png"]

    rewritten(pathlib.Path(builder.data_path), "test", renamed)
    faults = verify.verify(builder.data_path).faults
    assert "Images, splits or labels are not those of the article." in faults


@pytest.mark.parametrize(
    "arguments,message",
    [
        (["gone"], "'gone' is no dataset in"),
        (["tny"], "Did you mean 'tiny'?"),
        (["gone", "--data_dir=~nobody-of-that-name/x"], "names a home folder or a variable"),
        (["gone", "--data_dir=$NOT_SET_ANYWHERE/x"], "names a home folder or a variable"),
        (["x" * 5000], "File name too long"),
    ],
)
def test_a_dataset_that_is_not_there_is_one_sentence(built, capsys, arguments, message):
    assert verify.main([f"--data_dir={built.parents[2]}", *arguments]) == 2
    printed = " ".join(capsys.readouterr().err.split())  # wherever lines end
    assert message in printed
    assert "built there: tiny" in printed or "tiny" not in message


def test_the_command_ends_with_the_status_of_what_was_found(monkeypatch, tmp_path, capsys):
    at_exit = []
    monkeypatch.setattr(atexit, "register", at_exit.append)
    monkeypatch.setattr(sys, "argv", ["verify", "gone", f"--data_dir={tmp_path}"])
    with pytest.raises(SystemExit) as ended:
        runpy.run_path(verify.__file__, run_name="__main__")
    assert ended.value.code == 2 and at_exit == [gc.freeze]
    assert "'gone' is no dataset in" in capsys.readouterr().err


def test_the_help_loads_no_tensorflow_and_says_nothing_else():
    code = (
        "import sys; from covid_tfds import verify\n"
        "try: verify.main(['--help'])\n"
        "finally: assert 'tensorflow' not in sys.modules"
    )
    ended = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert ended.stdout.startswith("usage: ") and ended.stderr == ""


@pytest.mark.slow
def test_a_name_that_the_terminal_can_not_show_is_escaped(built, tmp_path):
    (tmp_path / "d\u00e9").mkdir()
    folder = shutil.copytree(built, tmp_path / "d\u00e9" / "full")
    (folder / "digests.json").unlink()
    ended = subprocess.run(
        [sys.executable, "-m", "covid_tfds.verify", folder], cwd=ROOT, capture_output=True,
        text=True, check=False, env={**os.environ, "PYTHONIOENCODING": "ascii"},
    )  # fmt: skip
    assert (ended.returncode, ended.stderr) == (1, "")
    assert "d\\xe9" in ended.stdout and "NOT WHOLE" in ended.stdout


def test_help_is_no_failure(capsys):
    with pytest.raises(SystemExit) as ended:
        verify.main(["--help"])
    assert ended.value.code == 0 and "config's name" in capsys.readouterr().out


def test_what_does_not_belong_into_a_dataset_is_named_and_the_command_is_quoted(
    built, tmp_path, capsys
):
    folder = tmp_path / "my data" / "covid_tfds" / "tiny" / "2.0.0"
    shutil.copytree(built, folder)
    (folder / "link").symlink_to("/nowhere")
    assert verify.main(["tiny", f"--data_dir={tmp_path}/my data"]) == 1
    printed = capsys.readouterr().out
    assert "link can't be read" in " ".join(printed.split())
    assert f"--data_dir='{tmp_path}/my data' --overwrite" in printed


@pytest.mark.parametrize("given", ["{}/covid_tfds/tiny", "{}/covid_tfds/tiny/", "covid_tfds/tiny"])
def test_the_folder_of_a_config_stands_for_its_newest_version(
    built, tmp_path, monkeypatch, capsys, given
):
    shutil.copytree(built, tmp_path / "covid_tfds" / "tiny" / "2.0.0")
    monkeypatch.chdir(tmp_path)
    assert verify.main([given.format(tmp_path)]) == 0
    assert f"in {tmp_path}/covid_tfds/tiny/2.0.0" in " ".join(capsys.readouterr().out.split())


def test_the_newest_version_is_so_by_its_number(tmp_path):
    for version in ("2.10.0", "2.9.0", "10.0.0", "incomplete.A_11.0.0"):
        (tmp_path / version).mkdir()
        (tmp_path / version / verify._MARKS[0]).touch()
    assert [path.name for path in verify._versions(tmp_path)] == ["2.9.0", "2.10.0", "10.0.0"]


@pytest.mark.parametrize("folder", ["/", "/data", "/a/b", "/a/b/c/d"])
def test_a_damaged_dataset_outside_of_the_usual_folders_gets_a_command(folder):
    assert verify._build_again(pathlib.Path(folder)).endswith("--data_dir=DATA --overwrite")
