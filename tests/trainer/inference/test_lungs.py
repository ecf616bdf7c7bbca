"""Masks of lungs: found by name, refused where they are none, measured in the square."""

import numpy as np
import pytest
from PIL import Image

from trainer.inference.lungs import Masks, inside
from trainer.input_pipeline import resize
from trainer.run.errors import RunError

PIXELS = np.zeros((60, 80), np.uint8)


def mask(folder, name, left=20, right=60, size=(80, 60), value=255):
    pixels = np.zeros(size[::-1], np.uint8)
    pixels[:, left:right] = value
    Image.fromarray(pixels).save(folder / name)


@pytest.mark.parametrize(
    "image,name",
    [("x/a.png", "a.png"), ("a.jpeg", "a_mask.png"), ("a.pdf-1.jpg", "a.pdf-1_mask.png"),
     ("a.dcm", "a.gif"), ("a.png", "a_mask.png.png"), ("a.PNG", "a.tif")],
)  # fmt: skip
def test_a_mask_is_found_by_the_name_of_its_image(tmp_path, image, name):
    mask(tmp_path, name)
    (tmp_path / "README.md").write_text("of lungs")
    given = Masks(tmp_path).of(image, PIXELS)
    assert given.dtype == np.uint8 and set(np.unique(given)) == {0, 255}
    assert Masks(tmp_path).of("b.png", PIXELS) is None


def test_the_size_of_a_mask_is_free_and_its_shape_is_not(tmp_path):
    mask(tmp_path, "a.png", size=(160, 120))
    assert Masks(tmp_path).of("a.png", PIXELS).shape == (120, 160)
    with pytest.raises(RunError, match="another shape than its image"):
        Masks(tmp_path).of("a.png", PIXELS.T)


def test_what_jpeg_leaves_of_black_and_white_is_neither(tmp_path):
    """Around the edges it is some grey levels off; half of the light is the border."""
    pixels = np.zeros((60, 80), np.uint8)
    pixels[:, :20], pixels[:, 20:40], pixels[:, 40:60], pixels[:, 60:] = 3, 15, 128, 250
    pixels[:, 38:40] = 100, 127
    Image.fromarray(pixels).save(tmp_path / "a.png")
    given = Masks(tmp_path).of("a.png", PIXELS)
    np.testing.assert_array_equal(given, np.where(np.arange(80) >= 40, 255, 0)[None].repeat(60, 0))


def test_the_left_lung_is_not_lost_where_each_has_a_number_of_its_own(tmp_path):
    pixels = np.zeros((60, 80), np.uint8)
    pixels[:, 10:30], pixels[:, 50:70] = 100, 200
    Image.fromarray(pixels).save(tmp_path / "a.png")
    with pytest.raises(RunError, match=r"areas of one grey, 100 of 255.*Make both lungs white"):
        Masks(tmp_path).of("a.png", PIXELS)


def test_two_images_of_one_name_have_no_mask_together(tmp_path):
    mask(tmp_path, "IM-0001.png")
    masks = Masks(tmp_path)
    assert masks.of("p1/IM-0001.png", PIXELS) is not None
    assert masks.of("p1/IM-0001.png", PIXELS) is not None
    with pytest.raises(RunError, match=r"p1/IM-0001\.png and p2/IM-0001\.png have one name"):
        masks.of("p2/IM-0001.png", PIXELS)


def test_what_is_no_mask_is_refused(tmp_path):
    with pytest.raises(RunError, match="is no folder"):
        Masks(tmp_path / "none")
    mask(tmp_path, "black.png", value=0)
    (tmp_path / "torn.png").write_bytes(b"\x89PNG")
    mask(tmp_path, "two.png")
    mask(tmp_path, "two_mask.png")
    masks = Masks(tmp_path)
    for name, words in (("black", "black everywhere"), ("torn", "can't be read"), ("two", "two")):
        with pytest.raises(RunError, match=words):
            masks.of(f"{name}.png", PIXELS)


def test_the_share_is_of_the_map_and_the_area_of_the_square():
    lungs = np.zeros((60, 80), np.uint8)
    lungs[:, :40] = 255
    left, right, both = np.zeros((3, 8, 8))
    left[4, 1] = right[4, 6] = both[4, 1] = both[4, 6] = 1
    shares = [inside(each, lungs, 64, resize.WHOLE) for each in (left, right, both)]
    assert [each.area for each in shares] == [0.5] * 3
    assert [each.share for each in shares] == pytest.approx([1, 0, 0.5])


def test_a_mask_goes_through_the_frame_of_its_image():
    lungs = np.zeros((96, 96), np.uint8)
    lungs[:, :48] = 255
    # A quarter of the side to the left: the middle of the square is at a quarter of the image.
    frame = resize.Frame(24, 24, -20, 0)
    assert inside(np.ones((4, 4)), lungs, 32, frame).area > 0.75


def test_an_empty_map_has_no_share():
    assert np.isnan(inside(np.zeros((4, 4)), PIXELS + 255, 32, resize.WHOLE).share)
