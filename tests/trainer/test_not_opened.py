"""Runs with --notest: nothing of test in them, and one more call that scores it."""

import contextlib
import json
import pathlib
import shutil
import zipfile
from typing import NamedTuple

import keras
import pytest

import trainer
import tuning
from tests.helpers import commands, trainings
from tests.helpers.undrawn import no_pictures
from trainer import scoring, seeds
from trainer.evaluation import heatmaps, images_used, plots, predictions, summary
from trainer.execution import caching
from trainer.input_pipeline.dataset import Dataset
from trainer.model import about
from trainer.run import saved_state
from trainer.run.errors import ConfigError, RunError
from trainer.training.setup import set_up
from trainer.training.steps import Steps

pytestmark = pytest.mark.slow

CHANGES = {"deterministic": True, "dropout": 0.3, "seed": 7, "checkpoint_every": 0.0}
# What depends on whether test was scored.
TABLES = ("metrics.json", "predictions.csv", "images_used.csv")
RESULTS = (*TABLES, "plots/*.png", "heatmaps.npz")


class Killed(BaseException):
    """In place of SIGKILL: nothing is saved when it is raised."""


@pytest.fixture(scope="module")
def flagfile(data_dir, tmp_path_factory) -> pathlib.Path:
    path = tmp_path_factory.mktemp("flags") / "run.flags"
    path.write_text(trainings.quick(data_dir, **CHANGES).to_flags())
    return path


@pytest.fixture(scope="module")
def command(flagfile):
    """Runs `trainer.main` in a folder, and collects the epochs that are trained."""

    def run(folder, *flags):
        return commands.run("trainer.main", f"--flagfile={flagfile}", f"--run_dir={folder}", *flags)

    return run


@contextlib.contextmanager
def killed_at(place, name: str):
    """Kills the process where a function of a module or a class is called."""

    def killed(*arguments, **named):
        raise Killed

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(place, name, killed)
        yield


@contextlib.contextmanager
def noted_reads():
    """Names of the splits of which images are decoded meanwhile."""
    names, original = set(), Dataset.encoded

    def encoded(self, images):
        names.update(images.splits)
        return original(self, images)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Dataset, "encoded", encoded)
        yield names


@pytest.fixture(scope="module")
def whole(command, tmp_path_factory):
    """A run that scores test from the start, without pictures."""
    folder = tmp_path_factory.mktemp("whole") / "run"
    with no_pictures():
        assert command(folder).status == 0
    return folder


@pytest.fixture(scope="module")
def drawn(command, tmp_path_factory):
    """The same with pictures."""
    folder = tmp_path_factory.mktemp("drawn") / "run"
    assert command(folder).status == 0
    return folder


class Closed(NamedTuple):
    """A run with --notest and pictures, on an empty cache."""

    folder: pathlib.Path  # tests copy it
    ended: commands.Ended
    cache_dir: pathlib.Path
    read: set[str]  # splits of which images were decoded


@pytest.fixture(scope="module")
def closed(command, tmp_path_factory) -> Closed:
    folder = tmp_path_factory.mktemp("closed")
    with noted_reads() as read:
        ended = command(folder / "run", "--notest", f"--cache_dir={folder / 'cache'}")
    assert ended.status == 0, ended.err
    return Closed(folder / "run", ended, folder / "cache", read)


@pytest.fixture
def copy(closed, tmp_path):
    """A run with --notest, to go on with."""
    return shutil.copytree(closed.folder, tmp_path / "run")


def contents(folder, names=("**/*",)) -> dict[str, bytes]:
    paths = [path for name in names for path in folder.glob(name) if path.is_file()]
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in paths}


def result_of(folder, names=TABLES) -> dict[str, bytes]:
    """Of model.keras its weights and what it says: Keras numbers operations by the process."""
    members = ("model.weights.h5", about.MEMBER)
    with zipfile.ZipFile(folder / "model.keras") as archive:
        return contents(folder, names) | {name: archive.read(name) for name in members}


def opened(folder) -> dict[str, bool]:
    return json.loads((folder / "metrics.json").read_text())["opened"]


# One call


def test_no_file_names_an_image_of_test(closed, tiny):
    names = [each.encode() for each in tiny.splits["test"].image_ids]
    names += [each.tobytes().hex().encode() for each in tiny.splits["test"].sha256]
    files = contents(closed.folder)
    assert "predictions.csv" in files
    for path, content in files.items():
        assert not [name for name in names if name in content], path


def test_evaluate_does_not_open_it_as_a_folder_of_images(closed, tiny, tmp_path):
    test = tiny.splits["test"]
    for i, data in tiny.encoded(test):
        folder = tmp_path / test.class_names[test.labels[i]]
        folder.mkdir(exist_ok=True)
        (folder / f"{i}.png").write_bytes(data)
    with pytest.raises(RunError, match=rf"{len(test)} images of its test split, which is not"):
        trainer.load(closed.folder).evaluate(images=tmp_path)


