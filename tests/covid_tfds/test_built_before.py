"""What is asked of a dataset that is there already: the same, another thing, while one is made."""

import fcntl
import json
import shutil

import pytest
import tensorflow_datasets as tfds

import covid_tfds
from covid_tfds import phantom
from covid_tfds.config import CovidConfig
from covid_tfds.errors import DatasetError
from tests.covid_tfds import made_sources
from tests.covid_tfds.made_sources import TINY, own_images, stored
from tests.helpers.images import encoded, radiograph

pytestmark = pytest.mark.usefixtures("drawn_once")


def test_another_request_under_the_same_name_does_not_get_the_old_dataset(tiny, tmp_path):
    for other in ({"patients": 60}, {"seed": 1}, {"shortcut": True}):
        with pytest.raises(DatasetError, match=f"was built with {next(iter(other))} "):
            covid_tfds.build(CovidConfig(**TINY | other), data_dir=tmp_path)
    covid_tfds.build(CovidConfig(**TINY), data_dir=tmp_path)


def test_the_summary_is_printed_of_what_was_built_before(tiny, tmp_path, capsys):
    covid_tfds.build(CovidConfig(**TINY), data_dir=tmp_path)
    printed = capsys.readouterr().out
    assert "images" in printed and "sources unchanged (drawn)" in printed


def test_a_built_dataset_is_loaded_without_touching_its_folder(tiny, tmp_path, capsys):
    tfds.load("covid_tfds", data_dir=tmp_path, builder_kwargs={"config": CovidConfig(**TINY)})
    assert "sources" not in capsys.readouterr().out
    assert not (tiny.parent / ".lock").exists()
    covid_tfds.Builder(config=CovidConfig(**TINY), data_dir=tmp_path).download_and_prepare()
    assert not capsys.readouterr().out  # Python asked for the data, nobody for a summary
    covid_tfds.build(CovidConfig(**TINY), data_dir=tmp_path)
    assert "sources" in capsys.readouterr().out


@pytest.mark.parametrize("patients", [40, 60])
def test_what_another_build_made_meanwhile_is_taken_if_it_is_what_was_asked_for(
    phantoms, tmp_path, monkeypatch, capsys, patients
):
    def flock(_, operation: int) -> None:
        if operation & fcntl.LOCK_NB:
            raise BlockingIOError
        shutil.copytree(phantoms[40], tmp_path / "covid_tfds" / "tiny" / "2.0.0")

    monkeypatch.setattr(fcntl, "flock", flock)
    monkeypatch.setattr(phantom, "draw", None)  # nothing is built
    config = CovidConfig(**TINY | {"patients": patients})
    if patients == 60:
        with pytest.raises(DatasetError, match="was built with patients 40, not 60"):
            covid_tfds.build(config, data_dir=tmp_path)
        return
    builder = covid_tfds.build(config, data_dir=tmp_path)
    assert stored(builder) == stored(tfds.builder_from_directory(phantoms[40]))
    said = capsys.readouterr().out
    assert "Another build is under way" in said and "--overwrite builds it again" in said


@pytest.mark.parametrize(
    "name,said",
    [("summary.txt", "\ncovid_tfds/tiny/2.0.0\nbuilt on 2"), ("digests.json", "on an unknown day")],
)
def test_a_dataset_of_which_a_file_was_removed_by_hand_has_a_summary(
    tiny, tmp_path, capsys, name, said
):
    (tiny / name).unlink()
    covid_tfds.build(CovidConfig(**TINY), data_dir=tmp_path)
    assert said in capsys.readouterr().out


def test_a_build_that_was_done_before_says_so_and_whether_the_sources_changed(tfds_build, tmp_path):
    manual = own_images(tmp_path / "manual")
    flags = ("covid_tfds", "--config=folder", f"--manual_dir={manual}", f"--data_dir={tmp_path}")
    covid_tfds.build("folder", manual_dir=manual, data_dir=tmp_path)
    for change, said in ((False, "sources unchanged"), (True, "sources changed")):
        if change:
            (manual / "healthy/000.png").write_bytes(encoded(radiograph(999)))
        done = tfds_build(*flags)
        assert done.status == 0
        last = "\n".join(done.out.rstrip().splitlines()[-5:])
        assert f", {said};" in last and "--overwrite builds it again" in last
        assert "next: python -m trainer.main --dataset=folder" in last


