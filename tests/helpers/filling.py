"""A cache to be filled by stages that are quick to compute; also as a process to be killed.

    python -m tests.helpers.filling CACHE_DIR LOG

writes a line with the number of rows into LOG for each batch that it computes, slowly.
"""

import itertools
import sys
import time
from pathlib import Path

import numpy as np

from tests.helpers import datasets
from trainer.config import Phase
from trainer.input_pipeline.cache import Spec
from trainer.input_pipeline.fill import fill
from trainer.input_pipeline.plan import Demand, Plan, make_plan
from trainer.input_pipeline.stages import OpenStages, Stage, square_stage

IMAGES = {"train": datasets.made([0] * 200), "validation": datasets.made([0] * 70, prefix="other")}
ROWS = 2 * (2 * 200 + 70)  # of two stages: two views of train images, validation as it is
SQUARE = square_stage(32)


def squares(name: str) -> np.ndarray:
    """uint8 [n, 32, 32, 1]."""
    rng = np.random.default_rng(len(name))
    return rng.integers(0, 256, (len(IMAGES[name]), 32, 32, 1), dtype=np.uint8)


def lower(below: np.ndarray, draws: np.ndarray | None) -> np.ndarray:
    """float32 [n, 64], other ones for each augmented view."""
    rows = below.reshape(len(below), -1)[:, :64].astype(np.float32)
    return rows if draws is None else rows + draws[:, :1]


def upper(below: np.ndarray, draws: np.ndarray | None) -> np.ndarray:
    """float32 [n, 8]."""
    return below[:, :8] * 2


def chains(wrap=lambda compute: compute) -> tuple[tuple[Stage, ...], tuple[Stage, ...]]:
    """To train from augmented views, and to score from."""

    def chain(augmented: bool) -> tuple[Stage, ...]:
        specs = [Spec(name, shape, "float32", {"augmented": augmented})
                 for name, shape in (("block4_pool", (64,)), ("block5_pool", (8,)))]  # fmt: skip
        seed = 1 if augmented else None
        first = Stage(specs[0], wrap(lower), augmented, seed=seed, lower=(SQUARE,))
        return SQUARE, first, Stage(specs[1], wrap(upper), augmented, lower=(SQUARE, first))

    return chain(True), chain(False)


def planned(opened: OpenStages, wrap=lambda compute: compute, room: int = 2**40) -> Plan:
    """The plan of a head on two views; the squares are cached."""
    train, score = chains(wrap)
    phases = (Phase("head", None, range(2), 1e-3), Phase("low", "block5", range(2, 4), 1e-3))
    for name, images in IMAGES.items():
        rows = opened.rows(SQUARE)
        with rows.filling():
            at = rows.missing(images.digests, 0)
            rows.append(images.digests[at], 0, squares(name)[at])
    demand = Demand(phases, train, score, ("train",), ("validation",), 2)

    def missing(stage: Stage, name: str, views: tuple[int, ...]) -> int:
        return opened.missing(stage, IMAGES[name], views)

    return make_plan(demand, missing, lambda: room)


def main(cache_dir: str, log: str, last: str = "none") -> None:
    """Fills the cache, and writes down what it computes; waits in its batch number `last`."""
    count = itertools.count(1)

    def slowly(compute):
        def logged(below, draws):
            time.sleep(0.02)
            with open(log, "a") as file:
                file.write(f"{len(below)}\n")
            if str(next(count)) == last:
                time.sleep(600)
            return compute(below, draws)

        return logged

    opened = OpenStages(Path(cache_dir))
    fill(planned(opened, slowly), IMAGES, opened)


if __name__ == "__main__":
    main(*sys.argv[1:])
