"""Alignment.csv: how each image was aligned, and which poses are in doubt."""

import dataclasses
import os
from collections.abc import Sequence

import numpy as np

from trainer.evaluation import images_used
from trainer.run.files import write_table

COLUMNS = (
    "image_id", "split", "scale_x", "scale_y", "shift_x", "shift_y", "correlation", "at_bounds",
    "weak",
)  # fmt: skip
_POSE = slice(2, 7)  # of the columns


@dataclasses.dataclass(frozen=True, eq=False)
class Poses:
    """How n images were aligned.

    Attributes:
        image_ids: n strings.
        splits: n strings.
        poses: float32 [n, 5]: scales (1: as the template), shifts (shares of the sides), and the
            correlation with the template, -1..1.
        at_bounds: bool [n], where a pose lies on the bounds of what is searched.
        weak: bool [n], where the correlation is too low for the image to show a chest as the
            template does.
    """

    image_ids: Sequence[str]
    splits: Sequence[str]
    poses: np.ndarray
    at_bounds: np.ndarray
    weak: np.ndarray

    def counts(self) -> dict[str, int]:
        """How many `images` there are, and of them `at_bounds` and `weak`."""
        return {
            "images": len(self.image_ids),
            "at_bounds": int(self.at_bounds.sum()),
            "weak": int(self.weak.sum()),
        }


def write(path: str | os.PathLike, table: Poses) -> None:
    """Writes alignment.csv, whole or not at all.

    Numbers have six decimals: a scale of 1 is 1.0 however its last bit was rounded, and steps of
    the grid of poses are more than 1000 times as far apart.
    """
    columns = (getattr(table, field.name) for field in dataclasses.fields(Poses))
    rows = zip(*columns, strict=True)
    write_table(
        path, COLUMNS, ([*ids, *_decimals(pose), at, weak] for *ids, pose, at, weak in rows)
    )


def _decimals(pose: np.ndarray) -> list[float]:
    return [round(number, 6) + 0.0 for number in pose.tolist()]  # 0.0, and not -0.0


def read(path: str | os.PathLike) -> Poses:
    """Reads what `write` wrote.

    Raises:
        ValueError: The file has other columns.
    """
    rows = images_used.read_rows(path, COLUMNS)
    doubts = np.array([row[_POSE.stop :] for row in rows]).reshape(-1, 2) == str(True)
    poses = np.array([row[_POSE] for row in rows], np.float32).reshape(-1, 5)
    return Poses([row[0] for row in rows], [row[1] for row in rows], poses, *doubts.T)
