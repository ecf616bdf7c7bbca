"""What tests of several rooms share."""

import pathlib
import sys
from collections.abc import Iterator

import pytest

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


@pytest.fixture(scope="session")
def data_dir(tmp_path_factory) -> pathlib.Path:
    """Holds `covid_tfds/tiny`, built once: some 100 synthetic images of 72 patients."""
    import covid_tfds
    from covid_tfds.config import CovidConfig

    folder = tmp_path_factory.mktemp("data")
    config = CovidConfig(name="tiny", images="phantom", patients=72)
    covid_tfds.Builder(config=config, data_dir=folder).download_and_prepare()
    return folder
