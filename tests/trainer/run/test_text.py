"""The claims of the text on the screen: columns stand in line, a score has one format."""

from trainer.run.text import (
    counted,
    difference,
    estimate,
    listed,
    number,
    percent,
    score,
    short_names,
    shortened,
    table,
    wrapped,
)

E = {"value": 0.8384, "low": 0.802, "high": 0.8719}


def test_a_table_stands_in_columns():
    rows = [["class", "n", "why"], ["healthy", "105", "it is"], ["viral", "7"], []]
    assert table(rows, align="<><") == ("class      n  why\nhealthy  105  it is\nviral      7\n")
    assert table(rows[:2], indent=2) == "  class      n    why\n  healthy  105  it is"
    assert table([]) == ""


def test_a_score_has_one_format():
    assert estimate(E) == "0.838 [0.802, 0.872]"
    assert score(E, 632, 446) == "0.838 [0.802, 0.872], n = 632 images of 446 patient groups"
    assert score(E, 1, 1).endswith("n = 1 image of 1 patient group")
    assert estimate({"value": 0.01, "low": -0.02, "high": 0.04}, "+") == "+0.010 [-0.020, +0.040]"
    assert estimate(dict.fromkeys(E)) == "not defined"
    assert estimate(E, decimals=2) == "0.84 [0.80, 0.87]"
    assert number(None) == "-"


def test_a_share_is_not_rounded_to_all_or_nothing():
    shares = {0: "0 %", 0.004: "<1 %", 0.97: "97 %", 0.994: "99 %", 0.999: ">99 %", 1: "100 %"}
    assert {share: percent(share) for share in shares} == shares


def test_few_patient_groups_have_two_decimals_rounded_outwards():
    assert estimate({**E, "groups": 5}) == "0.838 [0.802, 0.872]"
    assert estimate({**E, "groups": 4}) == "0.84 [0.80, 0.88]"
    assert estimate({**E, "groups": 1}) == "not estimable"


def test_where_all_is_right_or_wrong_there_is_one_limit():
    right = {"value": 1.0, "low": 0.1689, "high": 1.0}  # and nothing is promised above it
    assert estimate(right) == "1 (at least 0.168)"
    assert estimate({**right, "groups": 2}) == "1 (at least 0.16)"
    wrong = {"value": 0.0, "low": 0.0, "high": 0.8316, "groups": 2}
    assert estimate(wrong) == "0 (at most 0.84)"
    assert estimate(right, "+") == "+1.000 [+0.169, +1.000]"


def test_a_difference_whose_interval_holds_0_is_not_distinguishable():
    shown = {"value": 0.01, "low": -0.02, "high": 0.04, "discordant": {"ours": 7, "peers": 5}}
    assert difference(shown) == (
        "+0.010 [-0.020, +0.040], not distinguishable (7 : 5 patient groups differ)"
    )
    assert difference({**shown, "low": 0.004}) == "+0.010 [+0.004, +0.040]"


def test_names_and_paragraphs_are_brought_to_the_width_of_a_terminal():
    assert shortened("pneumonia, viral", 16) == "pneumonia, viral"
    assert shortened("pneumonia, viral", 9) == "pneumoni…"
    long = ["viral", "pneumonia_viral_left", "pneumonia_viral_right"]
    assert short_names(long) == ["viral", "pneumonia_vira…2", "pneumonia_vira…3"]
    assert short_names(["viral", "viral, left"], 9) == ["viral", "viral, l…"]
    lists = (["a"], ["a", "b"], ["a", "b", "c"])
    assert [listed(each) for each in lists] == ["a", "a and b", "a, b and c"]
    assert counted(1, "image") == "1 image"
    assert counted(0, "class", "classes") == "0 classes"
    path = "/a" * 60
    lines = wrapped(f"word {'word ' * 20}{path}", indent=2).split("\n")
    assert lines[-1] == f"  {path}"
    assert all(len(line) <= 80 for line in lines[:-1])
    assert " ".join(line.strip() for line in lines) == f"word {'word ' * 20}{path}"


def test_nothing_is_printed_as_less_than_nothing():
    assert (number(-0.0001), number(-0.0001, "+"), number(-0.004, decimals=2)) == (
        "0.000", "+0.000", "0.00"
    )  # fmt: skip
    assert (number(-0.0006), number(0.0), number(None)) == ("-0.001", "0.000", "-")
