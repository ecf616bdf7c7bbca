"""Silence where a library talks before it can be asked not to."""

import contextlib
import os
from collections.abc import Iterator


@contextlib.contextmanager
def no_greeting() -> Iterator[None]:
    """Drops what TensorFlow writes to stderr while it is imported, before any log level counts.

    Errors of Python still come through, and TF_CPP_MIN_LOG_LEVEL=0 shows everything.
    """
    if "TF_CPP_MIN_LOG_LEVEL" in os.environ:
        yield
        return
    os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
    stderr, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 2)
    try:
        yield
    finally:
        os.dup2(stderr, 2)
        os.close(stderr)
        os.close(nowhere)
