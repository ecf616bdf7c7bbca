"""Datasets that are opened: what is known of their images; refusals."""

import dataclasses
import shutil
import tracemalloc

import numpy as np
import pytest
import tensorflow_datasets as tfds

import covid_tfds
from covid_tfds import digests
from covid_tfds.config import CovidConfig
from tests.covid_tfds import made_sources as sources
from tests.helpers import datasets, flips
from tests.helpers.images import decoded, encoded, radiograph
from trainer.input_pipeline import dataset
from trainer.run.errors import RunError


def placed(data_dir, folder, *names: str) -> str:
    """A folder of datasets in which the tiny one goes by other names."""
    for name in names:
        shutil.copytree(data_dir / "covid_tfds" / "tiny", folder / "covid_tfds" / name)
    return str(folder)


@pytest.mark.slow
def test_auto_builds_the_synthetic_images_where_nothing_is(tmp_path, monkeypatch):
    monkeypatch.setattr(covid_tfds.Builder.builder_configs["phantom"], "patients", 72)
    opened = dataset.open_dataset("auto", str(tmp_path), 4)
    assert opened.name == "covid_tfds/phantom/2.0.0"
    assert opened.synthetic


def test_fewer_classes_keep_the_first_labels(data_dir):
    for classes in (2, 3, 4):
        opened = dataset.open_dataset("tiny", str(data_dir), classes)
        assert set(opened.splits["train"].labels.tolist()) == set(range(classes))
        assert opened.class_names == datasets.CLASSES[:classes]


def test_a_fingerprint_depends_on_the_images_and_the_classes_only(data_dir):
    prints = [dataset.open_dataset("tiny", str(data_dir), c).fingerprint for c in (4, 4, 3)]
    assert prints[0] == prints[1] != prints[2]


@pytest.mark.slow
def test_a_format_that_can_not_be_streamed_is_refused(tmp_path):
    config = CovidConfig(name="other", images="phantom", patients=40)
    builder = covid_tfds.Builder(config=config, data_dir=tmp_path, file_format="array_record")
    builder.download_and_prepare()
    with pytest.raises(RunError, match=r"stored as array_record, which tf\.data can't stream"):
        dataset.open_dataset("other", str(tmp_path), 4)


def own(folder, rows: list[tuple[str, str, str]]) -> str:
    """Builds own images from (label, patient, split)."""
    manual = folder / "manual"
    lines = ["path,label,patient,split"]
    for i, (label, patient, split) in enumerate(rows):
        sources.write(manual / f"{i}.png", encoded(radiograph(i)))
        lines.append(f"{i}.png,{label},{patient},{split}")
    (manual / "images.csv").write_text("\n".join(lines))
    download = tfds.download.DownloadConfig(manual_dir=manual)
    covid_tfds.Builder(config="folder", data_dir=folder).download_and_prepare(
        download_config=download
    )
    return str(folder)


def test_a_class_without_train_images_is_refused(tmp_path):
    rows = [("healthy", f"p{i}", ("train", "validation", "test")[i % 3]) for i in range(6)]
    rows.append(("covid19", "p6", "test"))
    with pytest.raises(RunError, match="no image of covid19 in train"):
        dataset.open_dataset("folder", own(tmp_path, rows), 2)


