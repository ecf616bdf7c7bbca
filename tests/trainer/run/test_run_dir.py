"""The folder of a run: one run each, who has it, and whether what is there is this very run."""

import dataclasses
import json
import os
import pathlib
import re
import signal
import subprocess
import sys

import pytest

from tests.helpers.run_folders import BEGUN, FLAGS, ORIGIN, SAME, contents, left, opened, state
from trainer.run import lease, manifest, run_dir
from trainer.run.errors import ConfigError, RunError
from trainer.run.run_dir import Identity

# Opens a run folder, begins, prints which, and keeps it until its stdin ends.
RUN = """
import sys
from trainer.run import command, lease, run_dir
if len(sys.argv) > 3:
    lease.HERE["host"] = sys.argv.pop()
def main(argv):
    identity = run_dir.Identity("trainer.main", {"classes": 4})
    with run_dir.create(*argv[1:], identity, overwrite=False) as folder:
        folder.begin({})
        print(folder.path, flush=True)
        sys.stdin.read()
command.run(main)
"""


@pytest.fixture
def run(tmp_path):
    """Starts runs in `tmp_path`; they have ended when the test has."""
    started = []

    def start(folder: str, default: str = "phantom-4", *host: str) -> subprocess.Popen:
        root = pathlib.Path(__file__).parents[3]
        process = subprocess.Popen(
            [sys.executable, "-c", RUN, folder, default, *host],
            cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(root)}, text=True,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )  # fmt: skip
        started.append(process)
        return process

    yield start
    for process in started:
        process.kill()
        process.communicate()


# Names and holders


def test_runs_that_begin_in_one_second_get_a_folder_each(tmp_path, monkeypatch):
    class Clock(run_dir.datetime.datetime):
        @classmethod
        def now(cls, tz=None):
            return cls(2026, 1, 2, 3, 4, 5, tzinfo=tz)

    monkeypatch.setattr(run_dir.datetime, "datetime", Clock)
    monkeypatch.chdir(tmp_path)
    names = []
    for _ in range(3):
        with opened("") as folder:
            folder.begin(ORIGIN)
            names.append(str(folder.path))
    first = "runs/phantom-4-20260102-030405"
    assert names == [first, f"{first}-2", f"{first}-3"]


def test_processes_that_begin_together_get_a_folder_each(run, tmp_path):
    started = [run("", "phantom-4") for _ in range(4)]
    folders = [process.stdout.readline().strip() for process in started]
    assert len(set(folders)) == 4
    assert sorted(folders) == sorted(f"runs/{name}" for name in os.listdir(tmp_path / "runs"))


@pytest.mark.parametrize("overwrite", [False, True])
def test_a_live_run_keeps_its_folder(overwrite, run, tmp_path):
    first = run("a")
    assert first.stdout.readline() == "a\n"
    before = contents(tmp_path)
    with (
        pytest.raises(RunError, match=f"^--run_dir .*a is in use by process {first.pid} since "),
        opened(tmp_path / "a", overwrite=overwrite),
    ):
        pass
    assert contents(tmp_path) == before


def test_a_second_command_ends_with_one_sentence(run):
    first = run("a")
    first.stdout.readline()
    second = run("a")
    _, printed = second.communicate()
    assert second.returncode == 1
    assert printed.startswith(f"--run_dir a is in use by process {first.pid} since ")
    assert " ".join(printed.split()).endswith("Wait for it or stop it, or give another folder.")


@pytest.mark.parametrize("host", [(), ("node12",)])
def test_the_same_command_goes_on_where_a_run_was_killed(host, run, tmp_path, monkeypatch):
    first = run("a", "", *host)
    first.stdout.readline()
    first.send_signal(signal.SIGKILL)
    first.communicate()
    monkeypatch.setattr(lease, "SILENCE", 0.5 if host else 1e6)
    with opened(tmp_path / "a", Identity("trainer.main", {"classes": 4})) as folder:
        assert folder.state == "started"
    assert not (tmp_path / "a" / lease.NAME).exists()


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
    assert contents(tmp_path / "a").keys() == BEGUN


def test_several_commands_read_a_folder_and_one_writes_it(tmp_path):
    left(tmp_path)
    with run_dir.use(tmp_path, shared=True), run_dir.use(tmp_path, shared=True):
        pass
    with run_dir.use(tmp_path), pytest.raises(RunError, match="in use"), run_dir.use(tmp_path):
        pass
    with pytest.raises(RunError, match="no folder"), run_dir.use(tmp_path / "nowhere"):
        pass


