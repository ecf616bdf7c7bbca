"""The dataset that a build makes: every config, every feature, every file beside the TFRecords."""

import contextlib
import csv
import functools
import http.server
import json
import pathlib
import shutil
import socket
import threading

import mlcroissant as mlc
import numpy as np
import pytest
import tensorflow_datasets as tfds

import covid_tfds
from covid_tfds import copies, verify
from covid_tfds.config import CovidConfig
from covid_tfds.covid_tfds_dataset_builder import HOMEPAGES
from covid_tfds.errors import DatasetError
from covid_tfds.sources import cohen
from tests.covid_tfds import made_sources
from tests.helpers.images import decoded, encoded, radiograph

pytestmark = pytest.mark.usefixtures("drawn_once")


@pytest.mark.slow
class BuilderTest(tfds.testing.DatasetBuilderTestCase):
    """What TFDS itself asks of a builder, on images made for it."""

    DATASET_CLASS = covid_tfds.Builder
    BUILDER_CONFIG_NAMES_TO_TEST = ["full"]  # noqa: RUF012
    SPLITS = {"train": 22, "validation": 2, "test": 7, "control": 2}  # noqa: RUF012
    # Images are read by plain file functions, from folders and zips alike.
    MOCK_OUT_FORBIDDEN_OS_FUNCTIONS = False


def examples(builder, split: str) -> list[dict]:
    return list(tfds.as_numpy(builder.as_dataset(split=split)))


def everything(builder) -> list[dict]:
    return [example for split in builder.info.splits for example in examples(builder, split)]


def sizes(builder) -> dict[str, int]:
    return {name: split.num_examples for name, split in builder.info.splits.items()}


def summary(builder) -> str:
    return (builder.data_path / "summary.txt").read_text()


def left_out(builder) -> dict[str, str]:
    with open(builder.data_path / "exclusions.csv", newline="") as file:
        return {row["file"]: row["reason"] for row in csv.DictReader(file)}


@pytest.fixture(scope="module")
def full(tmp_path_factory):
    """`full` of made-up sources: one Cohen image of every kind and nine of Kaggle's."""
    folder = tmp_path_factory.mktemp("full")
    made_sources.write_kaggle(folder, made_sources.KAGGLE)
    rows = [
        made_sources.row("a.png", "7", sex="F", age="41", view="AP Supine"),
        made_sources.row("b.png", "8", license="CC BY-NC-SA"),
        made_sources.row("s.png", "9", finding="SARS", license=""),
        made_sources.row("empty.png", "10"),
        made_sources.row("text.png", "11"),
        made_sources.row("cut.png", "12"),
    ]
    made_sources.write_cohen(folder, rows)
    images = folder / "covid-chestxray-dataset" / "images"
    (images / "empty.png").write_bytes(b"")
    (images / "text.png").write_bytes(b"no image")
    (images / "cut.png").write_bytes(encoded(radiograph(size=(600, 500)))[:5000])
    return covid_tfds.build("full", manual_dir=folder, data_dir=folder / "data")


def test_an_example_carries_what_the_source_knew(full):
    example = next(e for e in everything(full) if e["image_id"] == b"cohen/a.png")
    assert example["image"].dtype == np.uint8
    assert example["image"].shape == (120, 100, 1)
    texts = {k: v.decode() for k, v in example.items() if isinstance(v, bytes)}
    assert texts["patient"] == texts["group"] == "cohen/7"
    assert (texts["sex"], texts["projection"], texts["license"]) == ("F", "AP Supine", "CC BY 4.0")
    assert (texts["original_mode"], texts["original_format"]) == ("L", "PNG")
    assert (example["age"], example["original_width"], example["original_height"]) == (41, 100, 120)
    assert covid_tfds.LABELS[example["label"]] == "covid19"


def test_stored_pixels_are_those_that_every_decoder_gives(full):
    stored = full.as_dataset(
        split="train", decoders={"image": tfds.decode.SkipDecoding()}
    ).as_numpy_iterator()
    for raw, example in zip(stored, examples(full, "train"), strict=True):
        by_pillow = decoded(raw["image"])
        np.testing.assert_array_equal(by_pillow, example["image"][..., 0])
        assert copies.pixels_sha256(by_pillow).hex() == example["image_sha256"].decode()


