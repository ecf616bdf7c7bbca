"""A command in a process of its own, looked at until it ends."""

import contextlib
import pathlib
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence

_ROOT = pathlib.Path(__file__).parents[1]


def watched(
    command: Sequence[str],
    see: Callable[[float, int], None],
    every: float,
    *,
    python: str = sys.executable,
    root: str | pathlib.Path = _ROOT,
) -> float:
    """Runs `python -m` to its end; its failure is this program's.

    Args:
        command: The module and its arguments.
        see: Called again and again with the seconds since the start, and the number of the process.
        every: Seconds between two calls.
        python: The Python that runs it.
        root: The checkout where it is run.

    Returns:
        Seconds of the whole command.
    """
    with tempfile.TemporaryFile() as output:
        begin = time.perf_counter()
        process = subprocess.Popen([python, "-m", *command], cwd=root, stdout=output, stderr=output)
        try:
            while process.poll() is None:
                see(time.perf_counter() - begin, process.pid)
                with contextlib.suppress(subprocess.TimeoutExpired):
                    process.wait(every)
            seconds = time.perf_counter() - begin
        finally:
            process.kill()
        if process.returncode:
            output.seek(0)
            tail = output.read().decode(errors="replace")[-3000:]
            sys.exit(f"{' '.join(command)} failed:\n{tail}")
    return seconds
