"""`--help` and `--helpshort` of every command, in groups; what is said of a wrong command line."""

import re
import sys
import textwrap
from typing import Any, cast

from absl import flags

from trainer.run import names
from trainer.run.definitions import GROUPS, Described, Reader
from trainer.run.text import WIDTH, shortened

_COLUMN = 35  # where the explanations of --helpshort begin
_LONGEST = 60  # letters of a value in a message
_UNREAD = re.compile(r"flag (--[^=]*)=(.*): can't be read(\. .*)", re.DOTALL)
_NO_VALUE = " does not take an argument"  # of --noNAME=VALUE
_OF_ABSL = ("flagfile", "help", "helpfull", "helpshort")
_FOOT = {
    False: "--help explains each of them; --flagfile=FILE reads flags from a file.",
    True: "--helpshort has a line for each; --flagfile=FILE reads flags from a file.",
}


class _Help(flags.BooleanFlag):
    """Shows the flags of the command, and ends it with status 0."""

    def __init__(self, name: str, short_name: str | None, *, full: bool) -> None:
        super().__init__(name, False, "Show this help.", short_name=short_name, allow_override=True)
        self.parser = Reader(self.parser, "true or false")
        self._full = full

    def parse(self, argument: Any) -> None:
        if self._parse(argument):
            print(overview(flags.FLAGS, full=self._full), flush=True)
            sys.exit(0)


def replace_absl(values: flags.FlagValues = flags.FLAGS) -> None:
    """Puts this help in the place of absl's; `-h` is --help, too. --helpfull stays absl's own."""
    values["helpshort"] = _Help("helpshort", None, full=False)
    values["help"] = values["h"] = _Help("help", "?", full=True)


def overview(values: flags.FlagValues, *, full: bool) -> str:
    """All flags that were defined with `definitions.define`, by group.

    Args:
        values: Has them.
        full: Whether each is explained in full; else it has one line of `WIDTH` columns.
    """
    listed = [cast(Described, values[name]) for name in values if hasattr(values[name], "group")]
    about = [part for part in (sys.modules["__main__"].__doc__ or "").split("\n\n") if part.strip()]
    shown = about if full else about[:1]
    parts = [textwrap.fill(part, WIDTH, break_on_hyphens=False) for part in shown]
    for group in GROUPS:
        lines = [_paragraph(each) if full else _line(each) for each in listed
                 if each.group == group]  # fmt: skip
        if lines:
            parts.append("\n".join([f"{group}:", *lines]))
    return "\n\n".join([*parts, _FOOT[full]])


def _named(flag: Described) -> str:
    value = flag.shown
    if isinstance(value, bool):
        value = str(value).lower()
    return f"--{flag.name}={f'{value:g}' if isinstance(value, float) else value}"


def _line(flag: Described) -> str:
    start = f"  {_named(flag)}  ".ljust(_COLUMN)
    choices = "|".join(flag.choices)
    text = ": ".join(filter(None, (choices, flag.short)))
    fit = (each for each in (text, choices, flag.short) if len(start + each) <= WIDTH)
    return start + next(fit, flag.short)


def _paragraph(flag: Described) -> str:
    text = textwrap.fill(
        flag.help, WIDTH, initial_indent=" " * 6, subsequent_indent=" " * 6,
        break_long_words=False, break_on_hyphens=False,
    )  # fmt: skip
    return f"  {_named(flag)}\n{text}"


def message(error: Exception, values: flags.FlagValues = flags.FLAGS) -> str:
    """What is wrong with a command line, and how to mend it.

    Args:
        error: Of absl, or of a file of flags that is no text.
        values: The flags that there are.
    """
    if isinstance(error, flags.UnrecognizedFlagError):
        return _unknown(error.flagname, values)
    if isinstance(error, UnicodeDecodeError):
        return "--flagfile names a file that is no text. Give one with a flag a line."
    if isinstance(error, flags.CantOpenFlagFileError):
        reason = str(error.args[0]).removeprefix("ERROR:: ")
        return f"{reason}. Give a file with a flag a line."
    if str(error).startswith("Missing value for flag --"):
        return f"{error}. Write it as {str(error).rpartition(' ')[2]}=VALUE."
    if str(error).endswith(_NO_VALUE):
        given = shortened(str(error).removesuffix(_NO_VALUE), _LONGEST)
        return f"{given} takes no value. Write it as {given.partition('=')[0]}."
    if match := _UNREAD.fullmatch(str(error)):
        return f"{match[1]}={shortened(match[2], _LONGEST)} can't be read{match[3]}"
    return str(error)


def _unknown(name: str, values: flags.FlagValues) -> str:
    ours = [each for each in values if hasattr(values[each], "group")]
    known = (*ours, *_OF_ABSL)
    meant = names.nearest(name, known) or names.nearest(name.removeprefix("no"), known)
    name = shortened(name, _LONGEST)
    text = f"Unknown command line flag '{name}'. "
    if meant:
        text += f"Did you mean {' or '.join(f'--{each}' for each in meant)}? "
    elif any(word.lstrip("-").startswith("flagfile") for word in sys.argv):
        text += f"Where it is of a --flagfile of another command, --undefok={name} skips it. "
    return text + "--helpshort lists all flags."
