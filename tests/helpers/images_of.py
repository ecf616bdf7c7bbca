"""The images of a dataset, as they are stored."""

from collections.abc import Iterator

import numpy as np

from trainer.input_pipeline import decode


def encoded(dataset, split: str) -> Iterator[tuple[str, bytes]]:
    """The id and the PNG file of every image of a split."""
    images = dataset.splits[split]
    for index, data in dataset.encoded(images):
        yield str(images.image_ids[index]), data


def decoded(dataset, split: str) -> Iterator[tuple[str, np.ndarray]]:
    """The id and the pixels of every image of a split."""
    for name, data in encoded(dataset, split):
        yield name, decode.pixels(data, name)
