"""The benchmark runs, compares what it says, and takes films by their content. Never its times."""

import json

from benchmarks import input_pipeline
from tests.covid_tfds.pictures import encoded, film


def test_every_side_runs_and_the_last_line_is_json(capsys):
    images = [encoded(film(i, (100, 90)), "JPEG") for i in range(5)]
    line = input_pipeline.run({"drawn": input_pipeline.as_films(images)}, size=32, rounds=1)
    printed = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert printed == json.loads(json.dumps(line))
    assert printed["films"] == {"drawn": 5}
    figures = printed["figures"]["drawn"]
    assert all(figure["median"] > 0 for figure in figures.values())
    for claim in printed["claims"]:
        one, other = claim.removeprefix("drawn: ").split(" / ")
        assert {one, other} <= figures.keys()


def test_large_films_are_known_by_their_content(tmp_path):
    (tmp_path / "large.jpg").write_bytes(encoded(film(0, (330, 340)), "JPEG"))
    (tmp_path / "small.jpeg").write_bytes(encoded(film(1, (300, 400)), "JPEG"))
    (tmp_path / "no_jpeg.jpg").write_bytes(encoded(film(2, (330, 340)), "PNG"))
    (tmp_path / "no_film.jpg").write_text("words")
    found = input_pipeline.large_films(tmp_path, 10)
    assert found.images == [(tmp_path / "large.jpg").read_bytes()]
