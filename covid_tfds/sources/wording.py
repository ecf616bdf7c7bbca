"""Numbers, lists of names and the width of lines in messages."""

import difflib
import textwrap
from collections.abc import Iterable

MOST = 10  # names in a list
_LONGEST = 100  # characters of a name
_CUT = "..."
_WIDTH = 80  # columns of a terminal


def one_line(text: str, longest: int = _LONGEST) -> str:
    """A text as it can be shown: on one line, without control characters, of bounded length."""
    shown = _printable(text)
    return shown if len(shown) <= longest else shown[: longest - len(_CUT)] + _CUT


def _both_ends(text: str) -> str:
    """A text as `one_line` shows it, but cut in its middle.

    The end of a path is the name of the file, and behind it may stand what is wrong with it.
    """
    shown, begin = _printable(text), (_LONGEST - len(_CUT)) // 2
    cut = shown[:begin] + _CUT + shown[begin + len(_CUT) - _LONGEST :]
    return shown if len(shown) <= _LONGEST else cut


def _printable(text: str) -> str:
    return "".join(letter if letter.isprintable() else repr(letter)[1:-1] for letter in text)


def listed(names: Iterable[str], most: int = MOST) -> str:
    """`a, b and 20 more`; a blank name is `(no name)`, an empty list `(none)`.

    Args:
        names: In the order in which they are shown.
        most: So many are shown; the others are counted.
    """
    names = list(names)
    shown = ", ".join(_both_ends(name.strip()) or "(no name)" for name in names[:most]) or "(none)"
    return f"{shown} and {len(names) - most} more" if len(names) > most else shown


def lines(texts: Iterable[str], most: int = MOST) -> str:
    """The texts on indented lines of their own, and a line that counts those left off."""
    texts = list(texts)
    more = [f"and {len(texts) - most} more"] if len(texts) > most else []
    return "\n".join(f"  {text}" for text in [*texts[:most], *more])


def counted(count: int, one: str, many: str = "") -> str:
    """`1 class`, `2 classes`: a number with its noun.

    Args:
        count: The number.
        one: The noun for one.
        many: The noun for any other number; `one` and an s if left out.
    """
    return f"{count} {one if count == 1 else many or one + 's'}"


def nearest(name: str, names: Iterable[str]) -> str:
    """` Did you mean 'full'?` with the name that is most like a mistyped one, or nothing."""
    like = difflib.get_close_matches(name, list(names), 1)
    return f" Did you mean {like[0]!r}?" if like else ""


def size(count: int) -> str:
    """A number of bytes in MiB, e.g. `1,204 MiB`."""
    return f"{count / 2**20:,.0f} MiB"


def wrapped(text: str) -> str:
    """A text in lines of at most 80 columns; a path that is longer is left whole."""
    return "\n".join(line for each in text.split("\n") for line in _fitted(each))


def _fitted(line: str) -> list[str]:
    indent = "  " + " " * (len(line) - len(line.lstrip()))
    return textwrap.wrap(
        line, _WIDTH, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False,
        drop_whitespace=True, replace_whitespace=False,
    ) or [""]  # fmt: skip
