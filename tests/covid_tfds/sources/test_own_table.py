"""A user's images.csv -> records; every line that can't be used is named."""

import math

import pytest

from covid_tfds.errors import DatasetError
from covid_tfds.records import Exclusion
from covid_tfds.sources import own
from tests.covid_tfds.made_sources import reasons, write, write_names

FILES = ("x/1.png", "x/2.png")


def read(tmp_path, table: str | bytes, files=FILES, name="images.csv") -> own.Own:
    write_names(tmp_path, files)
    write(tmp_path / name, table if isinstance(table, bytes) else table.encode())
    return own.images(tmp_path)


def test_all_columns_are_understood(tmp_path):
    table = (
        "Path, Label,PATIENT,split,Source,projection,sex,age,license\n"
        "x/1.png,virus,anna,Training,clinic,PA,female,45,CC BY 4.0\n"
        "x/2.png,Fracture,,dev,,,m,045Y,\n"
    )
    found = read(tmp_path, table)
    one, two = found.records
    assert (one.image_id, one.label, one.patient, one.patient_known, one.source) == (
        "own/x/1.png", "viral", "clinic/anna", True, "clinic"
    )  # fmt: skip
    assert (one.original_split, one.projection, one.sex, one.age, one.license) == (
        "train", "PA", "F", 45, "CC BY 4.0"
    )  # fmt: skip
    assert (two.label, two.patient, two.patient_known, two.source) == (
        "Fracture", "own/x/2.png", False, "own"
    )  # fmt: skip
    assert (two.original_split, two.projection, two.sex, two.age, two.license) == (
        "validation", "", "M", 45, "your own"
    )  # fmt: skip
    assert found.class_names == ("viral", "Fracture")
    assert not found.notes


@pytest.mark.parametrize("text,years", [("0", 0), ("45.5", 45.5), ("006M", 0.5), ("120", 120),
                                        ("010W", 10 * 7 / 365.25), ("030D", 30 / 365.25),
                                        ("3y", 3), ('"2,5"', 2.5),
                                        ("NaN", math.nan), ("", math.nan)])  # fmt: skip
def test_ages(tmp_path, text, years):
    found = read(tmp_path, f"path,label,age\nx/1.png,a,{text}\n")
    assert found.records[0].age == pytest.approx(years, nan_ok=True)


PATHS = ["x/1.png", "./x/1.png", "x\\1.png", ".\\x\\1.png", "{root}/x/1.png", "x/../x/1.png",
         "x//1.png"]  # fmt: skip


@pytest.mark.parametrize("path", PATHS)
def test_paths_in_every_spelling(tmp_path, path):
    found = read(tmp_path, f"path,label\n{path.format(root=tmp_path)},a\nx/2.png,b\n")
    assert [r.name for r in found.records] == list(FILES)


@pytest.mark.parametrize("on_disk,in_table", [("e\u0301", "\u00e9"), ("\u00e9", "e\u0301")])
def test_paths_in_both_unicode_forms(tmp_path, on_disk, in_table):
    found = read(tmp_path, f"path,label\n{in_table}.png,{in_table}\n", [f"{on_disk}.png"])
    assert found.records[0].image_id == "own/\u00e9.png"
    assert found.class_names == ("\u00e9",)


@pytest.mark.parametrize("given", ["link", "d"])
def test_an_absolute_path_is_found_through_a_linked_root(tmp_path, given):
    (tmp_path / "link").symlink_to(tmp_path / "d")
    write_names(tmp_path / "d", ["a.png"])
    write(tmp_path / "d/images.csv", f"path,label\n{tmp_path}/d/a.png,x\n".encode())
    assert len(own.images(tmp_path / given).records) == 1


