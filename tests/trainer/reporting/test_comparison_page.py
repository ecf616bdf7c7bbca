"""The claims of a comparison's page: it stands alone, and its numbers are the comparison's."""

import pytest

from tests.helpers.finished_runs import finished
from tests.helpers.pages import Page, require_alone
from trainer.reporting import comparison, comparison_page, comparison_text
from trainer.reporting.results import Results
from trainer.run.text import estimate, score

HOSTILE = ("<b>one</b>", 'a"b & c')


@pytest.fixture(scope="module")
def compared(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs")
    runs = [
        finished(folder / "<i>a", names=HOSTILE, skill=0.5),
        finished(folder / "b", names=HOSTILE, skill=3.0, flags={"weights": "<u>mine"}),
    ]
    return comparison.compare([Results(run) for run in runs])


@pytest.fixture(scope="module")
def written(compared, tmp_path_factory):
    path = tmp_path_factory.mktemp("pages") / "compare.html"
    comparison_page.write(compared, path)
    text = path.read_text(encoding="utf-8")
    return text, Page(text)


def test_the_page_stands_alone(written):
    require_alone(*written)


def test_numbers_are_those_of_the_comparison(compared, written):
    shown = {each["value"] for each in written[1].all("data")}
    for scores in compared.scores.values():
        for key in ("balanced_accuracy", "accuracy", "loss"):
            assert str(scores[key]["value"]) in shown
    difference = compared.differences["B"]
    assert {str(difference["value"]), str(difference["mcnemar"]["p"])} <= shown
    assert estimate(difference, "+") in written[1].text
    assert "not distinguishable" not in written[1].text


def test_what_is_confounded_says_so(written):
    assert "CONFOUNDED (A, B)" in written[1].text


def test_names_are_text(written):
    _, parsed = written
    for name in (*HOSTILE, "<i>a", "<u>mine"):
        assert name in parsed.text
    assert parsed.all("b") == parsed.all("i") == parsed.all("u") == []


def test_what_is_not_distinguishable_is_called_so(tmp_path):
    runs = [Results(finished(tmp_path / name, skill=1.5)) for name in "ab"]
    comparison_page.write(comparison.compare(runs), tmp_path / "compare.html")
    assert "not distinguishable" in (tmp_path / "compare.html").read_text()


def test_what_control_shows_has_its_n_where_a_run_has_scored_it(tmp_path, written):
    runs = [finished(tmp_path / "a", control=True), finished(tmp_path / "b")]
    compared = comparison.compare([Results(run) for run in runs])
    comparison_page.write(compared, tmp_path / "compare.html")
    page = Page((tmp_path / "compare.html").read_text(encoding="utf-8"))
    head = f"{comparison_text.CONTROL}: {comparison_text.CONTROL_MEANS}"
    of = compared.controls["A"]
    shown = page.text.partition(head)[2]
    assert shown.startswith(f"\n\nA{score(of, of['n'], of['groups'])}\n\n")
    assert comparison_text.CONTROL not in written[1].text
