"""Heatmaps.npz: where the network looked in a run's worst, least certain and best images.

Which images are shown follows from predictions.csv; `inference.gradcam` computes their maps.
"""

import dataclasses
import os
import zipfile
from collections.abc import Sequence

import matplotlib
import numpy as np
from PIL import Image

from trainer.evaluation.predictions import Predictions
from trainer.run.files import written_whole

KINDS = ("worst", "least_certain", "best")
SHOWN = 6  # images of a kind
_COLOURS = "inferno"  # its lightness rises all the way: it can be read without its hues
_OPACITY = 0.6  # of the colour where a map is 1; the radiograph has to stay visible


@dataclasses.dataclass(frozen=True, eq=False)
class Heatmaps:
    """Some images of a split, and where in them the network saw the class that it called.

    Attributes:
        split: Its name.
        image_ids: n names, as in predictions.csv.
        kinds: Why each is shown, of `KINDS`.
        squares: uint8 [n, size, size], 0..255, as the network gets them.
        maps: float32 [n, height, width], 0..1, of far fewer pixels, see `gradcam.heatmaps`.
    """

    split: str
    image_ids: Sequence[str]
    kinds: Sequence[str]
    squares: np.ndarray
    maps: np.ndarray


def select(table: Predictions, most: int = SHOWN) -> dict[str, np.ndarray]:
    """The images of a split that are worth a look; of equals, those that come first.

    Args:
        table: Of one split and one repeat.
        most: Images of a kind.

    Returns:
        int64 rows of the table by kind, no row twice: "worst", wrong calls, the most probable
        first; "least_certain", where the two most probable classes are closest; "best", right
        calls, the most probable of each class first, class by class in turn.
    """
    ordered = np.sort(table.probabilities, axis=1)
    right, left = table.predicted == table.labels, np.full(len(table.labels), True)
    chosen = {}
    for kind, order in (
        ("worst", _first(-ordered[:, -1], ~right)),
        ("least_certain", _first(ordered[:, -1] - ordered[:, -2], left)),
        ("best", in_turn(_first(-ordered[:, -1], right), table.labels)),
    ):
        chosen[kind] = order[left[order]][:most]
        left[chosen[kind]] = False
    return chosen


def _first(keys: np.ndarray, allowed: np.ndarray) -> np.ndarray:
    """The rows that are allowed, by their keys."""
    order = np.argsort(keys, kind="stable")
    return order[allowed[order]]


def in_turn(rows: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Rows so that the first of each class come first, then the second, and so on."""
    rank = np.zeros(len(rows), np.int64)
    for label in np.unique(labels[rows]):
        of_class = labels[rows] == label
        rank[of_class] = np.arange(of_class.sum())
    return rows[np.argsort(rank, kind="stable")]


def write(path: str | os.PathLike, heatmaps: Heatmaps) -> None:
    """Writes heatmaps.npz, whole; equal heatmaps are equal files."""
    columns = {field.name: getattr(heatmaps, field.name) for field in dataclasses.fields(Heatmaps)}
    with written_whole(path) as beside:
        np.savez_compressed(beside, **columns, allow_pickle=False)


def read(path: str | os.PathLike) -> Heatmaps:
    """Reads what `write` wrote.

    Raises:
        ValueError: The file has another content.
        OSError: It can't be read.
    """
    names = [field.name for field in dataclasses.fields(Heatmaps)]
    try:
        # NumPy itself leaves a damaged file open.
        with open(path, "rb") as file, np.load(file, allow_pickle=False) as columns:
            values = {name: columns[name] for name in names}
    except (EOFError, KeyError, ValueError, zipfile.BadZipFile) as error:
        raise ValueError(
            f"{path} is not what a run writes ({error}). Restore the file as the run wrote it."
        ) from None
    values["split"] = str(values["split"])
    for name in ("image_ids", "kinds"):
        values[name] = values[name].tolist()
    return Heatmaps(**values)


def enlarged(heatmap: np.ndarray, size: int) -> np.ndarray:
    """A map as large as its square, float32 [size, size], linear between the middles of pixels."""
    of_floats = Image.fromarray(np.asarray(heatmap, np.float32))
    return np.asarray(of_floats.resize((size, size), Image.Resampling.BILINEAR))


def overlay(square: np.ndarray, heatmap: np.ndarray) -> np.ndarray:
    """A square with its map in colours over it: none where the map is 0, light yellow where 1.

    Args:
        square: uint8 [size, size], 0..255.
        heatmap: float [height, width], 0..1.

    Returns:
        uint8 [size, size, 3], RGB.
    """
    heat = np.clip(enlarged(heatmap, len(square)), 0, 1)
    colours = matplotlib.colormaps[_COLOURS](heat)[..., :3]
    opacity = _OPACITY * heat[..., None]
    mixed = (1 - opacity) * (square[..., None] / 255) + opacity * colours
    return np.round(255 * mixed).astype("uint8")
