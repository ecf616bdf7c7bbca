"""The claims of images_used.csv: it brings everything back, and is exactly its columns."""

import pytest

from trainer.evaluation import images_used

ROWS = {name: [f"{name} 1", 'a,"b"\nc', ""] for name in images_used.COLUMNS}


def test_images_used_csv_brings_everything_back(tmp_path):
    path = tmp_path / "images_used.csv"
    images_used.write(path, dict(reversed(ROWS.items())))
    assert images_used.read(path) == ROWS
    assert path.read_text().split("\n")[0] == (
        "image_id,patient,group,source,split,label,image_sha256"
    )
    assert list(tmp_path.iterdir()) == [path]


def test_other_columns_are_refused(tmp_path):
    path = tmp_path / "images_used.csv"
    for columns in (ROWS | {"age": [""] * 3}, {**ROWS, "label": ["one"]}):
        with pytest.raises(ValueError):
            images_used.write(path, columns)
    assert not path.exists()
    path.write_text("image_id,label\na,healthy\n")
    with pytest.raises(ValueError, match="expected image_id, patient, group"):
        images_used.read(path)
