"""What a search takes on the disk, known from its space."""

import dataclasses

import pytest

from tests.helpers.machines import small_disk
from tests.helpers.trainings import QUICK
from trainer.run.errors import RunError
from trainer.training import room as of_runs
from tuning import room
from tuning.folder import Folder
from tuning.settings import Settings, Spec
from tuning.space import Space

SPACE = {"head_units": "8:512:log2", "image_size": "32,64", "pooling": "average,flatten"}


def spec(root, **settings) -> Spec:
    changed = {"max_trials": 4, "final_folds": 0, **settings}
    return Spec(Folder(root), Space.of(QUICK, SPACE), Settings(**changed))


def test_the_largest_network_of_the_space_counts():
    config = room._largest(Space.of(QUICK, SPACE))
    assert (config.head_units, config.image_size, config.pooling) == (512, 64, "flatten")


def test_a_new_search_needs_room_for_all_that_it_keeps(tmp_path):
    largest = of_runs.network_bytes(room._largest(Space.of(QUICK, SPACE)))
    assert 1e6 < largest < 2e6
    with small_disk(tmp_path / "disk", 8) as disk:
        room.require_for_search(spec(disk / "a"), retrain_best=False)
        with pytest.raises(RunError, match=r"3 kept networks \(\d\.\d MiB\), and its disk has 8.0"):
            room.require_for_search(spec(disk / "a", keep_best=3), retrain_best=False)
        with pytest.raises(RunError, match=r"the run of the best values \(\d+\.\d MiB\)"):
            room.require_for_search(spec(disk / "a"), retrain_best=True)
        assert list(disk.iterdir()) == []


def test_all_trials_of_a_search_without_a_budget_count(tmp_path):
    with small_disk(tmp_path / "disk", 8) as disk:
        search = spec(disk / "a", max_trials=0, tuner="grid")
        room.require_for_search(search, retrain_best=False)  # 28
        many = Space.of(QUICK, {**SPACE, "optimizer": "adam,sgd", "dropout": "0,0.3,0.5"})
        with pytest.raises(RunError, match=r"for 168 trials \(15\.5 MiB\), and its disk has 8\.0"):
            room.require_for_search(dataclasses.replace(search, space=many), retrain_best=False)


def test_all_folds_that_are_trained_at_a_time_count(tmp_path):
    with small_disk(tmp_path / "disk", 8) as disk:
        search = spec(disk / "a", final_folds=5)
        room.require_for_search(search, retrain_best=False)
        message = r"the closing comparison, 3 folds at a time \(7\.3 MiB\)"
        with pytest.raises(RunError, match=message):
            room.require_for_search(search, retrain_best=False, at_once=3)
        with pytest.raises(RunError, match="5 folds at a time"):
            room.require_for_search(search, retrain_best=False, at_once=8)


def test_what_an_earlier_search_left_counts_as_room(tmp_path):
    with small_disk(tmp_path / "disk", 8) as disk:
        (disk / "a").mkdir()
        (disk / "a" / "log.jsonl").write_bytes(bytes(5 * 2**20))
        room.require_for_search(spec(disk / "a"), retrain_best=False)
        with pytest.raises(RunError, match="needs"):
            room.require_for_search(spec(disk / "b"), retrain_best=False)
