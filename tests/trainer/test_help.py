"""`--help` and `--helpshort` of every command: groups, lines, defaults; flags that are mistyped."""

import dataclasses
import subprocess
import sys

import pytest
from absl import flags

from tests.helpers import commands
from trainer import config_flags
from trainer.config import Config
from trainer.execution import options
from trainer.execution.options import Options
from trainer.run import definitions, help
from trainer.run.names import nearest
from tuning import settings, space

FIELDS = {field.name for field in dataclasses.fields(Config)} - set(config_flags.OF_RUNS)
TASKS = {field.name for field in dataclasses.fields(Options)}
SEARCH = {field.name for field in dataclasses.fields(settings.Settings)}
# What each command that trains has beside the fields of `Config`, which are flags of all of them.
MORE = {
    "trainer.main": {"run_dir", "overwrite", "hparams", "profile", "seeds", "test"},
    "trainer.crossval": {"run_dir", "overwrite", "folds", "repeats", *TASKS},
    "trainer.features": {"list", "verify", "clear", "fill", "test", *TASKS},
    "tuning.main": {"search", "search_dir", "overwrite", "retrain_best", *TASKS, *SEARCH},
}
COMMANDS = tuple(MORE)
# All flags of the commands that use what was trained.
USING = {
    "trainer.compare": {"output"},
    "trainer.evaluate": {"run", "dataset", "split", "images", "data_dir", "output"},
    "trainer.explain": {"run", "class", "masks", "output"},
    "trainer.export": {"run", "format", "quantize", "output"},
    "trainer.predict": {"run", "format", "output", "gallery"},
    "trainer.report": {"run"},
    "trainer.serve": {"run", "port"},
}


@pytest.fixture(scope="module", params=[*MORE, *USING])
def helped(request):
    """The name of a command, and what its --helpshort and --help print."""
    return request.param, *(commands.run(request.param, flag) for flag in ("--helpshort", "--help"))


def listed(text: str) -> list[str]:
    return [line for line in text.splitlines() if line.startswith("  --")]


def test_help_is_no_failure_and_goes_to_stdout(helped):
    for ended in helped[1:]:
        assert (ended.status, ended.err) == (0, "")


def test_each_flag_has_one_line_of_80_columns_in_one_group(helped):
    command, short, full = helped
    names = [line.split("=")[0].strip(" -") for line in listed(short.out)]
    assert sorted(names) == sorted(USING.get(command) or FIELDS | MORE[command])
    assert all(len(line) <= 80 for line in (short.out + full.out).splitlines())
    assert all(
        len(line.split("  ", 2)[-1]) > 5 for line in listed(short.out)
    )  # a default and words
    groups = [line[:-1] for line in short.out.splitlines() if line.endswith(":")]
    assert groups == [name for name in definitions.GROUPS if name in groups]
    if command in MORE:
        assert {"data", "network", "training", "augmentation", "output"} <= set(groups)


def test_both_helps_list_the_same_flags_and_the_long_one_explains_more(helped):
    _, short, full = helped
    first = [line.split("  ")[1] for line in listed(short.out)]
    assert [line.strip() for line in listed(full.out)] == [each.strip() for each in first]
    assert len(full.out) > (1.5 if helped[0] in MORE else 1) * len(short.out)


def test_defaults_and_choices_are_those_of_the_config():
    line = {each.split("=")[0].strip(" -"): each for each in
            listed(commands.run("trainer.main", "--helpshort").out)}  # fmt: skip
    for field in dataclasses.fields(Config):
        value = line[field.name].partition("=")[2].split("  ")[0]
        shown = {"true": True, "false": False}.get(value, value)
        assert field.type(shown) == field.default, field.name
        assert "|".join(field.metadata["choices"]) in line[field.name]


def test_a_search_shows_what_it_searches_by_default():
    out = commands.run("tuning.main", "--helpshort").out
    assert "--head_units=64:1024:log2 " in out and "--dropout=0.5 " in out


def test_every_command_is_here():
    programs = {
        f"{folder}.{path.stem}"
        for folder in ("trainer", "tuning")
        for path in (commands.ROOT / folder).glob("*.py")
        if 'if __name__ == "__main__":' in path.read_text()
    }
    assert programs == {*MORE, *USING}


