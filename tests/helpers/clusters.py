"""Ray clusters whose nodes are all on this machine, each with a home folder of its own."""

import contextlib
import os
import pathlib
import random
import time
from collections.abc import Callable, Iterator

import psutil
from ray._raylet import AuthenticationTokenLoader, Config
from ray.cluster_utils import Cluster

TOKEN = "token-of-the-tests-0123456789abcdef"
TASK = "ray::run_task"  # what a worker that runs a task calls its process


@contextlib.contextmanager
def token() -> Iterator[None]:
    """Has clusters of this process, and drivers that it starts, use a token of the tests."""
    before = dict(os.environ)
    os.environ |= {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": TOKEN}
    _read_environment()
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)
        _read_environment()


def _read_environment() -> None:
    Config.initialize("")
    AuthenticationTokenLoader.instance().reset_cache()


class Nodes:
    """The nodes of a cluster, each of one CPU.

    Attributes:
        homes: Has a folder for each node, which its workers take for their user's.
    """

    def __init__(self, homes: pathlib.Path, **of_head) -> None:
        """Starts the head, which drivers join.

        Args:
            homes: An empty folder.
            of_head: Arguments of Ray's `add_node`.
        """
        self.homes, self._count = homes, 0
        self._cluster = Cluster()
        self.add(**of_head)

    @property
    def address(self) -> str:
        """For --cluster."""
        return self._cluster.address

    def add(self, **arguments) -> None:
        """Adds a node; does not wait for it, unless it is the head."""
        home = self.homes / f"node{self._count}"
        home.mkdir()
        first, self._count = not self._count, self._count + 1
        arguments = {"num_cpus": 1, "wait": first, "env_vars": {"HOME": str(home)}, **arguments}
        self._cluster.add_node(**arguments)

    def wait(self) -> None:
        """Waits until all nodes are there."""
        self._cluster.wait_for_nodes()

    def replace(self, rng: random.Random) -> None:
        """Kills one that is not the head, and adds another."""
        lost = rng.choice(sorted(self._cluster.worker_nodes, key=lambda each: each.unique_id))
        self._cluster.remove_node(lost, allow_graceful=False)
        self.add()

    def close(self) -> None:
        """Ends all of them."""
        self._cluster.shutdown()


@contextlib.contextmanager
def nodes(homes: pathlib.Path, count: int, **of_head) -> Iterator[Nodes]:
    """A cluster of so many nodes, the head among them."""
    started = Nodes(homes, **of_head)
    try:
        for _ in range(count - 1):
            started.add()
        started.wait()
        yield started
    finally:
        started.close()


def running(name: str = TASK, parent: int | None = None) -> list[psutil.Process]:
    """Workers of a process' clusters that run a task, by id.

    Args:
        name: What their command lines hold.
        parent: The process' id; None is this one's.
    """
    found = []
    for process in psutil.Process(parent).children(recursive=True):
        with contextlib.suppress(psutil.Error):  # it has ended meanwhile
            if name in " ".join(process.cmdline()):
                found.append(process)
    return sorted(found, key=lambda each: each.pid)


def kill_a_worker(rng: random.Random) -> bool:
    """Kills a worker that runs a task; whether one did."""
    with contextlib.suppress(psutil.Error, IndexError):
        rng.choice(running()).kill()
        return True
    return False


def wait_until(true: Callable[[], bool], seconds: float, what: str) -> None:
    """Waits.

    Args:
        true: Called ten times a second.
        seconds: The longest wait.
        what: Has not happened by then.
    """
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, f"{what}: not within {seconds:g} seconds"
        time.sleep(0.1)
