"""The run folder: one run each, nothing lost that a run did not write, and who has it."""

import os
import pathlib
import signal
import subprocess
import sys

import pytest

from trainer.run import files, run_dir
from trainer.run.errors import ConfigError, RunError

# Makes a run folder, says which, and keeps it until its stdin ends.
RUN = (
    "import sys; from trainer.run import command, run_dir\n"
    "def main(argv):\n"
    "    with run_dir.create(*argv[1:], overwrite=False) as folder:\n"
    "        (folder / 'config.json').write_text(argv[2])\n"
    "        print(folder, flush=True); sys.stdin.read()\n"
    "command.run(main)"
)
FILES = sorted(set(run_dir.CONTENTS) - set(run_dir.FOLDERS))


@pytest.fixture
def run(tmp_path):
    """Starts runs in `tmp_path`; they have ended when the test has."""
    started = []

    def start(folder: str, default: str = "phantom-4") -> subprocess.Popen:
        root = pathlib.Path(__file__).parents[3]
        process = subprocess.Popen(
            [sys.executable, "-c", RUN, folder, default],
            cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(root)}, text=True,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )  # fmt: skip
        started.append(process)
        return process

    yield start
    for process in started:
        process.kill()
        process.communicate()


def contents(folder: pathlib.Path) -> dict[str, str | None]:
    return {
        str(path.relative_to(folder)): path.read_text() if path.is_file() else None
        for path in folder.rglob("*")
    }


def filled(folder: pathlib.Path) -> pathlib.Path:
    """Leaves what a run leaves."""
    folder.mkdir(exist_ok=True)
    for name in FILES:
        (folder / name).write_text(name)
    for name in run_dir.FOLDERS:
        (folder / name).mkdir()
        (folder / name / "a").write_text(name)
    return folder


def create(folder: str | pathlib.Path, *, overwrite: bool = False) -> dict[str, str | None]:
    """What a new run finds in its folder, besides its lock."""
    with run_dir.create(folder, "phantom-4", overwrite=overwrite) as path:
        return {name: text for name, text in contents(path).items() if name != ".lock"}


def test_runs_that_begin_in_one_second_get_a_folder_each(tmp_path, monkeypatch):
    class Clock(run_dir.datetime.datetime):
        @classmethod
        def now(cls, tz=None):
            return cls(2026, 1, 2, 3, 4, 5, tzinfo=tz)

    monkeypatch.setattr(run_dir.datetime, "datetime", Clock)
    monkeypatch.chdir(tmp_path)
    names = []
    for _ in range(3):
        with run_dir.create("", "phantom-4", overwrite=False) as path:
            (path / "config.json").write_text("{}")
            names.append(str(path))
    first = "runs/phantom-4-20260102-030405"
    assert names == [first, f"{first}-2", f"{first}-3"]


def test_processes_that_begin_together_get_a_folder_each(run, tmp_path):
    started = [run("", "phantom-4") for _ in range(4)]
    folders = [process.stdout.readline().strip() for process in started]
    assert len(set(folders)) == 4
    assert sorted(folders) == sorted(f"runs/{name}" for name in os.listdir(tmp_path / "runs"))


def test_a_second_run_says_who_has_the_folder(run, tmp_path):
    first = run("a")
    assert first.stdout.readline() == "a\n"
    second = run("a")
    _, printed = second.communicate()
    assert second.returncode == 1
    assert printed.startswith(f"--run_dir a is in use by process {first.pid} since ")
    assert printed.endswith("Wait for it or stop it, or give another folder.\n")
    assert len(printed.splitlines()) == 1
    assert (tmp_path / "a" / "config.json").read_text() == "phantom-4"


@pytest.mark.parametrize("shared", [False, True])
def test_other_commands_say_who_has_the_folder(shared, run, tmp_path):
    first = run("a")
    first.stdout.readline()
    with (
        pytest.raises(RunError, match=f"--run .*a is in use by process {first.pid} since "),
        run_dir.use(tmp_path / "a", shared=shared),
    ):
        pass
    first.communicate("")
    with run_dir.use(tmp_path / "a", shared=shared):
        pass
    assert os.listdir(tmp_path / "a") == ["config.json"]


