"""Bounds and types of every setting, phases, flags and JSON both ways, what a search found best."""

import dataclasses
import json
import pathlib
import re

import numpy as np
import pytest
from absl import flags

from tests.helpers import commands
from trainer import config as config_lib
from trainer import config_flags
from trainer.config import Config, Phase, check_folds
from trainer.run.errors import ConfigError

BAD = {
    "--classes is 1. Give 2 or more": {"classes": 1},
    "--image_size is 31. Give 32 to 1024": {"image_size": 31},
    "--image_size is 5000": {"image_size": 5000},
    "--batch_size is 0. Give 1 to 1000000": {"batch_size": 0},
    "--epochs is 0": {"epochs": 0},
    "--learning_rate is 0": {"learning_rate": 0.0},
    "--learning_rate is -1": {"learning_rate": -1.0},
    "--learning_rate is nan": {"learning_rate": float("nan")},
    "--learning_rate is 2": {"learning_rate": 2.0},
    "--head_units is 0": {"head_units": 0},
    "--dropout is 1.0. Give 0 to below 1": {"dropout": 1.0},
    "--dropout is -0.1": {"dropout": -0.1},
    "--label_smoothing is 1.0": {"label_smoothing": 1.0},
    "--l2 is -1.0. Give 0 to 1": {"l2": -1.0},
    "--weight_decay is 1.5. Give 0 to 1": {"weight_decay": 1.5},
    "--optimizer is 'adamw'. Give one of adam, sgd": {"optimizer": "adamw"},
    "--shift is 0.6. Give 0 to 0.5, or -1 for that of the preset": {"shift": 0.6},
    "--zoom is -0.5. Give 0 to 0.9": {"augmentation": "article", "zoom": -0.5},
    "--contrast is nan. Give 0 to 0.9": {"augmentation": "article", "contrast": float("nan")},
    "--shift=0.1 has no effect without --augmentation. Add --augmentation=rad": {"shift": 0.1},
    "--contrast=0.0 has no effect without --augmentation": {"contrast": 0},
    "--width is 0.0. Give above 0, at most 1": {"width": 0.0, "weights": "none"},
    "--width is 1.5": {"width": 1.5, "weights": "none"},
    "Add --weights=none, or leave it out": {"width": 0.5},
    "--pooling is 'mean'. Give one of flatten, average, max": {"pooling": "mean"},
    "--augmentation is 'strong'. Give one of: none, article, radiograph; radiograph takes any of "
    "+gamma, +noise, +cutout, +elastic behind it, each once": {"augmentation": "strong"},
    "--augmentation is 'radiograph+blur'": {"augmentation": "radiograph+blur"},
    "--augmentation is 'radiograph+'": {"augmentation": "radiograph+"},
    "--augmentation is 'radiograph+gamma+gamma'": {"augmentation": "radiograph+gamma+gamma"},
    "--augmentation is 'article+noise'": {"augmentation": "article+noise"},
    "--augmentation is 'none+noise'": {"augmentation": "none+noise"},
    "--augmentation is ''": {"augmentation": ""},
    "--align is 'lungs'. Give one of none, chest": {"align": "lungs"},
    "--normalization is 'zcs'. Give one of imagenet, featurewise, zca": {"normalization": "zcs"},
    "--precision is 'float16'": {"precision": "float16"},
    "--fine_tune_from is 'block6'": {"fine_tune_from": "block6"},
    "--fine_tune_epochs is 0": {"fine_tune_from": "block5", "fine_tune_epochs": 0},
    "--class_weights is 'yes'": {"class_weights": "yes"},
    "--checkpoint_every is -1.0": {"checkpoint_every": -1},
    "--distribute is 'all'": {"distribute": "all"},
    "--early_stopping is -1": {"early_stopping": -1},
    "--seed is -1": {"seed": -1},
    "--seed is 2000000001": {"seed": 2_000_000_001},
    "--dataset is ''": {"dataset": ""},
    "has no effect without --fine_tune_from": {"fine_tune_epochs": 9},
    "--fine_tune_learning_rate=0.5 has no effect": {"fine_tune_learning_rate": 0.5},
    "--fine_tune_head_learning_rate=0.5 has no effect without --fine_tune_from": {
        "fine_tune_head_learning_rate": 0.5,
    },
    "--fine_tune_schedule=cosine has no effect without --fine_tune_from": {
        "fine_tune_schedule": "cosine",
    },
    "--fine_tune_warmup=9 has no effect without --fine_tune_schedule. Add --fine_tune_sched": {
        "fine_tune_from": "block5",
        "fine_tune_warmup": 9,
    },
    "--fine_tune_schedule is 'step'. Give one of constant, cosine": {"fine_tune_schedule": "step"},
    "--fine_tune_head_learning_rate is -1.0. Give 0 to 1": {"fine_tune_head_learning_rate": -1.0},
    "--fine_tune_warmup is -1. Give 0 to": {"fine_tune_warmup": -1},
    "--ensemble is 0. Give 1 to 20": {"ensemble": 0},
    "--ensemble is 21": {"ensemble": 21},
    "and --ensemble is 2. Leave one of them out.": {
        "as_published": True,
        "augmentation": "article",
        "ensemble": 2,
    },
    "Add --augmentation=article": {"as_published": True},
    "--notest leaves them unread. Leave one of them out.": {
        "as_published": True,
        "augmentation": "article",
        "test": False,
    },
    "--autotune may measure another precision each time. Leave one of them out.": {
        "autotune": True,
        "deterministic": True,
    },
    "--views=3 has no effect without --augmentation": {"views": 3},
    "--views is -1": {"augmentation": "article", "views": -1},
    "--cache_gib is -1.0. Give GiB, 0 to 1000000": {"cache_gib": -1.0},
    "--cache_gib is inf": {"cache_gib": float("inf")},
    "--data_dir can't be used: The path $NOT_SET/x names the variable": {"data_dir": "$NOT_SET/x"},
}

