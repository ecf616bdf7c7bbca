"""Wrong values of flags and files, as people give them: one sentence, status 2, nothing written."""

import json
import os
import pathlib

import pytest

from tests.helpers import commands, trainings
from tests.trainer.test_config import parsed
from trainer import config_flags
from trainer.config import Config
from trainer.execution.options import Options
from trainer.run import files
from trainer.run.errors import ConfigError
from tuning import settings as settings_lib

pytestmark = pytest.mark.usefixtures("undrawn")

# A number that is none, or out of bounds: each answer has the bounds.
NUMBERS = {
    "--epochs=1.5": "--epochs=1.5 can't be read. Give a whole number, 1 to 1000000.",
    "--epochs=1e3": "--epochs=1e3 can't be read. Give a whole number, 1 to 1000000.",
    "--epochs=": "--epochs= can't be read. Give a whole number, 1 to 1000000.",
    "--epochs=NaN": "--epochs=NaN can't be read. Give a whole number, 1 to 1000000.",
    f"--epochs={10**30}": "--epochs is 1000000000000000000000000000000. Give 1 to 1000000.",
    f"--epochs=1{'0' * 5000}": "… can't be read. Give a whole number, 1 to 1000000.",
    "--head_units=100000000000": "--head_units is 100000000000. Give 1 to 1000000.",
    "--classes=-4": "--classes is -4. Give 2 or more.",
    "--seed=-1": "--seed is -1. Give 0 to 2000000000.",
    "--learning_rate=1e400": "--learning_rate is inf. Give above 0, at most 1.",
    "--learning_rate=1,5": "--learning_rate=1,5 can't be read. Give a number, above 0, at most 1.",
    "--dropout=50%": "--dropout=50% can't be read. Give a number, 0 to below 1.",
    "--cache_gib=inf": "--cache_gib is inf. Give GiB, 0 to 1000000.",
    "--cache_gib=nan": "--cache_gib is nan. Give GiB, 0 to 1000000.",
    "--cache_gib=-1": "--cache_gib is -1.0. Give GiB, 0 to 1000000.",
    "--cache_gib=1e300": "--cache_gib is 1e+300. Give GiB, 0 to 1000000.",
    "--autotune=maybe": "--autotune=maybe can't be read. Give true or false.",
}
OTHERS = {
    "--dataset=": "--dataset is ''. Give the name of a config alone, such as full, or auto.",
    "--weights=": "--weights is ''. Give imagenet, none or a file.",
    "--augmentation=": "--augmentation is ''. Give one of: none, article",
    "--classes": "Missing value for flag --classes. Write it as --classes=VALUE.",
    "--flagfile=none.flags": "Unable to open flagfile: [Errno 2] No such file or directory",
    "--flagfile=.": "Unable to open flagfile: [Errno 21] Is a directory",
    "--flagfile=binary": "--flagfile names a file that is no text.",
    "--flagfile=wrong": "Unknown command line flag 'lr'. Did you mean --learning_rate?",
    "word" * 1000: "['wordwordwordwordwordwordwordwordwordwo…] are no flags.",
    "--run_dir=file": "file is no folder). Give another folder.",
    "--run_dir=/": "--run_dir / is not empty",
    "--run_dir=.": "--run_dir . is not empty",
}


