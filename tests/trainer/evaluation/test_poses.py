"""The claims of alignment.csv: it brings everything back, and doubts are counted."""

import numpy as np
import pytest

from tests.helpers.predictions import poses_of
from trainer.evaluation import poses


def test_alignment_csv_brings_everything_back(tmp_path):
    path, table = tmp_path / "alignment.csv", poses_of(9)
    poses.write(path, table)
    again = poses.read(path)
    assert (again.image_ids, again.splits) == (table.image_ids, table.splits)
    for name in ("poses", "at_bounds", "weak"):
        one, other = getattr(again, name), getattr(table, name)
        assert one.dtype == other.dtype
        np.testing.assert_array_equal(one, other)
    assert list(tmp_path.iterdir()) == [path]
    assert path.read_text().split("\n")[0] == (
        "image_id,split,scale_x,scale_y,shift_x,shift_y,correlation,at_bounds,weak"
    )


def test_doubts_are_counted():
    assert poses_of(9).counts() == {"images": 9, "at_bounds": 1, "weak": 2}


def test_other_columns_are_refused(tmp_path):
    (tmp_path / "alignment.csv").write_text("image_id,split\na,train\n")
    with pytest.raises(ValueError, match="expected image_id, split, scale_x"):
        poses.read(tmp_path / "alignment.csv")