# One value a field, none of them the default; together they are in order.
OTHER = {
    "classes": 3, "dataset": "phantom", "data_dir": "/data of mine", "cache_dir": "/a/c=d",
    "cache_gib": 1.5, "image_size": 64, "batch_size": 5, "epochs": 7, "learning_rate": 2.5e-5,
    "head_units": 12, "pooling": "max", "dropout": 0.0, "l2": 1e-6, "label_smoothing": 0.1,
    "augmentation": "article", "shift": 0.0, "zoom": 0.3, "contrast": 0.1, "optimizer": "sgd",
    "weight_decay": 1e-4, "normalization": "zca", "views": 0, "width": 0.25,
    "weights": "none", "precision": "mixed_bfloat16", "autotune": True, "fine_tune_from": "block4",
    "fine_tune_epochs": 3, "fine_tune_learning_rate": 1e-6, "class_weights": "balanced",
    "early_stopping": 2, "seed": 0, "as_published": True,
    "checkpoint_every": 5.0, "distribute": "none", "align": "none",
    "fine_tune_head_learning_rate": 1e-5, "fine_tune_schedule": "cosine", "fine_tune_warmup": 9,
}  # fmt: skip


def parsed(*arguments: str) -> flags.FlagValues:
    """The trainer's flags, as a command line sets them."""
    values = flags.FlagValues()
    config_flags.define_flags(values)
    config_flags.define_hparams_flag(values)
    flags.DEFINE_multi_string("flagfile", [], "As absl's own.", flag_values=values)
    values(["trainer.main", *values.read_flags_from_files(list(arguments), force_gnu=False)])
    return values


@pytest.mark.parametrize("message", BAD)
def test_a_value_out_of_bounds_is_named_with_its_mend(message):
    with pytest.raises(ConfigError, match=re.escape(message)):
        Config(**BAD[message])


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"classes": 2.5}, "--classes is 2.5. Give a whole number"),
        ({"classes": True}, "--classes is True. Give a whole number"),
        ({"epochs": "many"}, "--epochs is 'many'. Give a whole number"),
        ({"learning_rate": "1e-4"}, "--learning_rate is '1e-4'. Give a number"),
        ({"dropout": None}, "--dropout is None. Give a number"),
        ({"l2": True}, "--l2 is True. Give a number"),
        ({"deterministic": "yes"}, "--deterministic is 'yes'. Give True or False"),
        ({"deterministic": 2}, "--deterministic is 2. Give True or False"),
        ({"pooling": 3}, "--pooling is 3. Give text"),
        ({"data_dir": ["a"]}, "--data_dir is ['a']. Give text"),
        ({"seed": np.array([1, 2])}, "Give a whole number"),
    ],
    ids=str,
)
def test_a_value_of_another_type_is_refused(values, message):
    with pytest.raises(ConfigError, match=re.escape(message)):
        Config(**values)


