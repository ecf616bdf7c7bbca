"""Whole commands are timed from start to first epoch and end; no time is judged."""

import sys

import pytest

from benchmarks import second_run
from tests.helpers import commands

ARGUMENTS = ["--dataset=tiny", "--image_size=32", "--width=0.05", "--weights=none", "--epochs=2"]


@pytest.mark.slow
def test_both_releases_run_on_a_cache_that_is_filled(data_dir, tmp_path):
    ours = second_run.Release(sys.executable, str(commands.ROOT), str(data_dir))
    line = second_run.measure(
        {"ours": ours, "peer": ours}, ARGUMENTS, caches=str(tmp_path), rounds=1
    )
    figures = {name: each["median"] for name, each in line["figures"].items()}
    for release in ("ours", "peer"):
        assert 0 < figures[f"{release}, to the first epoch, s"] < figures[f"{release}, whole, s"]
        assert (tmp_path / f"cache of {release}").is_dir()
    assert [each["target"] for each in line["claims"].values()] == [2.0, 2.0]
    assert "start and end" in line["bound"] and "frozen part" in line["bound"]


@pytest.mark.slow
def test_a_command_that_fails_ends_with_what_it_said(tmp_path):
    broken = second_run.Release(sys.executable, str(commands.ROOT), str(tmp_path))
    with pytest.raises(SystemExit, match="Give above 0, at most 1"):
        second_run.measure({"ours": broken}, ["--width=-1"], caches=str(tmp_path), rounds=1)
