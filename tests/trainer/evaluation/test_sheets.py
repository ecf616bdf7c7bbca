"""Small pictures side by side, with captions."""

import numpy as np
import pytest

from trainer.evaluation.sheets import ACROSS, sheet

BLACK, GREY = np.zeros((8, 8), np.uint8), np.full((8, 8), 128, np.uint8)


@pytest.mark.parametrize("count,rows", [(1, 1), (ACROSS, 1), (ACROSS + 1, 2)])
def test_pictures_stand_in_rows(count, rows):
    one, drawn = sheet([BLACK], ["a"]), sheet([BLACK] * count, ["a"] * count)
    assert drawn.dtype == np.uint8 and drawn.shape[1:] == one.shape[1:]
    above = one.shape[0] - (sheet([BLACK] * (ACROSS + 1), ["a"] * (ACROSS + 1)).shape[0]
                            - one.shape[0])  # fmt: skip
    assert drawn.shape[0] == above + rows * (one.shape[0] - above)


def test_a_caption_changes_what_is_below_its_picture_alone():
    with_, without = sheet([GREY, GREY], ["", "covid19"]), sheet([GREY, GREY], ["", ""])
    at = np.argwhere((with_ != without).any(axis=2))
    assert len(at) > 20
    assert (at[:, 0] > 160).all()
    assert (at[:, 1] > 160).all()


def test_a_picture_in_colours_keeps_them():
    drawn = sheet([np.full((8, 8, 3), (200, 10, 30), np.uint8)], ["a\nb"])
    assert (drawn[80, 80] == (200, 10, 30)).all()


@pytest.mark.parametrize("caption", ["ä" * 200, "пневмония" * 3, "W" * 17, "97% pneumonia_bact"])
def test_captions_of_any_script_end_where_their_tile_does(caption):
    drawn = sheet([GREY] * 3, [caption, "", f"{caption}\n{caption}"])
    below = drawn[8 + 160 :]
    for tile in range(3):
        gap = below[:, 8 + tile * 168 + 160 : (tile + 1) * 168 + 8]
        assert (gap == 255).all(), "a caption runs into the gap behind its tile"
        shown = (below[:, 8 + tile * 168 : 8 + tile * 168 + 160] < 128).any()
        assert shown == (tile != 1)


def test_a_row_stands_below_the_captions_of_the_one_before():
    drawn = sheet([GREY] * (ACROSS + 1), ["a\nb"] * (ACROSS + 1))
    rows = np.flatnonzero((drawn[:, 8 + 80] == 128).all(axis=1))
    assert len(rows) == 320
    assert rows[160] - rows[159] > 2 * 21  # lines of text lie between
