"""Commands as forks of this process, which has imported TensorFlow and computed nothing with it.

A command that is killed hundreds of times would import for most of the time. A fork is a process of
its own from there on: what is sent to it, and what is lost with it, is what a process of its own
gets and loses. It is safe while this process has no thread of TensorFlow's, so nothing here may
compute anything; NumPy's threads know of forks.
"""

import atexit
import dataclasses
import os
import pathlib
import random
import runpy
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable, Sequence

_POLL = 0.002  # seconds


def prepare() -> None:
    """Imports what commands import. None of it may compute yet."""
    from trainer.run import command

    with command.heavy_imports():
        from tensorflow.python.eager import context

        import tuning.search  # noqa: F401
    assert context.context()._context_handle is None, "TensorFlow has begun to work"


@dataclasses.dataclass
class Child:
    """A command that was started.

    Attributes:
        pid: Its number.
        out: File of all that it prints.
        began: When it was started, by `time.monotonic`.
        ended: When it was seen to have ended; 0 before.
        status: Its exit status, negative where a signal ended it; None before.
    """

    pid: int
    out: pathlib.Path
    began: float
    ended: float = 0.0
    status: int | None = None

    def poll(self) -> int | None:
        """Its status; None while it runs."""
        if self.status is None:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                self.status, self.ended = os.waitstatus_to_exitcode(status), time.monotonic()
        return self.status

    def wait(self, until: Callable[[], bool] = lambda: False, seconds: float = 300.0) -> bool:
        """Waits for something; whether it came, and not the command's end before it.

        Raises:
            TimeoutError: Neither came; the command is killed.
        """
        limit = time.monotonic() + seconds
        while self.poll() is None:
            if until():
                return True
            if time.monotonic() > limit:
                self.kill()
                raise TimeoutError(f"a command did not end; it printed {self.printed()}")
            time.sleep(_POLL)
        return False

    def send(self, number: int) -> None:
        """Sends it a signal, if it runs."""
        if self.poll() is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        """Ends it as `kill -9` does."""
        self.send(signal.SIGKILL)
        self.wait()

    def printed(self) -> str:
        """All that it has printed."""
        return self.out.read_text(encoding="utf-8", errors="replace")


def start(
    out: pathlib.Path,
    module: str,
    arguments: Sequence[str],
    before: Callable[[], object] = lambda: None,
) -> Child:
    """Starts `python -m MODULE ARGUMENTS` in a fork.

    Args:
        out: File for what it prints.
        module: Its name.
        arguments: Of the command line.
        before: Called in the fork, before the command.
    """
    began = time.monotonic()
    pid = os.fork()
    if pid:
        return Child(pid, out, began)
    status = 1
    try:
        _become(out, module, arguments)
        before()
        status = _run(module)
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(status)


def _become(out: pathlib.Path, module: str, arguments: Sequence[str]) -> None:
    """Leaves behind what a process of its own would not have."""
    handle = os.open(out, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_APPEND)
    for number in (1, 2):
        os.dup2(handle, number)
    sys.stdout = open(1, "w", closefd=False, encoding="utf-8")  # noqa: SIM115
    sys.stderr = open(2, "w", closefd=False, encoding="utf-8", buffering=1)  # noqa: SIM115
    atexit._clear()
    random.seed()  # else all would draw one name for their temporary files
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    sys.argv = [module, *arguments]
    sys.orig_argv = [sys.executable, "-m", *sys.argv]


def _run(module: str) -> int:
    """Runs the command as `python -m` does, to the end of Python; its exit status."""
    status = 0
    try:
        runpy.run_module(module, run_name="__main__", alter_sys=True)
    except SystemExit as error:
        status = error.code if isinstance(error.code, int) else int(error.code is not None)
        if isinstance(error.code, str):
            print(error.code, file=sys.stderr)
    except BaseException:
        traceback.print_exc()
        status = 1
    threading._shutdown()
    atexit._run_exitfuncs()
    sys.stdout.flush()
    return status