@pytest.mark.parametrize("module", ["trainer.main", "tuning.main", *USING])
def test_help_needs_nothing_heavy(module):
    program = (
        f"import runpy, sys; sys.argv = ['it', '--help']\n"
        f"try: runpy.run_module('{module}', run_name='__main__')\n"
        "finally: print('heavy:', {'tensorflow', 'keras', 'covid_tfds', 'tensorflow_datasets',\n"
        "                          'keras_tuner', 'ray'} & set(sys.modules))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False, timeout=60
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert "heavy: set()" in done.stdout


@pytest.mark.parametrize("flag", ["-h", "-?"])
def test_the_short_names_of_help_work(flag):
    ended = commands.run("trainer.main", flag)
    assert (ended.status, "--learning_rate=0.0001" in ended.out) == (0, True)


@pytest.mark.parametrize("flag", ["--helpfull", "--helpxml"])
def test_the_other_helps_of_absl_work(flag):
    ended = commands.run("trainer.main", flag)
    assert ended.status == 0
    assert "learning_rate" in ended.out and "Values: above 0, at most 1." in ended.out


def test_a_reader_who_has_seen_enough_of_the_help_gets_no_traceback():
    done = subprocess.run(
        f"{sys.executable} -m trainer.main --help | head -n 1", shell=True, cwd=commands.ROOT,
        capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip
    assert (
        done.stdout == "Trains and evaluates a classifier: `python -m trainer.main --classes=4`.\n"
    )
    assert done.stderr == ""


def test_a_flag_without_a_group_is_no_flag_of_a_command():
    values = flags.FlagValues()
    with pytest.raises(ValueError):
        definitions.define("new", 1, "A new flag", "no group", values=values)
    space.define_flags(values := flags.FlagValues())
    settings.define_flags(values)
    options.define_flags(values)
    config_flags.define_run_flags(values)
    config_flags.define_hparams_flag(values)
    assert all(values[name].group in definitions.GROUPS for name in values)


# Mistyped flags


KNOWN = sorted({*FIELDS, *MORE["trainer.main"]})
MEANT = {
    "lr": ["learning_rate"],
    "LR": ["learning_rate"],
    "fine_tune_lr": ["fine_tune_learning_rate"],
    "ft_lr": ["fine_tune_learning_rate"],
    "bs": ["batch_size"],
    "heun": ["head_units"],
    "wd": ["weight_decay"],
    "batch": ["batch_size"],
    "batchsize": ["batch_size"],
    "augment": ["augmentation"],
    "image-size": ["image_size"],
    "units": ["head_units"],
    "Classes": ["classes"],
    "clases": ["classes"],
    "epoch": ["epochs"],
    "rate": ["learning_rate", "fine_tune_learning_rate", "fine_tune_head_learning_rate"],
    "output_dir": ["run_dir", "data_dir", "cache_dir"],
    "zzz": [],
    "": [],
}


@pytest.mark.parametrize("word", MEANT)
def test_the_nearest_names_are_those_that_are_meant(word):
    assert nearest(word, KNOWN) == MEANT[word]


def test_at_most_three_names_are_given():
    assert len(nearest("fine_tune", [f"fine_tune_{i}" for i in range(9)])) == 3
    assert nearest("x", []) == []


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize(("flag", "meant"), [
    ("--lr=0.1", "Did you mean --learning_rate? --helpshort lists all flags."),
    ("--noaugment", "Did you mean --augmentation?"),
    ("--image-size=64", "Did you mean --image_size?"),
    ("--helpshrt", "Did you mean --helpshort?"),
    ("--zzz=1", "flag 'zzz'. --helpshort lists all flags."),
])  # fmt: skip
def test_an_unknown_flag_gets_the_nearest_names(command, flag, meant):
    ended = commands.run(command, flag)
    assert (ended.status, ended.out) == (2, "")
    assert meant in " ".join(ended.err.split())
    assert len(ended.err.splitlines()) <= 3


@pytest.mark.parametrize(("flag", "message"), [
    ("--notest=1", "--notest=1 takes no value. Write it as --notest."),
    ("--nohelp=1", "--nohelp=1 takes no value. Write it as --nohelp."),
    ("--help=maybe", "--help=maybe can't be read. Give true or false."),
    ("--verbosity=x", "flag --verbosity=x: invalid literal for int() with base 10: 'x'"),
])  # fmt: skip
def test_a_value_where_none_or_another_belongs_is_a_sentence(flag, message):
    ended = commands.run("trainer.main", flag)
    assert (ended.status, ended.out) == (2, "")
    assert " ".join(ended.err.split()) == f"wrong command line: {message}"


def test_help_that_is_not_wanted_is_not_shown():
    ended = commands.run("trainer.compare", "--nohelp", "--helpshort=false")
    assert (ended.status, ended.out) == (2, "") and "0 runs given" in ended.err


def test_a_message_cuts_a_value_of_many_letters():
    values = flags.FlagValues()
    config_flags.define_flags(values)
    with pytest.raises(flags.Error) as error:
        values(["it", f"--epochs={'9x' * 1000}"])
    text = help.message(error.value, values)
    assert text.endswith("… can't be read. Give a whole number, 1 to 1000000.") and len(text) < 140