def test_the_tables_are_of_train_and_validation(closed):
    used = images_used.read(closed.folder / "images_used.csv")
    assert set(used["split"]) == {"train", "validation"}
    assert predictions.read(closed.folder / "predictions.csv").split_names == ["validation"]
    assert heatmaps.read(closed.folder / "heatmaps.npz").split == "validation"
    metrics = json.loads((closed.folder / "metrics.json").read_text())
    assert list(metrics["splits"]) == ["validation"]
    assert metrics["opened"] == {"test": False, "control": False}
    assert "control" not in metrics


def test_validation_has_the_numbers_of_a_run_that_scores_test(closed, whole):
    scores = [
        json.loads((folder / "metrics.json").read_text())["splits"]["validation"]
        for folder in (closed.folder, whole)
    ]
    assert scores[0] == scores[1]
    assert opened(whole) == {"test": True, "control": False}
    for folder, split in ((closed.folder, "validation"), (whole, "test")):
        assert about.read(folder / "model.keras").scores["split"] == split


def test_the_summary_shows_validation_and_says_what_scores_test(closed):
    lines = closed.ended.out.splitlines()
    assert any(line.split()[:3] == ["validation", "n", "sensitivity"] for line in lines)
    assert f"  {summary._NOT_OPENED}" in lines
    assert not [line for line in lines if line.startswith(("test ", "  test "))]
    first = next(i for i, line in enumerate(lines) if line.startswith("covid_tfds/tiny"))
    last = next(i for i, line in enumerate(lines) if line.startswith("run folder:"))
    assert all(len(line) <= 80 for line in lines[first:last])


def test_the_plots_are_of_validation_and_their_titles_say_so(closed, tmp_path, monkeypatch):
    titles, original = {}, plots.new_figure

    def new_figure(width, height, heading, title, count):
        titles[heading.partition(",")[0]] = title, count
        return original(width, height, heading, title, count)

    monkeypatch.setattr(plots, "new_figure", new_figure)
    shutil.copytree(closed.folder, tmp_path / "run")
    metrics = json.loads((tmp_path / "run" / "metrics.json").read_text())
    plots.draw_run(tmp_path / "run", metrics, None)
    images = metrics["splits"]["validation"]["n"]
    for heading in ("Confusion matrix", "ROC curves"):
        title, count = titles[heading]
        assert title == "covid_tfds/tiny/2.0.0 (synthetic images), validation"
        assert count.startswith(f"n = {images} images")


def test_no_image_of_test_is_decoded_or_cached(closed, tiny):
    assert closed.read == {"train", "validation"}
    cached = contents(closed.cache_dir, ["stages/*/index.bin"])
    assert all(tiny.splits["train"].digests[0].tobytes() in each for each in cached.values())
    for name, held in cached.items():
        assert not [each for each in tiny.splits["test"].digests if each.tobytes() in held], name


def test_filling_the_cache_reads_what_a_run_reads(data_dir, tmp_path):
    with noted_reads() as read:
        caching.fill_cache(trainings.quick(data_dir, tmp_path / "cache", test=False))
    assert read == {"train", "validation"}


def test_a_setup_has_the_splits_that_are_read(data_dir):
    for config, splits, there in (
        (trainings.quick(data_dir, test=False), None, {"train", "validation"}),
        (trainings.quick(data_dir), None, {"train", "validation", "test"}),
        (trainings.quick(data_dir), ("train",), {"train"}),
    ):
        setup = set_up(config, splits=splits)
        with contextlib.closing(setup.opened):
            assert set(setup.dataset.splits) == there


def test_it_can_be_loaded(closed):
    run = trainer.load(closed.folder)
    assert (run.finished, run.config.test) == (True, False)
    assert run.metrics["opened"]["test"] is False
    assert run.predictions.split_names == ["validation"]
    assert isinstance(run.model(), keras.Model)


# The call after it


@pytest.mark.usefixtures("undrawn_here")
def test_a_second_call_gives_what_one_call_gives(command, copy, whole):
    with killed_at(Steps, "run"):
        ended = command(copy)
    assert ended.status == 0, ended.err
    assert result_of(copy) == result_of(whole)
    assert "\ntest " in ended.out and "not opened" not in ended.out
    assert trainer.load(copy).config.test
    assert command(copy, "--test").out.startswith(f"{copy} holds this run, and it has ended.")


@pytest.mark.parametrize("at", ["write_tables", "write_metrics", "draw"])
def test_killed_in_either_call_the_same_command_goes_on(at, command, drawn, tmp_path):
    folder = tmp_path / "run"
    with killed_at(scoring, at), pytest.raises(Killed):
        command(folder, "--notest")
    assert command(folder, "--notest").status == 0
    assert opened(folder) == {"test": False, "control": False}
    with killed_at(scoring, at), pytest.raises(Killed):
        command(folder, "--test")
    assert command(folder, "--test").status == 0
    assert result_of(folder, RESULTS) == result_of(drawn, RESULTS)


