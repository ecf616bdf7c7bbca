"""How a search goes: bounds, direction, and what makes two searches the same."""

import dataclasses
import subprocess
import sys

import pytest

from tests.helpers import commands, searches
from trainer.config import BELONGING, Config
from trainer.config_flags import OF_RUNS
from trainer.run.errors import ConfigError
from tuning.settings import OBJECTIVES, Settings
from tuning.space import USUAL

WRONG = {
    "--max_trials is -3. Give 0 to 1000000": ["--max_trials=-3"],
    "--max_trials=9 has no effect: hyperband's brackets follow from --epochs": [
        "--tuner=hyperband", "--max_trials=9"
    ],
    "--folds is 1. Give 2 to 1000, or 0": ["--folds=1"],
    "--final_folds is 5000. Give 2 to 1000, or 0": ["--final_folds=5000"],
    "--folds is -2": ["--folds=-2"],
    "--final_folds is 1": ["--final_folds=1"],
    "--executions_per_trial is 0. Give 1 to 1000000": ["--executions_per_trial=0"],
    "--keep_best is -1": ["--keep_best=-1"],
    "--keep_best=1 has no effect with --folds": ["--keep_best=1", "--folds=2"],
    "--objective=val_stressed_balanced_accuracy is of the validation split, and --folds=3": [
        "--objective=val_stressed_balanced_accuracy", "--folds=3"
    ],
    "--as_published has no place here": ["--as_published", "--augmentation=article"],
    "--early_stopping has no place with folds": ["--early_stopping=2", "--folds=3"],
    "--normalization=zca is fitted to the images that are trained on": [
        "--normalization=zca", "--folds=3"
    ],
    "--keep_best needs a network without": ["--normalization=zca", "--keep_best=1"],
    "--image_size needs a network without": ["--normalization=zca", "--image_size=64,96"],
    "--align needs a network without": ["--normalization=featurewise", "--align=none,chest"],
    "--image_size=64:128:linear has no steps": ["--image_size=64:128:linear"],
}  # fmt: skip


@pytest.mark.parametrize("message", WRONG)
def test_what_is_out_of_bounds_or_has_no_effect_is_refused(message):
    with pytest.raises(ConfigError) as refused:
        searches.parsed(*WRONG[message])
    assert message in str(refused.value)


def test_what_folds_forbid_a_single_split_allows():
    _, settings_ = searches.parsed("--early_stopping=2", "--normalization=zca")
    assert settings_ == Settings("random", 20, "val_balanced_accuracy", 0, 1)


@pytest.mark.parametrize(
    ("tuner", "trials"), [("random", 20), ("bayesian", 20), ("grid", 0), ("hyperband", 0)]
)
def test_trials_of_a_tuner_without_a_number(tuner, trials):
    assert searches.parsed(f"--tuner={tuner}")[1].max_trials == trials


@pytest.mark.parametrize("tuner", ["random", "bayesian", "grid"])
def test_trials_of_a_tuner_with_a_number(tuner):
    assert searches.parsed(f"--tuner={tuner}", "--max_trials=3")[1].max_trials == 3


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_less_of_a_loss_and_more_of_all_else_is_better(objective):
    direction = searches.parsed(f"--objective={objective}")[1].direction
    assert direction == ("min" if "loss" in objective else "max")


# Identity

ELSEWHERE = {"data_dir": "elsewhere", "cache_dir": "elsewhere", "cache_gib": "1.5",
             "checkpoint_every": "5", "distribute": "none",
             "max_trials": "7", "final_folds": "3"}  # fmt: skip
