"""A disk without room for a build: said before the first pass, or when it fills up."""

import contextlib
import errno
import os
import pathlib
import re
import resource
import shutil
import tempfile

import pytest

import covid_tfds
from covid_tfds import building, disk_space, reading
from covid_tfds.config import CovidConfig
from covid_tfds.errors import DatasetError
from covid_tfds.records import ImageRecord
from covid_tfds.sources import storage
from covid_tfds.spool import Spool
from tests.covid_tfds import made_sources
from tests.helpers.images import encoded, radiograph

pytestmark = pytest.mark.usefixtures("drawn_once")

TINY = CovidConfig(name="tiny", images="phantom", patients=40)


def files(folder: pathlib.Path) -> set[str]:
    """What is in the folder of the config, but for its lock."""
    return {path.name for path in (folder / "covid_tfds" / "tiny").glob("[!.]*")}


def free(monkeypatch, mebibytes: int) -> None:
    """Has the system say that a disk has so much room."""
    usage = shutil._ntuple_diskusage(mebibytes << 20, 0, mebibytes << 20)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage)


def test_what_is_needed_and_what_is_free_is_said_before_anything_is_read(
    tmp_path, monkeypatch, capfd
):
    free(monkeypatch, 3)
    with pytest.raises(DatasetError, match=r"59 images need some \d+ MiB .* has 3 MiB free"):
        covid_tfds.build(TINY, data_dir=tmp_path)
    assert "reading" not in capfd.readouterr().err
    assert not files(tmp_path)


@pytest.mark.parametrize("names", [["x", "gone", "broken"], ["gone", "broken"]])
def test_images_that_can_not_be_read_are_not_measured(tmp_path, monkeypatch, names):
    free(monkeypatch, 0)
    made_sources.write(tmp_path / "x", encoded(radiograph()))
    made_sources.write(tmp_path / "gone", b"")
    made_sources.write(tmp_path / "broken", b"no image")
    files = storage.folder(tmp_path)
    (tmp_path / "gone").unlink()

    def decode(record: ImageRecord) -> tuple[bytes, reading.DecodedImage]:
        data = files.read(record.name)
        return data, reading.read_image(data)

    records = [ImageRecord(f"own/{name}", "a", "own", "own/p", name) for name in names]
    refused = pytest.raises(
        DatasetError, match=f"disk of {tmp_path.parent} has .* or give another --data_dir"
    )
    expected = refused if "x" in names else contextlib.nullcontext()
    with contextlib.closing(Spool(tmp_path)) as spool, expected:
        disk_space.require(records, decode, spool)


def test_without_a_disk_of_the_build_it_is_that_of_temporary_files(monkeypatch):
    free(monkeypatch, 0)
    image = encoded(radiograph())
    said = re.escape(
        f"disk of {tempfile.gettempdir()} has 0 MiB free. Free some, or give another TMPDIR"
    )
    with contextlib.closing(Spool()) as spool, pytest.raises(DatasetError, match=said):
        disk_space.require(
            [ImageRecord("own/x", "a", "own", "own/p", "x")],
            lambda record: (image, reading.read_image(image)),
            spool,
        )


@pytest.mark.slow
def test_a_disk_with_just_enough_room_is_not_refused(tmp_path, monkeypatch):
    free(monkeypatch, 5)
    assert covid_tfds.build(TINY, data_dir=tmp_path).is_prepared()


@pytest.mark.parametrize("overwrite", [pytest.param(False, marks=pytest.mark.slow), True])
def test_a_file_that_may_not_grow_is_one_sentence_and_the_old_dataset_stays(tmp_path, overwrite):
    if overwrite:
        covid_tfds.build(TINY, data_dir=tmp_path)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, before[1]))
    try:
        with pytest.raises(DatasetError, match=r"`ulimit -f` shows it.*Nothing is left"):
            covid_tfds.build(TINY, data_dir=tmp_path, overwrite=overwrite)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert files(tmp_path) == ({"2.0.0"} if overwrite else set())
    assert covid_tfds.Builder(config=TINY, data_dir=tmp_path).is_prepared() == overwrite


@pytest.mark.parametrize(
    "code,message",
    [
        (errno.ENOSPC, "is full"),
        *(
            pytest.param(*each, marks=pytest.mark.slow)
            for each in (
                (errno.EDQUOT, "quota"),
                (errno.EXDEV, "Invalid cross-device link"),
                (errno.ESTALE, "Stale file handle"),
                (errno.EIO, "Input/output error"),
            )
        ),
    ],
)
def test_what_a_disk_refuses_at_the_last_moment_is_one_sentence(
    tmp_path, monkeypatch, code, message
):
    """The new dataset can't take its name; nothing of it is left."""
    rename = os.rename

    def refuse(source, target, **kwargs):
        if "incomplete." in str(source):
            raise OSError(code, os.strerror(code), str(source))
        rename(source, target, **kwargs)

    monkeypatch.setattr(os, "rename", refuse)
    with pytest.raises(DatasetError, match=message):
        covid_tfds.build(TINY, data_dir=tmp_path)
    assert not files(tmp_path)


@pytest.mark.slow
def test_a_disk_that_knows_no_flushing_of_folders_takes_a_dataset(tmp_path, monkeypatch):
    def refuse(_: int) -> None:
        raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))

    monkeypatch.setattr(os, "fsync", refuse)
    assert covid_tfds.build(TINY, data_dir=tmp_path).is_prepared()


def test_a_full_disk_is_one_sentence(tmp_path):
    with (
        pytest.raises(DatasetError, match="is full"),
        building.disk_messages(tmp_path),
        open("/dev/full", "wb", buffering=0) as file,  # the kernel's own full disk
    ):
        file.write(b"x")


def test_what_tensorflow_can_not_write_is_one_sentence(tmp_path):
    import tensorflow as tf

    (tmp_path / "file").write_text("no folder")
    with (
        pytest.raises(DatasetError, match=r"TensorFlow can't write .*file is not a directory"),
        building.disk_messages(tmp_path),
    ):
        tf.io.gfile.makedirs(f"{tmp_path}/file/below")


def test_errors_of_another_kind_pass():
    with pytest.raises(KeyError), building.disk_messages(None):
        raise KeyError("x")