@pytest.mark.parametrize("first,second", [("3", None), (None, "3"), ("3", "4")])
def test_a_dataset_with_another_limit_of_examples_is_not_taken_for_it(
    tfds_build, tmp_path, first, second
):
    flags = ("covid_tfds", f"--config={json.dumps(TINY)}", f"--data_dir={tmp_path}")
    limits = [[f"--max_examples_per_split={each}"] if each else [] for each in (first, second)]
    assert tfds_build(*flags, *limits[0]).status == 0
    assert tfds_build(*flags, *limits[0]).status == 0
    refused = tfds_build(*flags, *limits[1])
    assert refused.status == 1 and f"max_examples_per_split {first}, not {second}." in refused.err
    assert tfds_build(*flags, *limits[1], "--overwrite").status == 0


def test_a_dataset_that_lies_on_another_disk_is_replaced(tiny, tmp_path):
    moved = tiny.rename(tmp_path / "other_disk")
    tiny.symlink_to(moved)
    covid_tfds.build(CovidConfig(**TINY), data_dir=tmp_path)
    for _ in range(2):
        covid_tfds.build(CovidConfig(**TINY), data_dir=tmp_path, overwrite=True)
        assert [path.name for path in tiny.parent.iterdir() if path.name != ".lock"] == ["2.0.0"]
        assert tiny.is_dir() and not tiny.is_symlink()
    assert (moved / "digests.json").is_file()


@pytest.mark.parametrize("more", [[], ["--overwrite"]])
def test_a_dataset_of_another_file_format_is_one_sentence(tfds_build, tiny, tmp_path, more):
    flags = ("covid_tfds", f"--config={json.dumps(TINY)}", f"--data_dir={tmp_path}")
    refused = tfds_build(*flags, "--file_format=array_record", *more)
    said = " ".join(refused.err.split())
    assert "Traceback" not in said
    assert "2.0.0 has another --file_format than the one that is asked for" in said
    assert (tiny / "digests.json").is_file()


@pytest.mark.parametrize("written", ["", '{"name": ', "[1]", '{"splits": 3}'])
def test_a_damaged_description_is_one_sentence(tmp_path, written):
    folder = tmp_path / "covid_tfds" / "tiny" / "2.0.0"
    made_sources.write(folder / "dataset_info.json", written.encode())
    with pytest.raises(DatasetError, match="Remove that folder, and build it again"):
        covid_tfds.build(CovidConfig(**TINY), data_dir=tmp_path)


def test_a_description_that_is_a_folder_is_one_sentence(tmp_path):
    folder = tmp_path / "covid_tfds" / "tiny" / "2.0.0"
    (folder / "dataset_info.json").mkdir(parents=True)
    with pytest.raises(DatasetError, match=r"dataset_info\.json: Is a directory.*Mend that"):
        covid_tfds.Builder(config=CovidConfig(**TINY), data_dir=tmp_path)


@pytest.mark.slow
def test_folders_that_are_no_versions_are_left_alone(tiny, tmp_path):
    built = tiny
    others = ("1.0.0_old", "2.0.0.bak", "2.0.0 (copy)", "02.0.0")
    for name in others:
        shutil.copytree(built, built.parent / name)
    (built.parent / "3.0.0").symlink_to("/nowhere")
    covid_tfds.build(CovidConfig(**TINY), data_dir=tmp_path)
    loaded = tfds.load(
        "covid_tfds", data_dir=tmp_path, builder_kwargs={"config": CovidConfig(**TINY)}
    )
    assert set(loaded) == {"train", "validation", "test"}
    found = tfds.builder("covid_tfds/tiny", data_dir=tmp_path)
    assert str(found.version) == "2.0.0"
    covid_tfds.build(CovidConfig(**TINY), data_dir=tmp_path, overwrite=True)
    assert {path.name for path in built.parent.glob("[!.]*")} == {"2.0.0", "3.0.0", *others}
