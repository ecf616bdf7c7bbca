"""A tiny synthetic dataset, built once for all tests of the trainer."""

import pathlib

import pytest


@pytest.fixture(scope="session")
def data_dir(tmp_path_factory) -> pathlib.Path:
    """Holds `covid_tfds/tiny`: some 100 synthetic films of 72 patients."""
    import covid_tfds
    from covid_tfds.covid_tfds_dataset_builder import CovidConfig

    folder = tmp_path_factory.mktemp("data")
    config = CovidConfig(name="tiny", films="phantom", patients=72)
    covid_tfds.Builder(config=config, data_dir=folder).download_and_prepare()
    return folder
