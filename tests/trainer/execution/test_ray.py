"""Tasks on a Ray cluster of this machine: one of two CPUs, which the tests share."""

import collections
import contextlib
import os
import pathlib
import signal
import subprocess
import sys
import time

import psutil
import pytest

pytest.importorskip("ray")

from tests.helpers import clusters
from tests.helpers.commands import ROOT
from trainer.execution import ray as ray_lib
from trainer.execution.local import executor
from trainer.execution.options import Options
from trainer.execution.ray import Cluster, connected
from trainer.execution.tasks import Task, TaskFailed, progressed
from trainer.run import command
from trainer.run.errors import RunError

TIMEOUT = 2.0  # seconds without a step


def squared(setup, number):
    return number**2


def raises(setup, error):
    raise error


def dies(setup, marker, times):
    """Kills its process as often."""
    with open(marker, "a") as file:
        file.write("x")
    if len(pathlib.Path(marker).read_text()) <= times:
        os.kill(os.getpid(), signal.SIGKILL)
    return "survived"


def hangs(setup, marker, times):
    """Makes no step, as often."""
    with open(marker, "a") as file:
        file.write("x")
    if len(pathlib.Path(marker).read_text()) <= times:
        time.sleep(1000)
    return "went on"


def steps_slowly(setup):
    """Takes longer than a step may, and makes steps."""
    for _ in range(10):
        time.sleep(TIMEOUT / 5)
        progressed()
    return "made steps"


def runs_out_of_memory(setup, marker, times):
    with open(marker, "a") as file:
        file.write("x")
    if len(pathlib.Path(marker).read_text()) <= times:
        raise MemoryError("8 GiB\nand more")
    return "fits"


def variables(setup):
    names = ("TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS", "OMP_NUM_THREADS")
    return [os.environ.get(name) for name in names], "tensorflow" in sys.modules


@pytest.fixture(scope="module")
def cluster():
    before = signal.getsignal(signal.SIGTERM)
    with connected(Options(workers=2, task_cpus=1, task_timeout=TIMEOUT)) as cluster:
        assert signal.getsignal(signal.SIGTERM) is before
        yield cluster


@pytest.fixture
def remote(cluster):
    with executor(cluster, None) as chosen:
        yield chosen


def ends(remote, *tasks):
    for task in tasks:
        remote.submit(task)
    return {ended.task.name: ended for ended in [remote.next() for _ in tasks]}


def one(remote, function, *arguments):
    return ends(remote, Task("one", function, arguments))["one"]


@pytest.mark.slow
def test_every_result_comes_once(remote):
    for number in range(30):
        remote.submit(Task(str(number), squared, (number,)))
    assert remote.pending == 30
    results = [remote.next() for _ in range(30)]
    assert remote.pending == 0
    assert collections.Counter(each.value for each in results) == dict.fromkeys(
        (number**2 for number in range(30)), 1
    )
    assert all(each.value == int(each.task.name) ** 2 for each in results)


@pytest.mark.slow
def test_there_are_as_many_slots_as_workers(remote):
    assert remote.slots == 2


@pytest.mark.slow
def test_a_task_whose_process_was_killed_runs_again(remote, tmp_path, capfd):
    assert one(remote, dies, str(tmp_path / "marker"), 1).value == "survived"
    written = capfd.readouterr()
    assert written.err == "A worker was lost; its task runs again.\n"
    assert written.out == ""


@pytest.mark.slow
def test_a_task_that_kills_its_process_always_fails_after_ten_times(remote, tmp_path):
    ended = one(remote, dies, str(tmp_path / "marker"), 99)
    lost = "Its process was lost 10 times. Does it run out of memory? Ray says: "
    assert ended.failure.startswith(lost) and len(ended.failure) > len(lost)
    assert (tmp_path / "marker").read_text() == "x" * 10


@pytest.mark.slow
def test_a_task_without_a_step_is_stopped_and_runs_once_more(remote, tmp_path):
    assert one(remote, hangs, str(tmp_path / "marker"), 1).value == "went on"


@pytest.mark.slow
def test_a_task_without_a_step_twice_fails_with_its_reason(remote, tmp_path):
    ended = one(remote, hangs, str(tmp_path / "marker"), 99)
    assert ended.failure == "It made no step for 2 seconds, twice (--task_timeout=2)."
    assert (tmp_path / "marker").read_text() == "xx"


@pytest.mark.slow
def test_a_task_with_steps_is_not_stopped_nor_is_one_that_waits(remote, monkeypatch):
    stopped = []
    monkeypatch.setattr("ray.cancel", lambda reference, force: stopped.append(reference))
    tasks = [Task(str(number), steps_slowly) for number in range(4)]  # two of them wait for 4 s
    assert {each.value for each in ends(remote, *tasks).values()} == {"made steps"}
    assert stopped == []


@pytest.mark.slow
def test_failures_come_with_their_reasons(remote):
    results = ends(
        remote,
        Task("failed", raises, (TaskFailed("It diverged."),)),
        Task("unexpected", squared, ("a",)),
        Task("good", squared, (2,)),
    )
    assert results["failed"].failure == "It diverged."
    assert results["unexpected"].failure.startswith("TypeError: unsupported operand")
    assert "in squared" in results["unexpected"].details
    assert results["good"].value == 4


