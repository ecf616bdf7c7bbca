"""A user's images.csv that can't be used: every problem at once, each with its line."""

import pytest

from covid_tfds.errors import DatasetError
from covid_tfds.sources import own
from tests.covid_tfds.made_sources import write, write_names

FILES = ("x/1.png", "x/2.png")


def read(tmp_path, table: str, files=FILES) -> own.Own:
    write_names(tmp_path, files)
    write(tmp_path / "images.csv", table.encode())
    return own.images(tmp_path)


@pytest.mark.parametrize("column", ["patient_id", "PatientID", "Subject", "subject_id",
                                    "Patient Age", "person", "participant_id", "pid", "MRN",
                                    "case_id", "PAT-ID"])  # fmt: skip
def test_columns_that_speak_of_persons_are_refused(tmp_path, column):
    with pytest.raises(DatasetError, match=f"{column.lower()!r}.*`patient`"):
        read(tmp_path, f"path,label,{column}\nx/1.png,a,7\n")


def test_lines_are_those_of_the_file(tmp_path):
    table = 'path,label,note\nx/1.png,healthy,"two\nlines"\n\ngone.png,viral,\n,,\nx/2.png,,\n'
    with pytest.raises(DatasetError) as refused:
        read(tmp_path, table)
    assert str(refused.value).splitlines()[1:] == [
        "  line 5: there is no file 'gone.png'",
        "  line 6: all cells are empty; take the line out",
        "  line 7: there is no label",
    ]


BAD_TABLES = {
    "path,finding\na.png,viral\n": "has no column label",
    "path,label\ngone.png,viral\n": "line 2: there is no file 'gone.png'",
    "path,label\n../a.png,viral\n": r"line 2: there is no file '\.\./a.png'",
    "path,label\n/etc/passwd,viral\n": "line 2: there is no file '/etc/passwd'",
    "path,label\nx,viral\n": "line 2: there is no file 'x'",
    "path,label\n,viral\n": "line 2: there is no path",
    "path,label\nx/1.png,viral\n./x/1.png,a\n": r"line 3: './x/1.png' is listed twice \(.*line 2",
    "path,label,split\nx/1.png,viral,fold1\n": "line 2: split 'fold1' is none of",
    "path,label,split\nx/1.png,viral,test\nx/2.png,viral,\n": "give it to all or to none",
    "path,label\nx/1.png,viral,too,many\n": "line 2: it has 2 more cells than there are columns",
    "path,label,patient\nx/1.png,viral,\"a\nb\"\n": "line 2: patient 'a.nb' has a line break",
    "path,label,patient,patient\nx/1.png,viral,1,2\n": "the column patient more than once",
    "path,label\n": "has no row below its header",
    "path,label,note\nx/1.png,a,\"see\nx/2.png,a,n\"\n": r'quote \("\) in line 2',
    "path,label,note\nx/1.png,a,\"see\nx/2.png,a,n\n": r'quote \("\) in line 2',
}  # fmt: skip


@pytest.mark.parametrize("table", BAD_TABLES)
def test_a_bad_table_is_refused_line_by_line(tmp_path, table):
    with pytest.raises(DatasetError, match=BAD_TABLES[table]):
        read(tmp_path, table)


def test_many_problems_are_counted_by_kind(tmp_path):
    rows = [f"gone{i}.png,a\n" for i in range(30)] + [",a\n"] * 7 + ["x/1.png,\n"]
    with pytest.raises(DatasetError) as refused:
        read(tmp_path, f"path,label\n{''.join(rows)}")
    assert str(refused.value).splitlines()[1:] == [
        "  30 rows name files that are not there, first (5 shown):",
        *(f"    line {i + 2}: there is no file 'gone{i}.png'" for i in range(5)),
        "  7 rows have no path, first (5 shown):",
        *(f"    line {i}: there is no path" for i in range(32, 37)),
        "  line 39: there is no label",
    ]


