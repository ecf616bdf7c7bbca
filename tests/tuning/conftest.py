"""A search that takes seconds."""

import pathlib

import pytest


@pytest.fixture(scope="session")
def cache_dir(tmp_path_factory) -> pathlib.Path:
    """Rows are kept in it from test to test."""
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="session")
def quick(data_dir, cache_dir) -> list[str]:
    """Flags of all but the space; with ImageNet's weights, since random ones tell no classes."""
    return ["--dataset=tiny", f"--data_dir={data_dir}", f"--cache_dir={cache_dir}",
            "--image_size=32", "--epochs=2", "--precision=float32", "--deterministic"]  # fmt: skip