@pytest.mark.parametrize("given", ["link", "d"])
def test_a_path_over_a_link_to_a_folder_that_is_here_is_found(tmp_path, given):
    (tmp_path / "link").symlink_to(tmp_path / "d")
    write_names(tmp_path / "d", ["store/x/1.png", "store/x/2.png"])
    (tmp_path / "d/data").symlink_to("store/x")
    table = tmp_path / "d/images.csv"
    table.write_text(f"path,label\ndata/1.png,a\n{tmp_path}/d/data/2.png,b\n")
    found = own.images(tmp_path / given)
    assert [r.name for r in found.records] == ["store/x/1.png", "store/x/2.png"]
    (tmp_path / "d/store/x/gone.png").symlink_to("nowhere")
    table.write_text("path,label\ndata/1.png,a\ndata/gone.png,b\n")
    assert reasons(own.images(tmp_path / given).exclusions) == {
        "own/data/": "a link to a folder that is here itself",
        "own/store/x/2.png": "file without a row",
        "own/store/x/gone.png": "broken link",
    }
    table.write_text("path,label\ndata/1.png,a\nstore/x/1.png,a\ndata/3.png,b\n")
    with pytest.raises(DatasetError) as refused:
        own.images(tmp_path / given)
    assert str(refused.value).splitlines()[1:] == [
        "  line 3: 'store/x/1.png' is listed twice (first in line 2)",
        "  line 4: there is no file 'data/3.png'",
    ]


@pytest.mark.parametrize("column", ["view", "licence", "note", "file_name", "personal", ""])
def test_other_columns_are_named(tmp_path, column):
    found = read(tmp_path, f"path,label,patient,{column}\nx/1.png,a,7,z\nx/2.png,b,8,z\n")
    assert found.notes == [f"Columns of images.csv that are not used: {column or '(no name)'}."]
    assert found.records[0].patient == "own/7"


def test_files_without_a_row_and_rows_whose_file_cant_be_used_are_exclusions(tmp_path):
    (tmp_path / "x").mkdir()
    (tmp_path / "x/gone.png").symlink_to(tmp_path / "nowhere")
    (tmp_path / "x/gone2.png").symlink_to(tmp_path / "nowhere")
    table = "path,label\nx/1.png,a\nx/gone.png,b\n.cache/z.png,a\n"
    found = read(tmp_path, table, [*FILES, ".cache/z.png", "readme.txt"])
    assert [r.name for r in found.records] == ["x/1.png"]
    assert found.class_names == ("a", "b")
    assert reasons(found.exclusions) == {
        "own/x/2.png": "file without a row",
        "own/readme.txt": "file without a row",
        "own/x/gone.png": "broken link",
        "own/x/gone2.png": "broken link",
        "own/.cache/z.png": "hidden or system file",
        "own/.cache/": "hidden or system file",
    }
    with pytest.raises(DatasetError, match=r"  b: own/x/gone\.png \(broken link\)"):
        own.require_every_class(found.class_names, {"a"}, found.exclusions)


STRANGE = {
    "age": ["50+", "early 40s", "mid 50s", "?", "-1", "121", "unknown", "045X", "١٢", "4\n5"],
    "sex": ["O", "unknown", "X", "boy", "?", "1", "M/F", "W", "Männlich", "n\no"],
}


@pytest.mark.parametrize("column", STRANGE)
@pytest.mark.parametrize("place", range(10))
def test_an_age_or_sex_that_is_not_understood_is_unknown(tmp_path, column, place):
    cell = STRANGE[column][place]
    good = {"age": "45", "sex": "F"}[column]
    table = f'path,label,{column}\nx/1.png,a,{good}\nx/2.png,b,"{cell}"\n'
    found = read(tmp_path, table)
    assert [getattr(r, column) for r in found.records] == [
        {"age": 45, "sex": "F"}[column],
        pytest.approx({"age": math.nan, "sex": ""}[column], nan_ok=True),
    ]
    shown = cell.replace("\n", "\\n")
    assert found.notes == [
        f"The {column} is not understood in 1 row of images.csv and counts as unknown there, "
        f"first: '{shown}' in line 3."
    ]


def test_one_note_a_column_counts_what_is_not_understood(tmp_path):
    files = [f"{i}.png" for i in range(9)]
    rows = "".join(f"{i}.png,{'ab'[i % 2]},{'?' if i > 3 else 7},{'XM'[i % 2]}\n" for i in range(9))
    found = read(tmp_path, f"path,label,age,sex\n{rows}", files)
    assert [note.split(" of images.csv")[0] for note in found.notes] == [
        "The age is not understood in 5 rows", "The sex is not understood in 5 rows"
    ]  # fmt: skip
    assert "first: '?' in line 6." in found.notes[0]
    assert "first: 'X' in line 2." in found.notes[1]


