"""What the trainer says when its user has to mend something."""


class RunError(Exception):
    """The run can't start or go on; the message says what is wrong and how to mend it."""


class DivergedError(RunError):
    """The network gives no finite probabilities any more."""