def test_every_feature_says_what_it_is(full):
    for name, feature in full.info.features.items():
        assert len(feature._doc.desc) > 15, name


def test_what_can_not_be_used_is_left_out_and_the_build_goes_on(full):
    assert left_out(full) == {
        "cohen/images/empty.png": "empty file",
        "cohen/images/text.png": "not an image",
        "cohen/images/cut.png": "truncated or damaged",
    }
    with open(full.data_path / "ATTRIBUTION.csv", newline="") as file:
        listed = {row["image_id"]: row for row in csv.DictReader(file)}
    stored = {e["image_id"].decode(): e for e in everything(full)}
    assert listed.keys() == stored.keys()
    for image_id, row in listed.items():
        assert row["image_sha256"] == stored[image_id]["image_sha256"].decode()
        assert row["license"] == stored[image_id]["license"].decode()
    assert "left out 3" in summary(full)


def test_the_summary_fits_a_terminal_and_counts_licenses(full):
    text = summary(full)
    too_long = [line for line in text.splitlines() if len(line) > 80 and " " in line.strip()]
    assert not [line for line in too_long if "/" not in line]
    assert "      10  CC BY 4.0" in text
    assert "       1  CC BY-NC-SA" in text
    assert "       1  not stated" in text
    assert "from " in text and "chest_xray" in text


def test_metadata_has_fingerprint_classes_and_sources_without_pixels(full):
    loaded = tfds.builder_from_directory(full.data_path)
    metadata = dict(loaded.info.metadata)
    assert metadata["fingerprint"] == covid_tfds.fingerprint.fingerprint(
        (split, e["image_id"].decode(), covid_tfds.LABELS[e["label"]], e["image_sha256"].decode())
        for split in full.info.splits
        for e in examples(full, split)
    )
    assert metadata["class_names"] == list(covid_tfds.LABELS)
    assert [each["source"] for each in metadata["sources"]] == ["kaggle", "cohen"]
    assert loaded.info.features["label"].names == list(covid_tfds.LABELS)


def test_the_catalogue_has_license_and_all_homepages(full):
    loaded = tfds.builder_from_directory(full.data_path)
    assert "CC BY 4.0" in loaded.info.redistribution_info.license
    assert tuple(loaded.info.as_proto.location.urls) == HOMEPAGES


def test_croissant_is_valid_and_lists_every_image(full):
    described = mlc.Dataset(jsonld=str(full.data_path / "croissant.json"))
    issues = described.metadata.ctx.issues
    assert not issues.errors, issues.report()
    assert "CC BY 4.0" in described.metadata.license[0]
    homepages = {described.metadata.url, *described.metadata.same_as}
    assert homepages == set(HOMEPAGES)
    read = {row["images/image_id"] for row in described.records("images")}
    assert read == {e["image_id"] for e in everything(full)}


def test_article_has_its_splits_and_names_drift_and_the_torn_patient(tmp_path, capsys):
    made_sources.write_article(tmp_path / "manual")
    builder = covid_tfds.build("article", manual_dir=tmp_path / "manual", data_dir=tmp_path)
    assert sizes(builder) == {"train": 216, "validation": 54, "test": 36}
    printed = " ".join(capsys.readouterr().out.split())
    assert "Patients in test and train, as published: cohen/13." in printed
    assert "69 Cohen images are not the bytes of the article's day" in printed


@pytest.mark.slow
def test_article_grouped_keeps_patients_apart_at_the_same_sizes(tmp_path):
    made_sources.write_article(tmp_path / "manual")
    builder = covid_tfds.build("article_grouped", manual_dir=tmp_path / "manual", data_dir=tmp_path)
    assert sizes(builder) == {"train": 216, "validation": 54, "test": 36}
    groups = {s: {e["group"] for e in examples(builder, s)} for s in builder.info.splits}
    assert not (groups["train"] & groups["test"] or groups["train"] & groups["validation"]
                or groups["validation"] & groups["test"])  # fmt: skip


