"""A config of the best values of a search, `--hparams`, and of the flags that are given with it."""

import dataclasses
import json
import pathlib

import pytest

from tests.trainer.test_config import parsed
from trainer import config_flags
from trainer.config import Config
from trainer.run.errors import ConfigError

# What a search writes: its best trial, and a config without the folders of the machine.
BEST = {
    "values": {"head_units": 12, "learning_rate": 0.004},
    "trial": "03",
    "score": 0.75,
    "dataset_fingerprint": "0123abcd",
    "config": {
        name: value
        for name, value in dataclasses.asdict(
            Config(head_units=12, learning_rate=0.004, dropout=0.25, dataset="phantom")
        ).items()
        if name not in ("data_dir", "cache_dir")
    },
}


@pytest.fixture
def best(tmp_path) -> pathlib.Path:
    path = tmp_path / "best_hparams.json"
    path.write_text(json.dumps(BEST))
    return path


def test_without_hparams_a_config_is_that_of_the_flags():
    assert config_flags.from_flags_and_hparams(parsed("--classes=2")) == (Config(classes=2), None)


def test_with_hparams_and_no_flag_the_best_trial_is_trained(best):
    config, origin = config_flags.from_flags_and_hparams(parsed(f"--hparams={best}"))
    assert config == Config.from_json(BEST["config"])
    rest = {name: value for name, value in BEST.items() if name != "config"}
    assert origin == {"file": str(best), **rest, "changed": {}}


def test_flags_win_and_those_of_searched_values_are_recorded(best):
    given = ["--head_units=8", "--learning_rate=0.004", "--data_dir=here", "--dropout=0.5"]
    config, origin = config_flags.from_flags_and_hparams(parsed(f"--hparams={best}", *given))
    changes = {"head_units": 8, "data_dir": "here", "dropout": 0.5}
    assert config == Config.from_json({**BEST["config"], **changes})
    # The learning rate is the search's, and dropout was not searched.
    assert origin["changed"] == {"head_units": {"search": 12, "flag": 8}}


def test_a_flag_that_is_given_wins_even_where_it_is_the_default(best):
    config, origin = config_flags.from_flags_and_hparams(
        parsed(f"--hparams={best}", "--head_units=256")
    )
    assert config.head_units == Config().head_units == 256
    assert origin["changed"]["head_units"]["flag"] == 256


def tuned(best, **changes):
    written = {**BEST, "config": {**BEST["config"], "fine_tune_from": "block5", **changes}}
    best.write_text(json.dumps(written))


def test_what_belongs_to_a_choice_that_a_flag_turns_off_is_left_out_unless_given(best):
    tuned(best, fine_tune_epochs=2)
    off = (f"--hparams={best}", "--fine_tune_from=none")
    config, _ = config_flags.from_flags_and_hparams(parsed(*off))
    assert config == Config.from_json(BEST["config"])
    with pytest.raises(ConfigError, match="--fine_tune_epochs=2 has no effect"):
        config_flags.from_flags_and_hparams(parsed(*off, "--fine_tune_epochs=2"))


def test_a_flag_may_rest_on_what_the_best_trial_has(best):
    tuned(best)
    config, _ = config_flags.from_flags_and_hparams(
        parsed(f"--hparams={best}", "--fine_tune_epochs=1")
    )
    assert (config.fine_tune_from, config.fine_tune_epochs) == ("block5", 1)


def test_the_path_of_hparams_is_expanded(best, monkeypatch):
    monkeypatch.setenv("HOME", str(best.parent))
    assert config_flags.from_flags_and_hparams(parsed("--hparams=~/best_hparams.json"))[1]


def test_a_file_without_align_is_of_a_training_that_did_not_align(best):
    assert Config().align == "chest"
    values = Config().to_json()
    del values["align"]
    assert Config.from_json(values).align == "none"
    best.write_text(json.dumps({**BEST, "config": values}))
    config, _ = config_flags.from_flags_and_hparams(parsed(f"--hparams={best}"))
    assert config.align == "none"