def test_one_class_only_is_noted(tmp_path):
    found = read(tmp_path, "path,label\nx/1.png,virus\nx/2.png,Viral\n")
    assert found.notes == ["There is one class only, viral: a classifier needs two."]


def test_a_list_of_columns_ends(tmp_path):
    columns = ",".join(["", "", "a" * 500, *(f"c{i}" for i in range(30))])
    found = read(tmp_path, f"path,label,{columns}\nx/1.png,a\nx/2.png,b\n")
    (note,) = found.notes
    assert note.startswith("Columns of images.csv that are not used: (no name), aaa")
    assert note.endswith("aaa, c0, c1, c2, c3, c4, c5, c6, c7 and 22 more.")
    assert len(note) < 250


@pytest.mark.parametrize("encode", ["utf-8-sig", "utf-16", "cp1252"])
def test_tables_as_excel_writes_them(tmp_path, encode):
    table = "path;label;patient\r\nä.png;ödem;Ü1\r\nb.png;b;2\r\n"
    found = read(tmp_path, table.encode(encode), ["ä.png", "b.png"])
    first = found.records[0]
    assert (first.name, first.label, first.patient) == ("ä.png", "ödem", "own/Ü1")
    assert bool(found.notes) == (encode == "cp1252")  # named, since it is a guess


def test_a_field_above_csvs_limit(tmp_path):
    found = read(tmp_path, f"path,label,note\nx/1.png,a,{'n' * 140_000}\nx/2.png,b,\n")
    assert len(found.records) == 2


@pytest.mark.parametrize("name", ["films.csv", "Films.CSV"])
def test_the_old_name_is_refused_with_the_new_one(tmp_path, name):
    with pytest.raises(DatasetError, match=rf"{name} is called images\.csv since version 2\.0\.0"):
        read(tmp_path, "path,label\nx/1.png,a\n", name=name)


@pytest.mark.parametrize("name", ["Images.csv", "IMAGES.CSV"])
def test_the_tables_name_in_any_case(tmp_path, name):
    found = read(tmp_path, "path,label\nx/1.png,a\nx/2.png,b\n", name=name)
    assert found.class_names == ("a", "b")
    assert not found.exclusions


@pytest.mark.parametrize("name", ["data/images.csv", "data/films.csv"])
def test_a_table_in_another_folder_is_pointed_out(tmp_path, name):
    with pytest.raises(DatasetError, match=rf"lies in data, not in .*--manual_dir={tmp_path}/data"):
        read(tmp_path, "path,label\n", ["data/a/1.png", "data/b/2.png"], name)


def test_notes_on_patients(tmp_path):
    some = read(tmp_path, "path,label,patient\nx/1.png,a,7\nx/2.png,b,\n").records
    assert own.patient_note(some).startswith("1 of 2 images have no patient")
    assert own.patient_note(some[:1]) == ""
    assert own.patient_note(some[1:]).startswith("No patients are given")
    assert own.patient_note([]) == ""


def test_a_class_without_an_image_that_can_be_used_ends_the_build(tmp_path):
    found = read(tmp_path, "path,label,source\nx/1.png,a,s\nx/2.png,b,s\n")
    out = [Exclusion("own/other", "broken link"), Exclusion("s/x/2.png", "not an image")]
    own.require_every_class(found.class_names, ["a", "b"], out)
    with pytest.raises(DatasetError) as refused:
        own.require_every_class(found.class_names, ["a"], out, records=found.records)
    assert str(refused.value).splitlines() == [
        "No image of the class b can be used. First files seen:",
        "  b: s/x/2.png (not an image)",
        "Mend these files, or take out what is no class.",
    ]


def test_the_files_of_a_lost_class_are_known_by_its_folder(tmp_path):
    out = [Exclusion("own/x/1.png", "blank"), Exclusion("own/train/NORMAL/2.png", "not an image")]
    with pytest.raises(
        DatasetError, match=r"  healthy: own/train/NORMAL/2\.png \(not an image\)\n"
    ):
        own.require_every_class(("healthy", "x"), {"x"}, out)
