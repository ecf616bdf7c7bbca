"""What the user's Keras is set to does not leak into the trainer, and is as it was afterwards."""

import gc
import json
import os
import platform
import subprocess
import sys

import keras
import matplotlib
import pytest

from trainer.run import libraries
from trainer.run.errors import RunError

# A command that trains: what it sees of Keras, and one prediction, on the last line.
COMMAND = """
from trainer.run import command
def main(argv):
    with command.heavy_imports():
        import tensorflow as tf
        from tensorboard.plugins.hparams import api
    import keras, numpy as np
    model = keras.Sequential([keras.Input((8, 8, 3)), keras.layers.Conv2D(2, 3)])
    shape = model.predict(np.zeros([2, 8, 8, 3]), batch_size=1, verbose=0).shape
    config = keras.config
    print(config.backend(), config.image_data_format(), config.floatx(), config.epsilon(),
          config.dtype_policy().name, tf.keras.__version__ == keras.__version__, shape)
command.run(main)
"""
NEEDED = "tensorflow channels_last float32 1e-07 float32 True (2, 6, 6, 2)\n"


def run(folder, environment: dict[str, str], settings: str = "") -> subprocess.CompletedProcess:
    if settings:
        (folder / "keras.json").write_text(settings)
    return subprocess.run(
        [sys.executable, "-c", COMMAND], capture_output=True, text=True, timeout=120, check=False,
        env={**os.environ, "KERAS_HOME": str(folder), **environment},
    )  # fmt: skip


@pytest.mark.slow
def test_variables_of_other_programs_are_replaced_and_named(tmp_path):
    given = {
        "KERAS_BACKEND": "jax",
        "TF_USE_LEGACY_KERAS": "1",
        "KERAS_MAX_EPOCHS": "1",
        "KERAS_MAX_STEPS_PER_EPOCH": "1",
    }
    done = run(tmp_path, given)
    assert done.stdout == NEEDED
    assert done.stderr.splitlines() == [
        "loading TensorFlow ...",
        "KERAS_BACKEND=jax is set; tensorflow is used.",
        "KERAS_MAX_EPOCHS=1 is set; it is ignored.",
        "KERAS_MAX_STEPS_PER_EPOCH=1 is set; it is ignored.",
        "TF_USE_LEGACY_KERAS=1 is set; 0 is used.",
    ]


@pytest.mark.slow
def test_settings_of_the_users_file_are_replaced_and_named(tmp_path):
    given = {"backend": "jax", "image_data_format": "channels_first", "floatx": "float16",
             "epsilon": 1e-3}  # fmt: skip
    done = run(tmp_path, {}, json.dumps(given))
    assert done.stdout == NEEDED
    assert done.stderr.splitlines() == [
        "loading TensorFlow ...",
        "Keras is set to image_data_format=channels_first; channels_last is used.",
        "Keras is set to floatx=float16; float32 is used.",
        "Keras is set to epsilon=0.001; 1e-07 is used.",
    ]
    assert json.loads((tmp_path / "keras.json").read_text()) == given


def test_settings_that_keras_can_not_use_are_a_sentence(tmp_path):
    done = run(tmp_path, {}, '{"floatx": "float8"}')
    assert done.returncode == 1
    start = f"Keras can't use its settings in {tmp_path}/keras.json (Invalid `floatx` configuration"
    assert done.stderr.removeprefix("loading TensorFlow ...\n").startswith(start)
    assert done.stderr.endswith("Mend or remove the file.\n")
    assert "Traceback" not in done.stderr


def test_settings_that_matplotlib_can_not_read_are_a_sentence(tmp_path):
    """They are read when it is imported; here they are read again."""
    (tmp_path / "matplotlibrc").write_bytes(b"font.size: 9\n\xff\n")
    with (
        pytest.raises(RunError, match=r"matplotlib can't read its settings, .* Mend or remove"),
        libraries.heavy_imports(),
    ):
        matplotlib.rc_file(tmp_path / "matplotlibrc")


def test_other_text_that_can_not_be_read_is_no_fault_of_matplotlib():
    with pytest.raises(UnicodeDecodeError), libraries.heavy_imports():
        b"\xff".decode()


def test_a_machine_without_proc_is_a_sentence(monkeypatch):
    exists = os.path.exists
    monkeypatch.setattr(os.path, "exists", lambda path: path != "/proc/self" and exists(path))
    with pytest.raises(RunError, match=r"/proc is not there, .* Mount it: mount -t proc"):
        libraries.import_keras()


