"""A training takes over a search's best trial, and says so."""

import json
import pathlib
import subprocess
import sys

import pytest

from tests.tuning.ended import searched
from trainer import hparams
from trainer.config import Config, ConfigError
from trainer.hparams import Hparams

ROOT = pathlib.Path(__file__).parents[2]
SEARCHED = ["--head_units=4:64:linear", "--learning_rate=1e-3:1e-2:log", "--dropout=0.25",
            "--fine_tune_from=none,block5", "--fine_tune_epochs=2", "--dataset=tiny",
            "--data_dir=elsewhere", "--image_size=32", "--epochs=1", "--weights=none"]  # fmt: skip


@pytest.fixture(scope="module")
def path(tmp_path_factory) -> pathlib.Path:
    asked, _ = searched(tmp_path_factory.mktemp("search") / "s", [0.75, 0.5], *SEARCHED)
    return asked.folder.best


@pytest.fixture
def found(path) -> Hparams:
    return hparams.read(path)


def command(*arguments: str) -> subprocess.CompletedProcess:
    return subprocess.run([sys.executable, "-m", "trainer.main", *arguments], cwd=ROOT,
                          capture_output=True, text=True, timeout=120, check=False)  # fmt: skip


def test_what_a_search_writes_is_read(found, path):
    written = json.loads(path.read_text())
    assert found.config == written.pop("config")
    assert found.origin == {"file": str(path), **written}
    assert found.origin["values"] == {
        name: found.config[name] for name in ("head_units", "learning_rate", "fine_tune_from")
    }
    assert found.origin["score"] == 0.75


def test_without_flags_the_best_trial_is_trained(found):
    config, facts = hparams.applied(found, {})
    assert config == Config.from_json(found.config)
    assert (config.dropout, config.data_dir) == (0.25, "")
    assert facts == {**found.origin, "changed": {}}


def test_flags_win_and_those_of_searched_values_are_recorded(found):
    given = {"head_units": 8, "learning_rate": found.config["learning_rate"], "data_dir": "here",
             "dropout": 0.5}  # fmt: skip
    config, facts = hparams.applied(found, given)
    assert config == Config.from_json({**found.config, **given})
    # The learning rate is the search's, and dropout was not searched.
    before = found.config["head_units"]
    assert facts["changed"] == {"head_units": {"search": before, "flag": 8}}


def test_a_flag_that_contradicts_the_best_trial_is_refused(found):
    tuned = Hparams(
        {**found.config, "fine_tune_from": "block5", "fine_tune_epochs": 2}, found.origin
    )
    with pytest.raises(ConfigError, match="--fine_tune_epochs=2 has no effect"):
        hparams.applied(tuned, {"fine_tune_from": "none"})


WRONG = {
    "can't be read (No such file or directory). Give the best_hparams.json of a search": None,
    "is not what a search writes (Expecting value": "nonsense",
    "is not what a search writes ('config')": "{}",
    "is not what a search writes ('values')": '{"config": {}}',
    "Unknown settings ['colour']": '{"config": {"colour": "red"}, "values": {}}',
    "--classes is 7. Give 2, 3 or 4": '{"config": {"classes": 7}, "values": {}}',
    "'>=' not supported": '{"config": {"epochs": "many"}, "values": {}}',
    "is not what a search writes ('str' object": "[]",
    "object has no attribute 'pop'": '"config"',
    "'NoneType' object is not iterable": '{"config": {}, "values": null}',
    "can't decode byte": b"\xff\xfe\xfa",
}


@pytest.mark.parametrize("message", WRONG)
def test_what_is_no_searchs_file_is_refused(message, tmp_path):
    path = tmp_path / "best_hparams.json"
    if WRONG[message] is not None:
        content = WRONG[message]
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(ConfigError) as refused:
        hparams.read(path)
    assert str(refused.value).startswith(f"--hparams={path} ")
    assert message in str(refused.value)


def test_a_run_says_which_search_it_comes_from(path, data_dir, tmp_path):
    flags = [f"--data_dir={data_dir}", f"--cache_dir={tmp_path}/cache",
             "--head_units=8", f"--run_dir={tmp_path}/run"]  # fmt: skip
    done = command(f"--hparams={path}", *flags)
    assert done.returncode == 0, done.stderr
    found = hparams.read(path)
    before = found.config["head_units"]
    assert f"--head_units=8 takes the place of the search's {before}." in done.stdout
    assert "The search of --hparams saw other images than these" in done.stdout
    written = json.loads((tmp_path / "run" / "config.json").read_text())
    assert written["hparams"] == {
        **found.origin, "changed": {"head_units": {"search": before, "flag": 8}}
    }  # fmt: skip
    here = {"data_dir": str(data_dir), "cache_dir": f"{tmp_path}/cache", "head_units": 8}
    assert Config.read(tmp_path / "run") == Config.from_json({**found.config, **here})


def test_a_missing_file_exits_with_2(tmp_path):
    done = command(f"--hparams={tmp_path}/none.json", f"--run_dir={tmp_path}/run")
    assert done.returncode == 2
    assert f"--hparams={tmp_path}/none.json can't be read" in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "run").exists()


def test_a_flag_may_rest_on_what_the_search_found(path, tmp_path):
    written = json.loads(path.read_text())
    written["config"] |= {"fine_tune_from": "block5", "fine_tune_epochs": 2}
    tuned = tmp_path / "best_hparams.json"
    tuned.write_text(json.dumps(written))
    # With its data elsewhere, a command line that is in order ends with 1.
    flags = ["--fine_tune_epochs=1", "--data_dir=nowhere", f"--run_dir={tmp_path}/run"]
    done = command(f"--hparams={tuned}", *flags)
    assert (done.returncode, done.stderr.count("has no effect without")) == (1, 0)
