"""Which dataset is taken and why; batches; refusals."""

import shutil

import numpy as np
import pytest
import tensorflow as tf

import covid_tfds
from covid_tfds.config import CovidConfig
from tests.covid_tfds import made_sources as sources
from tests.covid_tfds.made_images import encoded, radiograph
from trainer import features
from trainer.input_pipeline import batches, dataset
from trainer.run.errors import RunError


def placed(data_dir, folder, *names: str) -> str:
    """A folder of datasets in which the tiny one goes by other names."""
    for name in names:
        shutil.copytree(data_dir / "covid_tfds" / "tiny", folder / "covid_tfds" / name)
    return str(folder)


@pytest.mark.parametrize("built,taken", [(["article", "full"], "full"), (["article"], "article")])
def test_auto_prefers_full_then_article_and_says_why(data_dir, tmp_path, built, taken):
    opened = dataset.open_dataset("auto", placed(data_dir, tmp_path, *built), 4)
    assert f"the first of full, article, phantom that is built in {tmp_path}" in opened.why
    assert opened.name.split("/")[0] == "covid_tfds"
    assert dataset._choose("auto", tmp_path)[0] == taken


def test_auto_builds_the_synthetic_images_where_nothing_is(tmp_path):
    opened = dataset.open_dataset("auto", str(tmp_path), 4)
    assert opened.name == "covid_tfds/phantom/2.0.0"
    assert opened.synthetic
    assert "synthetic images stand in" in opened.why


def test_fewer_classes_keep_the_first_labels(data_dir):
    for classes in (2, 3, 4):
        images = dataset.open_dataset("tiny", str(data_dir), classes).splits["train"]
        assert set(images.labels.tolist()) == set(range(classes))


def test_a_fingerprint_depends_on_the_images_and_the_classes_only(data_dir):
    prints = [dataset.open_dataset("tiny", str(data_dir), c).fingerprint for c in (4, 4, 3)]
    assert prints[0] == prints[1] != prints[2]


def test_a_format_that_can_not_be_streamed_is_told(tmp_path):
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
    import tensorflow_datasets as tfds

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


def test_a_dataset_of_an_earlier_release_gets_one_sentence(data_dir, tmp_path):
    built = data_dir / "covid_tfds" / "tiny" / "2.0.0"
    shutil.copytree(built, tmp_path / "covid_tfds" / "tiny" / "1.0.0")
    with pytest.raises(RunError, match=r"tiny/1\.0\.0 was built by an earlier release"):
        dataset.open_dataset("tiny", str(tmp_path), 4)


def test_a_group_in_two_splits_is_refused_except_as_published(data_dir, tmp_path):
    images = dataset.open_dataset("tiny", str(data_dir), 4).splits
    leaking = dict(images, test=images["train"])
    assert set(dataset._leaks(leaking)) == set(images["train"].groups)
    assert not dataset._leaks(images)


def test_evaluation_batches_hold_every_image_once_in_order_and_without_chance(data_dir):
    images = dataset.open_dataset("tiny", str(data_dir), 4).splits["test"]
    passes = [list(batches.evaluation_batches(images, image_size=40, batch_size=7))
              for _ in range(2)]  # fmt: skip
    labels = np.concatenate([batch[1] for batch in passes[0]])
    np.testing.assert_array_equal(labels, images.labels)
    for one, other in zip(*passes, strict=True):
        np.testing.assert_array_equal(one[0], other[0])
    pixels = passes[0][0][0]
    assert pixels.dtype == tf.uint8
    assert pixels.shape == (7, 40, 40, 1)
    assert 0 <= float(tf.reduce_min(pixels)) < float(tf.reduce_max(pixels)) <= 255


def test_train_batches_take_a_new_order_each_epoch_and_the_same_for_a_seed(data_dir):
    images = dataset.open_dataset("tiny", str(data_dir), 4).splits["train"]

    def epochs(seed: int) -> list[list[float]]:
        stream = batches.train_batches(
            images, image_size=32, batch_size=8, seed=seed, epochs=range(2)
        )
        means = [float(mean) for batch, _ in stream for mean in batch.numpy().mean((1, 2, 3))]
        return [means[: len(images.labels)], means[len(images.labels) :]]

    first, second = epochs(1)
    assert first != second
    assert sorted(first) == sorted(second)
    assert len(first) == len(images.labels)
    assert epochs(1) == [first, second]
    assert epochs(2)[0] != first


def test_an_epochs_order_does_not_depend_on_where_a_run_began(data_dir):
    images = dataset.open_dataset("tiny", str(data_dir), 4).splits["train"]
    labels = [
        [label for _, batch in batches.train_batches(
            images, image_size=32, batch_size=8, seed=1, epochs=epochs) for label in batch.numpy()]
        for epochs in (range(3), range(2, 3))
    ]  # fmt: skip
    assert labels[0][-len(images.labels) :] == labels[1]


def test_squares_are_the_images_at_another_size(data_dir):
    images = dataset.open_dataset("tiny", str(data_dir), 4).splits["validation"]
    small, large = (batches.squares(images, size) for size in (32, 224))
    assert small.shape == (len(images.labels), 32, 32)
    np.testing.assert_allclose(small.mean((1, 2)), large.mean((1, 2)), atol=1)


def test_keys_go_with_the_images_that_are_taken(data_dir):
    splits = dataset.open_dataset("tiny", str(data_dir), 4).splits
    images = dataset.joined([splits["train"], splits["validation"]])
    at = [len(images.labels) - 1, 3, 3, 0]
    for known in (False, True):  # before and after the keys of all images were asked for
        assert ("keys" in vars(images)) is known
        few = images.take(at)
        assert few.image_ids == [images.image_ids[i] for i in at]
        assert few.labels.tolist() == [images.labels[i] for i in at]
        assert few.keys == features.image_keys(few.image_ids, few.encoded)
        assert images.keys == splits["train"].keys + splits["validation"].keys
    assert few.keys == [images.keys[i] for i in at]
    assert len(set(images.keys)) == len(images.labels)
