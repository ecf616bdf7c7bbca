"""Masks of lungs, made by others: how much of a map lies inside of them."""

import os
import pathlib
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageOps

from trainer.evaluation.heatmaps import enlarged
from trainer.input_pipeline import resize
from trainer.run import files
from trainer.run.errors import RunError

_SUFFIXES = {".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp", ".gif"}  # of files with masks
_OF_IMAGES = _SUFFIXES | {".dcm", ".dicom"}
_END = "_mask"  # of the names of masks in many datasets
_SAME_SHAPE = 0.02  # by which the aspect ratios of an image and of its mask may differ
_WHITE, _BLACK = 128, 16  # from which on it is lung; below which it is what JPEG leaves of black
_GREY = 0.1  # share of what is not black that one darker grey may have, as edges do


class Inside(NamedTuple):
    """Where a map lies.

    Attributes:
        share: Of the map, inside the lungs, 0..1; NaN of a map that is 0 everywhere.
        area: Of the square, that is inside the lungs, 0..1: the share that a map without any
            preference would have.
    """

    share: float
    area: float


class Masks:
    """A folder of masks, one for each image, by its name."""

    def __init__(self, folder: str | os.PathLike) -> None:
        """Lists the folder.

        Args:
            folder: Holds, for an image a.png, a file a.png or a_mask.png, or of another format:
                an image of the same shape, of any size, that is black outside the lungs.

        Raises:
            RunError: It is no folder.
        """
        self.folder = pathlib.Path(files.expanded(folder))
        if not self.folder.is_dir():
            raise RunError(f"--masks {self.folder} is no folder. Give one with masks of lungs.")
        self._image_of: dict[pathlib.Path, str] = {}
        self._paths: dict[str, list[pathlib.Path]] = {}
        for path in sorted(self.folder.iterdir()):
            if path.suffix.lower() in _SUFFIXES:
                self._paths.setdefault(_key(path), []).append(path)

    def of(self, image: str | os.PathLike, pixels: np.ndarray) -> np.ndarray | None:
        """The mask of an image.

        Args:
            image: Path of its file; what counts is its name without the suffix.
            pixels: uint8 [height, width], the image.

        Returns:
            uint8 [h, w], 0 or 255; None where the folder has none.

        Raises:
            RunError: The mask can't be read, has another shape than the image, or is empty or
                grey; or there are two, or another image has it.
        """
        paths = self._paths.get(_key(pathlib.Path(image)), [])
        if not paths:
            return None
        path = paths[0]
        if len(paths) > 1:
            raise RunError(
                f"--masks {self.folder} has two masks for one image, {path.name} and "
                f"{paths[1].name}. Remove one."
            )
        other = self._image_of.setdefault(path, os.fspath(image))
        if other != os.fspath(image):
            raise RunError(
                f"The images {other} and {image} have one name, and so one mask, {path}. Give "
                "them names of their own."
            )
        try:
            with Image.open(path) as opened:
                grey = np.asarray(ImageOps.exif_transpose(opened).convert("L"))
        except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
            raise RunError(f"The mask {path} can't be read ({error}). Put back a copy.") from None
        ratios = [each.shape[1] / each.shape[0] for each in (pixels, grey)]
        if abs(ratios[1] / ratios[0] - 1) > _SAME_SHAPE:
            sizes = " and ".join(f"{each.shape[1]} x {each.shape[0]}" for each in (pixels, grey))
            raise RunError(
                f"The mask {path} has another shape than its image ({sizes} pixels). Give one of "
                "the whole image."
            )
        mask = np.where(grey >= _WHITE, np.uint8(255), np.uint8(0))
        counts = np.bincount(grey.ravel(), minlength=256)
        dark = _BLACK + int(counts[_BLACK:_WHITE].argmax())
        if counts[dark] > _GREY * counts[_BLACK:].sum():
            raise RunError(
                f"The mask {path} has areas of one grey, {dark} of 255, which is neither black nor "
                "white. Make both lungs white in it, and all else black."
            )
        if not mask.any():
            raise RunError(f"The mask {path} is black everywhere. Make the lungs white in it.")
        return mask


def inside(heatmap: np.ndarray, mask: np.ndarray, size: int, frame: resize.Frame) -> Inside:
    """How much of a map lies inside the lungs.

    Args:
        heatmap: float [height, width], at least 0, of the square.
        mask: uint8 [h, w], 0 or 255, of the image.
        size: Pixels of a side of the square.
        frame: The part of the image that the square shows.
    """
    lungs = resize.square(mask, size, frame) / 255.0
    heat = np.maximum(enlarged(heatmap, size), 0).astype(np.float64)
    total = heat.sum()
    return Inside(float((heat * lungs).sum() / total) if total else np.nan, float(lungs.mean()))


def _key(path: pathlib.Path) -> str:
    """The name of an image without suffixes of images and the end of masks."""
    while path.suffix.lower() in _OF_IMAGES:
        path = path.with_suffix("")
    return path.name.removesuffix(_END)