@pytest.mark.slow
def test_an_error_of_every_task_is_raised_in_the_driver(remote):
    remote.submit(Task("one", raises, (RunError("Wrong."),)))
    with pytest.raises(RunError, match=r"^Wrong\.$"):
        remote.next()
    assert remote.pending == 0


@pytest.mark.slow
def test_a_task_out_of_memory_runs_once_more_and_fails_the_second_time(remote, tmp_path):
    assert one(remote, runs_out_of_memory, str(tmp_path / "once"), 1).value == "fits"
    failed = one(remote, runs_out_of_memory, str(tmp_path / "twice"), 2)
    assert failed.failure == "Out of memory, twice: 8 GiB"


@pytest.mark.slow
def test_a_value_that_can_not_be_sent_is_a_failure(remote):
    assert "pickle" in one(remote, unsendable).failure


def unsendable(setup):
    return sys.stdout


@pytest.mark.slow
def test_a_task_has_the_threads_of_its_cores_and_no_tensorflow_before_its_setup(remote):
    assert one(remote, variables).value == (["1", "1", "1"], False)


@pytest.mark.slow
def test_an_interrupt_that_got_lost_is_raised(remote, monkeypatch):
    monkeypatch.setattr(command, "_interrupted", True)
    remote.submit(Task("one", squared, (1,)))
    with pytest.raises(KeyboardInterrupt):
        remote.next()


@pytest.mark.slow
def test_everything_listens_on_the_loopback_address_alone(cluster):
    import ray

    listening = []
    for process in clusters.running("ray"):
        with contextlib.suppress(psutil.NoSuchProcess):  # a worker that has ended meanwhile
            listening += [
                connection.laddr.ip.removeprefix("::ffff:")
                for connection in process.net_connections("inet")
                if connection.status == psutil.CONN_LISTEN
            ]
    assert len(listening) > 3
    assert {ip for ip in listening if not ip.startswith("127.")} == set()
    assert os.environ["RAY_AUTH_MODE"] == "token"
    assert ray.is_initialized()


@pytest.mark.parametrize(
    "gpus,nodes,slots",
    [
        (0, [(8, 0)], 4),
        (1, [(8, 2)], 2),
        (2, [(8, 2), (8, 3)], 2),
        (0.5, [(8, 2)], 4),
        (0.4, [(16, 2)], 4),  # two a GPU: a task's part is of one
        (0.1, [(64, 1)], 10),
        (1, [(2, 4), (64, 0)], 1),
    ],
)
def test_slots_follow_the_cores_and_gpus_of_each_node(gpus, nodes, slots, monkeypatch):
    import ray

    resources = [{"CPU": cpus, "GPU": has} if has else {"CPU": cpus} for cpus, has in nodes]
    lost = {"Alive": False, "Resources": {"CPU": 64, "GPU": 64}}
    alive = [{"Alive": True, "Resources": each} for each in resources]
    monkeypatch.setattr(ray, "nodes", lambda: [*alive, lost])
    assert Cluster(2, gpus, 600, shares_files=False).slots() == slots


@pytest.mark.slow
def test_a_request_that_no_node_can_meet_is_refused_at_once(cluster):
    with pytest.raises(RunError, match=r"--task_gpus=1, and no node of the cluster has a GPU\."):
        ray_lib._require_room(Cluster(1, 1, 600, shares_files=True))
    with pytest.raises(RunError, match=r"--task_cpus=99, and .* has more than 2 CPU cores\."):
        ray_lib._require_room(Cluster(99, 0, 600, shares_files=True))


def test_cores_and_gpus_have_to_be_on_one_node(monkeypatch):
    import ray

    nodes = [{"Alive": True, "Resources": each} for each in ({"CPU": 8}, {"CPU": 2, "GPU": 4})]
    monkeypatch.setattr(ray, "nodes", lambda: nodes)
    with pytest.raises(RunError, match=r"--task_cpus=4 and --task_gpus=1 together\. Give less"):
        ray_lib._require_room(Cluster(4, 1, 600, shares_files=True))


def test_fewer_gpus_than_workers_are_refused_with_the_part_that_each_can_have(monkeypatch):
    import ray

    for gpus, workers, each in ((0, 2, 0), (4, 2, 2), (2, 2, 1)):
        monkeypatch.setattr(ray, "cluster_resources", lambda gpus=gpus: {"CPU": 8, "GPU": gpus})
        assert ray_lib._own_gpus(workers) == each
    monkeypatch.setattr(ray, "cluster_resources", lambda: {"GPU": 1.0})
    with pytest.raises(RunError, match=r"this machine has 1 GPU\. Give --task_gpus=0\.33 to let"):
        ray_lib._own_gpus(3)


