"""A trace of some steps, for TensorBoard's profiler."""

import pytest

from tests.helpers import trainings
from trainer import config_flags, train
from trainer.run import run_dir
from trainer.run.errors import ConfigError
from trainer.run.manifest import TRACE, Identity, Manifest
from trainer.training.loop import train_phases
from trainer.training.profiling import Profile

STEPS = 5  # of an epoch: 68 images by 16


@pytest.mark.parametrize(
    ("text", "steps"), [("", None), ("1,1", range(1, 2)), ("10,20", range(10, 21))]
)
def test_the_flag_names_first_and_last_step(text, steps):
    assert config_flags.steps_of(text) == steps


@pytest.mark.parametrize("text", ["3", "3,2", "0,4", "a,b", "1,", "1,2,3", "-1,2", "1.5,2"])
def test_what_is_no_pair_of_steps_is_refused(text):
    with pytest.raises(ConfigError, match="is no pair of steps"):
        config_flags.steps_of(text)


def traced(ready, folder, steps, monkeypatch, **changes) -> list[int]:
    """The numbers of the steps that the trace of a training marks; empty without a trace."""
    training = ready(**changes)
    monkeypatch.setattr(training, "steps_per_call", lambda plan: 1)
    train_phases(training, [Profile(steps, folder)], seed=1)
    if not (folder / TRACE).exists():
        return []
    from tensorflow.tsl.profiler.protobuf import xplane_pb2

    space = xplane_pb2.XSpace.FromString((folder / TRACE).read_bytes())
    numbers = []
    for plane in space.planes:
        names = {key: each.name for key, each in plane.event_metadata.items()}
        kinds = {key: each.name for key, each in plane.stat_metadata.items()}
        for event in (event for line in plane.lines for event in line.events):
            if names[event.metadata_id] == "train":
                stats = {kinds[stat.metadata_id]: stat for stat in event.stats}
                numbers.append(int(stats["step_num"].int64_value or stats["step_num"].uint64_value))
    return sorted(numbers)


def test_the_steps_that_are_named_are_traced_across_epochs(ready, tmp_path, monkeypatch):
    assert traced(ready, tmp_path, range(4, 8), monkeypatch) == [4, 5, 6, 7]


@pytest.mark.slow
def test_a_trace_takes_the_place_of_another_and_of_what_was_made_of_it(
    ready, tmp_path, monkeypatch
):
    cached = (tmp_path / TRACE).with_name("ALL_HOSTS.op_stats_v2.pb")
    cached.parent.mkdir(parents=True)
    cached.touch()
    assert traced(ready, tmp_path, range(9, 50), monkeypatch) == [9, 10]  # the last two of all
    assert not cached.exists()


def test_a_training_that_ends_before_has_no_trace_and_a_line_that_says_so(
    ready, tmp_path, monkeypatch, capsys
):
    assert traced(ready, tmp_path, range(11, 20), monkeypatch, epochs=2) == []
    out = " ".join(capsys.readouterr().out.split())
    assert "No profile was written: the training ended after 10 steps. Give a lower START" in out


@pytest.mark.slow
def test_a_run_knows_its_trace_and_overwrite_removes_it_with_its_folders(data_dir, tmp_path):
    config, path, identity = trainings.quick(data_dir), tmp_path / "a", Identity("", {})
    with run_dir.create(path, "", identity, overwrite=True) as folder:
        train.train_and_evaluate(config, folder, profile=range(6, 8))
    (path / TRACE).with_name("cache_version.txt").write_text("of the profiler")
    assert (path / TRACE).is_file() and not Manifest.read(path).damaged(path)
    with run_dir.create(path, "", identity, overwrite=True) as folder:
        train.train_and_evaluate(config, folder)
    assert not (path / "tensorboard/plugins").exists()
