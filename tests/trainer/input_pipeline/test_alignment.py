"""Aligned squares: one chest in several poses looks alike, by whichever form they are made."""

import concurrent.futures
import functools
import os
import subprocess
import sys

import keras
import numpy as np
import pytest

from covid_tfds import phantom
from trainer.input_pipeline import alignment, resize
from trainer.input_pipeline.resize import Frame
from trainer.model import saved, vgg16

SIZE = 48
SAMPLE = (SIZE // 4) ** 2  # pixels that a saved model gives


@functools.cache
def _images() -> tuple[np.ndarray, ...]:
    """Of several sizes, square and not."""
    drawn = [phantom.draw(0, number, 0, size=128) for number in range(6)]
    return (*drawn[:3], drawn[3][:100], drawn[4][:, 20:], drawn[5][:117, :95])


@functools.cache
def _model() -> keras.Model:
    images = keras.Input((None, None, 1))
    return keras.Model(images, alignment.aligned(images, SIZE))


@functools.cache
def _aligner() -> alignment.Aligner:
    return alignment.Aligner([SIZE, 32])


def _by_model(model: keras.Model, image: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    square, poses = model(image[None, ..., None])
    return np.asarray(square)[0, ..., 0], np.asarray(poses)[0]


def _edges(fitted: np.ndarray) -> np.ndarray:
    """Left, right, top and bottom of what a pose shows, as shares of the image from its middle."""
    half = fitted[:2] / 2
    return np.stack([fitted[2:4] - half, fitted[2:4] + half], axis=1).ravel()


def _drawn_edges(edges: np.ndarray, before: phantom.Pose, after: phantom.Pose) -> np.ndarray:
    """Where the same places of a patient are in another of the patient's images."""
    shifts = [np.repeat([one.shift_x, one.shift_y], 2) for one in (before, after)]
    return shifts[1] + after.scale / before.scale * (edges - shifts[0])


@pytest.mark.slow
def test_two_visits_of_a_patient_are_framed_alike():
    """Error of a frame's edges, against where those of the other visit lie in this one.

    Chests differ in size, so a patient is compared with himself. Unaligned, the edges of the image
    lie 3.6 % of the side apart in the chest; aligned .85 % (60 patients).
    """
    aligned, plain = [], []
    whole = np.array([-0.5, 0.5, -0.5, 0.5])
    for number in range(16):
        visits = [phantom.draw(0, number, visit, size=128) for visit in (0, 1)]
        drawn = [phantom.pose(0, number, visit) for visit in (0, 1)]
        first, second = (_edges(_aligner()(image)[1]) for image in visits)
        aligned.append(np.abs(_drawn_edges(first, *drawn) - second).mean())
        plain.append(np.abs(_drawn_edges(whole, *drawn) - whole).mean())
    assert np.mean(aligned) < 0.015 < 0.5 * np.mean(plain)


def test_the_aligned_square_of_a_reframed_image_is_about_that_of_the_image():
    differences, unaligned = [], []
    for image in _images():
        reframed = resize.square(image, 128, Frame(45, 52, -4, 5))
        squares = [_aligner()(each)[0][SIZE].astype(int) for each in (image, reframed)]
        plain = [resize.square(each, SIZE).astype(int) for each in (image, reframed)]
        differences.append(np.abs(np.subtract(*squares))[4:-4, 4:-4].mean())
        unaligned.append(np.abs(np.subtract(*plain))[4:-4, 4:-4].mean())
    assert np.mean(differences) < 0.5 * np.mean(unaligned)


@pytest.mark.slow
def test_the_aligner_gives_the_pixels_and_poses_of_the_model():
    for image in _images():
        squares, fitted = _aligner()(image)
        square, by_model = _by_model(_model(), image)
        assert (squares[SIZE] == square).all()
        assert squares[SIZE].dtype == np.uint8
        assert squares[32].shape == (32, 32)
        assert np.abs(fitted - by_model).max() < 1e-6
        assert fitted.dtype == np.float32


def test_threads_align_as_one_does():
    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        together = list(pool.map(_aligner(), _images() * 4))
    for (squares, fitted), image in zip(together, _images() * 4, strict=True):
        alone, expected = _aligner()(image)
        assert (fitted == expected).all()
        assert all((squares[size] == alone[size]).all() for size in alone)


def test_a_batch_is_aligned_as_its_images_are():
    images = np.stack(_images()[:3])[..., None]
    squares, poses = (np.asarray(each) for each in _model()(images))
    for image, square, fitted in zip(images, squares, poses, strict=True):
        alone, expected = _aligner()(image[..., 0])
        assert (square[..., 0] == alone[SIZE]).all()
        assert np.abs(fitted - expected).max() < 1e-6


def test_the_template_has_the_fingerprint_of_the_formula():
    template = alignment.template()
    assert template.shape == (alignment.SIDE, alignment.SIDE)
    assert template.dtype == np.float32
    assert not template.flags.writeable
    assert (template * 64 == np.round(template * 64)).all()
    # The very numbers that the cache goes by, on any machine and with any NumPy.
    assert alignment.FORMULA.endswith("template 36482af2681b2655")


def test_a_shown_template_has_the_identity_as_its_pose():
    template = alignment.template()
    shown = np.clip(128 + 25 * template, 0, 255).astype("uint8")
    fitted = _aligner()(shown)[1]
    assert np.abs(fitted[:4] - (1, 1, 0, 0)).max() < 0.06
    assert fitted[4] > 0.9


def test_the_part_of_an_image_is_what_the_square_shows():
    image = np.add.outer(np.arange(192), np.zeros(128)).astype("uint8")
    for turned in (image, image.T):
        squares, fitted = _aligner()(turned)
        left, top, right, bottom = alignment.parts(fitted[None])[0]
        first, last = (left, right) if turned is not image else (top, bottom)
        middle = np.median(squares[SIZE], axis=0 if turned is not image else 1).astype(int)
        assert (
            np.abs(
                middle[[8, -9]] - 192 * (first + (last - first) * np.array([8.5, 39.5]) / 48)
            ).max()
            < 2
        )


def test_the_template_is_shown_as_a_square_shows_it():
    shown = np.clip(128 + 40 * alignment.template(), 0, 255).astype("uint8")
    part = resize.square(shown, 64, Frame(41, 41, 0, 0))
    assert np.abs(part - (128 + 40 * alignment.shown())).max() < 2


def test_poses_on_the_bounds_and_weak_ones_are_known():
    least, most = 28 / 41, 56 / 41
    poses = np.array(
        [
            (1, 1, 0, 0, 0.8), (least, 1, 0, 0, 0.8), (1, most, 0, 0, 0.8),
            (1, 1, 0, -20 / 128, 0.4), (55 / 41, 29 / 41, 19 / 128, -19 / 128, 0.3),
        ],
        "float32",
    )  # fmt: skip
    assert alignment.at_bounds(poses).tolist() == [False, True, True, True, False]
    assert alignment.weak(poses).tolist() == [False, False, False, True, True]


def test_noise_is_weak():
    noise = np.random.default_rng(0).integers(0, 256, (90, 90), dtype="uint8")
    assert alignment.weak(_aligner()(noise)[1][None]).all()
    assert not alignment.weak(_aligner()(_images()[0])[1][None]).any()


def _odd() -> dict[str, np.ndarray]:
    """Images of no chest, by name."""
    noise = np.random.default_rng(0).integers(0, 256, (1, 3000), dtype="uint8")
    board = (np.indices((128, 128)) // 4).sum(axis=0) % 2 * 255
    return {
        "black": np.zeros((90, 70), "uint8"), "white": np.full((70, 90), 255, "uint8"),
        "one pixel": noise[:, :1], "one row": noise, "one column": noise.T,
        "long": np.tile(noise, (33, 2)), "board": board.astype("uint8"),
        "fine noise": np.resize(noise, (1501, 1501)),
    }  # fmt: skip


@pytest.mark.parametrize("name", _odd())
def test_of_an_image_of_no_chest_the_pose_is_weak_and_the_pixels_are_those_of_the_model(name):
    image = _odd()[name]
    squares, fitted = _aligner()(image)
    square, by_model = _by_model(_model(), image)
    assert np.isfinite(fitted).all() and np.abs(fitted[:4] - (1, 1, 0, 0)).max() < 0.4
    assert abs(fitted[4]) <= 1
    assert alignment.weak(fitted[None]).all() or name == "one row"  # .52, by chance
    assert (squares[SIZE] == square).all()
    assert np.abs(fitted - by_model).max() < 1e-6


def test_what_aligns_stays_frozen_when_the_network_is_trained():
    images = keras.Input((None, None, 1))
    squares, _ = alignment.aligned(images, SIZE)
    model = keras.Model(images, keras.layers.Dense(2, name="head")(keras.ops.mean(squares, (1, 2))))
    vgg16.set_trainable(model, "block1")
    trained = {layer.name for layer in model.layers if layer.trainable and layer.weights}
    assert trained == {"head"}


def _saved(path: os.PathLike) -> None:
    """The model with a class beside, as a run saves it."""
    images = keras.Input((None, None, 1))
    squares, poses = alignment.aligned(images, SIZE)
    flat = keras.ops.reshape(squares[:, ::4, ::4], (-1, SAMPLE))
    saved.save(keras.Model(images, keras.ops.concatenate([flat, poses], axis=1)), path, [
        f"c{number}" for number in range(SAMPLE + len(alignment.POSE))
    ])  # fmt: skip


@pytest.mark.slow
def test_a_saved_model_aligns_to_the_same_pixels(tmp_path):
    _saved(tmp_path / "model.keras")
    model = keras.saving.load_model(tmp_path / "model.keras", compile=False)
    for image in _images():
        row = np.asarray(model(image[None, ..., None].astype("float32")))[0]
        squares, fitted = _aligner()(image)
        assert (row[:SAMPLE] == squares[SIZE][::4, ::4].ravel()).all()
        assert np.abs(row[SAMPLE:] - fitted).max() < 1e-6


_ON_JAX = """
import sys
import keras, numpy as np
assert keras.backend.backend() == "jax"
model = keras.saving.load_model(sys.argv[1], compile=False)
images = np.load(sys.argv[2])
np.savez(sys.argv[3], **{
    name: np.asarray(model(image[None, ..., None].astype("float32")))[0]
    for name, image in images.items()
})
"""


def test_the_jax_backend_aligns_to_the_same_pixels(tmp_path):
    pytest.importorskip("jax")
    _saved(tmp_path / "model.keras")
    np.savez(tmp_path / "images.npz", *_images())
    subprocess.run(
        [sys.executable, "-c", _ON_JAX,
         *(tmp_path / name for name in ("model.keras", "images.npz", "rows.npz"))],
        env=os.environ | {"KERAS_BACKEND": "jax"}, check=True,
    )  # fmt: skip
    rows = np.load(tmp_path / "rows.npz")
    for name, image in zip(sorted(rows), _images(), strict=True):
        squares, fitted = _aligner()(image)
        assert (rows[name][:SAMPLE] == squares[SIZE][::4, ::4].ravel()).all()
        assert np.abs(rows[name][SAMPLE:] - fitted).max() < 1e-6