@pytest.fixture
def folder(tmp_path, monkeypatch) -> pathlib.Path:
    (tmp_path / "file").write_text("")
    (tmp_path / "binary").write_bytes(bytes(range(128, 256)))
    (tmp_path / "wrong").write_text("--classes=4\n--lr=3\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path))
    return tmp_path


@pytest.mark.parametrize("wrong", [*NUMBERS, *OTHERS], ids=lambda flag: flag[:40])
def test_a_wrong_value_is_a_sentence_with_what_to_give(folder, wrong):
    before = sorted(folder.rglob("*"))
    ended = commands.run("trainer.main", wrong)
    text = " ".join(ended.err.split())
    assert ended.status == 2
    assert text.startswith("wrong command line: ") and len(text) < 400
    assert {**NUMBERS, **OTHERS}[wrong] in text
    assert sorted(folder.rglob("*")) == before


@pytest.mark.parametrize(
    ("command", "flag", "message"),
    [
        ("trainer.main", "--seeds=0", "--seeds=0 can't be read. Give a whole number, 1 to 1000."),
        ("trainer.main", "--seeds=1000000000", "Give a whole number, 1 to 1000."),
        ("trainer.main", "--profile=10", "--profile=10 is no pair of steps. Give START,STOP,"),
        ("trainer.crossval", "--folds=1", "--folds is 1. Give 2 to 1000."),
        ("trainer.crossval", f"--repeats={10**12}", "Give 1 to 1000."),
        ("trainer.crossval", "--task_gpus=nan", "--task_gpus=nan has to be a fraction of one GPU"),
        ("trainer.crossval", "--task_timeout=nan", "--task_timeout=nan has to be above 0"),
        ("trainer.features", "--classes=4", "Give one of --list, --verify, --clear and --fill."),
        ("tuning.main", "--head_units=4:8", "--head_units=4:8 can't be read. Give one value,"),
        ("tuning.main", "--head_units=1:1e400:log", "--head_units=1:1e400:log can't be read."),
        ("tuning.main", "--learning_rate=nan", "--learning_rate is nan. Give above 0, at most 1."),
        ("tuning.main", "--search=lr", "--search names lr, which can't be searched."),
        ("tuning.main", "--max_trials=-1", "--max_trials is -1. Give 0 to 1000000."),
        ("tuning.main", "--objective=accuracy", "Choose from: val_balanced_accuracy"),
    ],
)
def test_other_commands_answer_alike(folder, command, flag, message):
    ended = commands.run(command, flag)
    assert ended.status == 2 and message in " ".join(ended.err.split())


def test_the_last_of_two_equal_flags_counts_and_so_does_one_dash():
    config = config_flags.from_flags(parsed("--classes=2", "-classes=3", "--epochs=1_000"))
    assert (config.classes, config.epochs) == (3, 1000)


@pytest.mark.parametrize(
    "path", ["a b", "a#b", "#a", "//a/b", "a=b", "--x", "ä/ö", "a\\b", "a'b\"c"]
)
def test_a_path_of_any_letters_comes_back_from_a_flagfile(path, tmp_path):
    config = Config(data_dir=path, cache_dir=f"/{path}", weights=path)
    (tmp_path / "flags.txt").write_text(config.to_flags(), encoding="utf-8")
    assert config_flags.from_flags(parsed(f"--flagfile={tmp_path}/flags.txt")) == config


@pytest.mark.parametrize(
    "value", [10**5000, float("inf"), "a\0b", b"x", [1], object()], ids=lambda v: type(v).__name__
)
def test_a_value_that_no_message_can_hold_is_a_sentence(value):
    for name in ("epochs", "data_dir", "learning_rate"):
        with pytest.raises(ConfigError, match="Give ") as error:
            Config(**{name: value})
        assert len(str(error.value)) < 200


# Files of --hparams


HPARAMS = {
    "can't be read (No such file or directory). Give the best_hparams.json of a search": None,
    "is not what a search writes (Expecting value": "nonsense",
    "(Expecting value: line 1 column 1 (char 0))": "",
    "is not what a search writes (it has no 'config')": "{}",
    "is not what a search writes (it has no 'values')": '{"config": {}}',
    "Unknown settings ['colour']": '{"config": {"colour": "red"}, "values": {}}',
    "--image_size is 7. Give 32": '{"config": {"image_size": 7}, "values": {}}',
    "--epochs is 'many'": '{"config": {"epochs": "many"}, "values": {}}',
    "--epochs is 1.5. Give a whole number, 1 to": '{"config": {"epochs": 1.5}, "values": {}}',
    "--learning_rate is nan": '{"config": {"learning_rate": NaN}, "values": {}}',
    "--learning_rate is inf": '{"config": {"learning_rate": 1e999}, "values": {}}',
    "--dropout is None. Give a number": '{"config": {"dropout": null}, "values": {}}',
    "`normalization` since 2.0.0": '{"config": {"normalisation": "zca"}, "values": {}}',
    "the file is no table of names and values": "[]",
    "file is no table of names and values": '"config"',
    "`config` is no table": '{"config": [1], "values": {}}',
    "`values` is no table": '{"config": {}, "values": null}',
    "can't decode byte": b"\xff\xfe\xfa",
    "maximum recursion depth exceeded": "[" * 100_000,
}


@pytest.mark.parametrize("message", HPARAMS)
def test_what_is_no_searchs_file_is_refused(message, tmp_path):
    path = tmp_path / "best_hparams.json"
    if HPARAMS[message] is not None:
        content = HPARAMS[message]
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(ConfigError) as refused:
        config_flags.from_flags_and_hparams(parsed(f"--hparams={path}"))
    assert str(refused.value).startswith(f"--hparams={path} ")
    assert message in str(refused.value)


@pytest.mark.parametrize("name", ["none.json", ""])
def test_no_file_ends_the_command_with_status_2_and_makes_no_folder(tmp_path, name):
    ended = commands.run("trainer.main", f"--hparams={tmp_path}/{name}", f"--run_dir={tmp_path}/r")
    assert ended.status == 2
    assert f"--hparams={tmp_path}/{name}".rstrip("/") in "".join(ended.err.split("\n"))
    assert "can't be read" in " ".join(ended.err.split())
    assert list(tmp_path.iterdir()) == []


# Paths that begin with ~


@pytest.mark.slow
def test_every_path_flag_knows_the_home_folder(tmp_path, monkeypatch, data_dir):
    """A run and a search, all of whose folders are below it, and no folder that is called `~`."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "data").symlink_to(data_dir)
    config = trainings.quick("~/data", "~/cache", epochs=1)
    assert (config.data_dir, config.cache_dir) == (f"{tmp_path}/data", f"{tmp_path}/cache")
    lines = config.to_flags().replace(str(tmp_path), "~")
    (tmp_path / "run.flags").write_text(lines)
    searched = [line for line in lines.splitlines() if "head_units" not in line]
    (tmp_path / "search.flags").write_text("\n".join(searched))
    for command in (
        ["tuning.main", "--flagfile=~/search.flags", "--search_dir=~/search", "--max_trials=1",
         "--head_units=4,8", "--final_folds=0"],
        ["trainer.main", "--flagfile=~/run.flags", "--run_dir=~/run",
         "--hparams=~/search/best_hparams.json"],
    ):  # fmt: skip
        ended = commands.run(*command)
        assert ended.status == 0, ended.err
    assert {"search", "run", "cache"} <= set(os.listdir(tmp_path)) and "~" not in os.listdir(
        tmp_path
    )
    assert Config(weights="~/vgg16.h5").weights == f"{tmp_path}/vgg16.h5"
    # What a search and a run write down repeats them.
    again = parsed(f"--flagfile={tmp_path}/run/flags.txt")
    assert config_flags.from_flags(again) == Config.read(tmp_path / "run")
    text = (tmp_path / "search" / "flags.txt").read_text()
    written = dict(line.removeprefix("--").split("=", 1) for line in text.splitlines())
    identity = json.loads((tmp_path / "search" / "search.json").read_text())
    assert {name: str(value) for name, value in identity.items()}.items() <= written.items()
    assert (written["max_trials"], written["dataset"]) == ("1", "tiny")


def test_the_flags_of_a_search_are_flags_of_its_command(tmp_path):
    from tests.helpers.searches import parsed as parsed_search

    given = ("--head_units=4,8", "--augmentation=none,radiograph", "--tuner=grid", "--dropout=0.25")
    space, settings = parsed_search(*given)
    (tmp_path / "flags.txt").write_text(files.flag_lines(settings_lib.flag_values(settings, space)))
    again = parsed_search(f"--flagfile={tmp_path}/flags.txt")
    assert again == (space, settings)


def test_a_folder_of_datasets_on_a_cluster_is_expanded_there():
    """It names a folder of other machines, whose home folders are others."""
    assert Options(cluster="auto", worker_data_dir="~/x").worker_data_dir == "~/x"
