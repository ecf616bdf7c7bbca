"""The flags that say where tasks run."""

import dataclasses
from typing import Any

from absl import flags

from trainer.run.definitions import define
from trainer.run.errors import ConfigError
from trainer.run.records import convert

# Of each flag what --helpshort shows, and what --help shows beside it.
_SHOWN = (
    ("workers", "Processes that run tasks here",
     "At the same time, on this machine; above 1 they run with Ray. 1 or more."),
    ("cluster", "A Ray cluster to join: host:port, or auto",
     "Tasks run there; auto is the one that this machine is part of."),
    ("task_cpus", "CPU cores of a task; 0: shared out",
     "0: the cores of this machine shared by --workers; 1 on a --cluster."),
    ("task_gpus", "GPUs of a task; 0.5: two share one",
     "0: each of --workers has its own, where there are any; none on a --cluster."),
    ("task_timeout", "Seconds without a step until it hangs",
     "A task that does is stopped and run once more; the second time it has failed."),
    ("worker_data_dir", "Datasets on each machine of --cluster",
     "If they have the dataset; the images are sent to them otherwise."),
)  # fmt: skip


@dataclasses.dataclass(frozen=True)
class Options:
    """Where tasks run.

    Attributes:
        workers: Processes on this machine; 1: the command's own.
        cluster: A Ray cluster to join: `auto`, or host:port; "" for none.
        task_cpus: CPU cores of a task; 0: the machine's, shared by the workers, or 1 on a cluster.
        task_gpus: GPUs of a task, a fraction below 1 or whole; 0: each worker of this machine has
            its own GPU where there are any, and none on a cluster.
        task_timeout: Seconds without a step after which a task is taken to hang.
        worker_data_dir: Where each machine of a cluster has the dataset; "" if they have none.

    Raises:
        ConfigError: A value is out of bounds, or has no effect.
    """

    workers: int = 1
    cluster: str = ""
    task_cpus: int = 0
    task_gpus: float = 0.0
    task_timeout: float = 600.0
    worker_data_dir: str = ""

    def __post_init__(self) -> None:
        """Refuses what makes no sense."""
        convert(self)
        if self.workers < 1:
            raise ConfigError(f"--workers={self.workers} has to be 1 or more.")
        if self.task_cpus < 0:
            raise ConfigError(f"--task_cpus={self.task_cpus} has to be 1 or more, or 0 for auto.")
        if not self.task_gpus >= 0 or (self.task_gpus > 1 and self.task_gpus % 1):
            raise ConfigError(
                f"--task_gpus={self.task_gpus:g} has to be a fraction of one GPU or a whole number."
            )
        if not self.task_timeout > 0:
            raise ConfigError(f"--task_timeout={self.task_timeout:g} has to be above 0 seconds.")
        if self.cluster.startswith("ray://"):
            raise ConfigError(
                f"--cluster={self.cluster} is an address of Ray Client. Give host:port of the head "
                "node, or start the command with `ray job submit` and --cluster=auto."
            )
        if self.cluster and self.workers > 1:
            raise ConfigError(
                f"--workers={self.workers} starts Ray on this machine, and "
                f"--cluster={self.cluster} joins a cluster that is there. Give one of them."
            )
        for name in ("task_cpus", "task_gpus", "task_timeout") if self.here else ():
            if getattr(self, name) != getattr(Options, name):
                raise ConfigError(
                    f"--{name}={getattr(self, name):g} has no effect: tasks run in this process. "
                    "Give --workers above 1 or --cluster with it."
                )
        if self.worker_data_dir and not self.cluster:
            raise ConfigError(
                f"--worker_data_dir={self.worker_data_dir} has no effect: all tasks run on this "
                "machine and read --data_dir. Give --cluster with it."
            )

    @property
    def here(self) -> bool:
        """Whether tasks run in the command's own process, without Ray."""
        return self.workers == 1 and not self.cluster


def define_flags(values: flags.FlagValues = flags.FLAGS) -> None:
    """Defines the flags of `Options`."""
    usual = Options()
    for name, short, more in _SHOWN:
        define(name, getattr(usual, name), short, "execution", more=more, values=values)


def from_flags(values: flags.FlagValues) -> Options:
    """The options that the parsed flags describe.

    Raises:
        ConfigError: As for `Options`.
    """
    fields = [field.name for field in dataclasses.fields(Options)]
    given: dict[str, Any] = {name: values[name].value for name in fields}
    return Options(**given)
