"""What Keras callbacks know, as plain values and arrays: of ours and of users' alike.

All attributes are taken that are numbers, texts, arrays, or lists, tuples and dictionaries of
these, and that training has changed: counters, best values, best weights, histories. What else a
callback holds is what its constructor makes again: functions, writers, the model, and settings,
which may be others when the training goes on.
"""

import contextlib
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np

_NOT_ITS_OWN = ("_model", "params")  # set by Keras
_ARRAY, _SCALAR, _TUPLE, _DICT = "array", "scalar", "tuple", "dict"


class _Unknown(Exception):
    """A value is of a type that is not saved."""


Settings = list[dict[str, str]]  # of each callback, its attributes as texts that can be compared


def settings_of(callbacks: Sequence[keras.callbacks.Callback]) -> Settings:
    """What callbacks hold before their training, but for arrays.

    Args:
        callbacks: In their order.
    """
    found: Settings = []
    for callback in callbacks:
        found.append({})
        for name, value in vars(callback).items():
            arrays: dict[str, np.ndarray] = {}
            with contextlib.suppress(_Unknown):
                encoded = _encoded(value, arrays)
                if not arrays:
                    found[-1][name] = repr(encoded)
    return found


def of(
    callbacks: Sequence[keras.callbacks.Callback], settings: Settings
) -> tuple[list, dict[str, np.ndarray]]:
    """What callbacks know more than they were given.

    Args:
        callbacks: In their order.
        settings: As of `settings_of`, of the same ones. What has changed is taken out of them, and
            is no setting any more, whatever value it comes to have.

    Returns:
        JSON-able values, and the arrays that they refer to by name.
    """
    arrays: dict[str, np.ndarray] = {}
    states = []
    for callback, given in zip(callbacks, settings, strict=True):
        known = {}
        for name, value in vars(callback).items():
            if name in _NOT_ITS_OWN:
                continue
            count = len(arrays)
            with contextlib.suppress(_Unknown):
                encoded = _encoded(value, arrays)
                if len(arrays) > count or given.get(name) != repr(encoded):
                    known[name] = encoded
                    given.pop(name, None)
        states.append([_kind(callback), known])
    return states, arrays


def restore(
    callbacks: Sequence[keras.callbacks.Callback],
    states: list,
    arrays: dict[str, np.ndarray],
    settings: Settings,
) -> None:
    """Gives callbacks what those of their class knew, in the order of both.

    Args:
        callbacks: In their order; one of a class that is not in `states` stays as it is.
        states: As of `of`.
        arrays: As of `of`; there may be others.
        settings: As for `of`; what is restored is none of them, also where the callbacks are those
            that knew it.
    """
    left = list(states)
    for callback, given in zip(callbacks, settings, strict=True):
        at = next((i for i, (kind, _) in enumerate(left) if kind == _kind(callback)), None)
        if at is not None:
            _, known = left.pop(at)
            vars(callback).update({name: _decoded(each, arrays) for name, each in known.items()})
            for name in known:
                given.pop(name, None)


def _kind(callback: keras.callbacks.Callback) -> str:
    return f"{type(callback).__module__}.{type(callback).__qualname__}"


def _encoded(value: Any, arrays: dict[str, np.ndarray]) -> Any:
    """Plain values and lists as they are, all else as {type: content}."""
    if value is None or (isinstance(value, (bool, int, float, str)) and not _of_numpy(value)):
        return value
    if _of_numpy(value):
        if np.asarray(value).dtype.kind not in "biufc":
            raise _Unknown
        name = f"callback/{len(arrays)}"
        arrays[name] = np.array(value)
        return {_SCALAR if isinstance(value, np.generic) else _ARRAY: name}
    if type(value) is list:
        return [_encoded(each, arrays) for each in value]
    if type(value) is tuple:
        return {_TUPLE: [_encoded(each, arrays) for each in value]}
    if type(value) is dict:
        pairs = value.items()
        return {_DICT: [[_encoded(k, arrays), _encoded(v, arrays)] for k, v in pairs]}
    raise _Unknown


def _of_numpy(value: Any) -> bool:
    return isinstance(value, (np.ndarray, np.generic))


def _decoded(value: Any, arrays: dict[str, np.ndarray]) -> Any:
    if isinstance(value, list):
        return [_decoded(each, arrays) for each in value]
    if not isinstance(value, dict):
        return value
    ((kind, content),) = value.items()
    if kind == _ARRAY:
        return arrays[content]
    if kind == _SCALAR:
        return arrays[content][()]
    if kind == _TUPLE:
        return tuple(_decoded(each, arrays) for each in content)
    return {_decoded(k, arrays): _decoded(v, arrays) for k, v in content}
