"""What tests of several rooms share."""

import pathlib

import pytest

_REAL_FILMS = pathlib.Path(__file__).parents[2] / "shared" / "data" / "manual"


@pytest.fixture(scope="session")
def real_films() -> pathlib.Path:
    """The manual folder of real films, which never enter the repository."""
    if not _REAL_FILMS.is_dir():
        pytest.skip("the real films are not here (../shared/data/manual)")
    return _REAL_FILMS
