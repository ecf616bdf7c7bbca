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
    """Commands of a file share what is made of a model.keras while the file is the same.

    That is what Keras made of it, whether its squares are ours, and what TensorFlow compiled.
    """
    from trainer.inference import network

    original, check, above = network._loaded, network._require_same_squares, network.Network._above

    @functools.cache
    def load(path: pathlib.Path, size: int, written: int) -> object:
        return original(path)

    def same(path: pathlib.Path) -> object:
        return load(path, path.stat().st_size, path.stat().st_mtime_ns)

    firsts: dict[object, object] = {}  # by what Keras made: its first network

    @functools.cache
    def compiled(model: object) -> object:
        return above.func(firsts[model])

    def checked(loaded: object) -> None:
        if loaded.model not in firsts:
            check(loaded)
            firsts[loaded.model] = loaded

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(network, "_loaded", same)
        patch.setattr(network, "_require_same_squares", checked)
        patch.setattr(network.Network, "_above", property(lambda of: compiled(of.model)))
        yield
