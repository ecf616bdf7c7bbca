"""One process has a folder: who is kept out, and when a folder is taken over."""

import errno
import json
import os
import pathlib
import signal
import subprocess
import sys

import pytest

from trainer.run import files, lease
from trainer.run.errors import ConfigError, RunError
from trainer.run.lease import NAME, Holder, Lease, LockHeldError

# Holds a folder; then does what it reads, until its stdin ends. `elsewhere`: as a process of
# another host, with which no locks are shared. `unlocked`: as one of this host, likewise.
HOLDER = """
import sys
from trainer.run import errors, files, lease
folder, kind, lease.RENEWED_EVERY = sys.argv[1], sys.argv[2], float(sys.argv[3])
if kind != "here":
    files.try_lock = lambda *_, **__: None
if kind == "elsewhere":
    lease.HERE["host"] = "node12"
try:
    with lease.Lease(folder) as held, files.guarded(folder, held.check):
        print("held", flush=True)
        for line in sys.stdin:
            try:
                held.check() if line == "check\\n" else files.write_json(f"{folder}/a.json", line)
                print("done", flush=True)
            except errors.RunError as error:
                print(error, flush=True)
except errors.RunError as error:
    print(error, flush=True)
"""
NEVER = 1e6  # seconds


class Process(subprocess.Popen):
    """A holder."""

    def line(self) -> str:
        return self.stdout.readline().rstrip("\n")

    def does(self, what: str) -> str:
        self.stdin.write(what + "\n")
        self.stdin.flush()
        return self.line()

    def stop(self) -> None:
        self.send_signal(signal.SIGSTOP)
        os.waitpid(self.pid, os.WUNTRACED)

    def die(self) -> None:
        """Leaves a zombie, as long as nobody waits for it."""
        self.kill()
        os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOWAIT)


@pytest.fixture
def start(tmp_path):
    """Starts processes that hold `tmp_path`; they have ended when the test has."""
    started = []

    def begin(kind: str = "here", *, every: float = NEVER) -> Process:
        process = Process(
            [sys.executable, "-c", HOLDER, str(tmp_path), kind, str(every)],
            text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        )  # fmt: skip
        started.append(process)
        return process

    yield begin
    for process in started:
        process.kill()
        process.communicate()


@pytest.fixture
def holder(start):
    """Starts a process that has the folder."""

    def begin(kind: str = "here", *, every: float = NEVER) -> Process:
        process = start(kind, every=every)
        assert process.line() == "held"
        return process

    return begin


@pytest.fixture(autouse=True)
def no_silence_is_enough(monkeypatch):
    """Whatever is taken over all the same was seen to be left."""
    monkeypatch.setattr(lease, "SILENCE", NEVER)
    monkeypatch.setattr(lease, "_POLL", 0.05)


def written(folder: pathlib.Path) -> Holder:
    return Holder(**json.loads((folder / NAME).read_text()))


def write(folder: pathlib.Path, **changes) -> bytes:
    """Leaves the file of a holder that is this process, but for the changes."""
    values = vars(Holder.of_this_process()) | changes
    (folder / NAME).write_text(json.dumps(values))
    return (folder / NAME).read_bytes()


def refusing(number: int):
    """In the place of a call of the system: it fails."""

    def refuse(*_, **__):
        raise OSError(number, os.strerror(number))

    return refuse


@pytest.mark.parametrize("stopped", [False, True])
@pytest.mark.parametrize("kind", ["here", "unlocked"])
def test_who_has_a_folder_on_this_host_is_named_at_once(kind, stopped, holder, tmp_path, capsys):
    first = holder(kind)
    if stopped:
        first.stop()
    with pytest.raises(LockHeldError) as refused:
        Lease(tmp_path)
    message = str(refused.value)
    assert message.startswith(f"{tmp_path} is in use by process {first.pid} since ")
    assert f"{sys.executable} -c " in message and "\n" not in message
    assert capsys.readouterr().err == ""
    assert os.listdir(tmp_path) == [NAME]


@pytest.mark.parametrize("kind", ["here", "unlocked"])
def test_the_folder_of_a_killed_process_is_taken_over_at_once(kind, holder, tmp_path, capsys):
    holder(kind).die()
    with Lease(tmp_path) as ours:
        assert written(tmp_path).pid == os.getpid()
        ours.check()
    assert not os.listdir(tmp_path) and capsys.readouterr().err == ""


def test_a_process_of_the_same_number_is_no_holder(tmp_path):
    write(tmp_path, start=1)
    with Lease(tmp_path):
        assert written(tmp_path).start != 1


def test_a_sign_of_life_from_another_host_keeps_others_out(holder, tmp_path, capsys):
    first = holder("elsewhere", every=0.1)
    with pytest.raises(LockHeldError, match=f"in use by process {first.pid} on node12 since"):
        Lease(tmp_path)
    assert capsys.readouterr().err.startswith(
        f"{tmp_path} is in use by process {first.pid} on node12 since "
    )
    assert first.does("check") == "done"