@pytest.mark.parametrize("images", ["article", "full"])
def test_strict_refuses_drift(tmp_path, images):
    made_sources.write_article(tmp_path / "manual")
    config = CovidConfig(name="strict", images=images, strict=True)
    with pytest.raises(DatasetError, match="69 Cohen images are not the bytes"):
        covid_tfds.build(config, manual_dir=tmp_path / "manual", data_dir=tmp_path)


def test_missing_images_of_the_article_are_listed_path_by_path(tmp_path):
    made_sources.write_article(tmp_path)
    gone = [
        next((tmp_path / "chest_xray/train/NORMAL").iterdir()),
        next((tmp_path / "covid-chestxray-dataset/images").iterdir()),
    ]
    for path in gone:
        path.unlink()
    with pytest.raises(DatasetError) as refused:
        covid_tfds.build("article", manual_dir=tmp_path, data_dir=tmp_path / "data")
    assert "2 of the article's 306 images are missing" in str(refused.value)
    assert all(path.name in str(refused.value) for path in gone)


def test_an_image_of_the_article_that_can_not_be_read_ends_the_build(tmp_path):
    made_sources.write_article(tmp_path)
    path = next((tmp_path / "covid-chestxray-dataset/images").iterdir())
    path.write_bytes(b"")
    with pytest.raises(DatasetError, match=r"1 of the article's images can't be read") as refused:
        covid_tfds.build("article", manual_dir=tmp_path, data_dir=tmp_path / "data")
    assert f"\n  cohen/images/{path.name}: empty file\nDownload" in str(refused.value)


def test_a_source_of_which_no_image_can_be_read_ends_the_build(tmp_path):
    made_sources.write_kaggle(tmp_path, made_sources.KAGGLE)
    made_sources.write_cohen(tmp_path, [made_sources.row(f"{i:02}.png", f"{i}") for i in range(12)])
    for path in (tmp_path / "covid-chestxray-dataset/images").iterdir():
        path.write_text("version https://git-lfs.github.com/spec/v1")
    with pytest.raises(DatasetError, match="The source cohen yields no image") as refused:
        covid_tfds.build("full", manual_dir=tmp_path, data_dir=tmp_path / "data")
    shown = str(refused.value).splitlines()[1:-1]
    assert shown == [
        f"  cohen/images/{i:02}.png: a git-lfs pointer, not the image" for i in range(10)
    ]


@pytest.mark.slow
def test_a_license_filter_keeps_its_images_where_they_were(full, tmp_path):
    manual = pathlib.Path(full.data_path).parents[3]
    config = CovidConfig(name="open", images="full", licenses=["CC BY"])
    builder = covid_tfds.build(config, manual_dir=manual, data_dir=tmp_path)
    before = {e["image_id"]: s for s in full.info.splits for e in examples(full, s)}
    after = {e["image_id"]: s for s in builder.info.splits for e in examples(builder, s)}
    assert before.keys() - after.keys() == {b"cohen/b.png", b"cohen/s.png"}
    assert after.items() <= before.items()
    assert left_out(builder)["cohen/b.png"] == "license not asked for: CC BY-NC-SA"


@pytest.mark.parametrize("whole", [True, False])
def test_cohen_is_fetched_when_it_is_not_there(tmp_path, monkeypatch, whole):
    made_sources.write_kaggle(tmp_path / "manual", made_sources.KAGGLE)
    made_sources.write_cohen(tmp_path / "served", [made_sources.row("a.png", "7")])
    root = tmp_path / "served" / "covid-chestxray-dataset"
    root = root.rename(root.with_name(f"covid-chestxray-dataset-{cohen.PINNED_COMMIT}"))
    if not whole:
        (root / "metadata.csv").unlink()
    shutil.make_archive(str(root), "zip", root_dir=root.parent, base_dir=root.name)
    handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=root.parent)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        address = f"http://127.0.0.1:{server.server_port}/{root.name}.zip"
        monkeypatch.setattr(cohen, "url", lambda commit: address)
        refused = pytest.raises(DatasetError, match=r"holds no metadata\.csv\. Delete it and build")
        with contextlib.nullcontext() if whole else refused:
            builder = covid_tfds.build("full", manual_dir=tmp_path / "manual", data_dir=tmp_path)
        server.shutdown()
    if whole:  # and what was fetched is there without a network
        again = covid_tfds.build(
            "full", manual_dir=tmp_path / "manual", data_dir=tmp_path, overwrite=True
        )
        for each in (builder, again):
            assert b"cohen/a.png" in {e["image_id"] for e in everything(each)}


