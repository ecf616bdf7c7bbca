"""What tests of several rooms share."""

import pathlib
import sys
from collections.abc import Iterator

import pytest

from tests.helpers.datasets import data_dir, tiny  # noqa: F401 - fixtures

_REAL_IMAGES = pathlib.Path(__file__).parents[2] / "shared" / "data" / "manual"


@pytest.fixture(autouse=True, scope="module")
def determinism_ends_with_its_module() -> Iterator[None]:
    """A run turns it on for its process, which here goes on with other tests."""
    yield
    if "tensorflow" in sys.modules:
        from tensorflow.python.framework import config

        config.disable_op_determinism()


@pytest.fixture(scope="session")
def real_images() -> pathlib.Path:
    """The manual folder of real images, which never enter the repository."""
    if not _REAL_IMAGES.is_dir():
        pytest.skip("the real images are not here (../shared/data/manual)")
    return _REAL_IMAGES
