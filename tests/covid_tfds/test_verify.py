"""A dataset that is not what its build wrote is found out, wherever a bit flipped."""

import json
import pathlib
import shutil

import pytest

import covid_tfds
from covid_tfds import verify
from covid_tfds.config import CovidConfig
from tests.covid_tfds import made_sources


@pytest.fixture(scope="module")
def built(tmp_path_factory) -> pathlib.Path:
    folder = tmp_path_factory.mktemp("data")
    config = CovidConfig(name="tiny", images="phantom", patients=40)
    return pathlib.Path(covid_tfds.build(config, data_dir=folder).data_path)


@pytest.fixture
def copy(built, tmp_path) -> pathlib.Path:
    target = tmp_path / "covid_tfds" / "tiny" / "2.0.0"
    shutil.copytree(built, target)
    return target


def test_a_whole_dataset_is_whole(built, capsys):
    found = verify.verify(built)
    assert not found.faults
    assert found.images > 40
    assert verify.main(["tiny", f"--data_dir={built.parents[2]}"]) == 0
    assert f"whole: {found.images} images, fingerprint {found.fingerprint}" in (
        capsys.readouterr().out
    )


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


def test_shards_of_another_build_are_found_though_their_digests_were_replaced(copy, tmp_path):
    other = CovidConfig(name="tiny", images="phantom", patients=40, seed=5)
    foreign = pathlib.Path(covid_tfds.build(other, data_dir=tmp_path / "other").data_path)
    metadata = json.loads((copy / "metadata.json").read_text())
    name = next(copy.glob("*-test.tfrecord*")).name
    if (foreign / name).exists():
        shutil.copy(foreign / name, copy / name)
    metadata["shards"] = json.loads((foreign / "metadata.json").read_text())["shards"] | {
        key: value for key, value in metadata["shards"].items() if "test" not in key
    }
    (copy / "metadata.json").write_text(json.dumps(metadata))
    assert any("The fingerprint is not" in fault for fault in verify.verify(copy).faults)


def test_a_dataset_without_digests_is_not_called_whole(copy):
    (copy / "metadata.json").unlink()
    assert "has no digests" in verify.verify(copy).faults[0]


def test_the_articles_list_is_compared_with_the_published_one(tmp_path):
    made_sources.write_article(tmp_path / "manual")
    builder = covid_tfds.build("article", manual_dir=tmp_path / "manual", data_dir=tmp_path)
    found = verify.verify(builder.data_path)
    assert not found.faults
    assert "Images, splits and labels are those of the article." in found.remarks


def test_a_dataset_that_is_not_there_is_one_sentence(tmp_path, capsys):
    assert verify.main(["gone", f"--data_dir={tmp_path}"]) == 2
    assert "gone is no dataset in" in capsys.readouterr().err
