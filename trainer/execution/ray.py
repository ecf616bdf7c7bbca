"""A Ray cluster: one that is started on this machine, or one that is there.

Ray is imported when a cluster is connected to, and not by this module.
"""

import contextlib
import dataclasses
import ipaddress
import logging
import os
import pathlib
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from typing import Any

from trainer.execution.options import Options
from trainer.run.errors import RunError
from trainer.run.progress import working

_PACKAGES = ("covid_tfds", "trainer", "tuning")


@dataclasses.dataclass(frozen=True)
class Cluster:
    """A cluster that this process is connected to.

    Attributes:
        task_cpus: CPU cores of a task.
        task_gpus: GPUs of a task.
        task_timeout: Seconds without a step after which a task is taken to hang.
        shares_files: Whether all workers are on this machine.
        worker_data_dir: Where each worker's machine has the dataset; "" if it has none.
        folder: Of this machine, removed at the end; "" where the cluster was joined.
    """

    task_cpus: int
    task_gpus: float
    task_timeout: float
    shares_files: bool
    worker_data_dir: str = ""
    folder: str = ""

    def slots(self) -> int:
        """How many tasks all nodes that are alive have room for, whatever they run now."""
        import ray

        return sum(self._room(node["Resources"]) for node in ray.nodes() if node["Alive"])

    def _room(self, resources: dict[str, float]) -> int:
        room = int(resources.get("CPU", 0) // self.task_cpus)
        gpus = resources.get("GPU", 0)
        if 0 < self.task_gpus < 1:  # a task has its part of one GPU
            return min(room, int(gpus) * int(1 / self.task_gpus + 1e-6))
        return min(room, int(gpus // self.task_gpus)) if self.task_gpus else room


@contextlib.contextmanager
def connected(options: Options) -> Iterator[Cluster | None]:
    """Starts or joins the cluster that the flags name, and checks that it can run a task.

    Args:
        options: Where tasks run.

    Yields:
        The cluster; None: tasks run in this process.

    Raises:
        RunError: There is no such cluster, it can't be reached or refuses the token, or no node has
            the CPUs or GPUs of a task.
    """
    if options.here:
        yield None
        return
    here, closed = not options.cluster, contextlib.ExitStack()
    try:
        with working("starting Ray" if here else "joining the cluster"):
            cluster = _connect(options, closed)
        yield cluster
    finally:
        with working("stopping Ray" if here else "leaving the cluster"):
            closed.close()


def _connect(options: Options, closed: contextlib.ExitStack) -> Cluster:
    """Starts or joins the cluster; `closed` leaves it."""
    _require_ray()
    folder = ""
    if options.cluster:
        _join(options.cluster, closed)
        cpus, gpus = options.task_cpus or 1, options.task_gpus
    else:
        here = cores()
        cpus, gpus = options.task_cpus or max(1, here // options.workers), options.task_gpus
        if cpus > here:
            raise RunError(f"--task_cpus={cpus}, and this machine has {here} CPU cores.")
        folder = _start(options.workers * cpus, closed)
        gpus = gpus or _own_gpus(options.workers)
    cluster = Cluster(
        task_cpus=cpus,
        task_gpus=gpus,
        task_timeout=options.task_timeout,
        shares_files=not options.cluster,
        worker_data_dir=options.worker_data_dir,
        folder=folder,
    )
    _require_room(cluster)
    return cluster


def _require_ray() -> None:
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # these are read when it is imported
    os.environ.setdefault("RAY_NUM_REDIS_GET_RETRIES", "5")  # seconds, until a token is refused
    os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "error")
    try:
        import ray  # noqa: F401
    except ImportError as error:
        raise RunError(
            f"--workers and --cluster need Ray, which can't be imported here ({error}). Install "
            "it: pip install 'covid-tfds[cluster]'."
        ) from None


def _start(cpus: int, closed: contextlib.ExitStack) -> str:
    """Starts Ray on this machine, reachable from this machine alone; returns its own folder."""
    import ray
    from ray import exceptions
    from ray._private import ray_constants

    if ray.is_initialized():  # by a notebook, whose it stays
        raise RunError(
            "This process is connected to a Ray cluster, and --workers would start another. Use "
            "that one (--cluster=auto), or call ray.shutdown() first."
        )
    above = tempfile.gettempdir()
    # Paths of sockets have 107 bytes, and Ray's own part of them some 65.
    folder = tempfile.mkdtemp(prefix="ray-", dir=above if len(above) < 28 else "/tmp")
    command = [sys.executable, "-P", str(pathlib.Path(__file__).with_name("cleanup.py"))]
    closed.enter_context(  # leaving it closes stdin and waits
        subprocess.Popen(
            [*command, folder, str(os.getpid())], stdin=subprocess.PIPE, start_new_session=True
        )
    )
    # As on Windows and macOS: what is not part of a cluster listens on the loopback address.
    closed.callback(setattr, ray_constants, "ENABLE_RAY_CLUSTER", ray_constants.ENABLE_RAY_CLUSTER)
    closed.callback(os.environ.pop, ray_constants.ENABLE_RAY_CLUSTERS_ENV_VAR, None)
    ray_constants.ENABLE_RAY_CLUSTER = False
    os.environ[ray_constants.ENABLE_RAY_CLUSTERS_ENV_VAR] = "0"
    try:
        with tempfile.TemporaryFile() as unread, _stderr_into(unread.fileno()):
            _init(closed, address="local", num_cpus=cpus, _temp_dir=folder,
                  include_dashboard=False, _node_ip_address="127.0.0.1")  # fmt: skip
    except (RuntimeError, ValueError, OSError, exceptions.RayError) as error:
        raise RunError(
            f"Ray can't be started on this machine ({first_line(error)}). Leave out --workers, or "
            "look into Ray's own `ray start --head`."
        ) from None
    return folder


def _join(given: str, closed: contextlib.ExitStack) -> None:
    """Joins a cluster."""
    import ray
    from ray import exceptions
    from ray._private import services

    if ray.is_initialized():  # by a notebook; it stays connected
        there = ray.get_runtime_context().gcs_address
        if given != "auto" and not _leads_to(given, there):
            raise RunError(
                f"This process is connected to the Ray cluster at {there}, and --cluster={given} "
                "is another. Use that one (--cluster=auto), or call ray.shutdown() first."
            )
        return
    env = {}
    if "RAY_JOB_CONFIG_JSON_ENV_VAR" not in os.environ:  # a submitted job has brought its code
        root = pathlib.Path(__file__).parents[2]
        env = {"py_modules": [str(root / name) for name in _PACKAGES if (root / name).is_dir()],
               "excludes": ["__pycache__"]}  # fmt: skip
    with tempfile.TemporaryFile() as written:
        try:
            address = services.canonicalize_bootstrap_address(given)
            if address is None:
                raise ValueError("it names no cluster")
            _require_reachable(given, address)
            with _stderr_into(written.fileno()):
                _init(closed, address=address if given != "auto" else given, runtime_env=env)
        except (ConnectionError, RuntimeError, ValueError, exceptions.RayError) as error:
            written.seek(0)
            refused = isinstance(error, exceptions.AuthenticationError)
            if refused or b"InvalidAuthToken" in written.read():
                raise RunError(
                    f"The cluster at --cluster={given} refuses this user's token. Give the "
                    "cluster's own in RAY_AUTH_TOKEN, or its file in RAY_AUTH_TOKEN_PATH, with "
                    "RAY_AUTH_MODE=token."
                ) from None
            raise RunError(
                f"--cluster={given} can't be joined ({first_line(error)}). Give host:port of a "
                "cluster's head node on one of its machines, or start the command with "
                "`ray job submit`."
            ) from None


def _leads_to(given: str, there: str) -> bool:
    """Whether an address is that of a cluster, by name or by number."""
    from ray._private import services

    own = services.get_node_ip_address()

    def ends(address: str) -> set[tuple[str, str]]:
        host, _, port = address.rpartition(":")
        found = socket.getaddrinfo(host.strip("[]"), port, type=socket.SOCK_STREAM)
        # Debian gives a machine's own name the address 127.0.1.1.
        ips = (ipaddress.ip_address(end[0]) for *_, end in found)
        return {("" if ip.is_loopback or str(ip) == own else str(ip), port) for ip in ips}

    try:
        return bool(ends(services.canonicalize_bootstrap_address(given) or "") & ends(there))
    except (OSError, ValueError):  # no address, or of no machine
        return False


@contextlib.contextmanager
def _stderr_into(file: int) -> Iterator[None]:
    """Writes stderr into an open file, that of Ray's C++, too, which reports its own log level."""
    sys.stderr.flush()
    before = os.dup(2)
    os.dup2(file, 2)
    try:
        yield
    finally:
        os.dup2(before, 2)
        os.close(before)


def _init(closed: contextlib.ExitStack, **how: Any) -> None:
    import ray
    from ray._private import worker as printing

    # "(raylet) A worker died ..." comes whatever `log_to_driver` is; Ray's debugger hides it so.
    printing._worker_logs_enabled = False
    closed.callback(setattr, printing, "_worker_logs_enabled", True)
    closed.callback(ray.shutdown)
    before = signal.getsignal(signal.SIGTERM)
    try:
        ray.init(log_to_driver=False, logging_level=logging.ERROR, **how)
    finally:
        with contextlib.suppress(ValueError):  # not in the main thread, where Ray sets none either
            signal.signal(signal.SIGTERM, before)


def _require_reachable(given: str, address: str) -> None:
    """Ray itself tries for minutes."""
    host, _, port = address.rpartition(":")
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=5).close()
    except (OSError, ValueError) as error:
        raise RunError(
            f"No cluster can be reached at --cluster={given} ({error}). Give host:port of its "
            "head node, as `ray start --head` prints it."
        ) from None


def _own_gpus(workers: int) -> float:
    """GPUs of a task where every worker has its own; 0 on a machine without any."""
    import ray

    gpus = int(ray.cluster_resources().get("GPU", 0))
    if 0 < gpus < workers:
        raise RunError(
            f"--workers={workers}, and this machine has {gpus} GPU{'s' * (gpus > 1)}. Give "
            f"--task_gpus={max(0.01, int(100 * gpus / workers) / 100):g} to let workers share "
            "them, or fewer workers."
        )
    return gpus // workers


def _require_room(cluster: Cluster) -> None:
    """Refuses tasks that no node can run."""
    import ray

    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    for flag, needed, name, unit in (
        ("task_cpus", cluster.task_cpus, "CPU", "CPU cores"),
        ("task_gpus", cluster.task_gpus, "GPU", "GPUs"),
    ):
        most = max((node.get(name, 0) for node in nodes), default=0)
        if needed > most:
            has = f"more than {most:g} {unit}" if most else f"a {name}"
            raise RunError(
                f"--{flag}={needed:g}, and no node of the cluster has {has}. Give less, or nodes "
                "that have them."
            )
    if not cluster.slots():
        raise RunError(
            f"No node of the cluster has --task_cpus={cluster.task_cpus} and "
            f"--task_gpus={cluster.task_gpus:g} together. Give less."
        )


def cores() -> int:
    """How many CPU cores this process may use."""
    return len(os.sched_getaffinity(0))


def first_line(error: BaseException) -> str:
    """The first line of an error's message, without its full stop."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0].rstrip(".")
