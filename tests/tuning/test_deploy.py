"""The scripts that start a search on several machines, run with stand-ins."""

import json
import os
import pathlib
import shlex
import shutil
import signal
import subprocess
import sys
import time

import pytest

from tests.helpers.commands import ROOT

DEPLOY = ROOT / "tuning" / "deploy"
SCRIPTS = ("hosts.sh", "slurm.sh")
VARIABLES = {"KERASTUNER_TUNER_ID", "KERASTUNER_ORACLE_IP", "KERASTUNER_ORACLE_PORT"}
FLAGS = ["--classes=4", '--search_dir=it\'s "here"/$HOME/*', "--dataset=", "--weights=a\\b  c;d"]
SOON = 20  # seconds that a shared machine may take for what is due at once

# Stands for `python -m tuning.main`: notes how it was started, then ends with the status that its
# plan has for this start (STATUS@SECONDS), or with 0 when the file "done" is there.
PROCESS = """
import json, os, pathlib, sys, time
here = pathlib.Path(__file__).parent
name = os.environ["KERASTUNER_TUNER_ID"]
number = len(list(here.glob(f"{name}.*.json")))
started = {"argv": sys.argv[1:], "cwd": os.getcwd(), "pid": os.getpid(), "env": dict(os.environ)}
(here / "new").with_suffix(f".{os.getpid()}").write_text(json.dumps(started))
os.rename(here / f"new.{os.getpid()}", here / f"{name}.{number}.json")
plan = here / f"{name}.plan"
steps = plan.read_text().split() if plan.exists() else []
if number < len(steps):
    status, seconds = steps[number].split("@")
    time.sleep(float(seconds))
    (here / f"{name}.ended").touch()
    sys.exit(int(status))
while not (here / "done").exists():
    time.sleep(0.02)
"""

# Stands for ssh: another shell, folder and environment. As with the real one the far process
# outlives the connection, unless it was given a terminal.
SSH = """
import json, os, pty, signal, subprocess, sys
arguments, options = sys.argv[1:], []
while arguments[0].startswith("-"):
    options.append(arguments.pop(0))
    if options[-1] == "-o":
        options.append(arguments.pop(0))
host, line = arguments
environment = {"PATH": "/usr/bin:/bin", "SSH_HOST": host, "SSH_OPTIONS": json.dumps(options)}
def far():
    os.chdir("/")
    os.execve("/bin/sh", ["sh", "-c", line], environment)
if "-tt" not in options:
    done = subprocess.run(["/bin/sh", "-c", line], cwd="/", env=environment, start_new_session=True)
    sys.exit(done.returncode if done.returncode >= 0 else 255)
child, terminal = pty.fork()
if not child:
    far()
try:
    while chunk := os.read(terminal, 4096):
        os.write(1, chunk)
except OSError:
    pass
status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
sys.exit(status if status >= 0 else 255)
"""

# Stands for srun: as many tasks as the job has, signals passed on to all that they started, and
# the highest status.
SRUN = """
import os, signal, subprocess, sys
command, options = sys.argv[1:], []
while command[0].startswith("-"):
    options.append(command.pop(0))
environment = {**os.environ, "SRUN_OPTIONS": " ".join(options)}
tasks = [
    subprocess.Popen(command, env={**environment, "SLURM_PROCID": str(number)}, process_group=0)
    for number in range(int(os.environ["SLURM_NTASKS"]))
]
def stop(number, frame):
    for task in tasks:
        os.killpg(task.pid, number)
    sys.exit(128 + number)
signal.signal(signal.SIGTERM, stop)
sys.exit(max(task.wait() % 256 for task in tasks))
"""


def until(condition):
    end = time.monotonic() + SOON
    while not (value := condition()):
        assert time.monotonic() < end, "it never came"
        time.sleep(0.02)
    return value


def runs(pid: int) -> bool:
    try:
        state = pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state not in "ZX"


def as_at_a_terminal() -> None:
    """A shell can't trap signals that were ignored when it began: by nohup, in the background."""
    for number in (signal.SIGHUP, signal.SIGINT):
        signal.signal(number, signal.SIG_DFL)


