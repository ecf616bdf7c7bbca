"""The flags that say where tasks run."""

import dataclasses
import subprocess
import sys

import pytest
from absl import flags

from trainer.execution import options
from trainer.execution.options import Options
from trainer.run.errors import ConfigError


def parsed(*words):
    values = flags.FlagValues()
    options.define_flags(values)
    values(["command", *words])
    return options.from_flags(values)


def test_tasks_run_in_this_process_unless_flags_say_otherwise():
    assert parsed() == Options()
    assert parsed().here
    assert not parsed("--workers=2").here
    assert not parsed("--cluster=auto").here


def test_every_flag_has_an_effect():
    words = {"workers": "3", "task_cpus": "2", "task_gpus": "0.5", "task_timeout": "9"}
    assert parsed(*[f"--{name}={value}" for name, value in words.items()]) == Options(
        workers=3, task_cpus=2, task_gpus=0.5, task_timeout=9
    )
    joined = parsed("--cluster=head:6379", "--worker_data_dir=d")
    assert joined == Options(cluster="head:6379", worker_data_dir="d")
    named = {*words, "cluster", "worker_data_dir"}
    assert named == {field.name for field in dataclasses.fields(Options)}


@pytest.mark.parametrize(
    "words,message",
    [
        (["--workers=0"], "--workers=0 has to be 1 or more"),
        (["--workers=2", "--task_cpus=-1"], "--task_cpus=-1 has to be"),
        (["--workers=2", "--task_gpus=1.5"], "--task_gpus=1.5 has to be a fraction"),
        (["--workers=2", "--task_gpus=-1"], "--task_gpus=-1 has to be"),
        (["--workers=2", "--task_timeout=0"], "--task_timeout=0 has to be above 0"),
        (["--workers=2", "--cluster=auto"], "--workers=2 starts Ray .* Give one of them"),
        (["--cluster=ray://head:10001"], "address of Ray Client. Give host:port"),
        (["--task_cpus=2"], "--task_cpus=2 has no effect"),
        (["--task_gpus=0.5"], "--task_gpus=0.5 has no effect"),
        (["--task_timeout=60"], "--task_timeout=60 has no effect"),
        (["--workers=2", "--worker_data_dir=d"], "--worker_data_dir=d has no effect"),
    ],
)
def test_what_makes_no_sense_is_refused(words, message):
    with pytest.raises(ConfigError, match=message):
        parsed(*words)


def test_flags_and_connecting_import_neither_tensorflow_nor_ray():
    code = (
        "import sys; from trainer.execution import local, options, ray\n"
        "with ray.connected(options.Options()) as cluster, local.executor(cluster, None):\n"
        "    assert not {'ray', 'tensorflow', 'keras'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_what_has_no_effect_is_refused_from_python_too():
    with pytest.raises(ConfigError, match="--task_cpus=4 has no effect: tasks run in this proc"):
        Options(task_cpus=4)


@pytest.mark.parametrize("value", [1.5, "x", None, True])
def test_a_number_from_python_is_checked_as_one_of_a_flag(value):
    with pytest.raises(ConfigError, match=r"--workers is .*\. Give a whole number"):
        Options(workers=value)
