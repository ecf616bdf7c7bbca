"""Flags as commands define them: each in a group of --help, with a line that explains it."""

from collections.abc import Callable, Sequence
from typing import Any, cast

from absl import flags

# In the order in which --help shows them.
GROUPS = (
    "actions",
    "data",
    "network",
    "training",
    "augmentation",
    "search",
    "machine",
    "execution",
    "output",
)
_KINDS: dict[type, tuple[Callable[..., Any], str]] = {
    bool: (flags.DEFINE_boolean, "true or false"),
    int: (flags.DEFINE_integer, "a whole number"),
    float: (flags.DEFINE_float, "a number"),
    str: (flags.DEFINE_string, "text"),
}
flags.disclaim_key_flags()  # a flag belongs to the module that calls `define`


class Described(flags.Flag):
    """What a flag of `define` is to a type checker: absl's, which holds what the help shows, too.

    Attributes:
        group: One of `GROUPS`.
        short: What it is, in a few words.
        choices: All values, if they can be listed.
        shown: The default as the help shows it.
    """

    group: str
    short: str
    choices: tuple[str, ...]
    shown: Any


class Reader(flags.ArgumentParser):
    """Reads a value as absl does, and says of a wrong one what to give instead."""

    def __init__(self, of_absl: flags.ArgumentParser, wanted: str) -> None:
        """Reads nothing yet.

        Args:
            of_absl: Reads the values.
            wanted: Which there are, for messages.
        """
        super().__init__()
        self._of_absl, self._wanted = of_absl, wanted

    def parse(self, argument: Any) -> Any:
        """The value of a text.

        Raises:
            ValueError: It is no value; the message says what to give.
        """
        try:
            return self._of_absl.parse(argument)
        except (TypeError, ValueError):
            raise ValueError(f"can't be read. Give {self._wanted}.") from None

    def flag_type(self) -> str:
        """What absl calls the type, for its own helps."""
        return self._of_absl.flag_type()


def define(
    name: str,
    default: Any,
    short: str,
    group: str,
    *,
    more: str = "",
    choices: Sequence[str] = (),
    bounds: str = "",
    shown: Any = None,
    values: flags.FlagValues = flags.FLAGS,
    **limits: Any,
) -> None:
    """Defines an absl flag of the type of its default.

    Args:
        name: Of the flag.
        default: Its value where it is not given: bool, int, float or str.
        short: What it is, in a few words, for --helpshort.
        group: One of `GROUPS`.
        more: What --help explains beside that.
        choices: All values, if they can be listed. They are checked where they are used.
        bounds: Which values are allowed, for the help and for messages.
        shown: What the help shows as the default, if it is not the flag's own.
        values: Where it is defined.
        limits: `lower_bound`, `upper_bound` of a number.
    """
    kind = type(default)
    make, wanted = _KINDS[kind]
    make(name, default, explained(short, more, choices, bounds), flag_values=values, **limits)
    flag = cast(Described, values[name])
    if kind is not str:
        flag.parser = Reader(flag.parser, ", ".join(filter(None, (wanted, bounds))))
    flag.group, flag.short, flag.choices = GROUPS[GROUPS.index(group)], short, tuple(choices)
    flag.shown = default if shown is None else shown


def explained(short: str, more: str, choices: Sequence[str], bounds: str) -> str:
    """The full help of a flag: sentences."""
    parts = [
        f"{short[0].upper()}{short[1:]}." if short else "",
        f"One of {', '.join(choices)}." if choices else "",
        f"Values: {bounds}." if bounds else "",
        more,
    ]
    return " ".join(filter(None, parts))
