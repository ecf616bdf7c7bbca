"""Nothing is lost by kills, signals, power cuts and flipped bits: `tests.chaos`, in short."""

import filecmp
import pathlib
import random
import subprocess
import sys

import pytest

from tests.helpers import chaos_runs, commands
from tests.helpers.power_cut import Disk, Reading

# What a process does to a folder whose power is cut behind the last line.
_WRITES = """
import os, pathlib, sys
from tests.helpers.power_cut import Disk
from trainer.run import files

folder, store = map(pathlib.Path, sys.argv[1:])
Disk(folder, store).watch()
(folder / "only-named").write_text("new")
files.flush(folder)
(folder / "unnamed").write_text("new")
files.flush(folder / "unnamed")
(folder / "removed").unlink()
(folder / "appended").open("a").write(" and new")
(folder / "changed").write_text("changed")
files.flush(folder / "changed")
with files.written_whole(folder / "whole") as beside:
    beside.write_text("new")
files.make_folder(folder / "made" / "deep")
with files.written_whole(folder / "made" / "deep" / "whole") as beside:
    beside.write_text("new")
(folder / "late").write_text("new")
os.kill(os.getpid(), 9)
"""


@pytest.fixture
def cut(tmp_path):
    """A folder that a process wrote to until its power was cut: its files, by how much is left."""

    def one(reading: Reading, seed: int = 0) -> dict[str, str]:
        folder, store = tmp_path / f"disk{seed}", tmp_path / f"store{seed}"
        folder.mkdir()
        for name in ("removed", "appended", "changed", "whole"):
            (folder / name).write_text("old")
        command = [sys.executable, "-c", _WRITES, folder, store]
        assert subprocess.run(command, cwd=commands.ROOT, check=False).returncode == -9
        Disk(folder, store).cut(reading, random.Random(seed))
        files = [path for path in folder.rglob("*") if path.is_file()]
        return {path.relative_to(folder).as_posix(): path.read_text() for path in files}

    return one


def test_what_was_not_flushed_is_lost_in_a_power_cut(cut):
    """Behind "whole" the names of the folder were flushed: "unnamed" has one, "removed" none."""
    assert cut(Reading.NOTHING) == {
        "only-named": "", "unnamed": "new", "appended": "old", "changed": "changed",
        "whole": "new", "made/deep/whole": "new",
    }  # fmt: skip


@pytest.mark.slow
def test_some_of_what_was_not_flushed_may_be_left(cut):
    lefts = [cut(Reading.SOME, seed) for seed in range(12)]
    assert {left["appended"] for left in lefts} == {"old", "old and new", "old" + 8 * "\0"}
    assert {left.get("late", "not there") for left in lefts} >= {"not there", "", "new"}
    assert all(left["whole"] == left["made/deep/whole"] == "new" for left in lefts)


def chaos(scratch: pathlib.Path, seed: int = 1, **numbers: int) -> str:
    """Runs the command; what it printed. Nothing is left where nothing was lost."""
    counts = [f"--{how}={numbers.get(how, 0)}" for how in ("kills", "terms", "power_cuts", "bits")]
    ended = commands.process(
        "tests.chaos", *counts, f"--seed={seed}", f"--scratch={scratch}", timeout=1800
    )
    assert ended.status == 0, ended.out + ended.err
    assert not list(scratch.iterdir())
    return ended.out


@pytest.mark.slow
def test_nothing_is_lost_in_any_phase(tmp_path):
    phases = sum(map(len, chaos_runs.PHASES.values()))
    printed = chaos(tmp_path, kills=phases, terms=1, power_cuts=1)
    for phase in ("build", "fill", "head", "fine-tune", "evaluation", "crossval"):
        assert f"\n{phase} " in printed  # which of the three, a loaded machine may change
    assert printed.count("bit-equal, ") == printed.count(", a state every ") >= phases + 2


@pytest.mark.slow
def test_a_flipped_bit_is_found(tmp_path):
    printed = chaos(tmp_path, bits=4)
    assert "MISSED" not in printed


@pytest.mark.slow
def test_what_is_compared_with_is_what_a_process_of_its_own_leaves(tmp_path):
    """The commands of `tests.chaos` are forks of one process."""
    place = chaos_runs.Place(tmp_path, tmp_path / "data", tmp_path / "cache", tmp_path / "run")
    script = (
        "import pathlib, sys; from tests.helpers import chaos_runs, zygote; zygote.prepare(); "
        "place = chaos_runs.Place(*map(pathlib.Path, sys.argv[1:])); "
        "[chaos_runs.whole(kind, place) for kind in (chaos_runs.BUILD, chaos_runs.TRAIN)]"
    )
    folders = (tmp_path, place.data, place.cache, tmp_path / "forked")
    subprocess.run([sys.executable, "-c", script, *folders], cwd=commands.ROOT, check=True)
    ended = commands.process(*chaos_runs.command(chaos_runs.TRAIN, place))
    assert ended.status == 0, ended.err
    names = chaos_runs.RESULTS[chaos_runs.TRAIN]
    same = filecmp.cmpfiles(tmp_path / "forked", place.run, names, shallow=False)
    assert same == (list(names), [], [])
