"""Comma tables of any encoding and delimiter; no row vanishes behind a stray quote."""

import csv

import pytest

from covid_tfds.errors import DatasetError
from covid_tfds.sources import csv_table

HEADER = "path,label,note\n"


def read(text: str | bytes, is_file=lambda _: False) -> csv_table.Table:
    data = text if isinstance(text, bytes) else text.encode()
    return csv_table.read(data, "t.csv", ("path", "label"), ("patient", "note"), is_file)


def cells(table: csv_table.Table) -> list[tuple[int, str, str]]:
    return [(row.line, row["path"], row["label"]) for row in table.rows]


def test_line_numbers_are_those_of_an_editor():
    table = read(HEADER + 'a.png,x,"two\nlines"\n\ngone.png,y,\n,,\n   \nb.png,z,n\n')
    assert cells(table) == [(2, "a.png", "x"), (5, "gone.png", "y"), (6, "", ""), (8, "b.png", "z")]
    assert [row.empty for row in table.rows] == [False, False, True, False]
    assert table.rows[0]["note"] == "two\nlines"


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_line_ends_of_every_system_count_alike(end):
    text = f'{end}path,label,note{end}a,x,{end}{end}b,y,"1{end}2"{end}c,z,'
    assert cells(read(text)) == [(3, "a", "x"), (5, "b", "y"), (7, "c", "z")]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "cp1252"])
def test_encodings(encoding):
    table = read("Path , LABEL\nä é.png,x\n".encode(encoding))
    assert cells(table) == [(2, "ä é.png", "x")]
    assert table.encoding == encoding.removesuffix("-sig")


def test_bytes_of_no_encoding_are_read_all_the_same():
    assert read(b"path,label\n\x81\xe4.png,x\n").rows[0]["path"] == "\x81ä.png"


@pytest.mark.parametrize("text", ["path;label;note\na;x;5,5\n", "path\tlabel\tnote\na\tx\t5,5\n",
                                  "sep=;\npath;label;note\na;x;5,5\n"])  # fmt: skip
def test_other_delimiters_are_taken_where_the_comma_gives_no_columns(text):
    row = read(text).rows[0]
    assert (row["path"], row["label"], row["note"]) == ("a", "x", "5,5")
    assert row.line == text.count("\n")


def test_a_field_above_csvs_limit_is_read_and_the_limit_is_left():
    before = csv.field_size_limit()
    long = "x" * 300_000
    assert read(f'{HEADER}a,x,{long}\nb,y,"{long}"\n').rows[1]["note"] == long
    with pytest.raises(DatasetError):
        read(f'{HEADER}a,x,"{long}\n')
    assert csv.field_size_limit() == before


def test_short_and_long_rows_say_so():
    short, long, full = read(HEADER + "a\nb,x,n,too,,many\nc,x,n,,\n").rows
    assert short.missing == ("label", "note")
    assert short["label"] == short["note"] == short["patient"] == ""
    assert (long.extra, full.extra, full.missing) == (2, 0, ())


def test_nan_is_an_empty_cell():
    row = read("path,label,patient\na,NaN,nan\n").rows[0]
    assert row["label"] == row["patient"] == ""


STRAY = {
    "open to the end": (HEADER + 'a.png,x,n\nb.png,x,"see\nc.png,x,n\n', 3),
    "open to the end, behind doubled quotes": (HEADER + '"a ""b""\nc",x,"see\nd,x,n\n', 3),
    "open to the end, behind a quote that is a letter": (HEADER + '5" a,"1\n2","see\nb,x,n\n', 3),
    "open to the end, behind quotes that are letters": (HEADER + '5"" a,"1\n2","see\nb,x,n\n', 3),
    "open to the end, in a late cell": (HEADER + 'a,x,"1\n2"\n"b",x,"see\nc,x,n\n', 4),
    "closed inside a later cell": (HEADER + 'a.png,x,"see\nb.png,x,a "b" c\nc.png,x,n\n', 2),
    "closed by a quoted cell": (HEADER + 'a.png,x,"see\nb.png,x,n\n"c.png",x,n\n', 2),
    "closed behind a word": (HEADER + 'a.png,x,"see" url\n', 2),
    "closed in the next row": (HEADER + 'a.png,x,"see\nb.png,x,n"\nc.png,x,n\n', 2),
    "closed some rows later": (HEADER + 'a.png,x,"see\nb.png,x,n\nc.png,x,n"\nd.png,x,n\n', 2),
    "closed in another column": (HEADER + 'a.png,x,"see\nb.png,x",n\nd.png,x,n\n', 2),
    "in the path": (HEADER + '"a.png,x,n\nb.png",x,n\n', 2),
    "in the label": (HEADER + 'z.png,x,\na.png,"x,n\nb.png,x",n\n', 3),
    "behind a note of two lines": (HEADER + 'z.png,x,"1\n2"\na.png,x,"n\nb.png,x,n"\n', 4),
    "in the header": ('path,"label,note\na.png,x,n\n', 1),
    "with semicolons": ('path;label;note\na.png;x;"see\nb.png;x;n"\n', 2),
}


@pytest.mark.parametrize("kind", STRAY)
def test_a_stray_quote_never_swallows_rows_in_silence(kind):
    text, line = STRAY[kind]
    with pytest.raises(DatasetError, match=f"line {line} |has no column"):
        read(text)


def test_rows_without_suffixes_are_known_by_the_files_there():
    text = HEADER + 'scan1,x,"see\nscan2,x,n\nscan3,x,n"\n'
    with pytest.raises(DatasetError, match="line 2 "):
        read(text, {"scan2"}.__contains__)


def test_rows_of_many_columns_are_known_by_their_shape():
    header = "path,label,a,b,c,d,note\n"
    with pytest.raises(DatasetError, match="line 2 "):
        read(header + '1,x,a,b,c,d,"see\n2,x,a,b,c,d,n\n3,x,a,b,c,d,n"\n')


def test_a_column_of_notes_first_is_watched_too():
    with pytest.raises(DatasetError, match="line 2 "):
        read('note,path,label\n"see,a.png,x\nsee",b.png,x\n')


NOTES = ["one\ntwo, three, four", "See below:\nfever, cough, dyspnea\n\nand so on, and on",
         'he said ""no""\nand left, at once, alone', "a.png\nb.png", "\n", "x\n"]  # fmt: skip


@pytest.mark.parametrize("note", NOTES)
def test_notes_of_several_lines_stay_what_they_are(note):
    table = read(f'{HEADER}a.png,x,"{note}"\nb.png,y,n\n', {"a.png", "b.png"}.__contains__)
    assert [row["path"] for row in table.rows] == ["a.png", "b.png"]


def test_quotes_inside_an_unquoted_cell_are_letters():
    assert read(HEADER + 'a.png,x,5" tube\n').rows[0]["note"] == '5" tube'


BAD_HEADERS = {
    "": r"no column path, label; its columns are \(none\)",
    "<html>\n": "no column path, label; its columns are <html>",
    "path,finding\na,x\n": "no column label; its columns are path, finding",
    "path,label,Label \na,x,y\n": "the column label more than once",
}


@pytest.mark.parametrize("text", BAD_HEADERS)
def test_a_header_that_cant_be_used_is_named(text):
    with pytest.raises(DatasetError, match=BAD_HEADERS[text]):
        read(text)


def test_a_first_line_above_csvs_limit_is_no_header():
    with pytest.raises(DatasetError, match=r"no column path, label; its columns are \(none\)"):
        read("<html>" * 50_000)
