"""What the tests of several rooms share."""

import functools
import pathlib
from collections.abc import Iterator

import pytest

from tests.helpers.undrawn import undrawn, undrawn_here  # noqa: F401 - fixtures


@pytest.fixture(scope="session")
def aligned_run(data_dir, tmp_path_factory) -> tuple[pathlib.Path, dict]:
    """The folder and the metrics of a run of aligned images; nobody changes it."""
    from tests.helpers import trainings

    folder = tmp_path_factory.mktemp("aligned") / "run"
    return folder, trainings.run(trainings.quick(data_dir, align="chest", epochs=1), folder)


@pytest.fixture(scope="module")
def loaded_once() -> Iterator[None]:
    """Commands of a file share what Keras made of a model.keras while the file is the same."""
    from trainer.inference import network

    original = network._loaded

    @functools.cache
    def load(path: pathlib.Path, size: int, written: int) -> object:
        return original(path)

    def same(path: pathlib.Path) -> object:
        return load(path, path.stat().st_size, path.stat().st_mtime_ns)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(network, "_loaded", same)
        yield
