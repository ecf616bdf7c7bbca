"""A search as a command line asks for it."""

from absl import flags

from tuning import settings as settings_lib
from tuning import space as space_lib
from tuning.settings import Settings
from tuning.space import Space


def values(*argv: str) -> flags.FlagValues:
    """The parsed flags of the trainer, the space and the settings."""
    found = flags.FlagValues()
    space_lib.define_flags(found)
    settings_lib.define_flags(found)
    found(["search", *argv])
    return found


def space(*argv: str) -> Space:
    return space_lib.from_flags(values(*argv))


def asked(*argv: str) -> tuple[Space, Settings]:
    parsed = values(*argv)
    searched = space_lib.from_flags(parsed)
    return searched, settings_lib.from_flags(parsed, searched)


def identity(*argv: str) -> dict:
    searched, settings = asked(*argv)
    return settings_lib.identity(settings, searched)
