"""The table of benchmarks: from recorded lines, the same each time, clear about what is wrong."""

import json
import pathlib
import re

import pytest

from benchmarks import report
from tests.helpers import commands

ROOT = pathlib.Path(__file__).parents[2]
PAGE = "# Title\n\n<!-- benchmarks -->\nold\n<!-- /benchmarks -->\n\ntail\n"


def line(name="one", measured=9.0, met=True):
    return {
        "benchmark": name,
        "figures": {},
        "spreads": {"speed of a|b": {"median": 9.0, "min": 8.5, "max": 9.5, "rounds": 5}},
        "claims": {"speed of a|b": {"target": 8.0, "measured": measured, "met": met}},
        "met": met,
        "bound": "reads",
        "versions": {"numpy": "2.4.6"},
        "cores": 2,
        "processor": "EPYC",
    }


def written(path, *lines):
    path.write_text("".join(json.dumps(each) + "\n" for each in lines))
    return path


def command(*arguments):
    return commands.run("benchmarks.report", *map(str, arguments))


def test_the_command_rewrites_what_is_between_the_markers_and_nothing_else(tmp_path):
    lines, page = written(tmp_path / "a.jsonl", line()), tmp_path / "benchmarks.md"
    page.write_text(PAGE)
    assert command(lines, f"--page={page}").status == 0
    once = page.read_text()
    assert once.startswith("# Title\n\n<!-- benchmarks -->\n| benchmark |")
    assert once.endswith("\n<!-- /benchmarks -->\n\ntail\n") and "old" not in once
    row = "| `one` | speed of a\\|b | 8 | 9 [8.5, 9.5], 5 rounds | yes | reads |"
    assert row in once.splitlines()
    assert "EPYC, 2 cores (one); numpy 2.4.6." in once
    assert command(lines, f"--page={page}").status == 0
    assert page.read_text() == once


def test_a_later_line_of_a_benchmark_replaces_the_earlier(tmp_path):
    first = written(tmp_path / "a.jsonl", line(measured=1.0), line("zwei"), line(measured=2.0))
    second = written(tmp_path / "b.jsonl", line("zwei", measured=3.0))
    read = report.read([first, second])
    assert [each["benchmark"] for each in read] == ["one", "zwei"]
    assert [each["claims"]["speed of a|b"]["measured"] for each in read] == [2.0, 3.0]


def started(machine, median, low, high, **more):
    spread = {"median": median, "min": low, "max": high, "rounds": 5}
    return line(measured=median) | {
        "spreads": {"speed of a|b": spread}, "ratios": {"against c": spread | {"max": 20.0}},
        "code": "c0de", "command": "-m benchmarks.one", "machine_start": machine,
    } | more  # fmt: skip


def test_of_several_starts_of_the_machine_the_lowest_median_and_all_ends_are_shown():
    lines = [
        started("first", 1.0, 0.5, 2.0),  # again below, on the same start
        started("first", 9.0, 8.5, 9.9),
        started("second", 8.6, 8.1, 9.0),
        started("other ratio", 3.0, 2.0, 4.0, ratios={}),
        started("other versions", 3.0, 2.0, 4.0, versions={"numpy": "1.26.4"}),
        started("other command", 3.0, 2.0, 4.0, command="-m benchmarks.one --rounds=1"),
        started("third", 9.5, 8.9, 12.0, processor="Xeon"),
    ]
    text = report.table([report.merged(lines)])
    rows = text.splitlines()[2:4]
    name, cells = "`one`, 3 starts, 2 processors", "8 | 8.6 [8.1, 12], 5 + 5 + 5 rounds | yes"
    assert rows[0].startswith(f"| {name} | speed of a\\|b | {cells}")
    assert rows[1] == "|  | against c |  | 8.6 [8.1, 20], 5 + 5 + 5 rounds |  |  |"
    assert "EPYC, 2 cores (one); Xeon, 2 cores (one); numpy 2.4.6." in text


def test_starts_of_other_revisions_count_and_are_told_apart():
    flags = ["--rounds=5", "--data_dir=PATH"]
    lines = [
        started("first", 3.0, 2.0, 4.0, code="01d", command=" ".join(["-m", *flags])),
        started("second", 9.0, 8.5, 9.9, command=" ".join(["-m", *reversed(flags)])),
    ]
    row = report.table([report.merged(lines)]).splitlines()[2]
    assert row.startswith("| `one`, 2 starts, 2 revisions | speed of a\\|b | 8 | 3 [2, 9.9]")


