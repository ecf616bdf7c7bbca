"""What tests of several rooms share."""

import gc
import os
import pathlib
import sys
from collections.abc import Iterator

import pytest

from tests.helpers.datasets import data_dir, drawn_once, tiny  # noqa: F401 - fixtures

_REAL_IMAGES = pathlib.Path(__file__).parents[2] / "shared" / "data" / "manual"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skips, by name, tests that compute in bfloat16 where oneDNN is kept from it."""
    if not any(name.endswith("_MAX_CPU_ISA") for name in os.environ):
        return  # without importing Keras for it
    from trainer.model.precision import bfloat16_limit

    if limit := bfloat16_limit():
        skip = pytest.mark.skip(reason=f"bfloat16 does not run under {limit}")
        for item in items:
            if "bfloat16" in item.nodeid or item.get_closest_marker("bfloat16"):
                item.add_marker(skip)


def pytest_collection_finish() -> None:
    """What was imported is no garbage, and is not searched for it again and again."""
    gc.freeze()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_teardown(item: pytest.Item) -> Iterator[None]:
    """Fails a test that leaves its precision behind: a later one would compute in it, unasked."""
    yield
    # Only where a test computed: a start of Keras for this would take seconds.
    if keras := sys.modules.get("keras"):
        left = keras.config.dtype_policy().name
        keras.config.set_dtype_policy("float32")
        assert left == "float32", f"{item.nodeid} leaves Keras' policy at {left}. Put it back."


def _determinism_ends() -> Iterator[None]:
    """A run turns it on for its process, which here goes on with other tests."""
    name = "tensorflow.python.framework.config"  # not imported for this
    before = name in sys.modules and sys.modules[name].is_op_determinism_enabled()
    yield
    if name in sys.modules and not before:
        sys.modules[name].disable_op_determinism()


# What a fixture of a module turned on stays on for the module's tests.
determinism_ends_with_its_module = pytest.fixture(autouse=True, scope="module")(_determinism_ends)
determinism_ends_with_its_test = pytest.fixture(autouse=True)(_determinism_ends)


@pytest.fixture(scope="session")
def real_images() -> pathlib.Path:
    """The manual folder of real images, which never enter the repository."""
    if not _REAL_IMAGES.is_dir():
        pytest.skip("the real images are not here (../shared/data/manual)")
    return _REAL_IMAGES
