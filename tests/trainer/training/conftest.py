"""What the tests of trainings share."""

import contextlib
import copy
import dataclasses

import keras
import pytest
import tensorflow as tf

from tests.helpers import trainings

_LENGTHS = ("epochs", "fine_tune_epochs")  # of which neither networks nor steps depend


class _Trainings:
    """Trainings of the tiny network; networks of equal settings are built and traced once.

    Each begins with the weights that its networks were built with, and with rows of its own. One
    that is made later takes the networks of an earlier one of the same settings.
    """

    def __init__(self, data_dir, opened: contextlib.ExitStack) -> None:
        self._data_dir, self._opened, self._built = data_dir, opened, {}

    def __call__(self, **changes):
        key = tuple(sorted((name, changes[name]) for name in changes if name not in _LENGTHS))
        if key not in self._built:
            config = trainings.quick(self._data_dir, **changes)
            built = self._opened.enter_context(trainings.training(config))
            begin = [variable.numpy() for variable in _variables(built)]
            self._built[key] = built, begin
        built, begin = self._built[key]
        for variable, value in zip(_variables(built), begin, strict=True):
            variable.assign(value)
        # As `set_up` does.
        keras.utils.set_random_seed(built.config.seed)
        keras.config.set_dtype_policy(built.precision.policy)
        if built.config.deterministic:
            tf.config.experimental.enable_op_determinism()
        return self._as_long_as(built, changes)

    def _as_long_as(self, built, changes):
        other = copy.copy(built)
        lengths = {name: changes.get(name, getattr(trainings.QUICK, name)) for name in _LENGTHS}
        other.config = dataclasses.replace(built.config, **lengths)
        other._demand = dataclasses.replace(built._demand, phases=other.config.phases)
        other._rows, other.plan = {}, other._planned()
        assert not other.plan.missing_bytes  # views of more epochs are settings of their own
        return other


def _variables(training) -> list[keras.Variable]:
    models = {training.networks.trained, training.networks.served}
    return [variable for model in sorted(models, key=id) for variable in model.variables]


@pytest.fixture(scope="module")
def built(data_dir):
    """The trainings of a module, closed at its end."""
    before = keras.config.dtype_policy()
    with contextlib.ExitStack() as opened:
        yield _Trainings(data_dir, opened)
    keras.config.set_dtype_policy(before)


@pytest.fixture
def ready(built):
    """Makes trainings of the tiny network that are ready to begin."""
    before = keras.config.dtype_policy()
    yield built
    keras.config.set_dtype_policy(before)
