"""Names of classes as users write them."""

import re
import unicodedata
from collections.abc import Iterable

from covid_tfds.records import LABELS
from covid_tfds.sources import listing

_ALIASES = {"normal": "healthy", "covid-19": "covid19", "covid": "covid19",
            "bacteria": "bacterial", "virus": "viral"}  # fmt: skip
_WHOLE = re.compile(r"(-?\d+)\.0+", re.ASCII)  # a column with an empty cell has floats in pandas


def tidy(text: str) -> str:
    """A name as it is kept: without blanks and invisible marks around it, accents in one form."""
    text = listing.nfc(text)
    start, end = 0, len(text)
    while start < end and _is_blank(text[start]):
        start += 1
    while end > start and _is_blank(text[end - 1]):
        end -= 1
    return text[start:end]


def key_of_any(text: str) -> str:
    """Equal for names that people take for the same.

    Case, width, kinds of blanks and dashes, invisible marks, and `1.0` for `1` do not matter.
    """
    if not text.isascii():
        text = "".join(_plain(letter) for letter in unicodedata.normalize("NFKC", text))
    text = unicodedata.normalize("NFKC", " ".join(text.casefold().split()))
    whole = _WHOLE.fullmatch(text)
    return whole[1] if whole else text


def key(text: str) -> str:
    """Equal for names of one class: as for `key_of_any`, and public classes have aliases."""
    name = key_of_any(text)
    return _ALIASES.get(name, name)


def is_public(text: str) -> bool:
    """Whether a name is that of a public class, or an alias of one."""
    return key(text) in LABELS


def can_be_stored(text: str) -> bool:
    """Whether a name is one line of text, as TFDS stores it."""
    text = tidy(text)
    return listing.is_text(text) and not listing.has_control(text)


def unified(names: Iterable[str]) -> dict[str, str]:
    """The class of each name: of several spellings the first in sorted order."""
    names, first = list(names), {label: label for label in LABELS}
    for name in sorted(map(tidy, names)):
        first.setdefault(key(name), name)
    return {name: first[key(name)] for name in names}


def in_order(classes: Iterable[str]) -> tuple[str, ...]:
    """The public classes in their own order, then all others sorted."""
    classes = set(classes)
    others = sorted(classes - set(LABELS))
    return (*(label for label in LABELS if label in classes), *others)


def _is_blank(letter: str) -> bool:
    return letter.isspace() or (not letter.isascii() and unicodedata.category(letter) == "Cf")


def _plain(letter: str) -> str:
    category = unicodedata.category(letter)
    return "" if category == "Cf" else "-" if category == "Pd" else letter
