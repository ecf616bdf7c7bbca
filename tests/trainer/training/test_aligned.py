"""A run of aligned images: its table, its pictures, its counts; and that it goes on."""

import contextlib
import dataclasses
import json

import numpy as np
import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

import trainer
from tests.helpers import trainings
from trainer.evaluation import poses
from trainer.input_pipeline import alignment, decode
from trainer.run.manifest import ALIGNED, Manifest
from trainer.training import aligned
from trainer.training.setup import set_up

pytestmark = pytest.mark.slow


def test_alignment_csv_has_the_pose_of_every_image(aligned_run, tiny):
    table, aligner = poses.read(aligned_run[0] / "alignment.csv"), alignment.Aligner([])
    rows = dict(zip(zip(table.splits, table.image_ids, strict=True), table.poses, strict=True))
    assert len(rows) == len(table.image_ids) == sum(map(len, tiny.splits.values()))
    for name, images in tiny.splits.items():
        for index, encoded in tiny.encoded(images):
            _, pose = aligner(decode.pixels(encoded, ""))
            np.testing.assert_allclose(rows[name, images.image_ids[index]], pose, atol=1e-6)
    np.testing.assert_array_equal(table.at_bounds, alignment.at_bounds(table.poses))
    np.testing.assert_array_equal(table.weak, alignment.weak(table.poses))


def test_metrics_count_the_poses_in_doubt(aligned_run):
    folder, result = aligned_run
    counts = poses.read(folder / "alignment.csv").counts()
    assert result["alignment"] == {"template": alignment.FORMULA, **counts}
    written = json.loads((folder / "config.json").read_text())
    assert written["alignment"] == alignment.FORMULA


def test_table_and_plot_are_files_of_the_run(aligned_run):
    recorded = Manifest.read(aligned_run[0]).files
    assert {"alignment.csv", ALIGNED} <= recorded.keys()


def test_a_run_without_alignment_has_none_of_it(data_dir, tmp_path):
    result = trainings.run(trainings.quick(data_dir, epochs=1), tmp_path / "run")
    names = {path.name for path in (tmp_path / "run").rglob("*")}
    assert "alignment" not in result
    assert not {"alignment.csv", "alignment.png"} & names
    assert images_of(tmp_path / "run") == {"stored"}


def test_tensorboard_shows_images_before_and_after(aligned_run):
    assert images_of(aligned_run[0]) == {"stored", "aligned"}


def images_of(folder) -> set[str]:
    """Names of the pictures under `images/` in TensorBoard."""
    events = EventAccumulator(str(folder / "tensorboard")).Reload()
    tags = [tag for tag in events.Tags()["tensors"] if tag.startswith("images/")]
    return {tag.removeprefix("images/") for tag in tags}


def test_squares_before_alignment_are_those_of_a_run_without(data_dir):
    with opened(data_dir, align="chest") as setup, opened(data_dir) as plain:
        images = setup.dataset.splits["test"].take([5, 0, 2])
        before = aligned.stored_squares(setup, images)
        np.testing.assert_array_equal(before, plain.squares(images, 32))
        assert (before != setup.squares(images, 32)).any()


def test_without_a_folder_poses_are_counted_and_not_written(data_dir, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with opened(data_dir, align="chest") as setup:
        images = setup.dataset.splits["test"]
        counts = aligned.poses_of(setup, images).counts()
        found = aligned.write_poses(setup, images, None)
    assert found == {"alignment": {"template": alignment.FORMULA, **counts}}
    assert not list(tmp_path.iterdir())


@contextlib.contextmanager
def opened(data_dir, **changes):
    """A setup of the tiny dataset."""
    setup = set_up(trainings.quick(data_dir, **changes))
    with contextlib.closing(setup.opened):
        yield setup


def test_an_aligned_run_goes_on_bit_for_bit(data_dir, tmp_path):
    config = trainings.quick(data_dir, align="chest", deterministic=True)
    trainer.fit(config, tmp_path / "whole")
    trainer.fit(dataclasses.replace(config, epochs=1), tmp_path / "run")
    trainer.fit(config, tmp_path / "run")
    for name in ("history.csv", "predictions.csv", "alignment.csv"):
        one, other = (tmp_path / folder / name for folder in ("whole", "run"))
        assert one.read_bytes() == other.read_bytes()