def test_what_can_be_taken_for_the_fields_type_becomes_it():
    config = Config(
        classes=np.int64(3), learning_rate=1, dropout=np.float64(0.25), test=np.True_,
        autotune=1, l2=np.float32(0.5), data_dir=pathlib.Path("data"), weights=pathlib.Path("w.h5"),
        pooling=np.str_("max"),
    )  # fmt: skip
    assert json.loads(json.dumps(config.to_json())) == config.to_json()
    types = {field.name: field.type for field in dataclasses.fields(Config)}
    assert {name: type(value) for name, value in config.to_json().items()} == types
    assert (config.classes, config.test, config.data_dir) == (3, True, "data")


def test_paths_are_expanded(monkeypatch):
    monkeypatch.setenv("HOME", "/home/a")
    monkeypatch.setenv("SCRATCH", "/scratch")
    config = Config(
        data_dir="~/data", cache_dir=pathlib.Path("$SCRATCH/cache"), weights="~/vgg16.h5"
    )
    paths = (config.data_dir, config.cache_dir, config.weights)
    assert paths == ("/home/a/data", "/scratch/cache", "/home/a/vgg16.h5")
    assert Config(data_dir="gs://bucket/data").data_dir == "gs://bucket/data"
    assert (Config().data_dir, Config().weights) == ("", "imagenet")


def test_the_cache_has_a_default_folder(monkeypatch):
    monkeypatch.setenv("HOME", "/home/a")
    assert config_lib.cache_folder("") == pathlib.Path("/home/a/.cache/covid_tfds")
    assert config_lib.cache_folder("~/c") == pathlib.Path("/home/a/c")


def test_a_config_can_not_be_changed():
    with pytest.raises(dataclasses.FrozenInstanceError):
        Config().classes = 2


def test_without_fine_tuning_the_head_is_the_one_phase():
    assert Config(epochs=3, learning_rate=0.1).phases == (Phase("head", None, range(3), 0.1),)


def test_fine_tuning_is_a_phase_that_follows_the_head():
    config = Config(epochs=3, fine_tune_from="block4", fine_tune_epochs=2)
    head, tuned = config.phases
    assert (head.name, list(head.epochs)) == ("head", [0, 1, 2])
    assert (tuned.name, tuned.first_block) == ("fine_tune", "block4")
    assert (list(tuned.epochs), tuned.learning_rate) == ([3, 4], 1e-5)


def test_fine_tuning_may_have_a_schedule_and_a_rate_of_the_head():
    settings = {"fine_tune_from": "block4", "fine_tune_learning_rate": 4e-5}
    *_, plain = Config(**settings).phases
    assert (plain.head_factor, plain.warmup) == (1, None)
    *_, tuned = Config(
        **settings, fine_tune_head_learning_rate=2e-4, fine_tune_schedule="cosine"
    ).phases
    assert (tuned.learning_rate, tuned.warmup) == (4e-5, 150)
    assert tuned.head_factor == pytest.approx(5)


@pytest.mark.parametrize(
    ("first_block", "frozen"),
    [(None, "block5_pool"), ("block5", "block4_pool"), ("block2", "block1_pool"), ("block1", None)],
)
def test_a_phase_is_frozen_up_to_the_block_that_it_trains(first_block, frozen):
    assert Phase("any", first_block, range(1), 0.1).frozen_until == frozen


@pytest.mark.parametrize(
    ("changes", "count", "rotation"),
    [
        ({}, 1, None),
        ({"augmentation": "article"}, 8, 50),
        ({"augmentation": "radiograph+noise", "views": 3}, 3, 10),
        ({"augmentation": "article", "views": 0}, 0, 50),
    ],
    ids=str,
)
def test_augmentation_has_ranges_and_a_number_of_views(changes, count, rotation):
    config = Config(**changes)
    assert config.view_count == count
    assert getattr(config.augmentation_ranges, "rotation", None) == rotation


