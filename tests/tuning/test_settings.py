"""How a search goes: bounds, direction, and what makes two searches the same."""

import dataclasses
import subprocess
import sys

import pytest

from tests.helpers import commands, searches
from trainer.config import Config
from trainer.run.errors import ConfigError
from tuning import settings
from tuning.settings import Settings
from tuning.space import USUAL

WRONG = {
    "--max_trials is 0. Give 1 or more": ["--max_trials=0"],
    "--max_trials is -3": ["--max_trials=-3"],
    "--max_trials=9 has no effect: hyperband's brackets follow from --epochs": [
        "--tuner=hyperband", "--max_trials=9"
    ],
    "--folds is 1. Give 2 or more, or 0 for none": ["--folds=1"],
    "--folds is -2": ["--folds=-2"],
    "--executions_per_trial is 0. Give 1 or more": ["--executions_per_trial=0"],
    "--as_published has no place here": ["--as_published", "--augmentation=article"],
    "--early_stopping has no place with folds": ["--early_stopping=2", "--folds=3"],
    "--normalization=zca is fitted to the images that are trained on": [
        "--normalization=zca", "--folds=3"
    ],
    "Whether --objective=epoch is better high or low does not follow from its name. "
    "Add --direction=max or --direction=min": ["--objective=epoch"],
    "--objective=val_loss_sd is better": ["--objective=val_loss_sd"],
}  # fmt: skip


@pytest.mark.parametrize("message", WRONG)
def test_what_is_out_of_bounds_or_has_no_effect_is_refused(message):
    with pytest.raises(ConfigError) as refused:
        searches.parsed(*WRONG[message])
    assert message in str(refused.value)


def test_what_folds_forbid_a_single_split_allows():
    _, settings_ = searches.parsed("--early_stopping=2", "--normalization=zca")
    assert settings_ == Settings("random", 20, "val_balanced_accuracy", "max", 0, 1)


@pytest.mark.parametrize(
    ("tuner", "trials"), [("random", 20), ("bayesian", 20), ("grid", 0), ("hyperband", 0)]
)
def test_trials_of_a_tuner_without_a_number(tuner, trials):
    assert searches.parsed(f"--tuner={tuner}")[1].max_trials == trials


@pytest.mark.parametrize("tuner", ["random", "bayesian", "grid"])
def test_trials_of_a_tuner_with_a_number(tuner):
    assert searches.parsed(f"--tuner={tuner}", "--max_trials=3")[1].max_trials == 3


@pytest.mark.parametrize(
    ("objective", "direction"),
    [
        ("val_loss", "min"),
        ("loss", "min"),
        ("val_accuracy", "max"),
        ("val_balanced_accuracy", "max"),
    ],
)
def test_the_direction_follows_from_the_name_unless_a_flag_gives_it(objective, direction):
    name = f"--objective={objective}"
    assert searches.parsed(name)[1].direction == direction
    for other in ("min", "max"):
        assert searches.parsed(name, f"--direction={other}")[1].direction == other
    assert searches.parsed("--objective=epoch", "--direction=min")[1].direction == "min"


# Identity

ELSEWHERE = {"data_dir": "elsewhere", "cache_dir": "elsewhere", "cache_gib": "1.5"}
TUNED = ["--fine_tune_from=block5"]
CHANGED = {  # flag: another value, and what it needs beside it
    "tuner": ("bayesian", []),
    "max_trials": ("7", []),
    "objective": ("val_accuracy", []),
    "direction": ("min", []),
    "folds": ("3", []),
    "executions_per_trial": ("2", []),
    "classes": ("3", []),
    "dataset": ("full", []),
    "image_size": ("64", []),
    "epochs": ("9", []),
    "normalization": ("zca", []),
    "views": ("3", ["--augmentation=article"]),
    "weights": ("none", []),
    "width": ("0.5", ["--weights=none"]),
    "precision": ("float32", []),
    "autotune": ("true", []),
    "fine_tune_epochs": ("9", TUNED),
    "fine_tune_learning_rate": ("1e-4", TUNED),
    "class_weights": ("balanced", []),
    "early_stopping": ("4", []),
    "seed": ("2", []),
    "deterministic": ("true", []),
    **{name: (usual, [f"--{name}={Config.to_json(Config())[name]}", "--search=learning_rate,l2"])
       for name, usual in USUAL.items()},
}  # fmt: skip
CHANGED |= {"learning_rate": ("1e-4:1e-2:log", []), "l2": ("1e-4:1e-2:log", ["--search=l2"])}


def test_every_flag_matters_or_is_known_not_to():
    fields = {field.name for kind in (Config, Settings) for field in dataclasses.fields(kind)}
    # --as_published can't be given, and --search says nothing that the ranges do not say.
    assert fields - {"as_published"} == CHANGED.keys() | ELSEWHERE.keys()


@pytest.mark.parametrize("flag", CHANGED)
def test_a_search_with_another_flag_is_another_search(flag):
    value, beside = CHANGED[flag]
    before, now = searches.identity(*beside), searches.identity(*beside, f"--{flag}={value}")
    assert {name for name in now if now[name] != before[name]} == {flag}
    assert settings.digest(before) != settings.digest(now)


def test_where_a_search_runs_does_not_make_it_another():
    now = searches.identity(*(f"--{name}={value}" for name, value in ELSEWHERE.items()))
    assert now == searches.identity()


def test_the_same_search_may_be_given_in_two_ways():
    one = searches.identity(f"--learning_rate={USUAL['learning_rate']}", "--tuner=random",
                           "--search=head_units", "--direction=max", "--max_trials=20",
                           f"--head_units={USUAL['head_units']}")  # fmt: skip
    assert one == searches.identity()
    turned = dict(reversed(one.items()))
    assert settings.digest(turned) == settings.digest(one)


def test_ranges_that_differ_in_their_seventh_digit_are_two_searches():
    one, other = (
        searches.identity(f"--l2=1e-3:{end}:linear") for end in ("0.1234567", "0.1234568")
    )
    assert one != other


# The command

COMMANDS = {
    "--search asks for dropout, and --dropout=0.3 fixes it": ["--search=dropout", "--dropout=0.3"],
    "--folds is 1. Give 2 or more": ["--folds=1"],
    "value should be one of <random|hyperband|bayesian|grid>": ["--tuner=greedy"],
    "Unknown command line flag 'max_trial'": ["--max_trial=3"],
    "are no flags": ["search"],
}


@pytest.mark.parametrize("message", COMMANDS)
def test_a_wrong_command_line_exits_with_2_and_no_traceback(message, tmp_path):
    done = commands.run("tuning.main", f"--search_dir={tmp_path}/s", *COMMANDS[message])
    assert done.status == 2
    assert message in done.err
    assert "Traceback" not in done.err
    assert not (tmp_path / "s").exists()


def test_help_lists_every_flag_and_needs_neither_tensorflow_nor_keras_tuner():
    program = (
        "import runpy, sys; sys.argv = ['it', '--helpshort']\n"
        "try: runpy.run_module('tuning.main', run_name='__main__')\n"
        "finally: print('heavy:', {'tensorflow', 'keras', 'keras_tuner'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True,
                          timeout=60, check=False)  # fmt: skip
    assert "heavy: set()" in done.stdout
    fields = {field.name for kind in (Config, Settings) for field in dataclasses.fields(kind)}
    for name in (*fields, "search", "search_dir", "workers", "final_folds", "retrain_best"):
        assert f"--{name}:" in done.stdout or f"--[no]{name}:" in done.stdout
