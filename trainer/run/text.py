"""Text for the screen: one table maker, one format of a score, lines of at most 80 columns."""

import math
import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

WIDTH = 80  # columns of a terminal
FEW = 5  # patient groups: fewer are counted one by one, and have no third decimal


def table(rows: Sequence[Sequence[str]], *, align: str = "<", indent: int = 0) -> str:
    """Lays out a table, each column as wide as its widest cell, two spaces between columns.

    Args:
        rows: Cells of each row, the header among them; rows may end early.
        align: One letter per column, "<" (left) or ">" (right); columns beyond are right-aligned.
        indent: Spaces before each line.

    Returns:
        The lines, joined by line breaks, without spaces at their ends.

    Example:
        >>> print(table([["class", "n"], ["healthy", "105"]]))
        class      n
        healthy  105
    """
    columns = max(map(len, rows), default=0)
    align = align.ljust(columns, ">")
    widths = [max(len(row[i]) for row in rows if i < len(row)) for i in range(columns)]
    lines = (
        "  ".join(f"{cell:{side}{width}}" for cell, side, width in zip(row, align, widths))  # noqa: B905 (rows may end early)
        for row in rows
    )
    return "\n".join((" " * indent + line).rstrip() for line in lines)


def wrapped(text: str, *, indent: int = 0, width: int = WIDTH) -> str:
    """Breaks a paragraph into lines.

    Args:
        text: The paragraph. A word that is longer than a line (a path) keeps a line of its own; a
            no-break space (U+00A0) becomes a space at which no line ends.
        indent: Spaces before each line but the first.
        width: Columns of a line at the most.
    """
    lines = textwrap.fill(
        text,
        width,
        subsequent_indent=" " * indent,
        break_long_words=False,
        break_on_hyphens=False,
    )
    return lines.replace("\u00a0", " ")


def shortened(name: str, most: int = 16) -> str:
    """The name, cut to `most` letters with an ellipsis where it is longer."""
    return name if len(name) <= most else name[: most - 1] + "…"


def short_names(names: Sequence[str], most: int = 16) -> list[str]:
    """`shortened` names; those that would be equal end in their number among all, from 1."""
    cut = [shortened(name, most) for name in names]
    return [
        each if cut.count(each) == 1 else f"{each[: most - 1 - len(str(i))]}…{i}"
        for i, each in enumerate(cut, 1)
    ]


def listed(names: Sequence[str]) -> str:
    """`a`, `a and b`, `a, b and c`."""
    return " and ".join(filter(None, [", ".join(names[:-1]), names[-1]]))


def counted(n: int, noun: str, plural: str = "") -> str:
    """`1 image`, `2 images`; `plural` where it is not the noun and an s."""
    return f"{n} {noun if n == 1 else plural or f'{noun}s'}"


def number(value: float | None, sign: str = "", decimals: int = 3) -> str:
    """`0.838`; `-` where there is none. `sign` is "+" for differences; none is `-0.000`."""
    return "-" if value is None else f"{round(value, decimals) + 0.0:{sign}.{decimals}f}"


def percent(share: float) -> str:
    """`97 %` of 0.97; what is not all or nothing is not rounded to it."""
    if 0.995 <= share < 1:
        return ">99 %"
    return "<1 %" if 0 < share <= 0.005 else f"{share:.0%}".replace("%", " %")


def estimate(value: Mapping[str, Any], sign: str = "", decimals: int = 3) -> str:
    """An estimate with its 95 % interval, `0.838 [0.802, 0.872]`.

    Args:
        value: With "value", "low" and "high", and "groups" where that is known: of fewer than `FEW`
            patient groups it has two decimals at most, the limits rounded outwards.
        sign: "+" shows the signs, for differences.
        decimals: At most.

    Returns:
        Where all is right or wrong the value and one limit, `1 (at least 0.982)`, rounded outwards;
        `not estimable` for one patient group, whose images show nothing of others; `not defined`
        without a value.
    """
    if value["value"] is None:
        return "not defined"
    groups = value.get("groups", FEW)
    if groups == 1:
        return "not estimable"
    low, high = value["low"], value["high"]
    all_right = not sign and value["value"] == high == 1
    all_wrong = not sign and value["value"] == low == 0
    if groups < FEW:
        decimals = min(decimals, 2)
    if groups < FEW or all_right or all_wrong:
        low, high = (f(end * 10**decimals) / 10**decimals
                     for f, end in ((math.floor, low), (math.ceil, high)))  # fmt: skip
    if all_right or all_wrong:
        words, limit = ("1 (at least", low) if all_right else ("0 (at most", high)
        return f"{words} {number(limit, decimals=decimals)})"
    shown, low, high = (number(each, sign, decimals) for each in (value["value"], low, high))
    return f"{shown} [{low}, {high}]"


def score(value: Mapping[str, Any], images: int, groups: int) -> str:
    """The one line of a score: `0.838 [0.802, 0.872], n = 632 images of 446 patient groups`."""
    counts = f"n = {counted(images, 'image')} of {counted(groups, 'patient group')}"
    return f"{estimate({'groups': groups, **value})}, {counts}"


def difference(value: Mapping[str, Any]) -> str:
    """A difference; where its interval holds 0, that both sides are not distinguishable, and why.

    Args:
        value: Of `paired.paired_difference`.
    """
    shown = estimate(value, "+")
    if not may_be_none(value):
        return shown
    ours, theirs = value["discordant"].values()
    return f"{shown}, not distinguishable ({ours} : {theirs} patient groups differ)"


def may_be_none(value: Mapping[str, Any]) -> bool:
    """Whether the interval of a difference holds 0; one patient group has no interval."""
    return value.get("groups") != 1 and value["low"] <= 0 <= value["high"]
