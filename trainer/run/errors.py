"""Errors that the user can mend: a message instead of a traceback."""


class ConfigError(ValueError):
    """A flag, or two flags together, that make no sense; the message says how to mend it."""


class RunError(Exception):
    """The run can't start or go on; the message says what is wrong and how to mend it."""


class ConfigFailedError(RunError):
    """One configuration can't be trained here; others, of a search for example, can."""


class DivergedError(ConfigFailedError):
    """The network gives no finite probabilities any more."""
