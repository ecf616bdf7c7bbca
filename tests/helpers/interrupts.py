"""Interrupts as they reach Python from C++, and commands that signals are sent to."""

import contextlib
import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Iterator

from trainer.run import command

_COMMAND = """
import ctypes, signal, sys, time
from trainer.run import command

def stuck():
    '''As in a kernel of TensorFlow: Python can't call a handler.'''
    mutex, libc = ctypes.create_string_buffer(64), ctypes.CDLL(None)
    libc.pthread_mutex_lock(mutex)
    print("ready", flush=True)
    libc.pthread_mutex_lock(mutex)  # which no signal ends, as it would end sleep

def main(argv):
{body}

command.run(main)
"""


def interrupted_within_tensorflow():
    """As TensorFlow's C++ does when an interrupt strikes in the Python that it calls."""
    try:
        signal.raise_signal(signal.SIGINT)
    except KeyboardInterrupt:
        raise RuntimeError("MISMATCH of original and normalized active exception types") from None


@contextlib.contextmanager
def command_that_is_ready(body: str) -> Iterator[subprocess.Popen]:
    """A command whose `main` has these lines, from when it has printed "ready"."""
    lines = textwrap.indent(textwrap.dedent(body), "    ")
    with subprocess.Popen(
        [sys.executable, "-c", _COMMAND.format(body=lines)],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        env={**os.environ, "PYTHONUNBUFFERED": ""},
    ) as process:  # fmt: skip
        try:
            assert process.stdout.readline() == "ready\n", process.stderr.read()
            yield process
        finally:
            process.kill()


def ended(process: subprocess.Popen) -> tuple[int, str, str]:
    """Status of a process that ends by itself, and what it printed after "ready"."""
    printed, errors = process.communicate(timeout=60)
    return process.returncode, printed, errors


def signalled_until_ended(process: subprocess.Popen, number: int) -> tuple[int, str, str]:
    """Sends a signal now and then, as an impatient user does; then as `ended`."""
    while process.poll() is None:
        process.send_signal(number)
        time.sleep(2 * command._ONE_EVENT)
    return ended(process)
