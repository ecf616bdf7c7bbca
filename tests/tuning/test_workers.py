"""The end of a search on workers: the numbers of one process, wherever its tasks run."""

import pathlib
import shutil

import pytest

pytest.importorskip("ray")

from tests.helpers import clusters, commands, searches, trainings
from trainer.run.manifest import Manifest

pytestmark = pytest.mark.slow

# The defaults are no trial, so that their kept epoch is found first.
SPACE = ("--head_units=64,128", "--learning_rate=1e-4:1e-3:log", "--max_trials=2", "--dropout=0",
         "--batch_size=16", "--align=none", "--seed=4", "--width=1", "--epochs=15")  # fmt: skip
END = ("--final_folds=2", "--retrain_best")
NUMBERS = ("history.csv", "metrics.json", "predictions.csv", "stressed.csv", "images_used.csv")


@pytest.fixture(scope="module")
def images(data_dir, tmp_path_factory) -> list[str]:
    """Flags of the images, and of a network that tells them apart, in other processes, too."""
    weights = tmp_path_factory.mktemp("weights") / "vgg16.weights.h5"
    trainings.write_weights(weights)
    return [f"--data_dir={data_dir}", f"--weights={weights}"]


@pytest.fixture(scope="module")
def trials(images, tmp_path_factory) -> pathlib.Path:
    """A search whose trials have ended, without a closing comparison."""
    folder = tmp_path_factory.mktemp("trials") / "search"
    end(folder, images, f"--cache_dir={folder.parent / 'cache'}", "--final_folds=0")
    return folder


@pytest.fixture(scope="module")
def alone(trials, images) -> pathlib.Path:
    """That search, ended in one process."""
    folder = trials.with_name("alone")
    shutil.copytree(trials, folder)
    end(folder, images, f"--cache_dir={folder.parent / 'cache'}", *END)
    return folder


@pytest.fixture(scope="module")
def by_workers(trials, images) -> pathlib.Path:
    """That search, ended by two workers, whose cache is empty."""
    folder = trials.with_name("by_workers")
    shutil.copytree(trials, folder)
    end(folder, images, f"--cache_dir={folder.parent / 'other'}", *END, "--workers=2")
    return folder


@pytest.fixture(scope="module")
def by_nodes(trials, images, tmp_path_factory) -> pathlib.Path:
    """That search, ended on the cluster of RAY_ADDRESS, which shares no files with the driver."""
    folder, homes = trials.with_name("by_nodes"), tmp_path_factory.mktemp("homes")
    shutil.copytree(trials, folder)
    with (
        clusters.token(),
        clusters.nodes(homes, 2) as nodes,
        pytest.MonkeyPatch.context() as patch,
    ):
        patch.setenv("HOME", str(homes))  # where the driver's cache is
        patch.setenv("RAY_ADDRESS", nodes.address)
        end(folder, images, *END, "--cluster=auto")
    assert list(homes.glob("node*/.cache/covid_tfds/stages/*/rows.bin"))
    return folder


def end(folder: pathlib.Path, images: list[str], *flags: str) -> None:
    """Runs the search to its end, in this process and where the flags say."""
    done = commands.run(
        "tuning.main", *searches.QUICK, *images, *SPACE, f"--search_dir={folder}", *flags
    )
    assert done.status == 0, done.err


def numbers(folder: pathlib.Path) -> dict[str, bytes]:
    return {name: (folder / name).read_bytes() for name in NUMBERS}


def kind(name: str) -> str:
    """A file's name without what differs from run to run: those of curves hold a time."""
    return name.partition(".tfevents.")[0]


@pytest.fixture(params=["by_workers", "by_nodes"])
def elsewhere(request) -> pathlib.Path:
    return request.getfixturevalue(request.param)


def test_the_closing_comparison_is_that_of_one_process(alone, elsewhere):
    assert (elsewhere / "final.json").read_bytes() == (alone / "final.json").read_bytes()


def test_the_best_values_are_trained_as_by_one_process(alone, elsewhere):
    assert numbers(elsewhere / "retrained") == numbers(alone / "retrained")


def test_the_run_of_the_best_values_is_there_whole(alone, elsewhere):
    there, wanted = (Manifest.read(folder / "retrained") for folder in (elsewhere, alone))
    assert there.command == "tuning.main" and there.damaged(elsewhere / "retrained") == []
    assert sorted(map(kind, there.files)) == sorted(map(kind, wanted.files))


def test_the_best_values_are_trained_as_by_trainer_main(alone, images, tmp_path):
    best, cache_dir = alone / "best_hparams.json", alone.parent / "cache"
    done = commands.run(
        "trainer.main", f"--hparams={best}", *images[:1], f"--cache_dir={cache_dir}",
        f"--run_dir={tmp_path}/run",
    )  # fmt: skip
    assert done.status == 0, done.err
    assert numbers(tmp_path / "run") == numbers(alone / "retrained")
