"""TensorBoard's HPARAMS: a row a run and a trial, named, in one table, what matters first."""

import dataclasses
import pathlib

import pytest
from tensorboard.backend.event_processing.event_multiplexer import EventMultiplexer
from tensorboard.plugins.hparams import metadata

import trainer
import tuning
from tests.helpers import trainings
from trainer.config import BELONGING, Config
from trainer.training import hparams
from tuning.settings import Settings

# Fields without a column, each with the reason.
LEFT_OUT = {
    "data_dir": "of the machine", "cache_dir": "of the machine", "cache_gib": "of the machine",
    "checkpoint_every": "of the machine", "distribute": "of the machine",
    "autotune": "the precision says what came of it", "deterministic": "the result is no other",
    "as_published": "of what is printed", "test": "of what is scored",
}  # fmt: skip
QUICK = {"epochs": 1, "learning_rate": 1e-3}


@pytest.fixture(scope="module")
def parent(data_dir, tmp_path_factory) -> pathlib.Path:
    """Two runs of equal flags, one of others, and a search, in one folder."""
    folder = tmp_path_factory.mktemp("all")
    config = trainings.quick(data_dir, **QUICK)
    for name in ("a", "b"):
        trainer.fit(config, folder / name)
    trainer.fit(dataclasses.replace(config, augmentation="radiograph", views=1), folder / "c")
    tuning.run(config, {"head_units": "4,8"}, folder / "search",
               Settings(max_trials=2, final_folds=0))  # fmt: skip
    return folder


@pytest.fixture(scope="module")
def events(parent):
    multiplexer = EventMultiplexer().AddRunsFromDirectory(str(parent))
    multiplexer.Reload()
    return multiplexer


def plugin_data(events, run, tag):
    content = events.SummaryMetadata(run, tag).plugin_data.content
    return metadata.parse_session_start_info_plugin_data(content) if (
        tag == metadata.SESSION_START_INFO_TAG
    ) else metadata.parse_experiment_plugin_data(content)  # fmt: skip


@pytest.fixture(scope="module")
def rows(events):
    """By the row's name, its settings and its metrics."""
    found = {}
    for run in events.PluginRunToTagToContent(metadata.PLUGIN_NAME):
        started = plugin_data(events, run, metadata.SESSION_START_INFO_TAG)
        values = {name: getattr(value, value.WhichOneof("kind"))
                  for name, value in started.hparams.items()}  # fmt: skip
        scalars = {tag for tag in events.Runs()[run]["tensors"] if tag.startswith("hparams/")}
        assert started.group_name not in found  # equal names would be one row
        found[started.group_name] = values, scalars
    return found


@pytest.mark.slow
def test_every_run_and_every_trial_is_a_row_that_bears_its_name(rows, parent):
    names = {name.partition(" (")[0] for name in rows}
    trials = {"search/trial_0000", "search/trial_0001"}
    assert names == trials | {f"{parent.name}/{name}" for name in "abc"}
    assert len(rows) == len(names)


def test_folders_of_one_name_are_rows_of_their_own(tmp_path):
    one, other = (hparams.row_name(tmp_path / each / "runs" / "a") for each in ("x", "y"))
    assert one.startswith("runs/a (") and other.startswith("runs/a (") and one != other


@pytest.mark.slow
def test_runs_and_trials_share_their_settings_and_their_metrics(rows, events):
    kinds = {frozenset(values) for values, _ in rows.values()}
    tuned = set(BELONGING["fine_tune_from"])
    idle = {"views", "shift", "zoom", "contrast"} | tuned
    columns = set(hparams.COLUMNS)
    assert kinds == {frozenset(columns - idle), frozenset(columns - tuned)}
    common = set.intersection(*(scalars for _, scalars in rows.values()))
    assert common == {f"hparams/{n}" for n in ("val_balanced_accuracy", "val_accuracy", "val_loss",
                                               "epoch")}  # fmt: skip
    every = set.union(*(scalars for _, scalars in rows.values()))
    assert "hparams/val_stressed_balanced_accuracy" in every  # of a run
    assert every <= {f"hparams/{name}" for name in hparams.METRICS}
    tables, first = set(), set()
    for run in events.PluginRunToTagToContent(metadata.PLUGIN_NAME):
        table = plugin_data(events, run, metadata.EXPERIMENT_TAG)
        tables.add((tuple(info.name for info in table.hparam_infos),
                    tuple(info.name.tag for info in table.metric_infos)))  # fmt: skip
        first |= {info.name for info in table.hparam_infos if info.differs}
    assert first == set(hparams.FIRST)  # which TensorBoard sorts ahead of the others
    assert tables == {(hparams.COLUMNS, tuple(f"hparams/{name}" for name in hparams.METRICS))}


@pytest.mark.slow
def test_values_are_those_that_were_trained(rows, parent):
    by_name = {name.partition(" (")[0]: values for name, (values, _) in rows.items()}
    assert {by_name[f"search/trial_000{i}"]["head_units"] for i in (0, 1)} == {4, 8}
    run = by_name[f"{parent.name}/c"]
    assert (run["augmentation"], run["views"], run["dataset"]) == ("radiograph", 1, "tiny")
    assert by_name[f"{parent.name}/a"]["learning_rate"] == pytest.approx(1e-3)


def test_what_matters_comes_first_and_what_is_of_the_machine_has_no_column():
    fields = {field.name for field in dataclasses.fields(Config)}
    assert fields == set(hparams.COLUMNS) | set(LEFT_OUT)
    assert not set(hparams.COLUMNS) & set(LEFT_OUT)
    assert hparams.COLUMNS[:4] == ("classes", "dataset", "image_size", "align")
