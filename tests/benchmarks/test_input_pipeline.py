"""The benchmark runs, compares what it says. Never its times."""

import json

from benchmarks import input_pipeline
from tests.covid_tfds.made_images import encoded, radiograph


def test_every_side_runs_and_the_last_line_is_json(capsys):
    images = [encoded(radiograph(i, (100, 90))) for i in range(5)]
    line = input_pipeline.run({"drawn": input_pipeline.as_images(images)}, size=32, rounds=1)
    printed = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert printed == json.loads(json.dumps(line))
    assert printed["images"] == {"drawn": 5}
    figures = printed["figures"]["drawn"]
    assert all(figure["median"] > 0 for figure in figures.values())
    for claim in printed["claims"]:
        one, other = claim.removeprefix("drawn: ").split(" / ")
        assert {one, other} <= figures.keys()
