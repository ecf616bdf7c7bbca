"""The claims of the text on the screen: columns stand in line, a score has one format."""

from trainer.run.text import (
    counted,
    estimate,
    listed,
    number,
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
    assert estimate({**E, "low": None, "high": None}) == "0.838 [no interval]"
    assert number(None) == "-"


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
