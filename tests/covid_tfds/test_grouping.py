"""Films that belong together end up together; strangers don't."""

import io
import random

import numpy as np
from PIL import Image

from covid_tfds import grouping
from covid_tfds.films import Film, read_film
from tests.covid_tfds.pictures import encoded, film


def record(name: str, patient: str, also: tuple[str, ...] = ()) -> Film:
    return Film(f"own/{name}", "healthy", "own", patient, name, also=also)


def recompressed(picture: np.ndarray) -> bytes:
    """Another size, another quality, a little brighter: the same film for a person."""
    image = Image.fromarray(picture).resize((90, 110), Image.Resampling.LANCZOS)
    return encoded(image.point(lambda value: min(255, value + 4)), "JPEG", quality=60)


def test_patients_copies_and_recompressed_copies_are_joined_and_nothing_else():
    same = film(1)
    files = {
        "a1": ("anna", encoded(film(0))),
        "a2": ("anna", encoded(film(10))),  # one patient, two films
        "b": ("ben", encoded(same)),
        "c": ("carl", encoded(same)),  # equal bytes
        "d": ("dora", encoded(same, "BMP")),  # equal pixels
        "e": ("emil", recompressed(same)),  # the same picture
        "f": ("fritz", encoded(film(2))),
        "g": ("gerd", encoded(film(3))),
    }
    films = [record(name, patient) for name, (patient, _) in files.items()]
    groups = grouping.group(films, [read_film(data) for _, data in files.values()])
    assert groups == ["anna", "anna", "ben", "ben", "ben", "ben", "fritz", "gerd"]
    assert grouping.largest(films, groups, 2) == [("ben", 4, 4), ("anna", 2, 1)]


def test_a_file_listed_under_two_patients_joins_them():
    films = [record("x", "285", also=("339",)), record("y", "339"), record("z", "340")]
    readings = [read_film(encoded(film(seed))) for seed in range(3)]
    assert grouping.group(films, readings) == ["285", "285", "340"]


def test_groups_do_not_depend_on_the_order_of_the_films():
    films = [record(str(i), f"p{i % 13}", also=(f"p{(i * 7) % 13}",) if i % 5 == 0 else ())
             for i in range(40)]  # fmt: skip
    readings = [read_film(encoded(film(i % 31))) for i in range(40)]
    by_name = dict(zip((f.name for f in films), grouping.group(films, readings), strict=True))
    order = list(range(40))
    random.Random(3).shuffle(order)
    shuffled = [films[i] for i in order]
    again = grouping.group(shuffled, [readings[i] for i in order])
    assert dict(zip((f.name for f in shuffled), again, strict=True)) == by_name


def test_strangers_among_the_real_films_are_not_joined(real_films):
    """Five hundred films of five hundred children: no two are copies of each other."""
    folder = real_films / "chest_xray" / "train" / "NORMAL"
    first_of = {}
    for path in sorted(folder.glob("*.jpeg")):
        first_of.setdefault(path.name.rsplit("-", 1)[0].split("-0001")[0], path)
    paths = list(first_of.values())[:500]
    readings = [read_film(path.read_bytes()) for path in paths]
    pixels = {reading.pixel_sha256 for reading in readings}
    pairs = grouping.near_equal_pairs(readings)
    assert len(pairs) == len(paths) - len(pixels)


def test_a_recompressed_real_film_is_recognised(real_films):
    for path in sorted((real_films / "chest_xray" / "test" / "NORMAL").glob("*.jpeg"))[:20]:
        data = path.read_bytes()
        picture = np.asarray(Image.open(io.BytesIO(data)).convert("L"))
        copies = [read_film(data), read_film(recompressed(picture))]
        assert grouping.near_equal_pairs(copies) == [(0, 1)], path.name
