"""Interrupts as they reach Python from C++."""

import signal


def interrupted_within_tensorflow():
    """As TensorFlow's C++ does when an interrupt strikes in the Python that it calls."""
    try:
        signal.raise_signal(signal.SIGINT)
    except KeyboardInterrupt:
        raise RuntimeError("MISMATCH of original and normalized active exception types") from None