AUGMENTED = ["--augmentation=radiograph"]
TUNED = ["--fine_tune_from=block5"]
CHANGED = {  # flag: another value, and what it needs beside it
    "tuner": ("bayesian", []),
    "objective": ("val_accuracy", []),
    "folds": ("3", []),
    "executions_per_trial": ("2", []),
    "keep_best": ("2", []),
    "classes": ("3", []),
    "dataset": ("full", []),
    "epochs": ("9", []),
    "normalization": ("zca", []),
    "weights": ("none", []),
    "width": ("0.5", ["--weights=none"]),
    "precision": ("float32", []),
    "autotune": ("true", []),
    "fine_tune_epochs": ("9", TUNED),
    "fine_tune_learning_rate": ("1e-4", TUNED),
    "fine_tune_head_learning_rate": ("1e-4", TUNED),
    "fine_tune_schedule": ("cosine", TUNED),
    "fine_tune_warmup": ("9", [*TUNED, "--fine_tune_schedule=cosine"]),
    "ensemble": ("2", []),
    "class_weights": ("balanced", []),
    "early_stopping": ("4", []),
    "seed": ("2", []),
    "deterministic": ("true", []),
    **{name: (usual, [f"--{name}={Config.to_json(Config())[name]}", "--search=learning_rate,l2"])
       for name, usual in USUAL.items()},
}  # fmt: skip
CHANGED |= {name: (USUAL[name], [*AUGMENTED, "--search=l2"]) for name in BELONGING["augmentation"]}
CHANGED |= {"learning_rate": ("1e-4:1e-2:log", []), "l2": ("1e-4:1e-2:log", ["--search=l2"])}


def test_every_flag_matters_or_is_known_not_to():
    fields = {field.name for kind in (Config, Settings) for field in dataclasses.fields(kind)}
    # --as_published and --notest can't be given; --search says nothing that the ranges do not say.
    assert fields - {"as_published", "test"} == CHANGED.keys() | ELSEWHERE.keys()


@pytest.mark.parametrize("flag", CHANGED)
def test_a_search_with_another_flag_is_another_search(flag):
    value, beside = CHANGED[flag]
    before, now = searches.identity(*beside), searches.identity(*beside, f"--{flag}={value}")
    assert {name for name in now if now[name] != before[name]} == {flag}


def test_where_a_search_runs_and_how_far_does_not_make_it_another():
    now = searches.identity(*(f"--{name}={value}" for name, value in ELSEWHERE.items()))
    assert now == searches.identity()


def test_the_same_search_may_be_given_in_two_ways():
    one = searches.identity(f"--learning_rate={USUAL['learning_rate']}", "--tuner=random",
                           "--search=head_units", "--max_trials=20",
                           f"--head_units={USUAL['head_units']}")  # fmt: skip
    assert one == searches.identity()


def test_ranges_that_differ_in_their_seventh_digit_are_two_searches():
    one, other = (
        searches.identity(f"--l2=1e-3:{end}:linear") for end in ("0.1234567", "0.1234568")
    )
    assert one != other


# The command

COMMANDS = {
    "--search names dropout, and --dropout=0.3 fixes it": ["--search=dropout", "--dropout=0.3"],
    "--folds is 1. Give 2 to 1000, or 0": ["--folds=1"],
    "--tuner is greedy. Choose from: random, hyperband, bayesian,": ["--tuner=greedy"],
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


def test_help_lists_every_flag_and_needs_neither_tensorflow_nor_ray():
    program = (
        "import runpy, sys; sys.argv = ['it', '--helpshort']\n"
        "try: runpy.run_module('tuning.main', run_name='__main__')\n"
        "finally: print('heavy:', {'tensorflow', 'keras', 'keras_tuner', 'ray'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True,
                          timeout=60, check=False)  # fmt: skip
    assert "heavy: set()" in done.stdout
    fields = {field.name for kind in (Config, Settings) for field in dataclasses.fields(kind)}
    fields -= set(OF_RUNS)
    for name in (*fields, "search", "search_dir", "workers", "cluster", "retrain_best"):
        assert f"  --{name}=" in done.stdout


@pytest.mark.parametrize("value", [1.5, "3", None, True, 10**9])
def test_a_number_from_python_is_checked_as_one_of_a_flag(value):
    with pytest.raises(ConfigError, match=r"--max_trials is .*\. Give "):
        Settings(max_trials=value)
