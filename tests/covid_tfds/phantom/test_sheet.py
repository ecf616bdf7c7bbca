"""The contact sheet and the command that writes it."""

import numpy as np
import pytest
from PIL import Image

from covid_tfds import phantom
from covid_tfds.phantom import __main__
from tests.helpers import commands
from tests.helpers.commands import ROOT


def test_a_sheet_shows_the_first_patients_of_each_class():
    sheet = np.asarray(phantom.contact_sheet(2, 3, seed=1, size=48))
    assert sheet.shape[0] > 2 * 48
    assert sheet.shape[1] > 3 * 48
    for row in range(2):
        for column in range(3):
            top, left = sheet.shape[0] - (2 - row) * 48, sheet.shape[1] - (3 - column) * 48
            drawn = phantom.draw(1, 4 * column + row, 0, size=48)
            assert np.array_equal(sheet[top : top + 48, left : left + 48], drawn)


@pytest.mark.parametrize(("rows", "columns"), [(0, 6), (5, 6), (4, 0)])
def test_a_sheet_has_one_to_four_classes(rows, columns):
    with pytest.raises(ValueError, match=f"{rows} x {columns}"):
        phantom.contact_sheet(rows, columns)


def test_the_command_writes_the_sheet_of_the_readme(tmp_path):
    path = tmp_path / "sheet.png"
    assert commands.run("covid_tfds.phantom", str(path)).status == 0
    with Image.open(path) as written, Image.open(ROOT / "docs" / "phantom.png") as shown:
        assert written.size == shown.size
        difference = np.abs(np.asarray(written).astype(int) - np.asarray(shown))
    assert difference.max() <= 1  # another kind of CPU rounds single pixels otherwise


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("sheet", "no suffix of an image format"),
        ("sheet.txt", "no suffix of an image format"),
        ("sheet.svg", "no suffix of an image format"),
        ("missing/sheet.png", "can't be written"),
        ("folder.png", "can't be written"),
        ("sheet.msp", "can't be written"),  # black and white only
    ],
)
def test_a_path_that_cannot_be_written_ends_in_a_sentence(tmp_path, capsys, name, message):
    (tmp_path / "folder.png").mkdir()
    with pytest.raises(SystemExit) as ended:
        __main__.main([str(tmp_path / name)])
    assert ended.value.code == 2
    last = capsys.readouterr().err.splitlines()[-1]
    assert message in last and name in last and "Give " in last
    assert [p.name for p in tmp_path.iterdir()] == ["folder.png"]
