"""What the tests of several rooms share."""

import pathlib

import pytest

from tests.helpers.undrawn import undrawn, undrawn_here  # noqa: F401 - fixtures


@pytest.fixture(scope="session")
def aligned_run(data_dir, tmp_path_factory) -> tuple[pathlib.Path, dict]:
    """The folder and the metrics of a run of aligned images; nobody changes it."""
    from tests.helpers import trainings

    folder = tmp_path_factory.mktemp("aligned") / "run"
    return folder, trainings.run(trainings.quick(data_dir, align="chest", epochs=1), folder)
