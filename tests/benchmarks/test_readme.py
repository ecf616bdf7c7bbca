"""README's table of speeds has the numbers of the recorded lines, and of no others."""

import pathlib
import re

import pytest

from benchmarks import report

ROOT = pathlib.Path(__file__).parents[2]
_PLAIN = "search --part=plain"
# What each row quotes: a benchmark, and one of its claims or other ratios.
QUOTED = [
    ("article_race", "a: times as fast"),
    (_PLAIN, "without augmentation, the default: times as fast as the plain way without"),
    (_PLAIN, "6 trials x 40 epochs: times as fast as the plain way"),
    (_PLAIN, "8 views: times as fast as Keras and KerasTuner on cached activations"),
    ("fine_tune", "images/s of block 5 and head, times the fastest way of Keras' fit"),
    ("head", "steps/s of a head, times the fastest way of Keras' fit"),
    ("input_pipeline", "ours, augmented, warm / ImageDataGenerator, rgb"),
    ("input_pipeline", "ours, augmented, cold / ImageDataGenerator, rgb"),
    ("input_pipeline", "ours, cold / tf.data, cold"),
    ("input_pipeline", "ours, cold / grain, cold"),
]  # fmt: skip


@pytest.fixture(scope="module")
def rows() -> list[list[str]]:
    _, _, after = (ROOT / "README.md").read_text().partition("\n## Speed\n")
    table = re.findall(r"^\|(.*)\|$", after.partition("\n## ")[0], re.M)[2:]
    return [[cell.strip() for cell in row.split(" | ")] for row in table]


@pytest.fixture(scope="module")
def spreads() -> dict[str, dict[str, dict]]:
    """By benchmark and claim or ratio, what was recorded."""
    return {
        line["benchmark"]: line.get("spreads", {}) | line["ratios"]
        for line in report.read([ROOT / "benchmarks" / "results.jsonl"])
        if "ratios" in line
    }


def short(value: float) -> str:
    """Two significant digits, or all before the point."""
    return f"{value:#.2g}" if value < 9.95 else f"{value:.0f}"


@pytest.mark.parametrize("number", range(len(QUOTED)))
def test_a_row_has_what_was_recorded(number, rows, spreads):
    benchmark, claim = QUOTED[number]
    recorded = spreads[benchmark][claim]
    ends = " to ".join(short(recorded[end]) for end in ("min", "max"))
    wanted = ends if recorded["rounds"] != 1 else "one round"
    assert rows[number][1:] == [short(recorded["median"]), wanted]


def test_every_row_is_looked_at(rows):
    assert len(rows) == len(QUOTED)
