"""Poses: the best of the grid, alone or in a batch, whatever the exposure and the policy."""

import functools

import keras
import numpy as np
import pytest

from covid_tfds import phantom
from trainer.input_pipeline import alignment, pose, resize
from trainer.input_pipeline.resize import Frame

IDENTITY = [pose.IDENTITY, pose.IDENTITY, 0, 0]


def _model() -> keras.Model:
    thumbnails = keras.Input((64, 64))
    prepared = pose.prepared(thumbnails)
    return keras.Model(thumbnails, [prepared, *pose.fitted(prepared, alignment.template())])


@functools.cache
def _shared_model() -> keras.Model:
    return _model()


@functools.cache
def _chests() -> np.ndarray:
    """float32 [12, 64, 64]."""
    drawn = [phantom.draw(0, number, 0, size=96) for number in range(12)]
    return np.stack([resize.square(image, 64) for image in drawn]).astype("float32")


def _poses(thumbnails: np.ndarray) -> np.ndarray:
    return np.asarray(_shared_model()(thumbnails)[1])


def _correlation(lines: np.ndarray, template: np.ndarray) -> float:
    return float(np.corrcoef(lines.ravel(), template.ravel())[0, 1])


def _warped(image: np.ndarray, scale: int, shift: int) -> np.ndarray:
    """Rows of the middle, linearly interpolated, where a pose looks for them."""
    at = scale / pose.IDENTITY * (np.arange(6, 58) - 31.5) + 31.5 + shift / 2
    distance = np.abs(np.clip(at, 0, 63)[:, None] - np.arange(64))
    return np.maximum(1 - distance, 0) @ image


def _one_by_one(image: np.ndarray, template: np.ndarray) -> tuple[int, int]:
    """The best scale and shift of rows, of an image whose columns are the middle's."""

    def score(scale: int, shift: int) -> float:
        cost = 0.5 * np.log(scale / 41) ** 2 + 0.0004 * (shift / 2) ** 2
        return _correlation(_warped(image, scale, shift), template) - cost

    return max(
        ((scale, shift) for scale in range(28, 57) for shift in range(-20, 21)),
        key=lambda one: score(*one),
    )


def test_the_last_pose_of_each_axis_is_the_best_of_all_tried_one_by_one():
    template = alignment.template()[6:58, 6:58]
    chests = _chests()[:1]
    prepared, frames, correlations = (np.asarray(each) for each in _shared_model()(chests))
    for image, (scale_x, scale_y, shift_x, shift_y), correlation in zip(
        prepared, frames, correlations, strict=True
    ):
        rows = _warped(image, scale_y, shift_y)
        best = _one_by_one(rows.T, template.T)
        # Products are rounded to 11 bits, so that a neighbour may win by a hair.
        assert np.abs(np.subtract(best, (scale_x, shift_x))).max() <= 1
        exact = _correlation(_warped(rows.T, scale_x, shift_x), template.T)
        assert abs(exact - correlation[0]) < 0.01


@pytest.mark.slow
def test_an_image_has_the_same_pose_alone_and_in_a_batch():
    alone = np.concatenate([_poses(one[None]) for one in _chests()])
    assert (alone == _poses(_chests())).all()
    assert (alone == _poses(np.tile(_chests(), (3, 1, 1)))[: len(alone)]).all()


def test_a_pose_does_not_depend_on_the_exposure():
    plain = _poses(_chests())
    exposed = _poses(np.floor(0.5 * _chests() + 60))
    assert np.abs(plain - exposed).max() <= 1


def test_a_moved_chest_has_a_moved_pose():
    chests = _chests().astype("uint8")
    before = _poses(_chests())
    moved = [resize.square(one, 64, Frame(48, 48, 4, -6)) for one in chests]
    after = _poses(np.stack(moved).astype("float32"))
    difference = after[:, 2:] - before[:, 2:]
    assert np.abs(np.mean(difference, axis=0) - (-4, 6)).max() < 1


def test_a_magnified_chest_has_a_larger_pose():
    chests = _chests().astype("uint8")
    frames = _poses(_chests())
    magnified = [resize.square(one, 64, Frame(48, 42, 0, 0)) for one in chests]
    after = _poses(np.stack(magnified).astype("float32"))
    ratio = np.mean(after[:, 1] / frames[:, 1])
    assert abs(ratio / (48 / 42) - 1) < 0.03


def test_poses_stay_within_the_bounds_whatever_the_image():
    """Chests of 1.7 and .6 times their size are beyond the 1.37 and .68 that poses reach."""
    chests = _chests().astype("uint8")
    magnified = np.stack([resize.square(one, 64, Frame(28, 28, 0, 0)) for one in chests])
    small = np.pad(chests, ((0, 0), (24, 24), (24, 24)), "edge")
    small = np.stack([resize.square(one, 64) for one in small])
    scales = _poses(np.concatenate([magnified, small]).astype("float32"))[:, :2]
    assert (scales.min(), scales.max()) == (pose.LEAST_SCALE, resize.MOST_SCALE)


@pytest.mark.parametrize("grey", [0, 128, 255])
def test_an_image_of_one_grey_has_the_identity(grey):
    assert _poses(np.full((1, 64, 64), grey, "float32")).tolist() == [IDENTITY]


def test_what_is_prepared_are_whole_numbers_of_5_bits_and_a_sign():
    prepared = np.asarray(_shared_model()(_chests())[0])
    assert (prepared == np.round(prepared)).all()
    assert np.abs(prepared).max() <= 31
    assert 4 < prepared.std() < 10


@pytest.mark.parametrize("policy", ["mixed_bfloat16", "float16"])
def test_poses_are_fitted_in_float32_under_any_policy(policy):
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(policy)
    try:
        model = _model()
    finally:
        keras.config.set_dtype_policy(before)
    assert (np.asarray(model(_chests())[1]) == _poses(_chests())).all()


def test_layers_are_of_keras_and_named_and_frozen():
    held = [layer for layer in _model().layers if layer.weights]
    assert {type(layer).__module__.partition(".")[0] for layer in held} == {"keras"}
    assert all(layer.name.startswith("align_") for layer in held)
    assert not any(layer.trainable for layer in held)