def test_several_commands_read_a_folder_and_one_writes_it(tmp_path):
    filled(tmp_path)
    with run_dir.use(tmp_path, shared=True), run_dir.use(tmp_path, shared=True):
        pass
    with run_dir.use(tmp_path), pytest.raises(RunError, match="in use"), run_dir.use(tmp_path):
        pass
    with pytest.raises(RunError, match="no folder"), run_dir.use(tmp_path / "nowhere"):
        pass


def test_the_folder_of_a_killed_run_is_free(run, tmp_path):
    first = run("a")
    first.stdout.readline()
    first.send_signal(signal.SIGKILL)
    first.communicate()
    assert (tmp_path / "a" / ".lock").exists()
    with pytest.raises(ConfigError, match=r"is not empty \(it holds config.json\)"):
        create(tmp_path / "a")
    assert create(tmp_path / "a", overwrite=True) == {}


def test_a_second_call_from_python_does_not_overwrite_the_first(tmp_path):
    with run_dir.create(str(tmp_path / "a"), "", overwrite=False) as path:
        (path / "metrics.json").write_text("{}")
    for _ in range(2):
        with pytest.raises(ConfigError, match=r"is not empty \(it holds metrics.json\)"):
            create(tmp_path / "a")
    assert contents(tmp_path / "a") == {"metrics.json": "{}"}


def test_a_run_that_fails_leaves_the_lock_to_nobody(tmp_path):
    for _ in range(2):
        with (
            pytest.raises(ZeroDivisionError),
            run_dir.create(tmp_path / "deep" / "a", "", overwrite=False) as path,
        ):
            assert path.is_dir()
            _ = 1 / 0
    assert contents(tmp_path) == {"deep": None}  # nothing was written, so no run began


def test_a_folder_that_was_there_stays(tmp_path):
    create(tmp_path)
    assert tmp_path.is_dir()


def test_overwrite_removes_what_a_run_leaves(tmp_path):
    filled(tmp_path)
    (tmp_path / ".12.0123abcd.history.csv").write_text("of a killed process")
    assert create(tmp_path, overwrite=True) == {}


def test_without_overwrite_nothing_is_removed(tmp_path):
    filled(tmp_path)
    (tmp_path / ".12.0123abcd.history.csv").write_text("of a killed process")
    before = contents(tmp_path)
    with pytest.raises(ConfigError, match="Give another folder, or --overwrite"):
        create(tmp_path)
    assert contents(tmp_path) == before


FOREIGN = ["thesis.doc", ".12.0123abcd.thesis.doc", "photos/a.png", ".lock"]


@pytest.mark.parametrize("name", FOREIGN)
@pytest.mark.parametrize("overwrite", [False, True])
def test_what_no_run_wrote_is_never_touched(name, overwrite, tmp_path):
    filled(tmp_path)
    (tmp_path / name).parent.mkdir(exist_ok=True)
    (tmp_path / name).write_text("years of work")
    before = contents(tmp_path)
    message = f"did not write \\({name.split('/')[0]}\\)" if overwrite else "is not empty"
    with pytest.raises(ConfigError, match=message):
        create(tmp_path, overwrite=overwrite)
    assert contents(tmp_path) == before


def test_overwrite_follows_no_link(tmp_path):
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "events").write_text("years of work")
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "tensorboard").symlink_to(tmp_path / "elsewhere")
    assert create(tmp_path / "a", overwrite=True) == {}
    assert (tmp_path / "elsewhere" / "events").exists()


def test_a_folder_that_can_not_be_made_is_a_sentence(tmp_path):
    (tmp_path / "file").write_text("x")
    for path in ("file", "file/run"):
        with pytest.raises(ConfigError, match=f"--run_dir .*{path} can't be written"):
            create(tmp_path / path)
    assert contents(tmp_path) == {"file": "x"}


def test_a_run_folder_may_begin_with_the_home_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    with run_dir.create("~/x", "", overwrite=False) as path:
        assert path == tmp_path / "x"
    assert not os.listdir(tmp_path)


def test_the_lock_is_signed_while_the_run_lasts(tmp_path):
    with run_dir.create(tmp_path, "", overwrite=False), pytest.raises(files.LockHeldError) as held:
        files.Lock(tmp_path / run_dir.LOCK)
    assert held.value.holder.pid == os.getpid()


def test_a_run_says_what_it_was_made_with():
    made_with = run_dir.provenance()
    import keras

    assert made_with["packages"]["keras"] == keras.__version__
    assert set(made_with) == {"packages", "git_revision"}
