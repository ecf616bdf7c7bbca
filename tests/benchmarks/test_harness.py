"""The order of rounds, the figures, and the line that is printed."""

import json
import pathlib
import subprocess
import sys

import pytest

from benchmarks import harness
from tests.helpers import commands


def test_every_side_runs_once_a_round_and_the_first_one_changes():
    order = []

    def side(name, figure):
        return lambda: order.append(name) or figure

    figures = harness.alternate({"a": side("a", 1), "b": side("b", 2), "c": side("c", 3)}, 4)
    assert "".join(order) == "abcbcacababc"
    assert figures == {"a": [1.0] * 4, "b": [2.0] * 4, "c": [3.0] * 4}


def test_spread_has_four_digits_and_the_number_of_rounds():
    assert harness.spread([3.0, 1.0, 2.00004]) == {
        "median": 2.0,
        "min": 1.0,
        "max": 3.0,
        "rounds": 3,
    }


def test_ratios_are_taken_round_by_round():
    # The machine was half as fast in the second round: the ratio does not see it.
    assert harness.ratios([10.0, 5.0], [2.0, 1.0])["median"] == 5.0


def test_ratios_of_unequal_rounds_are_refused():
    with pytest.raises(ValueError):
        harness.ratios([1.0], [1.0, 2.0])


def test_the_line_is_json_and_says_whether_each_claim_is_met(capsys):
    line = harness.report(
        "some",
        figures={"ours": harness.spread([2.0])},
        targets={"enough": (8.0, 8.0), "too little": (8.0, 7.99999)},
        bound="the disk",
        packages=("pillow",),
        images=7,
    )
    printed = capsys.readouterr().out
    assert printed.count("\n") == 1 and json.loads(printed) == line
    # Judged before it is rounded for the eye.
    assert line["claims"]["too little"] == {"target": 8.0, "measured": 8.0, "met": False}
    assert line["claims"]["enough"]["met"] and not line["met"]
    assert {"tensorflow", "keras", "numpy", "pillow"} == line["versions"].keys()
    assert line["images"] == 7 and line["cores"] >= 1 and line["processor"]
    assert line["load"] >= 0 and line["command"] and line["date"][:2] == "20"
    assert line.keys() >= {"revision", "machine_start"} and len(line["code"]) == 12


def test_lines_that_were_recorded_make_no_other_revision(tmp_path, monkeypatch):
    program, lines = tmp_path / "benchmarks" / "one.py", tmp_path / "benchmarks" / "results.jsonl"
    program.parent.mkdir()
    for path in (program, lines):
        path.write_text("")
    of_nobody = ["-c", "user.name=n", "-c", "user.email=n@localhost"]
    for words in (["init"], ["add", "."], [*of_nobody, "commit", "-m", "all"]):
        subprocess.run(["git", *words], cwd=tmp_path, check=True, capture_output=True)
    monkeypatch.setattr(harness, "_ROOT", tmp_path)
    monkeypatch.setattr(harness.run_dir, "provenance", lambda: {"git_revision": "c0de-dirty"})
    lines.write_text("{}\n")
    assert harness._revision() == "c0de"
    program.write_text("print()\n")
    assert harness._revision() == "c0de-dirty"


def test_the_command_is_the_same_wherever_its_files_lie(monkeypatch, capsys):
    given = ["python", "-m", "benchmarks.some", "--data_dir=/my data/1", "~/images", "--rounds=3"]
    monkeypatch.setattr(sys, "orig_argv", given)
    line = harness.report("some", figures={}, targets={}, bound="the disk")
    assert line["command"] == "-m benchmarks.some --data_dir=PATH PATH --rounds=3"


def test_a_target_is_met_by_the_low_end_of_the_spread(capsys):
    spreads = {"low": {"min": 0.9, "median": 1.2}, "high": {"min": 1.0, "median": 1.2}}
    line = harness.report(
        "some", figures={}, targets=dict.fromkeys(spreads, (1.0, 1.2)), bound="the disk",
        spreads=spreads,
    )  # fmt: skip
    assert {claim: each["met"] for claim, each in line["claims"].items()} == {
        "low": False, "high": True
    }  # fmt: skip


WRONG = {
    "optimizer": (["--head_units=64,abc"], "--head_units=64,abc: give whole numbers of 1 or more"),
    "head": (["epochs=20"], "['epochs=20'] are no flags"),
    "build": (["--manual_dir=.", "--every=5"], "--every=5 belongs to --shorter_side"),
    "step": (["--image_size=8"], "--image_size is 8. Give 32 to 1024"),
    "predict": (["nowhere"], "nowhere: no image that can be read"),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", WRONG)
def test_a_users_mistake_ends_with_a_sentence(name, tmp_path):
    argv, said = WRONG[name]
    done = commands.run(f"benchmarks.{name}", *argv)
    assert done.status == 2 and said in done.err


def test_every_command_is_run_in_the_same_way():
    for path in pathlib.Path(harness.__file__).parent.glob("*.py"):
        text = path.read_text()
        assert ('if __name__ == "__main__":' in text) == ("    harness.run(main" in text), path.name
