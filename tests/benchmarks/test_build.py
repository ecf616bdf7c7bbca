"""What the build is measured against does the build's work; no time is judged."""

import io

import numpy as np
from PIL import Image

from benchmarks import build
from covid_tfds import films
from tests.covid_tfds import sources
from tests.covid_tfds.pictures import encoded, film


def test_the_limit_encodes_the_very_picture_that_the_build_stores():
    data = encoded(film(size=(500, 420)))
    assert build._bare(data) == films.read_film(data).image


def test_every_film_of_both_sources_is_read(tmp_path):
    sources.write_article(tmp_path)
    reads = build._reads(tmp_path)
    assert len(reads) >= 306 and all(read() for read in reads[:3])


def test_enlarged_films_have_the_size_and_keep_their_places(tmp_path):
    sources.write_article(tmp_path / "manual")
    into = build._enlarged(tmp_path / "manual", 400, tmp_path / "large")
    names = [path.relative_to(tmp_path / "manual") for path in tmp_path.rglob("manual/**/*.jpeg")]
    kaggle = [name for name in names if name.parts[0] == "chest_xray"]
    assert kaggle
    for name in kaggle[:3]:
        assert min(Image.open(into / name).size) == 400


def test_a_pool_leaves_out_what_the_build_leaves_out():
    blank = io.BytesIO()
    Image.fromarray(np.zeros((200, 200), np.uint8)).save(blank, "PNG")
    used = []
    assert build._pool_seconds(films.read_film, [blank.getvalue, lambda: b""], 1, used) > 0
    assert len(used) == 1