def test_keras_that_can_not_be_imported_is_no_fault_of_its_settings(monkeypatch):
    monkeypatch.setitem(sys.modules, "keras", None)
    with pytest.raises(ImportError, match="keras"):
        libraries.import_keras()


HEAPS = """
import concurrent.futures, ctypes, os, threading
from trainer.run import libraries
libraries._limit_heaps()
cores = len(os.sched_getaffinity(0))
threads = 4 * cores
together = threading.Barrier(threads)
with concurrent.futures.ThreadPoolExecutor(threads) as pool:
    def work(size):
        held = [bytes(size) for _ in range(50)]
        together.wait(30)
        return len(held)
    assert sum(pool.map(work, range(2000, 2000 + threads)))
    read, write = os.pipe()
    libc = ctypes.CDLL("libc.so.6")
    libc.fdopen.restype = ctypes.c_void_p
    libc.malloc_info.argtypes = (ctypes.c_int, ctypes.c_void_p)
    libc.fclose.argtypes = (ctypes.c_void_p,)
    file = libc.fdopen(write, b"w")
    libc.malloc_info(0, file)
    libc.fclose(file)
    print(cores, os.fdopen(read).read().count("<heap nr="))
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="other libraries allocate otherwise")
@pytest.mark.parametrize("asked", ["", "1"])
def test_threads_share_a_heap_a_core_unless_the_environment_says_otherwise(asked):
    environment = {**os.environ, "MALLOC_ARENA_MAX": asked} if asked else dict(os.environ)
    done = subprocess.run(
        [sys.executable, "-c", HEAPS], capture_output=True, text=True, timeout=120, check=False,
        env=environment,
    )  # fmt: skip
    cores, heaps = map(int, done.stdout.split())
    assert heaps == 1 if asked else 1 <= heaps <= cores


@pytest.mark.parametrize("collects", [True, False])
def test_imports_leave_the_search_for_garbage_on_or_off_as_it_was(collects):
    before = gc.isenabled()
    try:
        (gc.enable if collects else gc.disable)()
        with libraries._uncollected():
            assert not gc.isenabled()
        assert gc.isenabled() is collects
    finally:
        (gc.enable if before else gc.disable)()


def test_a_process_without_stderr_imports_all_the_same():
    program = "from trainer.run import libraries\nwith libraries.no_greeting():\n    print('done')"
    done = subprocess.run(
        ["sh", "-c", '"$0" -c "$1" 2>&-', sys.executable, program],
        capture_output=True, text=True, check=True,
        env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"},
    )  # fmt: skip
    assert done.stdout == "done\n"


def test_keras_on_another_backend_in_this_process_is_a_sentence(monkeypatch):
    """As in a notebook that has imported it before; here it is on TensorFlow."""
    monkeypatch.setattr(keras.config, "backend", lambda: "jax")
    with pytest.raises(libraries.RunError, match="Keras runs on jax in this process"):
        libraries.import_keras()


def test_global_settings_are_as_they_were_after_a_call_from_python():
    before = keras.config.dtype_policy()
    keras.config.set_image_data_format("channels_first")
    keras.config.set_dtype_policy("mixed_bfloat16")
    keras.config.set_max_epochs(3)
    try:
        with pytest.raises(ZeroDivisionError), libraries.keras_settings():
            assert keras.config.image_data_format() == "channels_last"
            assert keras.config.dtype_policy().name == "float32"
            assert keras.config.max_epochs() is None
            keras.config.set_dtype_policy("mixed_float16")
            _ = 1 / 0
        assert keras.config.image_data_format() == "channels_first"
        assert keras.config.dtype_policy().name == "mixed_bfloat16"
        assert keras.config.max_epochs() == 3
    finally:
        keras.config.set_image_data_format("channels_last")
        keras.config.set_dtype_policy(before)
        keras.config.set_max_epochs(None)


def test_a_greeting_is_dropped_and_an_error_is_not(tmp_path):
    program = (
        "import os; from trainer.run import libraries\n"
        "with libraries.no_greeting():\n    os.write(2, b'greeting')\n    1 / 0"
    )
    level = {"TF_CPP_MIN_LOG_LEVEL": "3"}
    for environment, shown in (
        (level, False),
        ({"TF_CPP_MIN_LOG_LEVEL": "0"}, True),
        ({**level, "TF_XLA_FLAGS": "--unknown"}, True),  # which ends the process with a line there
    ):
        done = subprocess.run(
            [sys.executable, "-c", program], capture_output=True, text=True, check=False,
            env={**os.environ, **environment},
        )  # fmt: skip
        assert "ZeroDivisionError" in done.stderr
        assert done.stderr.startswith("greeting") is shown