def test_a_run_that_lost_its_folder_writes_nothing_more(tmp_path):
    with opened(left(tmp_path)) as folder:
        folder.begin(ORIGIN)
        folder.check()
        (tmp_path / lease.NAME).unlink()
        with opened(tmp_path) as other:
            other.begin(ORIGIN)
            (tmp_path / ".7.0123abcd.history.csv").write_text("which the other is writing")
            before = contents(tmp_path)
            for write in (folder.check, folder.finish, lambda: folder.begin(ORIGIN)):
                with pytest.raises(RunError, match=r"in use by|was removed or replaced"):
                    write()
            assert contents(tmp_path) == before


# Folders that are new


@pytest.mark.parametrize("made_before", [False, True])
def test_a_run_that_writes_nothing_leaves_a_folder_as_it_was(made_before, tmp_path):
    path = tmp_path / "deep" / "a"
    if made_before:
        path.mkdir(parents=True)
    for _ in range(2):
        with pytest.raises(ZeroDivisionError), opened(path) as folder:
            assert folder.path.is_dir() and folder.state == "new" and folder.origin is None
            _ = 1 / 0
    assert path.exists() == made_before and (tmp_path / "deep").is_dir()
    assert contents(tmp_path) == {}


def test_a_run_that_goes_on_elsewhere_notes_where_its_data_are(tmp_path):
    left(tmp_path)
    moved = dataclasses.replace(SAME, flags={**SAME.flags, "cache_dir": "/elsewhere"})
    with opened(tmp_path, moved) as folder:
        folder.begin(folder.origin)
    assert json.loads((tmp_path / "config.json").read_text())["config"]["cache_dir"] == "/elsewhere"
    assert "--cache_dir=/elsewhere" in (tmp_path / "flags.txt").read_text().splitlines()
    with opened(tmp_path, moved) as folder:
        assert folder.begun and folder.own_manifest() is not None


def test_empty_folders_and_what_was_never_finished_are_no_run(tmp_path):
    for name in manifest.FOLDERS:
        (tmp_path / name).mkdir()
    (tmp_path / ".12.0123abcd.manifest.json").write_text("of a killed process")
    (tmp_path / ".12.0123abcd..lock").write_text("of a killed process")
    (tmp_path / "seed_1").mkdir()  # the first of several, killed while it was set up
    (tmp_path / "seed_1" / ".lock").write_text("of a killed process")
    with opened(tmp_path) as folder:
        assert folder.state == "new"
        folder.begin(ORIGIN)
    assert contents(tmp_path).keys() >= BEGUN
    assert ".12.0123abcd.manifest.json" not in contents(tmp_path)


FOREIGN = ("thesis.doc", ".12.0123abcd.thesis.doc", "photos/a.png", "plots/roc.png", "config.json",
           ".lock", ".12.0123abcd.history.csv", "seed_1/a.png")  # fmt: skip


@pytest.mark.parametrize("name", FOREIGN)
@pytest.mark.parametrize("overwrite", [False, True])
def test_a_folder_of_no_run_is_refused(name, overwrite, tmp_path):
    (tmp_path / name).parent.mkdir(exist_ok=True)
    (tmp_path / name).write_text("years of work")
    with (
        pytest.raises(ConfigError, match=name.split("/")[0].replace(".", r"\.")),
        opened(tmp_path, overwrite=overwrite),
    ):
        pass
    left_there = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert left_there == [tmp_path / name] and left_there[0].read_text() == "years of work"


@pytest.mark.parametrize("overwrite", [False, True])
@pytest.mark.parametrize("result", ["metrics.json", "crossval.json"])
def test_a_run_of_an_earlier_release_is_refused(result, overwrite, tmp_path):
    for name in ("config.json", result):
        (tmp_path / name).write_text("{}")
    with (
        pytest.raises(ConfigError, match=r"earlier release .*Give another folder\."),
        opened(tmp_path, overwrite=overwrite),
    ):
        pass
    assert contents(tmp_path).keys() == {"config.json", result}


def test_a_folder_that_can_not_be_made_is_a_sentence(tmp_path):
    (tmp_path / "file").write_text("x")
    for path in ("file", "file/run"):
        with (
            pytest.raises(ConfigError, match=f"{path} can't be written .{tmp_path}/file is no fo"),
            opened(tmp_path / path),
        ):
            pass
    assert contents(tmp_path) == {"file": "x"}


def test_a_run_folder_may_begin_with_the_home_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    with opened("~/x") as folder:
        assert folder.path == tmp_path / "x"
    assert not os.listdir(tmp_path)


