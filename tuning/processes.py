"""`--workers=N`: KerasTuner's chief and N workers on this machine, started again when they die."""

import contextlib
import dataclasses
import os
import pathlib
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence

from trainer.run.errors import ConfigError, RunError
from tuning.folder import Folder

CHIEF = "chief"
SUPERVISED = "COVID_TFDS_SUPERVISED"  # set for processes that end when their parent does
_TICK = 0.1  # seconds between two looks at the processes
_GRACE = 10.0  # seconds to end by itself
_SOON = 30.0  # a process that dies within so many seconds ...
_TOO_OFTEN = 20  # ... so many times in a row is not started again
_TAIL = 12  # lines of a log that are shown


def worker_ids(count: int) -> list[str]:
    """Names of the workers of one machine."""
    return [f"worker{number}" for number in range(count)]


def supervised() -> bool:
    """Whether `run` started this process."""
    return SUPERVISED in os.environ


def end_with_parent() -> None:
    """Ends this process when the one that started it has died, however it died."""
    if not supervised():
        return

    def wait() -> None:
        with contextlib.suppress(OSError):
            while os.read(0, 1):  # the parent holds the other end
                pass
        os._exit(1)

    threading.Thread(target=wait, daemon=True).start()


@dataclasses.dataclass
class _Process:
    """One process and its history."""

    name: str
    environment: Mapping[str, str]
    log: pathlib.Path | None
    running: subprocess.Popen | None = None
    begun: float = 0.0
    early_deaths: int = 0

    def start(self, command: Sequence[str]) -> None:
        output = self.log.open("ab") if self.log else None
        self.running = subprocess.Popen(
            command,
            env=self.environment,
            stdin=subprocess.PIPE,
            stdout=output,
            stderr=output and subprocess.STDOUT,
            start_new_session=True,  # Ctrl-C is for the parent, which then ends all
        )
        self.begun = time.monotonic()
        if output:
            output.close()

    def stop(self) -> None:
        if self.running.poll() is None:
            self.running.terminate()

    def wait(self) -> None:
        try:
            self.running.wait(_GRACE)
        except subprocess.TimeoutExpired:
            self.running.kill()
            self.running.wait()


def run(command: Sequence[str], folder: Folder, workers: int, *, split_cores: bool) -> None:
    """Runs a search to its end.

    Args:
        command: What every process is started with.
        folder: Of the search.
        workers: How many beside the chief.
        split_cores: See `share`. Sums over other numbers of cores differ in their last digits.

    Raises:
        RunError, ConfigError: A process says that it can't go on, or dies over and over.
    """
    folder.logs.mkdir(exist_ok=True)
    print(f"A chief and {workers} workers; what the workers say is in {folder.logs}.", flush=True)
    port = free_port()
    chief = _Process(CHIEF, _environment(CHIEF, port), None)
    processes = [chief]
    for number, name in enumerate(worker_ids(workers)):
        environment = {
            **_environment(name, port),
            **share(number, workers, split_cores=split_cores),
        }
        processes.append(_Process(name, environment, folder.logs / f"{name}.log"))
    try:
        for process in processes:
            process.start(command)
        while chief.running.poll() != 0:
            for process in processes:
                _look_after(process, command)
            time.sleep(_TICK)
        for process in processes[1:]:  # the chief answers that there is no more to do
            process.wait()
    finally:
        started = [process for process in processes if process.running]
        for process in started:
            process.stop()
        for process in started:
            process.wait()


def share(number: int, workers: int, *, split_cores: bool) -> dict[str, str]:
    """Environment that gives a worker its part of this machine: cores, and a GPU if there is one.

    Args:
        number: Of the worker, from 0.
        workers: How many there are.
        split_cores: Whether to give each some cores; else each may use all.
    """
    given = {}
    if split_cores and "TF_NUM_INTRAOP_THREADS" not in os.environ:
        cores = max(1, len(os.sched_getaffinity(0)) // workers)
        given["TF_NUM_INTRAOP_THREADS"] = str(cores)
    if "CUDA_VISIBLE_DEVICES" in os.environ:
        devices = [name for name in os.environ["CUDA_VISIBLE_DEVICES"].split(",") if name]
    else:
        devices = list(map(str, range(_gpus())))
    if devices:
        given["CUDA_VISIBLE_DEVICES"] = devices[number % len(devices)]
        # TensorFlow's first process would take all memory of a GPU that two share.
        given["TF_FORCE_GPU_ALLOW_GROWTH"] = "true"
    return given


def _gpus() -> int:
    if not shutil.which("nvidia-smi"):
        return 0
    listed = subprocess.run(["nvidia-smi", "-L"], capture_output=True, text=True, check=False)
    return sum(line.startswith("GPU ") for line in listed.stdout.splitlines())


def _look_after(process: _Process, command: Sequence[str]) -> None:
    """Starts a process again that was killed; one that says why it ended ends the search."""
    status = process.running.poll()
    if status is None or (status == 0 and process.name != CHIEF):
        return
    if status in (1, 2):
        raise (RunError if status == 1 else ConfigError)(_last_words(process))
    if status == 0:
        return
    early = time.monotonic() - process.begun < _SOON
    process.early_deaths = process.early_deaths + 1 if early else 0
    if process.early_deaths >= _TOO_OFTEN:
        raise RunError(
            f"{process.name} died {_TOO_OFTEN} times in a row soon after its start.\n"
            + _last_words(process)
        )
    why = signal.Signals(-status).name if status < 0 else f"status {status}"
    print(f"{process.name} died ({why}); it is started again.", flush=True)
    process.start(command)


def _last_words(process: _Process) -> str:
    if process.log is None:
        return f"{process.name} ended; see above."
    lines = process.log.read_text(errors="replace").splitlines()[-_TAIL:]
    return f"{process.name} ended. The end of {process.log}:\n" + "\n".join(lines)


def _environment(name: str, port: int) -> dict[str, str]:
    return {
        **os.environ,
        SUPERVISED: "1",
        "KERASTUNER_TUNER_ID": name,
        "KERASTUNER_ORACLE_IP": "127.0.0.1",
        "KERASTUNER_ORACLE_PORT": str(port),
    }


def free_port() -> int:
    """A port of this machine that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def again(*more: str) -> list[str]:
    """The command that started this process, with more flags; it removes nothing."""
    return [sys.executable, "-m", "tuning.main", *sys.argv[1:], "--nooverwrite", *more]