class Search:
    """A script in a checkout whose path needs quotes, with two workers and stand-ins."""

    def __init__(self, folder: pathlib.Path, script: str):
        self.script, self.folder = script, folder / "stand-ins"
        self.checkout = folder / "the user's $checkout"
        (self.checkout / "tuning").mkdir(parents=True)
        shutil.copytree(DEPLOY, self.checkout / "tuning" / "deploy")
        self.folder.mkdir()
        self.stand_in("process", f"#!{sys.executable}\n{PROCESS}")
        self.stand_in("ssh", f"#!{sys.executable}\n{SSH}")
        self.stand_in("srun", f"#!{sys.executable}\n{SRUN}")
        self.stand_in("scontrol", f'#!/bin/sh\necho "$@" >"{self.folder}/scontrol.txt"\n')
        # A pause of 10 seconds is a tenth of one here, and a minute 3: enough for a busy machine.
        sleep = f'exec {shutil.which("sleep")} "$([ "$1" = 60 ] && echo 3 || echo 0.1)"'
        self.stand_in("sleep", f"#!/bin/sh\n{sleep}\n")
        self.process = None

    def stand_in(self, name: str, text: str) -> None:
        (self.folder / name).write_text(text)
        (self.folder / name).chmod(0o755)

    def plan(self, name: str, status: int, after: float = 0) -> None:
        (self.folder / f"{name}.plan").write_text(f"{status}@{after}")

    def start(self, *flags: str) -> None:
        path = self.checkout / "tuning" / "deploy" / self.script
        environment = {
            "PATH": f"{self.folder}:{os.environ['PATH']}",
            "PYTHON": str(self.folder / "process"),
            "SLURM_JOB_ID": "1234567",
            "SLURM_NTASKS": "2",
            "SLURM_CPUS_PER_TASK": "3",
            "SLURMD_NODENAME": "node7",
        }
        hosts = ["192.0.2.1:8123", "gpu1,me@chief-host"] if self.script == "hosts.sh" else []
        self.log = (self.folder / "log").open("w")
        self.process = subprocess.Popen(
            ["bash", path, *hosts, *flags], env=environment, cwd=self.checkout,
            stdin=subprocess.DEVNULL, stdout=self.log, stderr=self.log, preexec_fn=as_at_a_terminal,
        )  # fmt: skip

    def started(self) -> dict[str, list[dict]]:
        starts = {}
        for path in sorted(self.folder.glob("*.*.json")):
            starts.setdefault(path.name.split(".")[0], []).append(json.loads(path.read_text()))
        return starts

    def wait_for(self, name: str, number: int = 1) -> dict:
        return until(lambda: self.started().get(name, [])[number - 1 :])[0]

    def all_up(self) -> list[dict]:
        return [self.wait_for(name) for name in ("chief", *self.workers)]

    @property
    def workers(self) -> tuple[str, str]:
        return ("worker-1", "worker-2") if self.script == "hosts.sh" else ("worker-0", "worker-1")

    def done(self) -> None:
        (self.folder / "done").touch()

    def status(self) -> int:
        try:
            return self.process.wait(SOON)
        finally:
            print((self.folder / "log").read_text())

    def left(self) -> list[int]:
        pids = [one["pid"] for many in self.started().values() for one in many]
        return [pid for pid in pids if runs(pid)]


@pytest.fixture(params=SCRIPTS)
def search(request, tmp_path):
    search = Search(tmp_path, request.param)
    yield search
    search.done()  # whatever a failed test left ends by itself
    if search.process and search.process.poll() is None:
        search.process.terminate()
        search.process.wait(SOON)


def test_each_process_gets_its_id_the_address_and_the_same_flags(search):
    search.start(*FLAGS)
    processes = search.all_up()
    search.done()
    assert search.status() == 0
    assert {"chief", *search.workers} == search.started().keys()
    assert [one["argv"] for one in processes] == [["-m", "tuning.main", *FLAGS]] * 3
    assert {one["cwd"] for one in processes} == {str(search.checkout)}
    addresses = [one["env"]["KERASTUNER_ORACLE_IP"] for one in processes]
    ports = [one["env"]["KERASTUNER_ORACLE_PORT"] for one in processes]
    if search.script == "hosts.sh":
        assert (addresses, ports) == (["192.0.2.1"] * 3, ["8123"] * 3)
        assert [one["env"].get("SSH_HOST") for one in processes[1:]] == ["gpu1", "me@chief-host"]
        assert "BatchMode=yes" in processes[1]["env"]["SSH_OPTIONS"]
    else:
        assert (addresses, ports) == (["0.0.0.0", "node7", "node7"], ["24567"] * 3)
        gpus = [one["env"].get("CUDA_VISIBLE_DEVICES") for one in processes]
        assert gpus == ["", None, None]
        options = processes[1]["env"]["SRUN_OPTIONS"].split()
        assert set(options) == {"--cpus-per-task=3", "--kill-on-bad-exit=0"}


@pytest.mark.parametrize(
    ("search", "sent", "status"),
    [
        ("hosts.sh", signal.SIGINT, 130),
        ("hosts.sh", signal.SIGTERM, 143),
        ("hosts.sh", signal.SIGHUP, 143),
        ("slurm.sh", signal.SIGINT, 130),
        ("slurm.sh", signal.SIGTERM, 143),
    ],
    indirect=["search"],
)
def test_an_interrupt_ends_the_chief_and_all_workers(search, sent, status):
    search.start("--classes=4")
    pids = [one["pid"] for one in search.all_up()]
    assert all(map(runs, pids))
    search.process.send_signal(sent)
    assert search.status() == status
    until(lambda: not search.left())
    assert set(search.started()) == {"chief", *search.workers}
    assert all(len(many) == 1 for many in search.started().values()), "it was started again"


