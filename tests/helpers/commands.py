"""Runs the trainer's commands: in this process, or in one of their own."""

import contextlib
import dataclasses
import io
import os
import pathlib
import runpy
import signal
import subprocess
import sys
import warnings
from collections.abc import Iterator
from unittest import mock

from absl import app, flags, logging
from absl.testing import flagsaver

from tests.helpers import datasets

ROOT = pathlib.Path(__file__).parents[2]


@dataclasses.dataclass(frozen=True)
class Ended:
    """How a command ended: its exit status, and what it printed."""

    status: int
    out: str
    err: str


def run(module: str, *arguments: str) -> Ended:
    """Runs `python -m MODULE ARGUMENTS` in this process, and leaves this process as it was.

    A traceback that the command would have died of is raised.
    """
    out, err = io.StringIO(), io.StringIO()
    with (
        _restored(),
        mock.patch.object(sys, "argv", [module, *arguments]),
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(err),
    ):
        try:
            runpy.run_module(module, run_name="__main__", alter_sys=True)
            status = 0
        except SystemExit as exit_:
            status = exit_.code or 0
    return Ended(status, out.getvalue(), err.getvalue())


def process(module: str, *arguments: str, timeout: float = 300, **options) -> Ended:
    """Runs a command in a process of its own, to its end."""
    done = subprocess.run(
        [sys.executable, "-m", module, *arguments], capture_output=True, text=True, check=False,
        timeout=timeout, cwd=options.pop("cwd", ROOT), **options,
    )  # fmt: skip
    return Ended(done.returncode, done.stdout, done.stderr)


@contextlib.contextmanager
def started(module: str, *arguments: str, **options) -> Iterator[subprocess.Popen]:
    """Starts a command in a process of its own, which is gone at the end whatever happens."""
    command = subprocess.Popen(
        [sys.executable, "-m", module, *arguments], text=True, cwd=options.pop("cwd", ROOT),
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, **options,
    )  # fmt: skip
    try:
        yield command
    finally:
        command.kill()
        command.communicate()


@contextlib.contextmanager
def _restored() -> Iterator[None]:
    """Brings flags, signals, the folder, warnings and Keras' settings back to what they were."""
    app.define_help_flags()  # absl defines them once a process
    handler, folder, verbosity = (
        signal.getsignal(signal.SIGINT),
        os.getcwd(),
        logging.get_verbosity(),
    )
    with (
        _keras_restored(), _read_once(), flagsaver.flagsaver(), warnings.catch_warnings()
    ):  # fmt: skip
        # The module may be imported already.
        warnings.filterwarnings("ignore", message=".*found in sys.modules", category=RuntimeWarning)
        parsed = flags.FLAGS.is_parsed()
        try:
            yield
        finally:
            signal.signal(signal.SIGINT, handler)
            os.chdir(folder)
            logging.set_verbosity(verbosity)
            if not parsed:
                flags.FLAGS.unparse_flags()


def _read_once() -> contextlib.AbstractContextManager[None]:
    """Of the tables of datasets; where none was read yet, without importing TensorFlow for it."""
    if "trainer.input_pipeline.dataset" in sys.modules:
        return datasets.read_once()
    return contextlib.nullcontext()


@contextlib.contextmanager
def _keras_restored() -> Iterator[None]:
    before = None
    if "keras" in sys.modules:
        import keras

        before = keras.config.dtype_policy()
    try:
        yield
    finally:
        if "keras" in sys.modules:
            import keras
            from tensorflow.python.framework import config

            keras.config.set_dtype_policy(before or "float32")
            config.disable_op_determinism()