def test_more_classes_than_the_dataset_has_are_refused_and_its_names_are_taken(tmp_path):
    splits = ("train", "validation", "test")
    rows = [(("effusion", "oedema")[i % 2], f"p{i}", splits[i // 2 % 3]) for i in range(12)]
    data_dir = own(tmp_path, rows)
    with pytest.raises(RunError, match=r"has 2: effusion, oedema\. Give --classes=2\."):
        dataset.open_dataset("folder", data_dir, 4)
    opened = dataset.open_dataset("folder", data_dir, 2)
    assert opened.class_names == opened.splits["train"].class_names == ("effusion", "oedema")


def test_a_dataset_that_is_not_built_is_refused_with_the_command_that_builds_it(data_dir, tmp_path):
    with pytest.raises(RunError, match=r"not built in .*nowhere.* \(there is no folder\)"):
        dataset.open_dataset("full", str(tmp_path / "nowhere"), None)
    with pytest.raises(RunError, match=r"not built in .* \(built there: .*tiny.* --config=full"):
        dataset.open_dataset("full", str(data_dir), 4)


def test_a_dataset_of_an_earlier_release_gets_one_sentence(data_dir, tmp_path):
    built = data_dir / "covid_tfds" / "tiny" / "2.0.0"
    shutil.copytree(built, tmp_path / "covid_tfds" / "tiny" / "1.0.0")
    with pytest.raises(RunError, match=r"tiny/1\.0\.0 was built by an earlier release") as error:
        dataset.open_dataset("tiny", str(tmp_path), 4)
    assert "tfds build covid_tfds --config=tiny" in str(error.value)


DAMAGED = r"`python -m covid_tfds\.verify .*/other/2\.0\.0` names .* with --overwrite: tfds build"


@pytest.mark.parametrize("name", [*dataset._DESCRIPTION, digests.FILE])
def test_no_changed_bit_of_a_datasets_description_is_read(data_dir, tmp_path, name):
    root, random = placed(data_dir, tmp_path, "other"), np.random.default_rng(0)
    path = tmp_path / "covid_tfds" / "other" / "2.0.0" / name
    for _ in range(flips.COUNT):
        with flips.one_bit(path, random):
            whole = set(digests.of_files(path.parent).items())
            described = {pair for pair in whole if pair[0] in dataset._DESCRIPTION}
            if name == digests.FILE and described <= (digests.read(path.parent) or {}).items():
                continue  # of a file that opening does not read; `verify` finds it
            with pytest.raises(RunError, match=DAMAGED) as error:
                dataset.open_dataset("other", root, 4)
            assert f"{name} in {path.parent} is not what" in str(error.value) or (
                name == digests.FILE
            )


@pytest.mark.parametrize("name", ["features.json", digests.FILE])
def test_a_dataset_without_its_description_is_refused(data_dir, tmp_path, name):
    root = placed(data_dir, tmp_path, "other")
    (tmp_path / "covid_tfds" / "other" / "2.0.0" / name).unlink()
    with pytest.raises(RunError, match=DAMAGED):
        dataset.open_dataset("other", root, 4)


@pytest.mark.parametrize(
    "flipped", [flips.COUNT // 4, pytest.param(3 * flips.COUNT, marks=pytest.mark.slow)]
)
@pytest.mark.parametrize("pixels", [False, True])
def test_no_changed_bit_of_a_tfrecord_is_read(data_dir, tmp_path, pixels, flipped):
    """Of an image, of what is known of it, of its length, or of a checksum."""
    opened = dataset.open_dataset("other", placed(data_dir, tmp_path, "other"), 4)
    path = next((tmp_path / "covid_tfds" / "other" / "2.0.0").glob("*-test.tfrecord*"))
    images, random = opened.splits["test"], np.random.default_rng(0)

    def read():
        if pixels:
            list(opened.encoded(images))
        else:
            dataset._images(opened.builder, "test", opened.class_names)

    read()
    for _ in range(flipped):
        with flips.one_bit(path, random), pytest.raises(RunError, match=DAMAGED) as error:
            read()
        assert "covid_tfds/tiny/2.0.0 can't be read (corrupted record at " in str(error.value)


@pytest.mark.parametrize("place", ["length", "its checksum", "the end"])
def test_damage_of_a_tfrecords_frame_is_noticed_when_the_dataset_is_opened(
    data_dir, tmp_path, place
):
    root = placed(data_dir, tmp_path, "other")
    path = next((tmp_path / "covid_tfds" / "other" / "2.0.0").glob("*-train.tfrecord*"))
    data = bytearray(path.read_bytes())
    if place == "the end":
        del data[-1]
    else:
        data[{"length": 0, "its checksum": 8}[place]] ^= 4
    path.write_bytes(data)
    with pytest.raises(RunError, match=DAMAGED):
        dataset.open_dataset("other", root, 4)


def test_a_group_in_two_splits_is_refused_except_in_the_article(
    tiny, data_dir, tmp_path, monkeypatch
):
    root = placed(data_dir, tmp_path, "article", "mine")
    leaking = dict(tiny.splits, test=tiny.splits["train"])
    monkeypatch.setattr(dataset, "_images", lambda builder, split, names: leaking[split])
    refused = r"groups in more than one split:\n  .*: test, train\n(.|\n)*Build the dataset again"
    for name in ("article", "mine"):  # whatever its name: its images are drawn
        with pytest.raises(RunError, match=refused):
            dataset.open_dataset(name, root, 4)
    monkeypatch.setattr(dataset, "_AS_PUBLISHED", "phantom")
    assert set(dataset.open_dataset("mine", root, 4).leaks) == set(leaking["train"].groups)


@pytest.mark.parametrize("changed", ["the pixels", "the number"])
def test_images_that_were_replaced_since_the_dataset_was_opened_are_refused(changed, tiny):
    images = tiny.splits["train"]
    if changed == "the pixels":
        images = dataclasses.replace(images, sha256=images.sha256[::-1])
    else:
        images = dataclasses.replace(images, places=images.places + 1)
    with pytest.raises(RunError, match="was built again while it was read"):
        list(tiny.encoded(images))


# What is known of the images


def test_opening_reads_no_pixels_and_keeps_no_encoded_image(data_dir, monkeypatch):
    read, examples = [], dataset._examples

    def noted(builder, split, names, batch):
        read.extend(names)
        return examples(builder, split, names, batch)

    monkeypatch.setattr(dataset, "_examples", noted)
    opened = dataset.open_dataset("tiny", str(data_dir), 4)
    assert "image" not in read and "label" in read
    for images in opened.splits.values():
        for field in dataclasses.fields(images):
            value = getattr(images, field.name)
            if field.name != "class_names":
                assert isinstance(value, np.ndarray) and value.dtype != object
                assert len(value) == len(images)


def test_an_image_takes_less_than_a_kib_of_memory(tiny, monkeypatch):
    count, batch = 20_480, 1024

    def made_up(builder, split, names, size):
        for first in range(0, count, batch):
            numbers = range(first, first + batch)
            yield {
                "image_id": [f"a-source-with-a-name-{i:06}-1".encode() for i in numbers],
                "patient": [f"a-source-with-a-name-{i // 2:06}".encode() for i in numbers],
                "group": [f"a-source-with-a-name-{i // 2:06}".encode() for i in numbers],
                "source": [b"a-source-with-a-name"] * batch,
                "image_sha256": [f"{i:064x}".encode() for i in numbers],
                "label": np.arange(batch) % 4,
            }

    monkeypatch.setattr(dataset, "_examples", made_up)
    tracemalloc.start()
    try:
        images = dataset._images(tiny.builder, "train", datasets.CLASSES)
        held, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert len(images) == count
    assert held / count < 1024 and peak / count < 1024
    assert images.image_ids[5] == "a-source-with-a-name-000005-1"
    assert images.sha256[5].tobytes().hex() == f"{5:064x}"


def test_columns_are_those_of_the_stored_examples(tiny):
    for split, images in tiny.splits.items():
        stored = list(tfds.as_numpy(tiny.builder.as_dataset(split=split)))
        assert len(stored) == len(images)
        by_id = {example["image_id"].decode(): example for example in stored}
        for i, image_id in enumerate(images.image_ids):
            example = by_id[image_id]
            assert images.patients[i] == example["patient"].decode()
            assert images.groups[i] == example["group"].decode()
            assert images.labels[i] == example["label"]
            assert images.sha256[i].tobytes().hex() == example["image_sha256"].decode()
        assert set(images.splits) == {split}


def test_encoded_images_come_with_their_index_in_any_order(tiny):
    every = dataset.joined([tiny.splits["test"], tiny.splits["train"]])
    some = every.take([len(every) - 1, 3, 40, 0])
    got = dict(tiny.encoded(some))
    assert sorted(got) == [0, 1, 2, 3]
    whole = dict(tiny.encoded(every))
    for index, at in enumerate([len(every) - 1, 3, 40, 0]):
        assert got[index] == whole[at]
        assert decoded(got[index]).dtype == np.uint8


@pytest.mark.parametrize("change", ["as many images", "more images", "no images"])
def test_a_dataset_that_was_built_again_meanwhile_is_noticed(data_dir, tmp_path, change):
    opened = dataset.open_dataset("other", placed(data_dir, tmp_path, "other"), 4)
    images = opened.splits["test"]
    if change == "as many images":
        # Stored in another order, as one more image and one less would leave them.
        places = np.roll(images.places, 1)
        images = dataclasses.replace(images, places=places)
    else:
        folder = tmp_path / "covid_tfds" / "other" / "2.0.0"
        train, test = (next(folder.glob(f"*-{name}.tfrecord*")) for name in ("train", "test"))
        shutil.copy(train, test) if change == "more images" else test.unlink()
    with pytest.raises(RunError, match=r"built again .*start the run again|Start the run again"):
        list(opened.encoded(images))


def test_taken_and_joined_images_keep_their_columns_together(tiny):
    splits = tiny.splits
    images = dataset.joined([splits["train"], splits["validation"]])
    at = [len(images) - 1, 3, 3, 0]
    few = images.take(at)
    assert len(few) == 4
    for name in ("image_ids", "patients", "labels", "sha256", "places", "splits", "digests"):
        np.testing.assert_array_equal(getattr(few, name), getattr(images, name)[at])
    assert few.splits.tolist() == ["validation", "train", "train", "train"]
    assert len(np.unique(images.digests, axis=0)) == len(images)


def test_group_numbers_are_equal_where_groups_are():
    images = datasets.made([0, 1, 0, 1], groups=["b", "a", "b", "c"])
    assert images.group_numbers.tolist() == [1, 0, 1, 2]
    assert dataset.class_counts(images.labels, 3) == [2, 2, 0]


def test_all_stored_images_are_counted_whatever_classes_a_run_has(data_dir, tiny):
    stored = {name: len(images) for name, images in tiny.splits.items()}
    of_two = dataset.open_dataset("tiny", str(data_dir), 2)
    assert of_two.counts() == {"stored": stored, "left_out": {}}
