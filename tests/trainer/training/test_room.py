"""What a training takes on the disk, estimated before and measured after."""

import dataclasses

import keras
import pytest

from tests.helpers.machines import small_disk
from tests.helpers.trainings import QUICK, TUNED, quick, run
from trainer.config import BLOCKS, Config
from trainer.model import vgg16
from trainer.model.weights import Weights
from trainer.run import machine, run_dir, saved_state
from trainer.run.errors import RunError
from trainer.training import room

CONFIGS = {
    "flat": QUICK,
    "two classes": dataclasses.replace(QUICK, classes=2),
    "larger": dataclasses.replace(QUICK, image_size=97, head_units=16),
    "average": dataclasses.replace(QUICK, image_size=64, pooling="average"),
    "whole width": dataclasses.replace(QUICK, width=1.0),
    "ensemble": dataclasses.replace(QUICK, ensemble=3),
    "fine-tuned ensemble": dataclasses.replace(QUICK, ensemble=3, fine_tune_from="block4"),
}


@pytest.mark.parametrize("name", CONFIGS)
def test_parameters_are_those_of_the_network_that_is_built(name):
    config = CONFIGS[name]
    fields = ("classes", "image_size", "head_units", "dropout", "pooling", "width", "ensemble")
    values = {field: getattr(config, field) for field in fields}
    values["trained_from"] = None if config.fine_tune_from == "none" else config.fine_tune_from
    model = vgg16.build_model(weights=Weights(None, "", "random"), **values)
    counts = dict.fromkeys((*BLOCKS, "head"), 0)
    for layer in model.layers:
        if isinstance(layer, keras.layers.Conv2D | keras.layers.Dense):
            name = layer.name.partition("_")[0]
            counts[name if name in BLOCKS else "head"] += layer.count_params()
    assert vgg16.parameters(config) == counts


@pytest.mark.slow
@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"optimizer": "sgd"},
        TUNED,
        {**TUNED, "fine_tune_from": "block1", "optimizer": "sgd"},
        {**TUNED, "ensemble": 3},
    ],
    ids=["adam", "sgd", "tuned", "whole", "ensemble"],
)
def test_a_run_takes_what_was_estimated(changes, data_dir, tmp_path):
    config = quick(data_dir, width=0.5, epochs=1, **changes)
    run(config, tmp_path)
    state = (tmp_path / saved_state.FILE).stat().st_size
    network = (tmp_path / "model.keras").stat().st_size
    assert room.state_bytes(config) <= state < 1.05 * room.state_bytes(config) + 50_000
    assert room.network_bytes(config) <= network < 1.05 * room.network_bytes(config) + 200_000
    every = sum(path.stat().st_size for path in tmp_path.rglob("*") if path.is_file())
    assert every < room.run_bytes(config)


def test_a_whitening_needs_no_more_than_was_estimated(data_dir, tmp_path):
    config = quick(data_dir, epochs=1, normalization="zca")
    run(config, tmp_path)
    plain = dataclasses.replace(config, normalization="imagenet")
    network = (tmp_path / "model.keras").stat().st_size
    assert 1.05 * room.network_bytes(plain) + 200_000 < network
    assert network < 1.05 * room.network_bytes(config) + 200_000


def test_the_article_s_network_needs_what_it_is_known_to_need():
    config = Config(image_size=64)
    assert room.network_bytes(config) == 60_961_040  # 58.9 MB of VGG16's and 2.1 of the head's
    assert room.state_bytes(config) == 4 * 4 * 525_572  # network, best epoch, Adam's two


def test_a_run_without_room_is_refused_before_anything_is_opened(data_dir, tmp_path):
    config = quick(data_dir, dataset="not_there")
    with small_disk(tmp_path / "disk", 3) as disk:
        with pytest.raises(RunError, match=r"needs 6\.7 MiB for its network .* has 3\.0 MiB"):
            run(config, disk / "a")
        assert list(disk.iterdir()) == []


@pytest.mark.slow
def test_what_is_there_and_will_be_replaced_counts_as_room(data_dir, tmp_path):
    config = quick(data_dir, epochs=1)
    with small_disk(tmp_path / "disk", 9) as disk:
        run(config, disk / "a")
        there = sum(path.stat().st_size for path in (disk / "a").rglob("*") if path.is_file())
        left = room.run_bytes(config) - there // 2
        (disk / "full").write_bytes(bytes(machine.free(disk) - left))
        with pytest.raises(RunError, match="needs"):
            run(config, disk / "b")
        nobody = run_dir.Identity("", {})
        with run_dir.create(disk / "a", "", nobody, overwrite=True) as folder:
            room.require_for_run(config, folder)


def test_all_folds_that_are_trained_at_a_time_need_room(data_dir, tmp_path):
    config = quick(data_dir)
    with small_disk(tmp_path / "disk", 8) as disk:
        room.require_for_folds(config, disk / "a", 1)
        many = machine.free(disk) // room.fold_bytes(config)
        with pytest.raises(RunError, match=f"for the saved states of {many} folds at a time, and"):
            room.require_for_folds(config, disk / "a", many)


def test_several_runs_need_room_for_all_of_them(data_dir, tmp_path):
    config = quick(data_dir)
    with small_disk(tmp_path / "disk", 12) as disk:
        room.require_for_runs(config, disk, 1)
        room.require_for_runs(config, disk, 0)
        with pytest.raises(RunError, match="needs"):
            room.require_for_runs(config, disk, 3)
        (disk / "seed_1").mkdir()
        (disk / "seed_1" / "model.keras").write_bytes(bytes(machine.free(disk)))
        with pytest.raises(RunError, match="needs"):
            room.require_for_runs(config, disk, 1)
        room.require_for_runs(config, disk, 1, replaced=[disk / "seed_1"])