@pytest.mark.parametrize("column", ["label", "patient", "source", "projection", "license"])
def test_a_cell_that_is_kept_is_bounded(tmp_path, column):
    columns = ["path", "label", *([column] if column != "label" else [])]
    for length, refuses in ((200, False), (201, True)):
        cells = ["x/1.png", *(["a"] if column != "label" else []), "c" * length]
        table = f"{','.join(columns)}\n{','.join(cells)}\n"
        if not refuses:
            assert len(read(tmp_path, table).records) == 1
            continue
        with pytest.raises(DatasetError) as refused:
            read(tmp_path, table)
        assert str(refused.value).splitlines()[1] == (
            f"  line 2: {column} '{'c' * 37}...' has 201 characters; 200 are the most"
        )


@pytest.mark.parametrize("letter", ["\x1b", "\x00", "\x9b", "\u2028", "\u202e"])
@pytest.mark.parametrize("column", ["path", "label", "patient", "split", "license"])
def test_control_characters_are_shown_and_refused(tmp_path, letter, column):
    cells = {"path": "x/1.png", "label": "a", "patient": "p", "split": "train", "license": "l"}
    cells[column] = f"x{letter}y"
    row = ",".join(f'"{cell}"' for cell in cells.values())
    with pytest.raises(DatasetError) as refused:
        read(tmp_path, f"{','.join(cells)}\n{row}\n")
    assert letter not in str(refused.value)
    assert f"x{letter!r}y".replace("'", "") in str(refused.value)


def test_a_row_whose_files_name_holds_control_characters_is_an_exclusion(tmp_path):
    found = read(tmp_path, 'path,label\nx/1.png,a\n"x/2\x1b.png",a\n', (*FILES, "x/2\x1b.png"))
    left_out = {e.file: e.reason for e in found.exclusions}
    assert left_out["own/x/2\\x1b.png"] == "name holds control characters"
    assert len(found.exclusions) == 2


def test_columns_and_lines_are_refused_in_one_run(tmp_path):
    table = "path,label,split,subject\ngone.png,a,test,1\nx/2.png,b,,2\n"
    with pytest.raises(DatasetError) as refused:
        read(tmp_path, table)
    column, *lines = str(refused.value).splitlines()
    assert "has the column 'subject'" in column
    assert lines == [
        "images.csv can't be used; mend these lines:",
        "  line 2: there is no file 'gone.png'",
        "  some rows have a split and some have none (first in line 3): give it to all or to none",
    ]


MEANT = {
    "260.jpg": "chest/covid19/260.jpg",
    "elsewhere/260.jpg": "chest/covid19/260.jpg",
    "C:\\my data\\260.jpg": "chest/covid19/260.jpg",
    "/home/anna/chest/covid19/260.jpg": "chest/covid19/260.jpg",
    "Chest/COVID19/260.JPG": "chest/covid19/260.jpg",
    "260.JPG": "chest/covid19/260.jpg",
    "260": "chest/covid19/260.jpg",
    "260.jpeg": "chest/covid19/260.jpg",
    "twice.png": "",  # two files have this name
    "Chest/A/Twice.png": "chest/a/twice.png",
    "26.jpg": "",
    "..": "",
}


@pytest.mark.parametrize("path", MEANT)
def test_the_one_file_that_may_be_meant_is_suggested(tmp_path, path):
    files = ["chest/covid19/260.jpg", "chest/a/twice.png", "chest/b/twice.png", "1.2.3"]
    with pytest.raises(DatasetError) as refused:
        read(tmp_path, f"path,label\n{path},a\n", files)
    like = f"; did you mean {MEANT[path]!r}?" if MEANT[path] else ""
    line = str(refused.value).splitlines()[1]
    assert line == f"  line 2: there is no file '{path}'{like}"


@pytest.mark.parametrize("label", ["NA", "N/A", "<NA>", "NULL", "nan"])
def test_what_stands_for_nothing_is_no_class(label, tmp_path):
    with pytest.raises(DatasetError, match="line 3: there is no label"):
        read(tmp_path, f"path,label\nx/1.png,healthy\nx/2.png,{label}\n")
