"""Benchmarks in processes of their own: what each is given, and which lines are appended."""

import json
import os
import pathlib
import re
import subprocess
import sys

import pytest

from benchmarks import record

ROOT = pathlib.Path(__file__).parents[2]
# Programs in the place of the benchmarks: one prints a line, one fails, one prints no line.
PROGRAMS = {
    "head": "print('noise'); print(json.dumps({'benchmark': 'head', 'argv': sys.argv[1:]}))",
    "step": "print(json.dumps({'benchmark': 'step', 'argv': sys.argv[1:]}))",
    "predict": "print(json.dumps({'benchmark': 'predict', 'argv': sys.argv[1:]}))",
    "optimizer": "print('{\"benchmark\": \"optimizer\"}'); sys.exit('out of memory')",
    "scale": "print('no line')",
    "search": "print(json.dumps({'benchmark': 'search', 'argv': sys.argv[1:]}))",
}
FOLDERS = {"data_dir": "/data", "manual_dir": "/manual images"}


def write(programs, folder):
    """Programs in the place of the benchmarks, for `python -m` from that folder."""
    package = folder / "benchmarks"
    package.mkdir(parents=True)
    (package / "__init__.py").touch()  # else the real ones, found later, would be taken
    for name, text in programs.items():
        (package / f"{name}.py").write_text(f"import json, sys\n{text}\n")


@pytest.fixture
def programs(tmp_path, monkeypatch):
    write(PROGRAMS, tmp_path / "programs")
    monkeypatch.chdir(tmp_path / "programs")  # which `python -m` looks into first


def command(*argv, **more):
    return subprocess.run(
        [sys.executable, "-m", "benchmarks.record", *argv], capture_output=True, text=True, **more
    )


def lines(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_lines_are_appended_and_a_failure_stops_nothing(programs, tmp_path):
    results = tmp_path / "results.jsonl"
    results.write_text('{"benchmark": "before"}\n')
    failed = record.record(["optimizer", "scale", "head"], FOLDERS, results)
    assert failed == ["optimizer", "scale --rounds=2"]
    assert [line["benchmark"] for line in lines(results)] == ["before", "head"]


def test_a_folder_is_given_to_those_that_read_images(programs, tmp_path):
    results = tmp_path / "results.jsonl"
    assert not record.record(["head", "step --rounds=2", "predict"], FOLDERS, results)
    assert [line["argv"] for line in lines(results)] == [
        [], ["--rounds=2", "--data_dir=/data"], ["/manual images/chest_xray/train"]
    ]  # fmt: skip


def test_no_folder_is_given_where_none_is_known(programs, tmp_path):
    results = tmp_path / "results.jsonl"
    record.record(["step", "search --part=plain"], dict.fromkeys(FOLDERS, ""), results)
    given = [line["argv"] for line in lines(results)]
    assert given == [["--dataset=article_grouped"], ["--part=plain"]]


def test_a_name_alone_stands_for_the_rows_of_the_table():
    """Else a recording of all would replace rows by such of other flags."""
    recorded = set()
    for line in lines(ROOT / "benchmarks" / "results.jsonl"):
        flags = [each for each in line.get("command", "").split()[2:] if "PATH" not in each]
        recorded.add((line["benchmark"].split(",")[0].split()[0], *sorted(flags)))
    for name in record.READS.keys() - {"gpu", "second_run"}:
        for alone in record.rows(name):
            benchmark, *flags = alone.split()
            assert (benchmark, *sorted(flags)) in recorded, alone


def test_the_search_runs_in_its_four_parts_or_in_the_one_that_is_named(programs, tmp_path):
    results = tmp_path / "results.jsonl"
    record.record(["search", "search --part=memory --trials=20"], FOLDERS, results)
    given = [line["argv"] for line in lines(results)]
    parts = ("plain", "workers", "overhead", "memory")
    assert [(argv[0], argv[-1]) for argv in given[:4]] == [
        (f"--part={part}", "--data_dir=/data") for part in parts
    ]
    assert given[4] == ["--part=memory", "--trials=20", "--data_dir=/data"]


def test_every_benchmark_is_known_with_what_it_reads():
    texts = {path.stem: path.read_text() for path in (ROOT / "benchmarks").glob("*.py")}
    reporting = {name for name, text in texts.items() if "harness.report(" in text}
    assert set(record.READS) == reporting
    for name, where in record.READS.items():
        own = re.search(r'"data_dir"|trainings\.define_flags\(\)', texts[name])
        assert ("data_dir" in where) == bool(own), name


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        (["heads"], "'heads' is no benchmark"),
        (['memory "--images=9'], "No closing quotation"),
        (["head", "--results=nowhere/results.jsonl"], "there is no folder nowhere"),
    ],
)
def test_what_can_not_run_is_refused_before_anything_runs(argv, said, tmp_path):
    done = command(f"--results={tmp_path}/results.jsonl", *argv, cwd=ROOT)
    assert done.returncode == 2 and said in done.stderr
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_without_names_all_run_that_need_nothing_more(tmp_path):
    each = {name: f"print(json.dumps({{'benchmark': '{name}'}}))" for name in record.READS}
    write(each, tmp_path / "programs")
    results, program = tmp_path / "results.jsonl", ROOT / "benchmarks" / "record.py"
    for given, missing in (([], {"build", "predict"}), (["--manual_dir=X"], set())):
        subprocess.run(
            [sys.executable, program, f"--results={results}", *given],
            cwd=tmp_path / "programs", env=os.environ | {"PYTHONPATH": str(ROOT)}, check=True,
        )  # fmt: skip
        ran = {line["benchmark"] for line in lines(results)}
        assert ran == record.READS.keys() - {"gpu", "second_run"} - missing
        results.unlink()


def test_the_command_names_what_failed_at_its_end(programs, tmp_path):
    path = os.environ | {"PYTHONPATH": str(ROOT)}
    program = [sys.executable, str(ROOT / "benchmarks" / "record.py"), "scale", "head"]
    results = tmp_path / "results.jsonl"
    done = subprocess.run(
        [*program, f"--results={results}"], capture_output=True, text=True, env=path
    )
    assert done.returncode == 1 and done.stderr.endswith(
        "No line of scale --rounds=2: see above.\n"
    )
    assert [line["benchmark"] for line in lines(results)] == ["head"]