@pytest.mark.parametrize("end", [Process.die, Process.stop])
def test_silence_from_another_host_ends_its_lease(end, holder, tmp_path, monkeypatch, capsys):
    end(first := holder("elsewhere", every=0.1))
    monkeypatch.setattr(lease, "SILENCE", 0.5)
    with Lease(tmp_path) as ours:
        ours.check()
        assert written(tmp_path).pid == os.getpid()
    err = capsys.readouterr().err
    assert f"process {first.pid} on node12" in err and len(err.splitlines()) == 1


@pytest.mark.parametrize("what", ["boot", "namespace"])
def test_process_numbers_of_another_kernel_or_container_mean_nothing(
    what, tmp_path, monkeypatch, capsys
):
    write(tmp_path, **{what: "another", "start": 1})
    monkeypatch.setattr(lease, "SILENCE", 0.1)
    with Lease(tmp_path):
        pass
    assert "the folder is taken over" in capsys.readouterr().err


def test_a_lock_of_another_container_of_this_kernel_keeps_others_out(tmp_path, capsys):
    with Lease(tmp_path):
        write(tmp_path, namespace="another")
        with pytest.raises(LockHeldError, match=f"in use by process {os.getpid()} since"):
            Lease(tmp_path)
    assert capsys.readouterr().err == ""


def test_a_file_that_was_removed_before_it_was_locked_counts_for_nothing(tmp_path, monkeypatch):
    write(tmp_path, start=1)
    try_lock, others, calls = files.try_lock, [], []

    def late(file, **options):
        calls.append(file)
        if len(calls) == 1:  # locking the old file
            (tmp_path / NAME).unlink()
        if len(calls) == 2:  # locking a new one
            others.append(Lease(tmp_path))
        return try_lock(file, **options)

    monkeypatch.setattr(files, "try_lock", late)
    with pytest.raises(LockHeldError, match=f"in use by process {os.getpid()} since"):
        Lease(tmp_path)
    others[0].check()
    others[0].close()


def test_a_stopped_process_that_wakes_up_has_lost_the_folder(holder, tmp_path, monkeypatch):
    first = holder("elsewhere", every=0.1)
    assert first.does("write") == "done"
    first.stop()
    monkeypatch.setattr(lease, "SILENCE", 0.5)
    with Lease(tmp_path) as ours:
        (tmp_path / "a.json").write_text("of the process that goes on")
        first.send_signal(signal.SIGCONT)
        for what in ("check", "write"):
            message = first.does(what)
            assert f"{tmp_path} is in use by process {os.getpid()} on " in message
            assert "it took the folder over" in message
        first.communicate()  # its thread and its end leave the file alone, too
        ours.check()
        assert sorted(os.listdir(tmp_path)) == [NAME, "a.json"]
        assert (tmp_path / "a.json").read_text() == "of the process that goes on"


def test_a_holder_that_ends_while_it_is_watched_makes_room(holder, tmp_path, monkeypatch):
    first = holder("elsewhere")
    sleep = lease.time.sleep

    def end_it(seconds: float) -> None:
        if first.poll() is None:
            first.communicate()
        sleep(seconds)

    monkeypatch.setattr(lease.time, "sleep", end_it)
    with Lease(tmp_path):
        assert written(tmp_path).pid == os.getpid()


@pytest.mark.parametrize("left", [True, False])
def test_of_processes_that_begin_together_one_has_the_folder(left, start, tmp_path):
    if left:
        write(tmp_path, start=1)
    answers = sorted(process.line() for process in [start() for _ in range(4)])
    assert answers.count("held") == 1
    assert all(answer.startswith(f"{tmp_path} is in use by ") for answer in answers if
               answer != "held")  # fmt: skip


def test_a_lease_is_renewed_in_place(holder, tmp_path):
    first = holder(every=0.01)
    before, inode = written(tmp_path), (tmp_path / NAME).stat().st_ino
    waits = iter([0.01] * 6000)  # seconds
    while (now := written(tmp_path)).count < before.count + 3:
        lease.time.sleep(next(waits))
    assert (now.pid, now.token) == (first.pid, before.token)
    assert (tmp_path / NAME).stat().st_ino == inode


def test_a_file_system_without_hard_links_has_leases_too(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "link", refusing(errno.EPERM))
    with Lease(tmp_path), pytest.raises(LockHeldError):
        Lease(tmp_path)
    assert not os.listdir(tmp_path)


def test_of_two_that_begin_together_without_hard_links_the_last_has_the_folder(
    tmp_path, monkeypatch
):
    replace = os.replace

    def replaced_by_another(*paths):
        replace(*paths)
        write(tmp_path, pid=os.getppid(), start=lease._start_of(os.getppid()))

    monkeypatch.setattr(os, "link", refusing(errno.EPERM))
    monkeypatch.setattr(os, "replace", replaced_by_another)
    with pytest.raises(LockHeldError, match=f"in use by process {os.getppid()} "):
        Lease(tmp_path)
    assert os.listdir(tmp_path) == [NAME] and written(tmp_path).pid == os.getppid()


