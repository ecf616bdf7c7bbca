"""Files that are flushed to the disk, and what a disk says to it."""

import errno
import os

import pytest

from covid_tfds import paths


def test_what_knows_no_flushing_is_passed_by_and_a_disk_that_fails_is_not(tmp_path, monkeypatch):
    with pytest.raises(OSError, match="Invalid argument"), open(os.devnull) as file:
        os.fsync(file.fileno())
    paths.flush(os.devnull, "gs://bucket/x", tmp_path)

    def fail(_: int) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(OSError, match="Input/output error"):
        paths.flush(tmp_path)
