"""Names of classes as users write them."""

import unicodedata
from collections.abc import Iterable

from covid_tfds.records import LABELS
from covid_tfds.sources.listing import nfc

_ALIASES = {"normal": "healthy", "covid-19": "covid19", "covid": "covid19",
            "bacteria": "bacterial", "virus": "viral"}  # fmt: skip
_CONTROL = ("Cc", "Cs", "Zl", "Zp")  # Unicode categories; TFDS stores one class name a line


def tidy(text: str) -> str:
    """A name as it is kept: without blanks around it, accents in one spelling."""
    return nfc(text).strip()


def key(text: str) -> str:
    """Equal for names of one class: case does not matter, and public classes have aliases."""
    name = nfc(tidy(text).casefold())
    return _ALIASES.get(name, name)


def is_public(text: str) -> bool:
    """Whether a name is that of a public class, or an alias of one."""
    return key(text) in LABELS


def can_be_stored(text: str) -> bool:
    """Whether a name is one line of text."""
    return not any(unicodedata.category(letter) in _CONTROL for letter in tidy(text))


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