@pytest.mark.usefixtures("undrawn_here")
def test_a_run_that_was_killed_in_training_may_go_on_with_test(command, whole, tmp_path):
    with killed_at(scoring, "write_tables"), pytest.raises(Killed):
        command(tmp_path / "run", "--notest")
    assert command(tmp_path / "run", "--test").status == 0
    assert result_of(tmp_path / "run") == result_of(whole)


def test_test_that_was_opened_can_not_be_closed(command, whole):
    before = contents(whole)
    ended = command(whole, "--notest")
    assert ended.status == 2
    assert "--test is False, and was True" in " ".join(ended.err.split())
    assert contents(whole) == before


def test_without_the_network_that_was_kept_test_stays_closed(command, copy):
    (copy / saved_state.FILE).unlink()
    before = contents(copy)
    ended = command(copy, "--test")
    assert ended.status == 1
    assert "is not that of the end of the training" in " ".join(ended.err.split())
    assert contents(copy) == before
    assert command(copy, "--notest").status == 0  # nothing else depends on it


@pytest.mark.usefixtures("undrawn_here")
def test_fit_scores_what_fit_left_unopened(data_dir, tmp_path):
    config = trainings.quick(data_dir, epochs=1, test=False)
    run = trainer.fit(config, tmp_path / "run")
    assert "test" not in run.metrics["splits"]
    run = trainer.fit(trainings.quick(data_dir, epochs=1), tmp_path / "run")
    assert run.metrics["splits"]["test"]["n"] == len(run.predictions.of_split("test").labels)


# Several seeds


def test_seeds_are_scored_together_in_the_second_call(command, tmp_path):
    folder, flags = tmp_path / "run", ("--seeds=2", "--epochs=1")
    ended = command(folder, *flags, "--notest")
    assert ended.status == 0, ended.err
    assert list(json.loads((folder / "seeds.json").read_text())["splits"]) == ["validation"]
    assert ended.out.count(summary._NOT_OPENED) == 3  # two runs and the table of both
    with killed_at(scoring, "draw"), pytest.raises(Killed):
        command(folder, *flags, "--test")
    with killed_at(Steps, "run"):
        ended = command(folder, *flags, "--test")
    assert ended.status == 0, ended.err
    table = json.loads((folder / "seeds.json").read_text())
    assert list(table["splits"]) == list(seeds.SPLITS)
    paths = [folder / f"seed_{i}" for i in (7, 8)]
    runs = [json.loads((path / "metrics.json").read_text()) for path in paths]
    assert {about.read(path / "model.keras").scores["split"] for path in paths} == {"test"}
    for name in seeds.SPLITS:
        values = [run["splits"][name]["balanced_accuracy"]["value"] for run in runs]
        assert table["splits"][name]["balanced_accuracy"]["values"] == values
    assert "not opened" not in ended.out.rpartition("2 seeds")[2]
    assert command(folder, *flags, "--notest").status == 2


# Commands that never open it


@pytest.mark.parametrize("module", ["trainer.crossval", "tuning.main"])
def test_what_never_scores_test_has_no_flag_of_it(module, tmp_path):
    ended = commands.run(module, "--notest")
    assert ended.status == 2
    assert "Unknown command line flag 'notest'" in " ".join(ended.err.split())


@pytest.mark.parametrize(
    ("module", "then"), [("trainer.crossval", "--folds is 1"), ("tuning.main", "nothing to search")]
)
def test_a_flagfile_of_a_run_is_read_by_them_once_it_is_skipped(module, then, tmp_path):
    path = tmp_path / "flags.txt"
    path.write_text(trainer.Config(test=False, dataset="phantom").to_flags())
    folds = ["--folds=1"] * (module == "trainer.crossval")
    ended = commands.run(module, f"--flagfile={path}", *folds)
    assert ended.status == 2
    assert "of another command, --undefok=test skips it" in " ".join(ended.err.split())
    ended = commands.run(module, f"--flagfile={path}", "--undefok=test", *folds)
    assert ended.status == 2
    assert then in ended.err


@pytest.mark.parametrize("test", [True, False])
def test_a_flagfile_of_a_run_names_it_only_where_it_is_off(test):
    names = {line.partition("=")[0] for line in trainer.Config(test=test).to_flags().split()}
    assert "--epochs" in names
    assert ("--test" in names) is not test


def test_from_python_they_refuse_it(tmp_path):
    config = trainer.Config(test=False, dataset="phantom")
    with pytest.raises(ConfigError, match="--notest has no place with folds"):
        trainer.cross_validate(config, run_dir=tmp_path / "run")
    with pytest.raises(ConfigError, match="--notest has no place here"):
        tuning.run(config, {"head_units": "4,8"}, tmp_path / "search")
    assert not list(tmp_path.iterdir())
