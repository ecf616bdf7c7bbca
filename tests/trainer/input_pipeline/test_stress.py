"""Re-framed images: how far, the same each time, and an image like another in the cache."""

import dataclasses
import math

import numpy as np
import pytest
from PIL import Image

from tests.helpers.datasets import made
from trainer.input_pipeline import decode, resize, stress
from trainer.input_pipeline.dataset import joined
from trainer.input_pipeline.stress import DRAWS, REACH, reframed, stressed


def ramp(height=40, width=60):
    """An image whose every pixel tells where it is."""
    return (np.arange(height)[:, None] * 3 + np.arange(width)[None, :] * 2).astype(np.uint8)


def frame(log_height=0.0, log_width=0.0, down=0.0, right=0.0):
    return np.array([log_height, log_width, down, right], np.float32)


# The draws


def test_draws_reach_as_far_as_is_written_and_no_further():
    frames = stressed(made([0] * 500)).frames
    assert frames.dtype == np.float32 and frames.shape == (500 * DRAWS, 4)
    far = np.abs(frames)
    assert (far <= np.float32(REACH)).all()
    assert (far.max(axis=0) > 0.98 * np.array(REACH)).all()  # some of 1,000 uniform ones
    assert np.abs(frames.mean(axis=0) / REACH).max() < 0.06


def test_a_frame_follows_from_the_image_the_draw_and_the_seed_alone():
    images = made([0, 1, 2, 3, 0, 1])
    first, order = stressed(images), np.array([4, 0, 2])
    some = stressed(images.take(order))
    np.testing.assert_array_equal(some.frames[:3], first.frames[order])
    np.testing.assert_array_equal(some.frames[3:], first.frames[6 + order])
    assert (first.frames[:6] != first.frames[6:]).all()
    assert (stressed(images, seed=1).frames != first.frames).all()
    assert len(np.unique(first.frames[:, 0])) == 12


def test_every_image_is_there_once_a_draw_with_all_that_is_known_of_it():
    images = made([0, 1, 2], ["g1", "g2", "g1"], split="validation")
    twice = stressed(images)
    assert stress.draw_numbers(twice).tolist() == [0, 0, 0, 1, 1, 1]
    for column in ("image_ids", "groups", "labels", "places", "sha256", "splits"):
        halves = np.split(getattr(twice, column), DRAWS)
        assert all((half == getattr(images, column)).all() for half in halves), column
    named = stress.with_stressed({"train": made([0]), "validation": images})
    assert list(named) == ["train", "validation", stress.NAME]
    assert (named[stress.NAME].digests == twice.digests).all()


# The name in the cache


def test_names_of_images_as_they_are_stay_and_each_frame_has_its_own():
    images = made([0, 1])
    # What release 2.0.0 computed for the first image: caches that are there stay of use.
    assert images.digests[0].tobytes().hex() == "1b8fa0acff9e7adcce66962abc97a03b"
    both = joined([images, stressed(images)])
    assert len(np.unique(both.digests, axis=0)) == 2 + 2 * DRAWS
    assert (both.digests[:2] == images.digests).all()
    assert (both.take([3]).digests == both.digests[3]).all()
    still = dataclasses.replace(images, frames=np.zeros((2, 4), np.float32))
    assert (still.digests == images.digests).all()


# The pixels


def test_the_frame_of_the_image_is_the_image():
    image = ramp()
    np.testing.assert_array_equal(reframed(image, frame()), image)
    # And through the resize, too, where the frame is next to it.
    moved = reframed(image, frame(1e-6, -1e-6))
    assert np.abs(moved.astype(int) - image).max() <= 1


@pytest.mark.parametrize("down", [-0.05, 0.05])
def test_a_shift_moves_the_content_by_so_many_pixels_and_mirrors_the_edge(down):
    image = ramp()
    rows = round(40 * abs(down))
    other = reframed(image, frame(down=down))
    if down > 0:
        np.testing.assert_array_equal(other[:-rows], image[rows:])
        np.testing.assert_array_equal(other[-rows:], image[-1 : -rows - 1 : -1])
    else:
        np.testing.assert_array_equal(other[rows:], image[:-rows])
        np.testing.assert_array_equal(other[:rows], image[rows - 1 :: -1])


def test_a_taller_frame_makes_what_it_holds_lower():
    image = np.zeros((100, 80), np.uint8)
    image[30:70, 20:60] = 200  # as high as wide
    for logs, height, width in (
        ((0.17, 0), 40 / math.exp(0.17), 40),
        ((0, -0.08), 40, 40 / math.exp(-0.08)),
    ):
        other = reframed(image, frame(*logs)) / 200
        assert other[:, 40].sum() == pytest.approx(height, abs=0.1)
        assert other[50].sum() == pytest.approx(width, abs=0.1)


def test_it_is_pillows_antialiased_resize_of_the_mirrored_image():
    image = np.random.default_rng(0).integers(0, 256, (30, 50), np.uint8)
    tiles = np.pad(image, ((30, 30), (50, 50)), mode="symmetric")
    height, width = 30 * math.exp(0.1), 50 * math.exp(-0.05)
    left, top = 50 + 25 + 50 * 0.02 - width / 2, 30 + 15 - 30 * 0.03 - height / 2
    expected = Image.fromarray(tiles).resize(
        (50, 30), Image.Resampling.BILINEAR, box=(left, top, left + width, top + height)
    )
    other = reframed(image, frame(0.1, -0.05, -0.03, 0.02))
    assert np.abs(other.astype(int) - np.asarray(expected)).max() <= 1


@pytest.mark.parametrize("shape", [(1, 1), (1, 7), (9, 2)])
def test_the_smallest_images_have_frames(shape):
    other = reframed(np.full(shape, 9, np.uint8), frame(0.17, 0.08, 0.05, -0.05))
    np.testing.assert_array_equal(other, np.full(shape, 9))


def test_decoding_reframes_before_all_else_and_reads_an_image_once_for_each_frame(tiny):
    images = tiny.splits["validation"].take([0, 2, 3])
    both = joined([images, stressed(images)])
    squares = {}
    for at, made_ in decode.squares(tiny, both, [decode.Kind(32)]):
        squares |= dict(zip(at.tolist(), made_[decode.Kind(32)], strict=True))
    assert sorted(squares) == list(range(9))
    encoded = dict(tiny.encoded(images))
    for index in range(9):
        whole = decode.pixels(encoded[index % 3], "an image")
        expected = resize.square(reframed(whole, both.frames[index]), 32)
        np.testing.assert_array_equal(squares[index][..., 0], expected)
