"""Machines that refuse: a limit of the size of files, a small disk."""

import contextlib
import pathlib
import resource
import subprocess
from collections.abc import Iterator

import pytest


@contextlib.contextmanager
def largest_file(size: int) -> Iterator[None]:
    """Meanwhile no file of this process grows over so many bytes (EFBIG), as on a full disk."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@contextlib.contextmanager
def small_disk(path: pathlib.Path, mib: int, files: int = 0) -> Iterator[pathlib.Path]:
    """A folder on a disk of its own, of so many MiB; skips where none can be mounted.

    Args:
        path: Where it is mounted.
        mib: Its size.
        files: The most files and folders on it (inodes), the first included; 0 for no such limit.
    """
    path.mkdir()
    options = f"size={mib}m,nr_inodes={files}"
    mount = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(path)]
    try:
        subprocess.run(mount, check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("this process may not mount a small disk")
    try:
        yield path
    finally:
        subprocess.run(["umount", "--lazy", str(path)], check=True)
