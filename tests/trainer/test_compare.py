"""The command `trainer.compare`: a table of 80 columns, a page, sentences for what it refuses."""

import subprocess
import sys

import pytest

from tests.helpers import commands
from tests.helpers.finished_runs import finished
from trainer.run import lease


def compare(*arguments):
    return commands.run("trainer.compare", *map(str, arguments))


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Two runs of the same images, the second better, and one more that has not opened test."""
    folder = tmp_path_factory.mktemp("runs")
    return [
        finished(folder / "a", skill=0.6, flags={"align": "none"}),
        finished(folder / "b", skill=2.5, flags={"learning_rate": 2e-3}),
        finished(folder / "c", test=False),
    ]


def test_the_table_fits_a_terminal_and_is_for_research(runs):
    ended = compare(*runs)
    assert (ended.status, ended.err.count("Traceback")) == (0, 0)
    paths = tuple(f"  {name}  " for name in "ABC")
    lines = ended.out.splitlines()
    assert max(len(line) for line in lines if not line.startswith(paths)) <= 80
    assert lines[-1] == "Research use, not for diagnosis."


def test_config_shows_what_differs_and_nothing_else(runs):
    lines = compare(*runs[:2]).out.splitlines()
    first = lines.index("what differs in config")
    assert lines[first + 1 : lines.index("", first)] == [
        "  align          none (A), chest (B)",
        "  learning_rate  0.0001 (A), 0.002 (B)",
    ]


def test_test_is_compared_where_all_have_opened_it_else_validation(runs):
    assert "80 images of test that" in compare(*runs[:2]).out
    out = compare(*runs).out
    assert "images of validation that" in out and "Not test: C has not opened it." in out


def test_the_page_stands_alone(runs, tmp_path):
    ended = compare(*runs, f"--output={tmp_path / 'page.html'}")
    assert ended.status == 0 and ended.out.splitlines()[-1].endswith("page.html")
    assert [path.name for path in tmp_path.iterdir()] == ["page.html"]


def test_nothing_is_written_into_the_runs(runs):
    before = {path: path.stat().st_mtime_ns for run in runs for path in run.rglob("*")}
    compare(*runs)
    after = {path: path.stat().st_mtime_ns for run in runs for path in run.rglob("*")}
    assert after == before


REFUSED = {
    "one": ("wrong command line: 1 run given. Give the folders of 2 to 26.", 2),
    "twice": ("is given twice. Give each run once.", 2),
    "other classes": ("has healthy, covid19. Give runs of the same classes.", 1),
    "no shared images": ("share no image of test, so that nothing can be compared", 1),
    "unfinished": ("holds a run that has not ended, so it has no scores yet.", 1),
    "crossval": ("holds a cross-validation, whose scores are in crossval.json.", 1),
    "seeds": ("seed_0, ", 1),
    "network": ("model.keras is a network, and its scores are in the folder of its run.", 1),
    "missing": ("missing is no folder. Give that of a run.", 1),
    "empty": ("holds no run of this release.", 1),
    "damaged": ("predictions.csv is damaged", 1),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_compared_is_refused_in_a_sentence(case, runs, tmp_path):
    other = tmp_path / case.replace(" ", "_")
    if case == "empty":
        other.mkdir()
    elif case in ("crossval", "seeds"):
        (finished(other) / f"{case}.json").write_text("{}")
        for i in range(5):
            (other / f"seed_{i}").mkdir()
    elif case == "network":
        other = runs[0] / "model.keras"
    elif case == "damaged":
        with (finished(other) / "predictions.csv").open("a") as file:
            file.write(" ")
    elif case != "missing":
        changes = {"other classes": {"names": ("healthy", "covid19")},
                   "no shared images": {"prefix": "other/"},
                   "unfinished": {"ended": False}}  # fmt: skip
        finished(other, **changes.get(case, {}))
    given = {"one": runs[:1], "twice": [runs[0], runs[0]]}.get(case, [runs[0], other])
    ended = compare(*given)
    sentence, status = REFUSED[case]
    assert ended.status == status and ended.out == ""
    assert sentence in ended.err.replace("\n", " ")
    assert "Traceback" not in ended.err


@pytest.mark.slow
def test_no_tensorflow_is_imported(runs, tmp_path):
    code = (
        "import sys, runpy\n"
        f"sys.argv = ['compare', {str(runs[0])!r}, {str(runs[1])!r}, "
        f"'--output={tmp_path / 'page.html'}']\n"
        "try:\n    runpy.run_module('trainer.compare', run_name='__main__')\n"
        "except SystemExit as ended:\n    assert not ended.code\n"
        "print({name.split('.')[0] for name in sys.modules} & {'tensorflow', 'keras'})"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "set()"


def test_help_has_its_flag(runs):
    ended = compare("--helpshort")
    assert ended.status == 0 and "--output=" in ended.out


def test_a_run_that_another_process_holds_can_be_read(runs):
    with lease.shared(runs[0]):
        assert compare(*runs[:2]).status == 0
