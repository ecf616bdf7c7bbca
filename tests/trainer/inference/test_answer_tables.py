"""The claims of what is written of answers: the same in every format, and what they are worth."""

import csv
import dataclasses
import io
import json

import pytest
from pyarrow import parquet

from trainer.evaluation.metrics import NOTICE
from trainer.inference import answer_tables
from trainer.inference.answers import Answer
from trainer.inference.network import Network

NAMES = ("healthy", "covid19", "bacterial", "viral")
NOTES = ("CONFOUNDED: class and source go together, so that a network may see one for the other.",
         "LEAK: the scores are too high.")  # fmt: skip
ESTIMATE = {"value": 0.8, "low": 0.7, "high": 0.9, "groups": 40}
SCORES = {"split": "test", "n": 80, "groups": 40, "balanced_accuracy": ESTIMATE,
          "shortcut_baseline": ESTIMATE | {"value": 0.75}}  # fmt: skip
WORTH = ("Balanced accuracy on test: 0.800 [0.700, 0.900], n = 80 images of 40 patient groups; "
         "higher shortcut baseline 0.750 [0.700, 0.900].")  # fmt: skip


def network(names=NAMES) -> Network:
    return Network("m.keras", None, None, names, 32, "none", None, NOTES, SCORES)


def answer(file: str, *shares: float, error: str = "", names=NAMES) -> Answer:
    probabilities = dict(zip(names, shares, strict=True)) if shares else None
    return Answer(file, probabilities, error, NOTES)


ANSWERS = (
    answer("a.png", 0.1, 0.12345679, 0.7, 0.07654321),
    answer('an "odd", name.dcm', error="truncated or damaged"),
    answer(f"{'folder/' * 20}last.png", 1.0, 0.0, 0.0, 0.0),
)


def written(kind: str, answers=ANSWERS, net=None, width: int = 0) -> str:
    file = io.StringIO()
    names = [each.file for each in answers]
    with answer_tables.text_writer(kind, net or network(), file, names, width) as write:
        for each in answers:
            write(each)
    return file.getvalue()


def test_csv_has_every_number_and_in_every_row_what_it_is_worth():
    rows = list(csv.DictReader(io.StringIO(written("csv"))))
    assert list(rows[0]) == ["file", "class", *(f"p_{name}" for name in NAMES), "error", "notes"]
    assert [row["file"] for row in rows] == [each.file for each in ANSWERS]
    assert [row["class"] for row in rows] == ["bacterial", "", "healthy"]
    assert float(rows[0]["p_covid19"]) == 0.12345679 and rows[1]["p_covid19"] == ""
    assert [row["error"] for row in rows] == ["", "truncated or damaged", ""]
    assert {row["notes"] for row in rows} == {"CONFOUNDED; LEAK"}


def test_json_is_one_object_with_the_notes_in_full():
    values = json.loads(written("json"))
    assert values["notes"] == list(NOTES) and values["notice"] == NOTICE
    assert values["scores"] == json.loads(json.dumps(SCORES))
    assert values["network"]["class_names"] == list(NAMES)
    first, wrong, _ = values["images"]
    assert first == {"file": "a.png", "class": "bacterial", "error": None,
                     "probabilities": ANSWERS[0].probabilities}  # fmt: skip
    assert (wrong["probabilities"], wrong["error"]) == (None, "truncated or damaged")
    assert json.loads(written("json", ()))["images"] == []


def test_json_lines_are_objects_with_the_notes_in_short():
    lines = [json.loads(line) for line in written("jsonl").splitlines()]
    images = json.loads(written("json"))["images"]
    assert lines == [image | {"notes": "CONFOUNDED; LEAK"} for image in images]


def test_parquet_holds_what_csv_holds(tmp_path):
    with answer_tables.parquet_writer(network(), tmp_path / "a.parquet") as write:
        for _ in range(1500):  # more than are written together
            for each in ANSWERS:
                write(each)
    table = parquet.read_table(tmp_path / "a.parquet")
    rows = table.to_pylist()
    assert len(rows) == 4500
    wanted = [answer_tables.row(each, network()) for each in ANSWERS]
    for row, values in zip(rows[-3:], wanted, strict=True):
        assert row == pytest.approx(values, abs=1e-7)
    assert json.loads(table.schema.metadata[b"notes"]) == [*NOTES, NOTICE]


def test_a_table_in_a_pipe_is_whole():
    lines = written("table").splitlines()
    assert lines[0].split() == ["file", "class", *NAMES]
    assert lines[1].split() == ["a.png", "bacterial", "0.100", "0.123", "0.700", "0.077"]
    assert lines[2].endswith("ERROR: truncated or damaged")
    assert lines[3].startswith(f"{ANSWERS[2].file}  healthy")
    assert lines[4:] == ["", WORTH, *NOTES, NOTICE]


def test_a_table_fits_a_terminal():
    long = answer(ANSWERS[2].file, error="not an X-ray: a page of text or a drawing")
    assert max(map(len, written("table", [*ANSWERS, long], width=80).splitlines())) == 80
    lines = written("table", width=80).splitlines()
    assert lines[3].startswith("…") and "/last.png  healthy " in lines[3]
    columns = [line.index("  bacterial") for line in lines[:2]]
    assert columns[1] < columns[0]  # the class that was called is before the classes' columns
    text = " ".join(" ".join(lines[4:]).split())
    assert text == " ".join(["", WORTH, *NOTES, NOTICE]).strip()


@pytest.mark.parametrize("width", [40, 60, 80, 120])
def test_many_classes_leave_the_probability_of_the_one_that_was_called(width):
    names = tuple(f"a rather long class name {i}" for i in range(12))
    shares = [0.5, *[0.5 / 11] * 11]
    long = answer("folder/" * 30 + "a.png", *shares, names=names)
    lines = written("table", [long], network(names), width).splitlines()
    assert max(map(len, lines)) <= width
    assert lines[0].split() == ["file", "class", "probability"]
    assert "a.png  a rather lon…1" in lines[1] and lines[1].endswith(" 0.500")


def test_a_network_of_which_nothing_is_known_says_that():
    net = dataclasses.replace(network(), scores=None, notes=("UNKNOWN: nothing is known.",))
    assert written("table", net=net).splitlines()[5:] == ["UNKNOWN: nothing is known.", NOTICE]
    assert json.loads(written("json", net=net))["scores"] is None
