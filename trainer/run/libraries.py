"""TensorFlow and Keras: imported late and in silence, with the settings that the trainer needs.

Keras takes settings from KERAS_BACKEND, other variables and ~/.keras/keras.json when it is imported
first, so the variables are looked after before that.
"""

import contextlib
import ctypes
import gc
import logging
import os
import sys
import traceback
from collections.abc import Iterator
from typing import Any

from trainer.run.errors import RunError
from trainer.run.progress import note, working

_BACKEND, _LEGACY = "KERAS_BACKEND", "TF_USE_LEGACY_KERAS"
_CAPS = ("KERAS_MAX_EPOCHS", "KERAS_MAX_STEPS_PER_EPOCH")  # would end training and scoring early
_ENDING = ("XLA_FLAGS", "TF_XLA_FLAGS")  # of an unknown flag in them, XLA says so and ends all
_M_ARENA_MAX = -8  # of <malloc.h>
_NEEDED = {
    "image_data_format": "channels_last",
    "floatx": "float32",
    "epsilon": 1e-7,
    "max_epochs": None,
    "max_steps_per_epoch": None,
}


@contextlib.contextmanager
def heavy_imports() -> Iterator[None]:
    """For imports of modules that need TensorFlow: `prepare_keras`, then `no_greeting`.

    They take seconds, so that a command checks its flags before; and the screen shows why.

    Raises:
        RunError: As for `import_keras`, or matplotlib can't read its settings.
    """
    new = "keras" not in sys.modules
    with contextlib.ExitStack() as stack:
        stack.enter_context(working("loading TensorFlow" if new else ""))
        if new:
            _limit_heaps()
            stack.enter_context(_uncollected())
        # Every training traces functions of its own, which TensorFlow takes for a mistake.
        logging.getLogger("tensorflow").addFilter(_no_retracing)
        try:
            prepare_keras()  # Keras imports matplotlib, too
            with no_greeting():
                yield
        except UnicodeDecodeError as error:
            where = traceback.extract_tb(error.__traceback__)
            if not any("matplotlib" in frame.filename for frame in where):
                raise
            raise RunError(
                "matplotlib can't read its settings, a file matplotlibrc in this folder, in "
                f"$MATPLOTLIBRC or in ~/.config/matplotlib ({error}). Mend or remove the file."
            ) from None


def _limit_heaps() -> None:
    """Has glibc keep one heap a core, where it would keep eight.

    Each of TensorFlow's threads takes a heap of its own as long as there are more, and what is
    freed in one is of no use to the others: 60 MiB of a training on 10,000 images. Other systems
    allocate otherwise, and MALLOC_ARENA_MAX in the environment goes before this.
    """
    if sys.platform == "linux" and "MALLOC_ARENA_MAX" not in os.environ:
        with contextlib.suppress(OSError, AttributeError):  # not glibc
            cores = len(os.sched_getaffinity(0))
            ctypes.CDLL("libc.so.6").mallopt(_M_ARENA_MAX, cores)


@contextlib.contextmanager
def _uncollected() -> Iterator[None]:
    """Keeps what is made meanwhile out of Python's searches for garbage, for good.

    Libraries make some 400,000 objects that stay. Searching these again and again is a fourth of
    the time in which they are imported, and of some seconds later on.
    """
    gc.collect()  # what is garbage now would stay, too
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        if enabled:
            gc.enable()


def _no_retracing(record: logging.LogRecord) -> bool:
    return "triggered tf.function retracing" not in record.getMessage()


@contextlib.contextmanager
def no_greeting() -> Iterator[None]:
    """Drops what TensorFlow writes to stderr while it is imported, before any log level counts.

    Errors of Python still come through, and TF_CPP_MIN_LOG_LEVEL=0 shows everything.
    """
    level = os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # children inherit the 3
    if level != "3" or any(os.environ.get(name) for name in _ENDING):
        yield
        return
    try:
        stderr = os.dup(2)
    except OSError:  # there is none
        yield
        return
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 2)
    try:
        yield
    finally:
        os.dup2(stderr, 2)
        os.close(stderr)
        os.close(nowhere)


def import_keras() -> None:
    """Imports Keras on the TensorFlow backend, whatever the environment asks for.

    Prints a line on each variable that it replaces.

    Raises:
        RunError: Keras has been imported with another backend, or can't read its settings; or
            /proc is missing, without which TensorFlow ends the process (SIGABRT).
    """
    if sys.platform == "linux" and not os.path.exists("/proc/self"):
        raise RunError(
            "/proc is not there, and TensorFlow can't run without it. Mount it: mount -t proc proc "
            "/proc."
        )
    if "keras" not in sys.modules:
        _replace(_BACKEND, "tensorflow")
        for name in _CAPS:
            _replace(name, None)
    if os.environ.get(_LEGACY) in ("1", "true", "True"):  # read when tf.keras is first used
        _replace(_LEGACY, "0")
    try:
        with no_greeting():
            import keras
    except Exception as error:
        # Of Keras' own file that reads keras.json; all else is a broken installation.
        where = traceback.extract_tb(error.__traceback__)[-1].filename
        if not where.endswith(os.path.join("keras", "src", "backend", "config.py")):
            raise
        home = os.path.expanduser(os.environ.get("KERAS_HOME", os.path.join("~", ".keras")))
        raise RunError(
            f"Keras can't use its settings in {os.path.join(home, 'keras.json')} ({error}). Mend "
            "or remove the file."
        ) from None
    if keras.config.backend() != "tensorflow":
        raise RunError(
            f"Keras runs on {keras.config.backend()} in this process, and the trainer needs "
            f"TensorFlow. Start Python again with {_BACKEND}=tensorflow."
        )


def prepare_keras() -> None:
    """Imports Keras and sets what the trainer needs, for the rest of the process.

    Prints a line on each setting that it replaces.

    Raises:
        RunError: As for `import_keras`.
    """
    import_keras()
    before = _settings()
    for name, value in _NEEDED.items():
        if before[name] != value:
            note(f"Keras is set to {name}={before[name]}; {value} is used.")
    _set({**before, **_NEEDED, "dtype_policy": "float32"})


@contextlib.contextmanager
def keras_settings() -> Iterator[None]:
    """Sets what the trainer needs for as long as it works; then all is as it was.

    Keras' precision policy, too, which runs set. Imports Keras.

    Raises:
        RunError: As for `import_keras`.
    """
    import_keras()
    before = _settings()
    _set({**before, **_NEEDED, "dtype_policy": "float32"})
    try:
        yield
    finally:
        _set(before)


def _replace(name: str, value: str | None) -> None:
    """Sets a variable, for the processes that this one starts, too, or removes it."""
    before = os.environ.get(name)
    if value is None:
        os.environ.pop(name, None)
    else:
        os.environ[name] = value
    if before and before != value:
        instead = f"{value} is used" if value else "it is ignored"
        note(f"{name}={before} is set; {instead}.")


def _settings() -> dict[str, Any]:
    from keras import config

    return {name: getattr(config, name)() for name in (*_NEEDED, "dtype_policy")}


def _set(values: dict[str, Any]) -> None:
    from keras import config

    for name, value in values.items():
        getattr(config, f"set_{name}")(value)
