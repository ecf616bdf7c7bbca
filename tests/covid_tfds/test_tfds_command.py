"""What people type after `tfds build covid_tfds`: one sentence each, and no traceback."""

import json
import pathlib
import sys

import pytest
import tensorflow_datasets as tfds
from absl import logging

import covid_tfds
from covid_tfds import progress, tfds_command

pytestmark = pytest.mark.usefixtures("drawn_once")

TINY = {"name": "tiny", "images": "phantom", "patients": 40}


@pytest.fixture
def build(tfds_build):
    """Runs TFDS' command in this process; gives what it printed to stderr, in one line."""

    def run(*flags: str) -> str:
        printed = tfds_build("covid_tfds", *flags).err
        assert "Traceback" not in printed
        assert all(len(line) <= 80 or "/" in line for line in printed.splitlines())
        return " ".join(printed.split())

    return run


@pytest.mark.parametrize(
    "config,message",
    [
        ("ful", "there are full, article, article_grouped, phantom, folder. Did you mean 'full'?"),
        ("Phantom", "Did you mean 'phantom'?"),
        ('["full"]', "There is no config"),
        ('{"name": "x", "images": }', "not JSON at character 25"),
        ("{", "not JSON at character 2"),
        ('{"name": "x", "imagez": "phantom"}', "Did you mean 'images'?"),
        ('{"images": "phantom"}', "--config has no name"),
        ('{"name": "x", "version": "1.0.0"}', "'version', which is unknown"),
        ('{"name": "full", "images": "phantom"}', "belongs to a config that is there"),
        ('{"name": "x", "images": "phantomm"}', "Did you mean 'phantom'?"),
        ('{"name": "x", "images": ["phantom"]}', "choose one of"),
        ('{"name": "x", "images": "phantom", "description": 3}', "give a text"),
        ('{"name": "%s", "images": "phantom"}' % ("x" * 300), "give 100 or fewer"),
        *(
            (json.dumps(TINY | {"patients": value}), "patients is")
            for value in (1.5, -3, 1e99, None, 10**30, "40", True)
        ),
    ],
)
def test_a_wrong_config_is_one_sentence(build, tmp_path, config, message):
    assert message in build(f"--config={config}", f"--data_dir={tmp_path}")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "flags,message",
    [
        (["--config_idx=99"], "greater than number of configs"),
        (["--config=full", "--config_idx=0"], "only be defined once"),
        (["--config=phantom", "--download_config={"], "not JSON at character 2"),
        (["--config=phantom", '--download_config={"x": 1}'], "unexpected keyword argument 'x'"),
        (["--config=phantom", "--max_examples_per_split=-1"], "give 0 or more"),
        (["--config=full", "--manual_dir=$NOT_SET_ANYWHERE"], "names a home folder or a variable"),
        (["--config=full", "--manual_dir=~/nowhere"], "is not there, or empty"),
    ],
)
def test_what_tfds_itself_refuses_is_one_sentence(build, tmp_path, flags, message):
    assert message in build(*flags, f"--data_dir={tmp_path}")


@pytest.mark.parametrize(
    "data_dir,message",
    [
        ("/proc/x", "can't be written to /proc/x"),
        ("{}/file/below", "can't be written to"),
        ("{}/" + "y" * 300, "File name too long"),
        ("{}/" + "/".join(["y" * 200] * 30), "File name too long"),
        ("~nobody-of-that-name/x", "names a home folder or a variable"),
        ("$NOT_SET_ANYWHERE/x", "names a home folder or a variable"),
        ("{}/\udcff", "is not UTF-8"),
    ],
)
def test_a_folder_that_can_not_be_is_one_sentence(build, tmp_path, data_dir, message):
    (tmp_path / "file").write_text("no folder")
    flags = (f"--config={json.dumps(TINY)}", f"--data_dir={data_dir.format(tmp_path)}")
    assert message in build(*flags)


def test_a_home_folder_is_understood_where_no_shell_was(build, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("HOME", str(tmp_path / "my home"))
    monkeypatch.setenv("DATASETS", str(tmp_path / "my home"))
    monkeypatch.chdir(tmp_path)
    built = tmp_path / "my home" / "data" / "covid_tfds" / "tiny" / "2.0.0"
    for data_dir in ("~/data", "$DATASETS/data"):
        builder = covid_tfds.Builder(
            config=covid_tfds.config.CovidConfig(**TINY), data_dir=data_dir
        )
        assert pathlib.Path(builder.data_path) == built
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("terminal", [True, False])
def test_tfds_own_bars_are_drawn_on_a_terminal_alone(tmp_path, monkeypatch, terminal):
    switched_off = []
    monkeypatch.setattr(sys, "argv", ["tfds"])
    monkeypatch.setattr(logging, "set_verbosity", lambda _: None)
    monkeypatch.setattr(progress, "drawn", lambda: terminal)
    monkeypatch.setattr(tfds, "disable_progress_bar", lambda: switched_off.append(1))
    covid_tfds.Builder(config="phantom", data_dir=tmp_path)
    assert bool(switched_off) != terminal


def test_other_errors_keep_their_traceback(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["tfds"])
    monkeypatch.setattr(sys, "excepthook", sys.__excepthook__)
    tfds_command.explain_errors()
    try:
        json.loads("{")
    except ValueError:
        sys.excepthook(*sys.exc_info())
    assert "Traceback" in capsys.readouterr().err


def test_outside_of_the_command_nothing_is_installed(monkeypatch):
    monkeypatch.setattr(sys, "argv", ["notebook"])
    before = sys.excepthook
    tfds_command.explain_errors()
    assert sys.excepthook is before