def test_a_failed_fetch_says_where_to_put_the_images(tmp_path, monkeypatch):
    made_sources.write_kaggle(tmp_path / "manual", made_sources.KAGGLE)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    for name in ("https_proxy", "HTTPS_PROXY"):  # nothing listens there
        monkeypatch.setenv(name, f"http://127.0.0.1:{port}")
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(DatasetError) as refused:
        covid_tfds.build("full", manual_dir=tmp_path / "manual", data_dir=tmp_path)
    address = "https://github.com/ieee8023/covid-chestxray-dataset/archive"
    said = f"{address}/{cohen.PINNED_COMMIT}.zip could not be fetched (ProxyError)"
    assert said in str(refused.value)
    assert "covid-chestxray-dataset/metadata.csv" in str(refused.value)


@pytest.mark.slow
def test_a_planted_shortcut_has_a_control_split(tmp_path):
    config = CovidConfig(name="planted", images="phantom", patients=60, shortcut=True)
    builder = covid_tfds.build(config, data_dir=tmp_path)
    control = examples(builder, "control")
    assert {e["label"] for e in control} == {0, 1, 2, 3}
    others = {e["patient"] for s in ("train", "validation", "test") for e in examples(builder, s)}
    assert not others & {e["patient"] for e in control}


@pytest.mark.parametrize("file_format", ["array_record", "parquet"])
def test_other_formats_hold_the_same_images(full, tmp_path, file_format):
    manual = pathlib.Path(full.data_path).parents[3]
    builder = covid_tfds.Builder(config="full", data_dir=tmp_path, file_format=file_format)
    builder.download_and_prepare(download_config=tfds.download.DownloadConfig(manual_dir=manual))
    stored = {e["image_id"]: e["image"] for e in builder.as_data_source(split="train")}
    assert stored
    for example in examples(full, "train"):
        np.testing.assert_array_equal(stored[example["image_id"]], example["image"])
    assert dict(builder.info.metadata)["fingerprint"] == dict(full.info.metadata)["fingerprint"]
    assert not verify.verify(builder.data_path).faults


BAD_CONFIGS = {
    "images is 'all'": {"images": "all"},
    r'"films" is called "images" since 2.0.0: write {"images": "phantom"}': {"films": "phantom"},
    "patients is 3": {"images": "phantom", "patients": 3},
    "patients is '80'": {"images": "phantom", "patients": "80"},
    "seed is -1": {"images": "phantom", "seed": -1},
    "shortcut is 1": {"images": "phantom", "shortcut": 1},
    "strict is for the Cohen": {"images": "folder", "strict": True},
    "are for phantom": {"images": "full", "shortcut": True},
    "licenses is 'CC BY'": {"images": "full", "licenses": "CC BY"},
    "licenses is for full and folder": {"images": "phantom", "licenses": ["CC BY"]},
    r"name is '\.\./evil'": {"name": "../evil"},
    "name is ''": {"name": ""},
    "name is 5": {"name": 5},
    "version is the builder's own": {"images": "phantom", "version": "1.0.0"},
    "licenses holds an empty name": {"images": "full", "licenses": [" "]},
}


@pytest.mark.parametrize("message", BAD_CONFIGS)
def test_a_config_that_makes_no_sense_is_refused(message):
    with pytest.raises(DatasetError, match=message):
        CovidConfig(**{"name": "x"} | json.loads(json.dumps(BAD_CONFIGS[message])))


@pytest.mark.parametrize("config", [5, ["full"]])
def test_a_config_that_is_no_config_is_refused(tmp_path, config):
    with pytest.raises(DatasetError, match="give a name or a CovidConfig"):
        covid_tfds.build(config, data_dir=tmp_path)


def test_beam_options_are_refused(tmp_path):
    asked = tfds.download.DownloadConfig(beam_runner="DirectRunner")
    builder = covid_tfds.Builder(config="phantom", data_dir=tmp_path)
    with pytest.raises(DatasetError, match="built without Beam"):
        builder.download_and_prepare(download_config=asked)