def test_one_start_that_misses_the_target_is_enough():
    missed = started("second", 9.1, 7.9, 9.2)
    missed["claims"]["speed of a|b"]["met"] = False
    both = [missed, started("first", 9.0, 8.5, 9.9)]
    assert "| 8 | 9 [7.9, 9.9], 5 + 5 rounds | **no** |" in report.table([report.merged(both)])


def test_the_last_line_says_what_is_wanted():
    earlier = started("first", 8.4, 8.2, 8.9)
    earlier["claims"]["speed of a|b"]["target"] = 5.0
    last = started("second", 9.0, 8.5, 9.9)
    assert "| 8 | 8.4 [8.2, 9.9], 5 + 5 rounds | yes |" in report.table(
        [report.merged([earlier, last])]
    )
    earlier["spreads"]["speed of a|b"]["min"] = 7.0
    assert "| 8 | 8.4 [7, 9.9], 5 + 5 rounds | **no** |" in report.table(
        [report.merged([earlier, last])]
    )


def test_lines_that_say_nothing_of_their_code_stand_alone():
    last = line(measured=2.0)
    assert report.merged([line(measured=1.0), last]) == last | {"starts": [last]}


def test_a_missed_target_is_bold():
    assert "| **no** |" in report.table([line(met=False)])
    low = line()  # as earlier releases wrote it, by the median
    low["spreads"]["speed of a|b"]["min"] = 7.9
    assert "| **no** |" in report.table([low]) and "| yes |" in report.table([line()])


def test_every_ratio_that_was_taken_is_shown_once():
    ours = {"median": 2.0, "min": 1.5, "max": 3.0, "rounds": 1}
    more = line() | {"ratios": {"against b": ours, "a|b": line()["spreads"]["speed of a|b"]}}
    rows = report.table([more]).splitlines()[2:4]
    assert rows[1] == "|  | against b |  | 2 [1.5, 3], 1 round |  |  |"
    assert "a\\|b |" in rows[0] and not report.table([more]).count("| a\\|b")


def test_lines_of_release_1_are_shown_in_todays_words():
    old = line() | {"bound": "films/s: a film takes 3 ms, and films wait; filming does not"}
    old["claims"] = {"films/s of a head": {"target": 1.0, "measured": 2.0, "met": True}}
    text = report.table([old])
    assert "images/s of a head" in text
    assert "images/s: an image takes 3 ms, and images wait; filming does not" in text


def test_a_figure_without_rounds_stands_alone():
    plain = line() | {"spreads": {}}
    assert "| 8 | 9 | yes |" in report.table([plain])


def test_each_machine_is_listed_with_its_benchmarks():
    text = report.table([line(), line("two") | {"processor": "Xeon"}])
    assert "EPYC, 2 cores (one); Xeon, 2 cores (two); numpy 2.4.6." in text


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "is empty"),
        ("\n \n", "is empty"),
        ("not json\n", "line 1 is no JSON"),
        ("[1]\n", "line 1 is not a benchmark's line"),
        ('{"benchmark": "one"}\n', "it needs benchmark, claims"),
    ],
)
def test_a_file_that_holds_no_lines_is_refused(tmp_path, content, message):
    path = tmp_path / "a.jsonl"
    path.write_text(content)
    with pytest.raises(report.ReportError, match=message):
        report.read([path])


def test_a_missing_file_is_refused(tmp_path):
    with pytest.raises(report.ReportError, match="can't be read"):
        report.read([tmp_path / "none.jsonl"])


@pytest.mark.parametrize(
    "page",
    [
        "nothing",
        "<!-- benchmarks -->",
        "<!-- benchmarks --> <!-- benchmarks --> <!-- /benchmarks -->",
        "<!-- /benchmarks --> <!-- benchmarks -->",
    ],
)
def test_a_page_without_its_markers_is_refused(page):
    with pytest.raises(report.ReportError, match="<!-- /benchmarks -->"):
        report.rewrite(page, "table")


def test_the_command_ends_with_a_message_and_no_traceback(tmp_path):
    lines, page = written(tmp_path / "a.jsonl", line()), tmp_path / "benchmarks.md"
    page.write_text("no markers")
    ended = command(lines, f"--page={page}")
    assert ended.status == 1 and "It needs <!-- benchmarks --> once" in ended.err
    assert "Traceback" not in ended.err and page.read_text() == "no markers"
    assert command(f"--page={page}").status != 0


def test_the_recorded_lines_are_shown_without_old_words():
    text = report.table(report.read([ROOT / "benchmarks" / "results.jsonl"]))
    assert "images/s" in text and not re.search(r"\bfilms?\b", text)


def test_the_page_of_benchmarks_has_the_markers():
    report.rewrite((ROOT / "docs" / "benchmarks.md").read_text(), "table")
