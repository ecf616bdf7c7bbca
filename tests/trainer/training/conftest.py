"""What the tests of trainings share."""

import contextlib

import pytest

from tests.helpers import trainings


@pytest.fixture
def ready(data_dir):
    """Trainings of the tiny network, closed at the end."""
    with contextlib.ExitStack() as opened:
        yield lambda **changes: opened.enter_context(
            trainings.training(trainings.quick(data_dir, **changes))
        )
