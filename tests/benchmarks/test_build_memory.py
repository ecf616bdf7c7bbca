"""The lot that is built is what the benchmark says; no figure is judged."""

import csv

import pytest
from PIL import Image

from benchmarks import build_memory


def test_every_image_has_a_row_and_a_patient_of_its_own(tmp_path):
    build_memory.draw(tmp_path / "lot", 6, 64)
    with open(tmp_path / "lot/images.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert len({row["patient"] for row in rows}) == len(rows) == 6
    seen = set()
    for row in rows:
        with Image.open(tmp_path / "lot" / row["path"]) as image:
            assert image.size == (64, 64)
            seen.add(image.tobytes())
    assert len(seen) == 6


@pytest.mark.slow
def test_the_line_has_how_memory_grows():
    line = build_memory.measure([100, 200], rounds=1, side=64)
    assert line["growth_kib_an_image"].keys() == {"from 100 to 200"}
    assert all(figure["median"] > 0 for figure in line["figures"].values())
