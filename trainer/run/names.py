"""Names that may have been meant by one that does not exist."""

import difflib
import re
from collections.abc import Collection

_CLOSE, _SIMILAR = 0.8, 0.6  # of difflib's ratio
_FEWEST = 3  # letters of a word that two names share
_FAR = 5  # the rank of a name for which no rule holds


def nearest(word: str, names: Collection[str], most: int = 3) -> list[str]:
    """The names that are nearest to a word, the nearest first; none where all are far.

    Nearest are those that are equal but for capitals and hyphens; then those that the word
    abbreviates (`lr`, `fine_tune_lr`); then those with few other letters; then those that share a
    word with it, or begin with it.

        >>> nearest("lr", ["learning_rate", "l2"])
        ['learning_rate']

    Args:
        word: As it was given.
        names: All that there are.
        most: At most so many are named.
    """
    ranked = [(*_distance(_plain(word), _plain(name)), name) for name in dict.fromkeys(names)]
    best = min((rank for rank, *_ in ranked), default=_FAR)
    return [name for rank, _, name in sorted(ranked) if rank == best < _FAR][:most]


def _distance(word: str, name: str) -> tuple[int, float]:
    """Which of the rules holds, and how far the names are within it."""
    unlike = 1 - difflib.SequenceMatcher(None, word, name).ratio()
    parts = {part for part in word.split("_") if len(part) >= _FEWEST}
    shared = parts & set(name.split("_")) or (len(word) >= _FEWEST and word in name)
    begun = len(word) > 1 and name.startswith(word)
    rules = (
        word == name,
        bool(word) and _abbreviates(word, name),
        unlike <= 1 - _CLOSE or sorted(word) == sorted(name),
        shared or begun,
        unlike <= 1 - _SIMILAR,
    )
    return next((rank for rank, holds in enumerate(rules) if holds), _FAR), unlike


def _abbreviates(word: str, name: str) -> bool:
    """Whether the word is made of the first letters of each of the name's words."""
    pattern = "".join(_prefix(part) for part in name.split("_") if part)
    return re.fullmatch(pattern, word.replace("_", "")) is not None


def _prefix(part: str) -> str:
    """A pattern of all that `part` begins with, one letter or more."""
    pattern = ""
    for letter in reversed(part[1:]):
        pattern = f"(?:{re.escape(letter)}{pattern})?"
    return re.escape(part[0]) + pattern


def _plain(name: str) -> str:
    return name.lower().replace("-", "_")
