"""The benchmark runs, compares what it says. Never its times."""

import json

from benchmarks import input_pipeline
from trainer.input_pipeline import dataset as dataset_lib


def test_every_side_runs_and_the_last_line_is_json(data_dir, capsys):
    dataset = dataset_lib.open_dataset("tiny", str(data_dir), 4)
    line = input_pipeline.run(dataset, dataset.splits["train"].take(range(5)), size=32, rounds=1)
    printed = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert printed == json.loads(json.dumps(line))
    assert printed["images"] == 5
    figures = printed["figures"]
    assert all(figure["median"] > 0 for figure in figures.values())
    for claim in printed["claims"]:
        one, other = claim.split(" / ")
        assert {one, other} <= figures.keys()
    assert printed["claims"].keys() == printed["spreads"].keys()


def test_few_of_many_are_taken_from_the_whole_length():
    assert input_pipeline.evenly(range(10), 3) == [0, 3, 6]
    assert input_pipeline.evenly(range(2), 3) == [0, 1]
