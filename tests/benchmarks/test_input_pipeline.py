"""The benchmark runs, compares what it says. Never its times."""

import json

import numpy as np
import pytest

from benchmarks import input_peers, input_pipeline
from trainer.input_pipeline import dataset as dataset_lib


@pytest.fixture
def opened(data_dir):
    return dataset_lib.open_dataset("tiny", str(data_dir), 4)


@pytest.mark.slow
@pytest.mark.parametrize("workers", [0, 1])
def test_every_side_runs_and_the_last_line_is_json(opened, workers, capsys):
    images = opened.splits["train"].take(range(40))
    line = input_pipeline.run(opened, images, 32, rounds=1, workers=workers)
    printed = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert printed == json.loads(json.dumps(line))
    assert printed["images"] == 40
    figures = printed["figures"]
    assert all(figure["median"] > 0 for figure in figures.values())
    for ratio in (*printed["claims"], *printed["ratios"]):
        one, other = ratio.split(" / ")
        assert {one, other} <= figures.keys()
    assert printed["claims"].keys() == printed["spreads"].keys()


@pytest.mark.slow
def test_every_peer_gives_every_image_once_an_epoch(opened, tmp_path, monkeypatch):
    images = opened.splits["train"].take(range(40))
    encoded = [image for _, image in sorted(opened.encoded(images))]
    seen = []

    def counted(count, batches):
        seen.append((count, sum(len(each) for each in batches)))
        return 1.0

    monkeypatch.setattr(input_peers, "rate", counted)
    squares = np.zeros((40, 32, 32, 1), np.uint8)
    sides = input_peers.tf_data(encoded, tmp_path, 32) | input_peers.grains(encoded, squares, 0)
    seen.clear()  # caches were filled
    for side in sides.values():
        side()
    if input_peers.grain:  # of which a loader without end fills every batch
        assert seen.pop(list(sides).index("grain workers, cold")) == (64, 64)
        sides.pop("grain workers, cold")
    assert all(count == given for count, given in seen) and len(seen) == len(sides)


def test_the_fastest_way_of_a_peer_is_compared_in_each_round():
    rates = {"one": [1.0, 4.0], "two": [2.0, 3.0], "other": [1.0, 1.0]}
    ways = {"peer": ("one", "two"), "not installed": ("three", "four")}
    assert input_pipeline.fastest(rates, ways) == {"peer": [2.0, 4.0]}


def test_a_ratio_without_a_target_is_shown_and_no_claim():
    rates = {"ours, augmented, warm": [6.0], "Keras directory, grayscale": [2.0]}
    target, spread = input_pipeline.compared(rates)[" / ".join(rates)]
    assert target == 0 and spread["median"] == 3


def test_few_of_many_are_taken_from_the_whole_length():
    assert input_pipeline.evenly(range(10), 3) == [0, 3, 6]
    assert input_pipeline.evenly(range(2), 3) == [0, 1]
