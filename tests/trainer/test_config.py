"""Every bound is checked, flags contradict each other aloud, JSON goes both ways."""

import dataclasses
import json
import subprocess
import sys

import pytest

from trainer.config import Config, ConfigError

BAD = {
    "--classes is 5. Give 2, 3 or 4": {"classes": 5},
    "--classes is 1": {"classes": 1},
    "--image_size is 31. Give 32 to 1024": {"image_size": 31},
    "--image_size is 5000": {"image_size": 5000},
    "--batch_size is 0. Give 1 or more": {"batch_size": 0},
    "--epochs is 0": {"epochs": 0},
    "--learning_rate is 0": {"learning_rate": 0.0},
    "--learning_rate is -1": {"learning_rate": -1.0},
    "--learning_rate is nan": {"learning_rate": float("nan")},
    "--learning_rate is 2": {"learning_rate": 2.0},
    "--head_units is 0": {"head_units": 0},
    "--dropout is 1.0. Give 0 to below 1": {"dropout": 1.0},
    "--dropout is -0.1": {"dropout": -0.1},
    "--pooling is 'mean'. Give one of flatten, average, max": {"pooling": "mean"},
    "--augmentation is 'strong'. Give one of: none, article, radiograph; radiograph takes any of "
    "+gamma, +noise, +cutout, +elastic behind it, each once": {"augmentation": "strong"},
    "--augmentation is 'radiograph+blur'": {"augmentation": "radiograph+blur"},
    "--augmentation is 'radiograph+'": {"augmentation": "radiograph+"},
    "--augmentation is 'radiograph+gamma+gamma'": {"augmentation": "radiograph+gamma+gamma"},
    "--augmentation is 'article+noise'": {"augmentation": "article+noise"},
    "--augmentation is 'none+noise'": {"augmentation": "none+noise"},
    "--augmentation is ''": {"augmentation": ""},
    "--normalization is 'zcs'. Give one of imagenet, featurewise, zca": {"normalization": "zcs"},
    "--precision is 'float16'": {"precision": "float16"},
    "--fine_tune_from is 'block6'": {"fine_tune_from": "block6"},
    "--fine_tune_epochs is 0": {"fine_tune_from": "block5", "fine_tune_epochs": 0},
    "--class_weights is 'yes'": {"class_weights": "yes"},
    "--early_stopping is -1": {"early_stopping": -1},
    "--seed is -1": {"seed": -1},
    "--dataset is ''": {"dataset": ""},
    "has no effect without --fine_tune_from": {"fine_tune_epochs": 9},
    "--fine_tune_learning_rate=0.5 has no effect": {"fine_tune_learning_rate": 0.5},
    "Add --augmentation=article": {"as_published": True},
    "--views=3 has no effect without --augmentation": {"views": 3},
    "--cache_gib is -1.0. Give 0 or more": {"cache_gib": -1.0},
    "--views is -1": {"augmentation": "article", "views": -1},
}


@pytest.mark.parametrize("message", BAD)
def test_a_value_out_of_bounds_is_named_with_its_mend(message):
    with pytest.raises(ConfigError) as refused:
        Config(**BAD[message])
    assert message in str(refused.value)


def test_options_of_the_augmentation_go_with_views():
    config = Config(augmentation="radiograph+noise+gamma", views=3)
    assert (config.augmentation, config.views) == ("radiograph+noise+gamma", 3)


def test_json_goes_both_ways():
    config = Config(classes=2, learning_rate=3e-4, deterministic=True, fine_tune_from="block4")
    assert Config.from_json(json.loads(json.dumps(config.to_json()))) == config


def test_unknown_settings_are_refused():
    with pytest.raises(ConfigError, match="colour"):
        Config.from_json({"colour": "red"})


def test_a_config_can_not_be_changed():
    with pytest.raises(dataclasses.FrozenInstanceError):
        Config().classes = 2


@pytest.mark.parametrize("command,more", [
    ("main", ()), ("crossval", ("folds", "repeats")), ("features", ("list", "verify", "clear")),
])  # fmt: skip
def test_help_lists_every_flag_and_needs_no_tensorflow(command, more):
    program = (
        "import runpy, sys; sys.argv = ['it', '--helpshort']\n"
        f"try: runpy.run_module('trainer.{command}', run_name='__main__')\n"
        "finally: print('heavy:', {'tensorflow', 'keras', 'covid_tfds'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True,
                          timeout=60, check=False)  # fmt: skip
    assert "heavy: set()" in done.stdout
    fields = () if command == "features" else [field.name for field in dataclasses.fields(Config)]
    for name in (*fields, *more):
        assert f"--{name}:" in done.stdout or f"--[no]{name}:" in done.stdout