@pytest.mark.parametrize("who", ["chief", "worker"])
def test_what_was_killed_starts_again_with_the_same_id(search, who):
    name = "chief" if who == "chief" else search.workers[1]
    search.start("--classes=4")
    search.all_up()
    first = search.wait_for(name)
    os.kill(first["pid"], signal.SIGKILL)
    again = search.wait_for(name, 2)
    variables = sorted(VARIABLES)
    assert [again["env"][one] for one in variables] == [first["env"][one] for one in variables]
    assert again["argv"] == first["argv"]
    search.done()
    assert search.status() == 0


@pytest.mark.parametrize("search", ["hosts.sh"], indirect=True)
def test_a_lost_connection_is_made_again(search):
    search.start("--classes=4")
    _, worker, _ = search.all_up()
    connection = int(
        pathlib.Path(f"/proc/{worker['pid']}/stat").read_text().rpartition(")")[2].split()[1]
    )
    os.kill(connection, signal.SIGKILL)
    search.wait_for("worker-1", 2)
    until(lambda: not runs(worker["pid"]))
    search.done()
    assert search.status() == 0


def test_a_wrong_command_line_ends_the_search_with_its_status(search):
    search.plan("chief", 2)
    search.start("--clases=4")
    assert search.status() == 2
    until(lambda: not search.left())
    assert len(search.started()["chief"]) == 1


def test_a_worker_that_cannot_run_does_not_end_the_others(search):
    search.plan(search.workers[0], 1)
    search.start("--classes=4")
    search.all_up()
    until(lambda: "gave up with status 1" in (search.folder / "log").read_text())
    assert search.process.poll() is None
    search.done()
    assert search.status() == 0
    assert len(search.started()[search.workers[0]]) == 1


def test_a_chief_may_end_after_the_last_worker(search):
    search.plan("chief", 0, after=1)
    search.plan(search.workers[0], 0)
    search.plan(search.workers[1], 0)
    search.start("--classes=4")
    assert search.status() == 0
    assert (search.folder / "chief.ended").exists(), "it was not waited for"
    assert all(len(many) == 1 for many in search.started().values())


def test_a_worker_that_gave_up_does_not_fail_a_search_that_is_done(search):
    search.plan("chief", 0, after=1)
    search.plan(search.workers[0], 1)
    search.plan(search.workers[1], 0)
    search.start("--classes=4")
    assert search.status() == 0


def test_what_fails_late_starts_again(search):
    path = search.checkout / "tuning" / "deploy" / search.script
    text = path.read_text()
    assert "SECONDS < 60" in text
    path.write_text(text.replace("SECONDS < 60", "SECONDS < 1"))
    search.plan(search.workers[0], 1, after=2)
    search.start("--classes=4")
    search.wait_for(search.workers[0], 2)
    search.done()
    assert search.status() == 0


def test_a_search_without_any_worker_left_ends(search):
    for name in search.workers:
        search.plan(name, 1)
    search.start("--classes=4")
    assert search.status() == 1
    until(lambda: not search.left())


@pytest.mark.parametrize("search", ["slurm.sh"], indirect=True)
def test_before_the_time_limit_the_job_goes_back_into_the_queue(search):
    search.start("--classes=4")
    search.all_up()
    search.process.send_signal(signal.SIGUSR1)
    assert search.status() == 143
    assert (search.folder / "scontrol.txt").read_text().split() == ["requeue", "1234567"]
    until(lambda: not search.left())


@pytest.mark.parametrize(
    "arguments", [[], ["10.0.0.1:8000"], ["10.0.0.1", "gpu1"], ["10.0.0.1:8000", "--classes=4"]]
)
def test_hosts_without_address_or_hosts_prints_its_usage(arguments):
    done = subprocess.run(["bash", DEPLOY / "hosts.sh", *arguments], capture_output=True, text=True)
    assert done.returncode == 2
    assert "usage:" in done.stderr


def test_sbatch_sees_every_directive():
    lines = (DEPLOY / "slurm.sh").read_text().splitlines()
    first_command = next(n for n, line in enumerate(lines) if line and not line.startswith("#"))
    directives = [n for n, line in enumerate(lines) if line.startswith("#SBATCH")]
    assert directives
    assert max(directives) < first_command
    assert all(len(shlex.split(lines[n], comments=False)) == 2 for n in directives)
