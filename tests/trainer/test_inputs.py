"""The dataset and the weights of a config: `auto` is resolved first, and typos are answered."""

import dataclasses
import json
import pathlib
import shutil
import sys

import pytest

import trainer
import tuning
from tests.helpers import commands, trainings
from tests.trainer.input_pipeline.test_prepared import place
from trainer import config_flags, inputs
from trainer.config import Config
from trainer.input_pipeline import prepared
from trainer.run.errors import ConfigError, RunError
from trainer.run.manifest import Manifest

pytestmark = pytest.mark.usefixtures("undrawn")

COMMANDS = {
    "trainer.main": [],
    "trainer.crossval": [],
    "trainer.features": ["--fill"],
    "tuning.main": [],
}


@pytest.fixture(autouse=True)
def in_a_folder_of_its_own(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def left(folder: pathlib.Path) -> list[str]:
    return sorted(path.name for path in folder.rglob("*") if "data" not in path.parts)


def test_auto_becomes_a_name_and_says_which_and_why(tmp_path, capsys):
    place(tmp_path / "data", "article")
    config = Config(data_dir=str(tmp_path / "data"), classes=2)
    assert inputs.resolved(config).dataset == "article"
    out = " ".join(capsys.readouterr().out.split())
    assert out.startswith("--dataset=auto is article: the first of full, article, phantom that is")
    assert inputs.resolved(Config(dataset="full")) == Config(dataset="full")
    assert capsys.readouterr().out == ""


def test_what_goes_on_keeps_the_dataset_that_auto_was(tmp_path):
    place(tmp_path / "data", "full")
    config = Config(data_dir=str(tmp_path / "data"))
    assert inputs.resolved(config, "phantom").dataset == "phantom"
    assert inputs.resolved(config, "auto").dataset == "full"  # as an earlier release wrote it


TYPOS = {
    "--dataset=tyni is not built in": "Did you mean --dataset=tiny?",
    "There is no file of weights imagenett.": "Did you mean --weights=imagenet?",
    "There is no file of weights vgg.h5.": "Did you mean --weights=vgg16.h5?",
    "--classes=5, and covid_tfds/tiny/2.0.0 has 4": "Give --classes=4.",
}
GIVEN = {
    "--dataset=tyni is not built in": ["--dataset=tyni"],
    "There is no file of weights imagenett.": ["--dataset=tiny", "--weights=imagenett"],
    "There is no file of weights vgg.h5.": ["--dataset=tiny", "--weights=vgg.h5"],
    "--classes=5, and covid_tfds/tiny/2.0.0 has 4": ["--dataset=tiny", "--classes=5"],
}


@pytest.mark.parametrize("folder", [True, False])
@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize("wrong", TYPOS)
def test_a_typo_is_answered_with_the_nearest_name_and_leaves_no_folder(
    data_dir, tmp_path, monkeypatch, command, wrong, folder
):
    (tmp_path / "vgg16.h5").write_bytes(b"")
    (tmp_path / "vgg").mkdir()
    # Nothing heavy is imported before the answer: an import of Keras would fail.
    monkeypatch.setattr("trainer.run.libraries.import_keras", lambda: pytest.fail("too late"))
    where = {"tuning.main": "search_dir", "trainer.features": ""}.get(command, "run_dir")
    named = [f"--{where}={tmp_path}/new"] if folder and where else []
    ended = commands.run(command, f"--data_dir={data_dir}", *named, *COMMANDS[command],
                         *GIVEN[wrong])  # fmt: skip
    text = " ".join(ended.err.split())
    assert (ended.status, ended.out) == (1, "")
    assert text.startswith(wrong) and text.count(TYPOS[wrong]) == 1
    assert left(tmp_path) == ["vgg", "vgg16.h5"]


def test_the_api_answers_a_typo_alike(data_dir, tmp_path):
    config = Config(dataset="tyni", data_dir=str(data_dir))
    for call in (
        lambda: trainer.fit(config),
        lambda: trainer.fit(config, tmp_path / "run"),
        lambda: trainer.cross_validate(config),
        lambda: tuning.run(config, {"head_units": "4,8"}, tmp_path / "search"),
    ):
        with pytest.raises(RunError, match="Did you mean --dataset=tiny"):
            call()
    assert left(tmp_path) == []


@pytest.mark.parametrize("weights", ["nowhere/vgg16.h5", ".", "~/none.keras"])
def test_weights_that_are_no_file_are_refused(data_dir, weights):
    config = Config(dataset="tiny", data_dir=str(data_dir), weights=weights)
    with pytest.raises(RunError, match=r"There is no file of weights .*Name a \.h5"):
        inputs.check(config)


def test_a_dangling_link_is_no_name_that_is_meant(data_dir, tmp_path):
    (tmp_path / "w.h5").symlink_to("nowhere")
    config = Config(dataset="tiny", data_dir=str(data_dir), weights=str(tmp_path / "w.h5"))
    with pytest.raises(RunError, match=r"w\.h5\. Name a"):
        inputs.check(config)


@pytest.mark.parametrize(
    "numbers", [{"folds": 2.5}, {"folds": True}, {"folds": "5"}, {"repeats": None}, {"folds": 1}]
)
def test_folds_are_whole_numbers(data_dir, numbers):
    config = Config(dataset="tiny", data_dir=str(data_dir), weights="none")
    with pytest.raises(ConfigError, match=r"Give [12] to 1000"):
        trainer.cross_validate(config, run_dir="v", **numbers)
    with pytest.raises(RunError, match="NUL"):
        trainer.fit(config, "a\0b")
    with pytest.raises(RunError, match="NUL"):
        trainer.load("a\0b")
    assert not pathlib.Path("v").exists()


@pytest.mark.parametrize("cache_dir", ["file", "file/below", "dangling", "loop/x"])
def test_a_cache_folder_in_whose_place_a_file_is_is_refused(data_dir, tmp_path, cache_dir):
    (tmp_path / "file").write_text("mine")
    (tmp_path / "dangling").symlink_to("nowhere")
    (tmp_path / "loop").symlink_to("loop")
    config = Config(dataset="tiny", data_dir=str(data_dir), cache_dir=str(tmp_path / cache_dir))
    with pytest.raises(RunError, match=r"The cache folder .* can't be used \(.* is no folder\)"):
        inputs.check(config)
    with pytest.raises(RunError, match="is no folder"):
        inputs.require_cache_folder(cache_dir)
    inputs.require_cache_folder(str(tmp_path / "new" / "below"))
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize(
    "name",
    ["../x", "covid_tfds/full", "full/2.0.0", "/full", ".hidden", "..", "a b", "", "-full",
     "full" * 2000, "full\n"],
)  # fmt: skip
def test_a_name_that_no_config_can_have_is_a_wrong_flag(name):
    with pytest.raises(ConfigError, match="the name of a config alone, such as full, or auto"):
        Config(dataset=name)
    assert Config(dataset="Röntgen_2.a-b").dataset == "Röntgen_2.a-b"


@pytest.fixture
def auto(data_dir, tmp_path, monkeypatch) -> Config:
    """A config whose dataset is to be found: the tiny one, unless `full` is built."""
    shutil.copytree(data_dir / "covid_tfds" / "tiny", tmp_path / "data" / "covid_tfds" / "tiny")
    monkeypatch.setattr(prepared, "_PREFERENCE", ("full", "tiny", "phantom"))
    return trainings.quick(tmp_path / "data", data_dir / "cache", dataset="auto", epochs=1)


@pytest.mark.slow
def test_a_run_of_auto_bears_the_name_of_its_dataset_and_goes_on_with_it(auto, tmp_path):
    run = trainer.fit(auto)
    assert run.path.name.startswith("tiny-4-")
    assert run.config.dataset == Manifest.read(run.path).flags["dataset"] == "tiny"
    # `full` is built meanwhile: the run in that folder stays what it is.
    place(tmp_path / "data", "full")
    assert trainer.fit(auto, run.path).config.dataset == "tiny"
    with pytest.raises(ConfigError, match="--dataset is full, and was tiny"):
        trainer.fit(Config(**{**auto.to_json(), "dataset": "full"}), run.path)


@pytest.mark.slow
def test_a_run_that_has_ended_needs_its_dataset_no_more(auto, tmp_path):
    path = trainer.fit(auto).path
    shutil.rmtree(tmp_path / "data")
    assert trainer.fit(auto, path).config.dataset == "tiny"


@pytest.mark.slow
def test_a_search_of_auto_is_not_taken_for_one_of_a_dataset_built_meanwhile(
    auto, tmp_path, monkeypatch
):
    config = dataclasses.asdict(auto)
    left_out = {"head_units", *config_flags.OF_RUNS}
    given = [f"--{name}={value}" for name, value in config.items() if name not in left_out]
    given += ["--head_units=4,8", "--max_trials=1", "--final_folds=0"]
    ended = commands.run("tuning.main", *given)
    assert ended.status == 0, ended.err
    folder = tmp_path / "searches" / "tiny-4"
    assert json.loads((folder / "search.json").read_text())["dataset"] == "tiny"
    place(tmp_path / "data", "full")
    here = f"--search_dir={folder}"
    going_on = commands.run("tuning.main", *given, here)
    assert going_on.status == 0 and "--dataset=auto is tiny: with which it began." in going_on.out
    # An explicit one is refused before anything heavy is imported.
    monkeypatch.setattr("trainer.run.libraries.import_keras", lambda: pytest.fail("too late"))
    refused = commands.run("tuning.main", *given, here, "--dataset=full")
    assert refused.status == 2
    assert "--dataset is full, and was tiny" in " ".join(refused.err.split())
    damaged = folder / "search.json"
    damaged.write_text("[")
    broken = commands.run("tuning.main", *given, here)
    assert broken.status == 1 and "search.json is damaged" in " ".join(broken.err.split())


def test_a_python_without_tensorflow_answers_a_typo(data_dir):
    """In a process of its own, in which the import of TensorFlow is an error."""
    import subprocess

    program = (
        "import sys, runpy; sys.modules['tensorflow'] = sys.modules['keras'] = None\n"
        f"sys.argv = ['it', '--dataset=tyni', '--data_dir={data_dir}']\n"
        "runpy.run_module('trainer.main', run_name='__main__')"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True,
                          check=False, env={"PYTHONPATH": str(commands.ROOT)})  # fmt: skip
    assert done.returncode == 1
    assert "Did you mean --dataset=tiny?" in " ".join(done.stderr.split())
