"""Runs without pictures: drawing takes three quarters of a tiny run's time.

For tests whose claim is not about a picture. All else of a run is as ever, and every file is there.
"""

import contextlib
from collections.abc import Iterator

import pytest


@contextlib.contextmanager
def no_pictures() -> Iterator[None]:
    """Meanwhile runs write empty plots, heatmaps and reports, and no picture for TensorBoard."""
    from trainer import board, scoring
    from trainer.reporting import run_report
    from trainer.run.manifest import REPORT

    def draw(setup, training, table, result, folder) -> None:
        for name in scoring.plots_of(setup.config):
            (folder / name).parent.mkdir(exist_ok=True)
            (folder / name).write_bytes(b"")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(scoring, "_draw", draw)
        patch.setattr(run_report, "write", lambda run: (run.path / REPORT).write_bytes(b""))
        patch.setattr(board, "write_begin", lambda *arguments: None)
        patch.setattr(board.Pictures, "__call__", lambda *arguments: None)
        yield


@pytest.fixture(scope="module")
def undrawn() -> Iterator[None]:
    """The runs of a file have no pictures: `pytestmark = pytest.mark.usefixtures("undrawn")`."""
    with no_pictures():
        yield


@pytest.fixture
def undrawn_here() -> Iterator[None]:
    """The runs of one test have no pictures; those of its file's fixtures have them."""
    with no_pictures():
        yield
