"""A search that takes seconds."""

import pathlib
from collections.abc import Iterator

import pytest

from tests.helpers import searches


@pytest.fixture(scope="session")
def cache_dir(tmp_path_factory) -> pathlib.Path:
    """Its rows are there from test to test."""
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="module")
def quick(data_dir, cache_dir) -> Iterator[list[str]]:
    """Flags of all but the space; the network is tiny, and tells images apart."""
    with pytest.MonkeyPatch.context() as patch:
        searches.fix_random_weights(patch)
        yield [*searches.QUICK, f"--data_dir={data_dir}", f"--cache_dir={cache_dir}"]
