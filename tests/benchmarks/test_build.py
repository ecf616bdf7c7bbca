"""What the build is measured against does the build's work; no time is judged."""

import functools

import pytest
from PIL import Image

from benchmarks import build
from covid_tfds import reading
from tests.covid_tfds import made_sources
from tests.helpers.images import encoded, radiograph


def test_the_limit_encodes_the_very_picture_that_the_build_stores():
    data = encoded(radiograph(size=(500, 420)))
    assert build._bare(data) == reading.encode(reading.read_image(data).pixels)


@pytest.mark.slow
def test_every_image_of_both_sources_is_read(tmp_path):
    made_sources.write_article(tmp_path)
    reads = build._reads(tmp_path)
    assert len(reads) >= 306 and all(read() for read in reads[:3])


@pytest.mark.slow
def test_enlarged_images_have_the_size_and_keep_their_places(tmp_path):
    made_sources.write_article(tmp_path / "manual")
    into = build._enlarged(tmp_path / "manual", 400, tmp_path / "large")
    names = [path.relative_to(tmp_path / "manual") for path in tmp_path.rglob("manual/**/*.jpeg")]
    kaggle = [name for name in names if name.parts[0] == "chest_xray"]
    assert kaggle
    for name in kaggle[:3]:
        assert min(Image.open(into / name).size) == 400


def test_the_limit_goes_on_behind_a_file_that_the_build_leaves_out():
    good = functools.partial(encoded, radiograph())
    used = []
    assert build._limit_seconds([good, lambda: b"", good], used) > 0
    assert len(used) == 1