@pytest.mark.parametrize("finished", [False, True])
def test_other_flags_are_refused_and_nothing_is_touched(finished, tmp_path):
    before = contents(left(tmp_path, finished=finished))
    with pytest.raises(ConfigError, match="--classes is 2, and was 4"):
        state(tmp_path, Identity("trainer.main", {**FLAGS, "classes": 2}))
    assert contents(tmp_path) == before


@pytest.mark.parametrize("overwrite", [False, True])
def test_a_folder_whose_manifest_is_damaged_is_left_alone(overwrite, tmp_path):
    path = left(tmp_path, finished=True) / "manifest.json"
    path.write_text(path.read_text().replace("model.keras", "model.kera5"))
    before = contents(tmp_path)
    with (
        pytest.raises(RunError, match=f"^{path} is damaged"),
        opened(tmp_path, overwrite=overwrite),
    ):
        pass
    assert contents(tmp_path) == before


@pytest.mark.parametrize("overwrite", [False, True])
def test_links_in_place_of_a_runs_folders_are_refused(overwrite, tmp_path):
    path = left(tmp_path / "a")
    (path / "checkpoints").rename(tmp_path / "elsewhere")
    (path / "checkpoints").symlink_to(tmp_path / "elsewhere")
    with (
        pytest.raises(ConfigError, match=r"a link .*\(checkpoints\)"),
        opened(path, overwrite=overwrite),
    ):
        pass
    assert (tmp_path / "elsewhere" / "state").exists()


def test_a_run_says_what_it_was_made_with():
    made_with = run_dir.provenance()
    import keras

    assert made_with["packages"]["keras"] == keras.__version__
    assert set(made_with) == {"packages", "git_revision"}


def test_the_revision_of_the_code_is_that_of_its_commit_or_is_dirty(tmp_path, monkeypatch):
    monkeypatch.setattr(run_dir, "__file__", str(tmp_path / "code.py"))
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", os.devnull)
    (tmp_path / "code.py").touch()
    for words in ("init", "add .", "commit -m first", "tag -a -m first v1"):
        git = ["git", "-c", "user.name=a", "-c", "user.email=a", *words.split()]
        subprocess.run(git, cwd=tmp_path, check=True, capture_output=True)
    revision = run_dir.provenance()["git_revision"]
    assert re.fullmatch("[0-9a-f]{40}", revision)
    (tmp_path / "code.py").write_text("changed")
    assert run_dir.provenance()["git_revision"] == f"{revision}-dirty"


@pytest.mark.parametrize("variable", ["PATH", "GIT_DIR"], ids=["no git", "no repository"])
def test_code_without_a_revision_and_packages_that_are_not_there_are_none(
    variable, tmp_path, monkeypatch
):
    monkeypatch.setenv(variable, str(tmp_path))
    monkeypatch.setattr(run_dir, "_PACKAGES", ("keras", "no-such-package"))
    made_with = run_dir.provenance()
    assert made_with["git_revision"] is None
    assert made_with["packages"]["keras"] and made_with["packages"]["no-such-package"] is None


def test_a_run_has_begun_when_the_folder_is_no_more_what_it_was(tmp_path):
    other = Identity("trainer.main", FLAGS | {"classes": 3})
    left(tmp_path / "a")
    with opened(tmp_path / "a", other, overwrite=True) as folder:
        assert not folder.begun
        folder.begin(ORIGIN)
        assert folder.begun
        (tmp_path / "a" / "manifest.json").write_text("damaged")
        assert not folder.begun


@pytest.mark.parametrize("flags", [{}, {"seeds": 2}])
def test_overwrite_of_several_seeds_removes_the_runs_of_all_of_them(flags, tmp_path):
    """Else those that the new run has not come to when it is killed would count as its own."""
    with opened(tmp_path / "a", Identity("trainer.main", FLAGS | {"seeds": 3})) as folder:
        folder.begin(ORIGIN)
        for seed in (7, 8, 9):
            left(tmp_path / "a" / f"seed_{seed}", finished=True)
        folder.finish()
    (tmp_path / "a" / "seed_8" / "mine.txt").write_text("mine")
    (tmp_path / "a" / "seed_9" / "manifest.json").write_text("damaged")
    damaged = contents(tmp_path / "a" / "seed_9")
    again = Identity("trainer.main", FLAGS | flags)
    with opened(tmp_path / "a", again, overwrite=True) as folder:
        folder.begin(ORIGIN)
    assert contents(tmp_path / "a" / "seed_9") == damaged
    there = contents(tmp_path / "a").keys() - {f"seed_9/{name}" for name in damaged}
    assert there == {*BEGUN, "seed_8/mine.txt"}
    assert not (tmp_path / "a" / "seed_7").exists()
