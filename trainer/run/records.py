"""Frozen records of settings: the bounds of a value, its type, and how a wrong one is refused."""

import contextlib
import dataclasses
import numbers
import os
from collections.abc import Callable
from typing import Any, NamedTuple

from trainer.run.errors import ConfigError
from trainer.run.text import shortened

_LONGEST = 60  # letters of a value in a message


class Bounds(NamedTuple):
    """The values that a field may have: in words, and as a test."""

    text: str
    hold: Callable[[Any], bool]


def convert(record: Any) -> None:
    """Makes the values of a frozen record those of its fields' types.

    Raises:
        ConfigError: A value is of another type.
    """
    for field in dataclasses.fields(record):
        object.__setattr__(record, field.name, _converted(field, getattr(record, field.name)))


def _converted(field: dataclasses.Field, value: Any) -> Any:
    """The value as the field's own type, so that it can be written to JSON."""
    if getattr(value, "shape", None) == () and hasattr(value, "item"):  # a scalar of NumPy's
        value = value.item()
    if field.type is str and isinstance(value, (str, os.PathLike)):
        require("\0" not in os.fspath(value), field.name, value, "text without a NUL character")
        return os.fspath(value)
    if field.type is float and isinstance(value, numbers.Real) and not isinstance(value, bool):
        with contextlib.suppress(OverflowError):  # an int beyond all floats
            return float(value)
    if field.type is int and isinstance(value, numbers.Integral) and not isinstance(value, bool):
        return int(value)
    if field.type is bool and isinstance(value, (bool, numbers.Integral)) and value in (0, 1):
        return bool(value)
    wanted: dict[Any, str] = {
        str: "text", float: "a number", int: "a whole number", bool: "True or False"
    }  # fmt: skip
    bounds = field.metadata.get("bounds")
    more = f", {bounds.text}" if bounds else ""
    require(False, field.name, value, wanted[field.type] + more)


def require(holds: Any, name: str, value: Any, wanted: str) -> None:
    """Refuses the value of a flag.

    Args:
        holds: Whether the value is allowed.
        name: Of the flag.
        value: What was given.
        wanted: What to give instead, in words.

    Raises:
        ConfigError: It is not allowed.
    """
    if not holds:
        try:
            text = shortened(repr(value), _LONGEST)
        except ValueError:  # an int of thousands of digits
            text = "a number of thousands of digits"
        raise ConfigError(f"--{name} is {text}. Give {wanted}.")
