"""The grid is the one that is described, the benchmark runs to its line, and intervals cover."""

import collections

import numpy as np
import pytest

from benchmarks import coverage, simulated
from benchmarks.simulated import Kind


def test_the_grid_has_so_many_cells_of_each_interval():
    counts = collections.Counter(cell.part for cell in coverage.cells())
    assert counts == {
        "share": 294, "balanced accuracy": 714, "ROC area": 300, "loss": 168,
        "average precision": 240, "paired difference": 102, "ppv at prevalence": 420,
    }  # fmt: skip
    assert len(set(coverage.cells())) == sum(counts.values())


@pytest.mark.parametrize("kind", simulated.KINDS)
def test_patients_have_the_share_and_the_correlation_that_they_are_drawn_with(kind):
    rng = np.random.default_rng(0)
    size = simulated.sizes(rng, kind, (40_000,))
    right = simulated.right(rng, size, 0.8, kind.icc)
    assert right.sum() / size.sum() == pytest.approx(0.8, abs=0.02)
    pairs = size == 2
    if pairs.any():  # both images alike: 1 - 2 p (1 - p) (1 - icc)
        alike = (right[pairs] != 1).mean()
        assert alike == pytest.approx(1 - 0.32 * (1 - kind.icc), abs=0.02)


def test_images_of_a_patient_share_an_effect():
    rng = np.random.default_rng(0)
    drawn = [simulated.images(rng, Kind("geometric", 0.8), 200, None) for _ in range(3)]
    for groups, noise in drawn:
        first = np.flatnonzero(np.diff(groups) == 0)
        together = (noise[:, first] * noise[:, first + 1]).mean()
        assert together == pytest.approx(0.8, abs=0.1)


@pytest.mark.slow
def test_it_runs_to_its_line(capsys):
    line = coverage.measure(sets=20, every=97, parts=list(coverage.PARTS), processes=1)
    assert line["sets"] == 20
    assert {name.partition(",")[0] for name in line["figures"]} == set(coverage.PARTS)
    for figures in line["figures"].values():
        assert figures["least"] > 0.5
    assert set(line["claims"]) == {
        "balanced accuracy: share of cells that cover 0.93", "loss: share of cells that cover 0.93"
    }  # fmt: skip
    assert "balanced accuracy, all" in capsys.readouterr().out


@pytest.mark.slow
@pytest.mark.parametrize(("part", "least"), [("balanced accuracy", 0.9), ("loss", 0.93),
                                             ("share", 0.89), ("paired difference", 0.9),
                                             ("average precision", 0.91),
                                             ("ROC area", 0.88)])  # fmt: skip
def test_intervals_cover(part, least):
    """Some cells, with the same draws every time; the bootstrap had .40, .20, .75, .34 and .64."""
    cells = [cell for cell in coverage.cells() if cell.part == part]
    few = min(int(each) for each in cells[0].row.split("/"))
    assert few <= 50
    for cell in cells[:: len(cells) // 8]:
        assert coverage.simulate(cell, 400)["coverage"] > least, cell
