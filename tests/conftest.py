"""What tests of several rooms share."""

import pathlib
import sys
from collections.abc import Iterator

import pytest

_REAL_FILMS = pathlib.Path(__file__).parents[2] / "shared" / "data" / "manual"


@pytest.fixture(autouse=True, scope="module")
def determinism_ends_with_its_module() -> Iterator[None]:
    """A run turns it on for its process, which here goes on with other tests."""
    yield
    if "tensorflow" in sys.modules:
        from tensorflow.python.framework import config

        config.disable_op_determinism()


@pytest.fixture(scope="session")
def real_films() -> pathlib.Path:
    """The manual folder of real films, which never enter the repository."""
    if not _REAL_FILMS.is_dir():
        pytest.skip("the real films are not here (../shared/data/manual)")
    return _REAL_FILMS


@pytest.fixture(scope="session")
def data_dir(tmp_path_factory) -> pathlib.Path:
    """Holds `covid_tfds/tiny`, built once: some 100 synthetic films of 72 patients."""
    import covid_tfds
    from covid_tfds.covid_tfds_dataset_builder import CovidConfig

    folder = tmp_path_factory.mktemp("data")
    config = CovidConfig(name="tiny", films="phantom", patients=72)
    covid_tfds.Builder(config=config, data_dir=folder).download_and_prepare()
    return folder
