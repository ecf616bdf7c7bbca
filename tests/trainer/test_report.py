"""The command `trainer.report`, and the report that a run writes at its end."""

import subprocess
import sys

import pytest

from tests.helpers import commands
from tests.helpers.finished_runs import finished
from tests.trainer.reporting.test_several_report import of_folds
from trainer.run import run_dir
from trainer.run.manifest import REPORT, Manifest


def report(folder):
    return commands.run("trainer.report", f"--run={folder}")


def test_the_report_is_written_and_the_manifest_knows_it(tmp_path):
    run = finished(tmp_path / "run")
    assert REPORT not in Manifest.read(run).files
    ended = report(run)
    assert (ended.status, ended.out) == (0, f"report: {run / REPORT}\n")
    there = Manifest.read(run)
    assert REPORT in there.files and there.damaged(run) == []
    assert there.files_of(run).count(run / REPORT) == 1


@pytest.mark.slow
def test_the_same_run_has_the_same_report(tmp_path):
    run = finished(tmp_path / "run")
    report(run)
    first = (run / REPORT).read_bytes()
    (run / REPORT).write_text("changed")
    assert report(run).status == 0
    assert (run / REPORT).read_bytes() == first


@pytest.mark.slow
def test_what_else_is_damaged_stays_so(tmp_path):
    run = finished(tmp_path / "run")
    (run / "flags.txt").write_text("other")
    assert report(run).status == 0
    assert Manifest.read(run).damaged(run) == ["flags.txt"]


def test_folds_have_a_report_too(tmp_path):
    folder = of_folds(tmp_path)
    ended = report(folder)
    assert (ended.status, ended.out) == (0, f"report: {folder / REPORT}\n")
    assert Manifest.read(folder).damaged(folder) == []
    assert "--dataset" in (page := (folder / REPORT).read_text()) and "--test" not in page


REFUSED = {
    "--run is missing. Give the folder of a run.": (2, ()),
    "nothing is no folder. Give that of a run.": (1, ("--run=nothing",)),
    "a.keras is a network, and its scores": (1, ("--run=a.keras",)),
    "['word'] are no flags.": (2, ("word",)),
}


@pytest.mark.parametrize("sentence", REFUSED)
def test_what_has_no_report_is_refused_in_a_sentence(sentence):
    status, arguments = REFUSED[sentence]
    ended = commands.run("trainer.report", *arguments)
    assert ended.status == status and ended.out == ""
    assert sentence in ended.err.replace("\n", " ") and "Traceback" not in ended.err


def test_a_run_that_another_process_writes_is_refused(tmp_path):
    run = finished(tmp_path / "run")
    with run_dir.held(run, "run"):
        done = commands.run("trainer.report", f"--run={run}")
    assert done.status == 1
    assert "is in use" in done.err and "Traceback" not in done.err
    assert not (run / REPORT).exists()


@pytest.mark.slow
def test_no_tensorflow_is_imported(tmp_path):
    run = finished(tmp_path / "run")
    code = (
        "import sys, runpy\n"
        f"sys.argv = ['report', '--run={run}']\n"
        "try:\n    runpy.run_module('trainer.report', run_name='__main__')\n"
        "except SystemExit as ended:\n    assert not ended.code\n"
        "print({name.split('.')[0] for name in sys.modules} & {'tensorflow', 'keras'})"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "set()"
    assert (run / REPORT).is_file()
