"""Lists in messages end, and blank names are seen."""

from covid_tfds.sources import wording


def test_a_list_shows_ten_names_and_counts_the_others():
    assert wording.listed([]) == "(none)"
    assert wording.listed("ab") == "a, b"
    assert wording.listed(map(str, range(10))).endswith("8, 9")
    assert wording.listed(map(str, range(30))).endswith("8, 9 and 20 more")
    assert wording.listed("abc", 1) == "a and 2 more"


def test_names_are_shown_on_one_line_and_cut():
    assert wording.listed(["", " ", "a\nb", "ö"]) == "(no name), (no name), a\\nb, ö"
    assert wording.one_line("x" * 101) == "x" * 97 + "..."


def test_a_path_in_a_list_keeps_its_end_and_what_is_wrong_with_it():
    path = f"own/{'1.2.840.113619.2' * 9}/IM-0001.dcm (truncated or damaged)"
    shown = wording.listed([path, "b\n"])
    assert shown.startswith("own/1.2.840.113619.2") and "..." in shown
    assert shown.endswith("/IM-0001.dcm (truncated or damaged), b")
    assert len(shown) == 100 + len(", b")
    assert len(wording.listed(["\n\0" * 90])) == 100


def test_lines_end_too():
    assert wording.lines(["a", "b"]) == "  a\n  b"
    assert wording.lines("abc", 1) == "  a\n  and 2 more"


def test_a_noun_agrees_with_its_number():
    assert [wording.counted(n, "row") for n in (0, 1, 2)] == ["0 rows", "1 row", "2 rows"]
    assert wording.counted(2, "class", "classes") == "2 classes"
