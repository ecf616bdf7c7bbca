"""Tiny datasets: one that is built once a session, and tables of images made by hand."""

import contextlib
import functools
import hashlib
import pathlib
from collections.abc import Iterator

import numpy as np
import pytest

CLASSES = ("healthy", "covid19", "bacterial", "viral")


@pytest.fixture(scope="session")
def data_dir(tmp_path_factory) -> pathlib.Path:
    """Holds `covid_tfds/tiny`, built once: some 100 synthetic images of 72 patients."""
    import covid_tfds
    from covid_tfds.config import CovidConfig

    folder = tmp_path_factory.mktemp("data")
    config = CovidConfig(name="tiny", images="phantom", patients=72)
    covid_tfds.Builder(config=config, data_dir=folder).download_and_prepare()
    return folder


@pytest.fixture(scope="session")
def tiny(data_dir):
    """The tiny dataset, opened, with all four classes."""
    from trainer.input_pipeline.dataset import open_dataset

    return open_dataset("tiny", str(data_dir), len(CLASSES))


@functools.cache
def _drawn(*arguments, **named) -> np.ndarray:
    from covid_tfds.phantom import radiograph

    pixels = radiograph.draw(*arguments, **named)
    pixels.flags.writeable = False
    return pixels


@pytest.fixture(scope="module")
def drawn_once() -> Iterator[None]:
    """Builds of synthetic images in a file's tests draw no image that another of them has drawn."""
    from covid_tfds import phantom

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(phantom, "draw", _drawn)
        yield


_TABLES: dict[tuple, object] = {}


@contextlib.contextmanager
def read_once() -> Iterator[None]:
    """Meanwhile the table of a split is read once while the files of its dataset are the same."""
    from trainer.input_pipeline import dataset

    read = dataset._images

    def table(builder, split: str, class_names: tuple[str, ...]):
        files = sorted(pathlib.Path(builder.data_path).iterdir())
        state = [(path, path.stat().st_size, path.stat().st_mtime_ns) for path in files]
        key = (split, class_names, *state)
        if key not in _TABLES:
            _TABLES[key] = read(builder, split, class_names)
        return _TABLES[key]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(dataset, "_images", table)
        yield


def made(labels, groups=None, *, prefix: str = "image", split: str = "train"):
    """`Images` that no dataset holds; by default each is of a patient and a group of its own."""
    from trainer.input_pipeline.dataset import Images

    count, text = len(labels), np.dtypes.StringDType()
    ids = [f"{prefix}{i}" for i in range(count)]
    digests = b"".join(hashlib.sha256(name.encode()).digest() for name in ids)
    return Images(
        image_ids=np.array(ids, text),
        patients=np.array(groups or ids, text),
        groups=np.array(groups or ids, text),
        sources=np.full(count, "phantom", text),
        splits=np.full(count, split, text),
        places=np.arange(count),
        labels=np.asarray(labels, np.int64),
        sha256=np.frombuffer(digests, np.uint8).reshape(-1, 32),
        class_names=CLASSES[: max(labels, default=0) + 1],
    )