def test_a_folder_that_can_not_be_taken_over_stays_as_it_was(tmp_path, monkeypatch):
    before = write(tmp_path, start=1)
    monkeypatch.setattr(os, "replace", refusing(errno.EIO))
    with pytest.raises(OSError, match="Input/output"):
        Lease(tmp_path)
    assert os.listdir(tmp_path) == [NAME] and (tmp_path / NAME).read_bytes() == before


@pytest.mark.parametrize("number", [errno.EACCES, errno.EROFS])
def test_a_folder_that_can_only_be_read_can_be_shared(number, tmp_path, monkeypatch):
    """As that of another user, which root can write all the same."""
    before = write(tmp_path, start=1)
    monkeypatch.setattr(os, "open", refusing(number))  # which opens it for writing
    with lease.shared(tmp_path):
        assert (tmp_path / NAME).read_bytes() == before


def test_a_process_of_another_user_holds_its_folder(tmp_path, monkeypatch):
    write(tmp_path, pid=os.getppid(), start=lease._start_of(os.getppid()))
    monkeypatch.setattr(os, "kill", refusing(errno.EPERM))
    with pytest.raises(LockHeldError, match=f"in use by process {os.getppid()} "):
        Lease(tmp_path)
    write(tmp_path, pid=os.getppid(), start=1)
    Lease(tmp_path).close()


def test_a_lost_answer_of_a_network_file_system_loses_no_lease(tmp_path, monkeypatch):
    link = os.link

    def link_twice(*paths):
        link(*paths)
        link(*paths)

    monkeypatch.setattr(os, "link", link_twice)
    with Lease(tmp_path) as ours:
        ours.check()


def test_a_lease_whose_file_was_removed_is_lost(tmp_path):
    with Lease(tmp_path) as ours:
        (tmp_path / NAME).unlink()
        with pytest.raises(RunError, match="was removed or replaced"):
            ours.check()
        with Lease(tmp_path) as other:
            ours.close()
            other.check()


def test_a_file_that_can_not_be_removed_hides_no_error_and_keeps_nobody_out(tmp_path, monkeypatch):
    """As on a disk that became read-only."""
    with (
        monkeypatch.context() as patched,
        pytest.raises(RunError, match="what is saved"),
        Lease(tmp_path),
    ):
        patched.setattr(os, "unlink", refusing(errno.EROFS))
        raise RunError("what is saved")
    assert (tmp_path / NAME).exists()
    with Lease(tmp_path) as other:
        other.check()


@pytest.mark.parametrize("text", ["{", "[]", '{"pid": 1}', "years of work", "\xff"])
def test_a_file_that_no_lease_wrote_is_left_alone(text, tmp_path):
    (tmp_path / NAME).write_text(text)
    with pytest.raises(ConfigError, match="no run or search wrote"):
        Lease(tmp_path)
    assert os.listdir(tmp_path) == [NAME] and (tmp_path / NAME).read_text() == text


def test_a_link_is_not_followed(tmp_path):
    elsewhere = tmp_path / "elsewhere"
    elsewhere.touch()
    (tmp_path / NAME).symlink_to(elsewhere)
    with pytest.raises(OSError, match="symbolic"):
        Lease(tmp_path)
    assert elsewhere.stat().st_size == 0


@pytest.mark.parametrize("content", [b"", bytes(2048)])
def test_what_a_power_cut_leaves_holds_nothing(content, tmp_path):
    (tmp_path / NAME).write_bytes(content)
    Lease(tmp_path).close()


def test_a_lock_of_an_earlier_release_is_watched(tmp_path, monkeypatch, capsys):
    before = {"pid": 7, "host": "node12", "command": "x", "started": "2026-01-02T03:04:05+01:00"}
    (tmp_path / NAME).write_text(json.dumps(before))
    monkeypatch.setattr(lease, "SILENCE", 0.1)
    with Lease(tmp_path):
        pass
    assert "process 7 on node12 since 2026-01-02 03:04:05 (x)" in capsys.readouterr().err


def test_several_read_a_folder_that_is_left_and_keep_it_from_being_taken(tmp_path):
    write(tmp_path, start=1)
    with (
        lease.shared(tmp_path),
        lease.shared(tmp_path),
        pytest.raises(LockHeldError, match="in use by another process"),
    ):
        Lease(tmp_path)
    with Lease(tmp_path), pytest.raises(LockHeldError), lease.shared(tmp_path):
        pass
    with lease.shared(tmp_path):
        assert not os.listdir(tmp_path)  # nobody left it


def test_a_long_command_is_one_short_line_that_fits(tmp_path, monkeypatch):
    monkeypatch.setattr(
        sys, "orig_argv", ["python", "-c", "import os\nx", *["--flag=\U0001f600"] * 90]
    )
    with Lease(tmp_path):
        data = (tmp_path / NAME).read_bytes()
        assert written(tmp_path).command.startswith("python -c 'import os x'")
    assert len(data) == lease._SIZE
