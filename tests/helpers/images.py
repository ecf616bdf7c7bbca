"""Toy images, made on the spot: smooth and grey, each seed another."""

import io

import numpy as np
from PIL import Image


def radiograph(seed: int = 0, size: tuple[int, int] = (120, 100)) -> np.ndarray:
    """A smooth grey image, uint8 [height, width], unlike that of any other seed."""
    rng = np.random.default_rng(seed)
    coarse = Image.fromarray(rng.integers(0, 256, (9, 9), dtype=np.uint8))
    return np.asarray(coarse.resize(size[::-1], Image.Resampling.BICUBIC))


def radiographs(
    count: int = 4, size: tuple[int, int] = (32, 32), low: int = 0, high: int = 255
) -> np.ndarray:
    """A batch of them, uint8 [count, height, width, 1], grey levels brought to low..high."""
    batch = np.stack([radiograph(i, size) for i in range(count)])[..., None]
    return np.round(low + batch * ((high - low) / 255)).astype(np.uint8)


def encoded(picture: np.ndarray | Image.Image, file_format: str = "PNG", **options) -> bytes:
    """The bytes of a file."""
    image = picture if isinstance(picture, Image.Image) else Image.fromarray(picture)
    out = io.BytesIO()
    image.save(out, file_format, **options)
    return out.getvalue()


def decoded(data: bytes) -> np.ndarray:
    """Pixels of a file."""
    return np.asarray(Image.open(io.BytesIO(data)))
