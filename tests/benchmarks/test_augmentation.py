"""The benchmark runs and its line holds together; times are not judged."""

import json

import pytest

from benchmarks import augmentation


@pytest.mark.slow
def test_the_line_names_every_side_and_what_bounds_it(capsys):
    line = augmentation.measure(size=32, batch=2, rounds=1, seconds=0.0)
    assert json.loads(capsys.readouterr().out) == line
    assert {"ours, RGB", "ours, grey", "Keras stack, RGB", "ImageDataGenerator, RGB"} <= set(
        line["figures"]
    )
    assert all(figure["median"] > 0 for figure in line["figures"].values())
    assert [claim["target"] for claim in line["claims"].values()] == [8.0]
    assert "channel shift" in line["bound"]
