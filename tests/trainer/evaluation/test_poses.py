"""The claims of alignment.csv: it brings everything back, and doubts are counted."""

import dataclasses

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
        np.testing.assert_allclose(one, other, rtol=0, atol=6e-7)
    assert list(tmp_path.iterdir()) == [path]
    assert path.read_text().split("\n")[0] == (
        "image_id,split,scale_x,scale_y,shift_x,shift_y,correlation,at_bounds,weak"
    )


def test_every_pose_of_the_grid_comes_back_and_has_six_decimals(tmp_path):
    scales = np.arange(28, 57, dtype=np.float32) * np.float32(1 / 41)  # 41: .99999994
    shifts = np.linspace(-20, 20, 29).round() / 128
    table = dataclasses.replace(
        poses_of(29), poses=np.stack([scales, scales, shifts, -shifts, scales], 1, dtype="float32")
    )
    paths = [tmp_path / name for name in ("alignment.csv", "again.csv")]
    poses.write(paths[0], table)
    again = poses.read(paths[0])
    np.testing.assert_array_equal(np.round(again.poses[:, :2] * 41)[:, 0], np.arange(28, 57))
    np.testing.assert_array_equal(np.round(again.poses[:, 2] * 128), np.round(shifts * 128))
    poses.write(paths[1], again)
    assert paths[0].read_bytes() == paths[1].read_bytes()
    assert ",train,1.0,1.0,-" in paths[0].read_text()
    assert all(len(cell) <= 9 for cell in paths[0].read_text().split("\n")[1].split(",")[2:7])


def test_doubts_are_counted():
    assert poses_of(9).counts() == {"images": 9, "at_bounds": 1, "weak": 2}


def test_other_columns_are_refused(tmp_path):
    (tmp_path / "alignment.csv").write_text("image_id,split\na,train\n")
    with pytest.raises(ValueError, match="expected image_id, split, scale_x"):
        poses.read(tmp_path / "alignment.csv")