def test_json_goes_both_ways():
    for config in (Config(), Config(**OTHER)):
        assert Config.from_json(json.loads(json.dumps(config.to_json()))) == config


def test_every_field_comes_back_from_a_flagfile(tmp_path):
    default = Config()
    # --notest and --ensemble do not go with --as_published, --deterministic not with --autotune.
    every = {field.name for field in dataclasses.fields(Config)}
    assert OTHER.keys() | {"test", "ensemble", "deterministic"} == every
    assert all(getattr(default, name) != value for name, value in OTHER.items())
    for config in (default, Config(**OTHER)):
        (tmp_path / "flags.txt").write_text(config.to_flags())
        assert config_flags.from_flags(parsed(f"--flagfile={tmp_path}/flags.txt")) == config


def test_no_flags_are_the_defaults_and_each_flag_sets_its_field():
    assert config_flags.from_flags(parsed()) == Config()
    assert config_flags.from_flags(parsed("--noautotune", "--classes=2")) == Config(classes=2)
    every = [f"--{name}={value}" for name, value in OTHER.items()]
    assert config_flags.from_flags(parsed(*every)) == Config(**OTHER)
    assert config_flags.from_flags(parsed("--notest")) == Config(test=False)
    assert config_flags.from_flags(parsed("--ensemble=3")) == Config(ensemble=3)


def test_flags_can_be_left_out():
    values = flags.FlagValues()
    config_flags.define_flags(values, without=("views", "seed"))
    names = {field.name for field in dataclasses.fields(Config)}
    assert set(values) == names - {"views", "seed"}


@pytest.mark.parametrize("recipe", ["article_2", "article_3", "article_4", "article_4_aligned",
                                    "full_4", "full_4_frozen"])  # fmt: skip
def test_a_recipe_is_a_command_line_in_order(recipe):
    path = pathlib.Path(config_lib.__file__).parent / "recipes" / f"{recipe}.flags"
    config = config_flags.from_flags(parsed(f"--flagfile={path}"))
    assert config.classes == int(recipe.split("_")[1])
    assert config.dataset == ("full" if "full" in recipe else "article_grouped")


def test_unknown_settings_are_refused():
    with pytest.raises(ConfigError, match="colour"):
        Config.from_json({"colour": "red"})


def test_settings_of_release_1_are_refused_with_the_new_name():
    with pytest.raises(ConfigError, match=r"1\.0\.0 .*`normalization` since 2\.0\.0\)\. Train"):
        Config.from_json({"classes": 4, "normalisation": "zca"})


@pytest.mark.parametrize("command", ["main", "crossval"])
def test_a_flag_of_release_1_is_refused_with_the_new_name(command):
    ended = commands.run(f"trainer.{command}", "--normalisation=zca")
    assert (ended.status, ended.out) == (2, "")
    assert "'normalisation'. Did you mean --normalization?" in " ".join(ended.err.split())


def test_a_run_folder_has_the_config_it_was_trained_with(tmp_path):
    written = {"config": Config(**OTHER).to_json(), "precision": "float32"}
    (tmp_path / "config.json").write_text(json.dumps(written))
    assert Config.read(tmp_path) == Config(**OTHER)


@pytest.mark.parametrize(
    ("changes", "folds", "repeats", "message"),
    [
        ({}, 1, 1, "--folds is 1. Give 2 to 1000"),
        ({}, 5, 0, "--repeats is 0. Give 1 to 1000"),
        ({"early_stopping": 1}, 5, 1, "--early_stopping has no place with folds: a fold would"),
        ({"as_published": True, "augmentation": "article"}, 5, 1, "--as_published has no place"),
        ({"test": False}, 5, 1, "--notest has no place with folds: they never read the test"),
        ({"normalization": "zca"}, 5, 1, "--normalization=zca is fitted to the images that are"),
    ],
)
def test_what_has_no_place_with_folds_is_refused(changes, folds, repeats, message):
    with pytest.raises(ConfigError, match=re.escape(message)):
        check_folds(Config(**changes), folds, repeats)


def test_other_settings_go_with_folds():
    kept = ("early_stopping", "as_published", "normalization")
    check_folds(Config(**{k: v for k, v in OTHER.items() if k not in kept}), 2, 1)