@pytest.mark.slow
def test_a_cluster_that_a_notebook_has_joined_is_used_and_stays_connected(cluster):
    import ray

    there = ray.get_runtime_context().gcs_address
    port = there.rpartition(":")[2]
    with contextlib.ExitStack() as closed:
        for given in ("auto", there, f"localhost:{port}", f"127.0.0.1:{port}"):
            ray_lib._join(given, closed)
        for given in ("127.0.0.1:1", "head", "no.such.machine.invalid:6379"):
            with pytest.raises(RunError, match=f"at {there}, and --cluster={given} is another"):
                ray_lib._join(given, closed)
    assert ray.is_initialized()


@pytest.mark.parametrize("submitted", [False, True])
def test_the_code_is_sent_to_a_cluster_unless_a_job_has_brought_it(submitted, monkeypatch):
    how = {}
    monkeypatch.setattr("ray.is_initialized", lambda: False)
    monkeypatch.setattr(ray_lib, "_require_reachable", lambda *_: None)
    monkeypatch.setattr(ray_lib, "_init", lambda closed, **more: how.update(more))
    monkeypatch.delenv("RAY_JOB_CONFIG_JSON_ENV_VAR", raising=False)
    if submitted:
        monkeypatch.setenv("RAY_JOB_CONFIG_JSON_ENV_VAR", "{}")
    with contextlib.ExitStack() as closed:
        ray_lib._join("127.0.0.1:6379", closed)
    sent = [pathlib.Path(path).name for path in how["runtime_env"].get("py_modules", ())]
    assert sent == ([] if submitted else ["covid_tfds", "trainer", "tuning"])


def test_more_cores_than_this_machine_has_are_refused_before_anything_starts():
    with (
        pytest.raises(RunError, match=r"--task_cpus=9999, and this machine has \d+ CPU cores"),
        connected(Options(workers=2, task_cpus=9999)),
    ):
        pass


@pytest.mark.parametrize("address", ["127.0.0.1:1", "nowhere.invalid:6379", "127.0.0.1:9"])
@pytest.mark.slow
def test_a_cluster_that_can_not_be_reached_is_a_sentence(address, script):
    done = script(f"connected(Options(cluster={address!r})).__enter__()")
    assert f"RunError: No cluster can be reached at --cluster={address}" in done


def test_a_cluster_that_ray_would_have_to_start_is_a_sentence(monkeypatch):
    monkeypatch.setattr("ray.is_initialized", lambda: False)
    with contextlib.ExitStack() as closed, pytest.raises(RunError) as refused:
        ray_lib._join("local", closed)
    assert str(refused.value) == (
        "--cluster=local can't be joined (it names no cluster). Give host:port of a cluster's head "
        "node on one of its machines, or start the command with `ray job submit`."
    )


@pytest.mark.slow
def test_ray_that_does_not_start_is_a_sentence(script):
    code = (
        "from trainer.execution import ray as lib\n"
        "def init(*_, **__): raise RuntimeError('no port is free.\\nmore')\n"
        "lib._init = init; connected(Options(workers=2, task_cpus=1)).__enter__()"
    )
    wanted = "RunError: Ray can't be started on this machine (no port is free). Leave out --workers"
    assert wanted in script(code)


@pytest.mark.slow
def test_ray_that_is_not_installed_is_a_sentence(script):
    code = "sys.modules['ray'] = None; connected(Options(workers=2)).__enter__()"
    assert "RunError: --workers and --cluster need Ray, which can't be imported" in script(code)


@pytest.fixture
def script():
    """Runs a driver's code, and gives the last line that it wrote to stderr."""

    def run(code, environment=None):
        lines = ["import sys", "from trainer.execution.ray import connected",
                 "from trainer.execution.options import Options", code]  # fmt: skip
        done = subprocess.run(
            [sys.executable, "-c", "\n".join(lines)],
            capture_output=True, text=True, cwd=ROOT, env={**os.environ, **(environment or {})},
        )  # fmt: skip
        assert done.returncode == 1
        return done.stderr.strip().splitlines()[-1]

    return run


@pytest.mark.slow
def test_nothing_is_left_of_the_cluster_of_a_driver_that_was_killed():
    code = (
        "import time, ray\n"
        "from trainer.execution.options import Options\n"
        "from trainer.execution.ray import connected\n"
        "with connected(Options(workers=2)) as cluster:\n"
        "    print('ready', cluster.folder, flush=True); time.sleep(1000)"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code], cwd=ROOT, stdout=subprocess.PIPE, text=True
    ) as driver:
        ready, folder = driver.stdout.readline().split()
        assert ready == "ready" and os.listdir(folder)
        processes = psutil.Process(driver.pid).children(recursive=True)
        driver.kill()
    gone, alive = psutil.wait_procs(processes, timeout=120)
    assert not alive
    assert len(gone) > 5
    assert not os.path.exists(folder)  # what removes it has ended, too


def test_a_cluster_that_a_notebook_has_started_is_not_replaced(monkeypatch):
    monkeypatch.setattr("ray.is_initialized", lambda: True)
    with (
        pytest.raises(RunError, match="is connected to a Ray cluster, and --workers would start"),
        contextlib.ExitStack() as closed,
    ):
        ray_lib._start(2, closed)
