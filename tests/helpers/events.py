"""What TensorBoard's files of a run hold, read back."""

import io
import pathlib

import numpy as np
import tensorflow as tf
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator


def opened(folder: pathlib.Path) -> EventAccumulator:
    """All events of a run's folder, none left out."""
    return EventAccumulator(str(folder / "tensorboard"), size_guidance={"tensors": 0}).Reload()


def values(folder: pathlib.Path) -> dict[str, list[tuple[int, object]]]:
    """Of each tag: steps, and numbers, texts or bytes."""
    events = opened(folder)
    return {
        tag: [(each.step, _plain(tf.make_ndarray(each.tensor_proto))) for each in of_tag]
        for tag in events.Tags()["tensors"]
        for of_tag in [events.Tensors(tag)]
    }


def _plain(value: np.ndarray) -> object:
    """Of a picture the bytes of its file."""
    if value.dtype == object and value.size == 3:
        return value[2]
    return value.item() if value.size == 1 else value.tolist()


def picture(data: bytes) -> np.ndarray:
    """uint8 [height, width, 3], of a PNG."""
    return np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))
