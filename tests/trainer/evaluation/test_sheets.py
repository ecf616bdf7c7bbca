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


def test_long_names_and_letters_of_any_script_are_drawn_inside():
    drawn = sheet([GREY], ["ä" * 200 + "\nпневмония"])
    assert (drawn[:, -4:] == 255).all()
