"""What a flag declares, what is refused with which words, and what KerasTuner then draws."""

import dataclasses
import math

import keras_tuner
import numpy as np
import pytest

from tests.helpers import searches
from trainer.config import Config
from trainer.run.errors import ConfigError
from tuning.space import USUAL, Parameter, parse

FIELDS = {field.name: field for field in dataclasses.fields(Config)}
FORMS = {
    ("head_units", "256"): 256,
    ("dropout", "0.3"): 0.3,
    ("dropout", "0"): 0.0,
    ("pooling", "max"): "max",
    ("head_units", "64,256"): Parameter("head_units", choices=(64, 256)),
    ("pooling", "max,flatten"): Parameter("pooling", choices=("max", "flatten")),
    ("l2", "0,1e-3"): Parameter("l2", choices=(0.0, 1e-3)),
    ("dropout", "0:0.5:linear"): Parameter("dropout", low=0.0, high=0.5, scale="linear"),
    ("dropout", "0:0.5:0.25"): Parameter("dropout", low=0.0, high=0.5, scale="0.25"),
    ("l2", "1e-6:1e-2:log"): Parameter("l2", low=1e-6, high=1e-2, scale="log"),
    ("l2", "1e-6:1e-2:log10"): Parameter("l2", low=1e-6, high=1e-2, scale="log10"),
    ("batch_size", "8:64:log2"): Parameter("batch_size", low=8, high=64, scale="log2"),
    ("batch_size", "8:64:8"): Parameter("batch_size", low=8, high=64, scale="8"),
}


@pytest.mark.parametrize(("name", "text"), FORMS)
def test_a_flag_is_a_value_a_range_or_choices(name, text):
    parsed = parse(name, text)
    assert parsed == FORMS[name, text]
    values = parsed.ends if isinstance(parsed, Parameter) else [parsed]
    assert {type(value) for value in values} == {FIELDS[name].type}


def names(*argv: str) -> list[str]:
    return [parameter.name for parameter in searches.space(*argv).parameters]


def test_what_is_searched():
    assert names() == ["head_units", "learning_rate"]
    assert names("--search=dropout,pooling") == ["dropout", "pooling"]
    assert names("--dropout=0:0.5:linear") == ["head_units", "learning_rate", "dropout"]
    assert names("--search=l2", "--pooling=max,average") == ["l2", "pooling"]
    assert names("--head_units=64") == ["learning_rate"]
    assert names(f"--search={','.join(USUAL)}") == list(USUAL)


def test_a_parameter_that_is_not_searched_has_its_value_or_the_trainers_default():
    space = searches.space("--search=l2", "--dropout=0.25", "--classes=3", "--epochs=7")
    config = space.config({"l2": 0.5})
    assert config == Config(l2=0.5, dropout=0.25, classes=3, epochs=7)
    with_range = searches.space("--search=l2", "--l2=0.1:0.2:linear").parameters
    assert with_range == (Parameter("l2", low=0.1, high=0.2, scale="linear"),)


def test_a_default_is_the_trainers_where_it_can_be_drawn_and_else_what_is_nearest():
    assert parse("head_units", "64:1024:log2").default() == Config.head_units
    assert parse("head_units", "100:1000:log2").default() == 200
    assert parse("head_units", "32:128:log2").default() == 128
    assert parse("l2", "1e-6:1e-2:log").default() == 1e-6
    assert parse("learning_rate", "1e-6:1e-5:log").default() == 1e-5
    assert parse("head_units", "300:1000:linear").default() == 300
    assert parse("dropout", "0:0.4:0.2").default() == 0.4
    assert parse("dropout", "0.1:0.7:0.2").default() == Config.dropout
    assert parse("pooling", "max,flatten").default() == Config.pooling
    assert parse("pooling", "max,average").default() == "max"


def test_unsearched_is_the_trainers_default_in_the_space_or_not():
    space = searches.space("--head_units=2:4:linear", "--learning_rate=1e-2,1e-3", "--epochs=3",
                         "--fine_tune_from=block4,block5", "--fine_tune_epochs=2",
                         "--augmentation=article,radiograph", "--views=3",
                         "--pooling=max")  # fmt: skip
    assert space.config({}).head_units == 4
    assert space.unsearched() == Config(epochs=3, pooling="max")


WRONG = {
    "--search names colour, epochs, which can't be searched. Choose from: head_units, ": [
        "--search=colour,l2,epochs"
    ],
    "--search asks for dropout, and --dropout=0.3 fixes it. Leave one of them out, or give a range "
    f"such as {USUAL['dropout']}": ["--search=dropout", "--dropout=0.3"],
    "Every parameter is fixed, so there is nothing to search": [
        "--head_units=8", "--learning_rate=1e-3"
    ],
    "--head_units=512:64:log2 ends below its start": ["--head_units=512:64:log2"],
    "--head_units=64:64:linear ends below its start": ["--head_units=64:64:linear"],
    "--learning_rate=nan:1:linear ends below": ["--learning_rate=nan:1:linear"],
    "--dropout=0:0.5:log begins at 0, which has no logarithm": ["--dropout=0:0.5:log"],
    "--head_units=-4:4:log2 begins at -4": ["--head_units=-4:4:log2"],
    "--dropout=0:0.5:0 has a step of 0. Give one above 0": ["--dropout=0:0.5:0"],
    "--dropout=0:0.5:-0.1 has a step of -0.1": ["--dropout=0:0.5:-0.1"],
    "--dropout=0:0.5:0.6 has a step of 0.6. Give one above 0 and within the range": [
        "--dropout=0:0.5:0.6"
    ],
    "--dropout=0:0.5:1e-9 has more than 1000 steps": ["--dropout=0:0.5:1e-9"],
    "--dropout=0:0.5:nan has a step of nan": ["--dropout=0:0.5:nan"],
    "--head_units=64:1024 can't be read. Give one value, a range LOW:HIGH:SCALE (SCALE is linear, "
    "log, log2, log10 or a step), or choices A,B,C, for example --head_units=64:1024:log2": [
        "--head_units=64:1024"
    ],
    "--head_units=64:1024:log3 can't be read": ["--head_units=64:1024:log3"],
    "--head_units=8:64:1.5 can't be read": ["--head_units=8:64:1.5"],
    "--head_units=1:2:3:4 can't be read": ["--head_units=1:2:3:4"],
    "--head_units=few:many:log can't be read": ["--head_units=few:many:log"],
    "--head_units=8,many can't be read": ["--head_units=8,many"],
    "--head_units=8, can't be read": ["--head_units=8,"],
    "--learning_rate=fast can't be read": ["--learning_rate=fast"],
    "--pooling=flatten:max:linear can't be read": ["--pooling=flatten:max:linear"],
    "--pooling=max,flatten,max names a choice twice": ["--pooling=max,flatten,max"],
    "--dropout is 1.5. Give 0 to below 1": ["--dropout=0:1.5:linear"],
    "--learning_rate is inf. Give above 0, at most 1": ["--learning_rate=1e-3:inf:log"],
    "--pooling is 'mean'. Give one of flatten, average, max": ["--pooling=max,mean"],
    "--fine_tune_from is 'block9'": ["--fine_tune_from=none,block9"],
    "--augmentation is 'strong'": ["--augmentation=strong"],
    "--batch_size is 0. Give 1 or more": ["--batch_size=0:8:linear"],
    "--fine_tune_epochs=9 has no effect without --fine_tune_from": ["--fine_tune_epochs=9"],
    "--views=3 has no effect without --augmentation": ["--views=3"],
    "--classes is 1. Give 2 or more": ["--classes=1"],
}  # fmt: skip


@pytest.mark.parametrize("message", WRONG)
def test_what_makes_no_sense_is_refused_with_its_mend(message):
    with pytest.raises(ConfigError) as refused:
        searches.space(*WRONG[message])
    assert message in str(refused.value)


# What KerasTuner draws

WHOLE = {"epochs": 3, "fine_tune_epochs": 2, "views": 3}
ENDLESS = [  # ranges without steps
    ("dropout", "0:0.9:linear"),
    ("learning_rate", "1e-5:1e-2:log"),
    ("head_units", "10:1000:log"),
    ("head_units", "100:900:linear"),
]
STEPPED = {  # and the values that are meant
    ("head_units", USUAL["head_units"]): [64, 128, 256, 512, 1024],
    ("head_units", "100:1000:log2"): [100, 200, 400, 800],
    ("head_units", "1:3:linear"): [1, 2, 3],
    ("batch_size", "8:20:4"): [8, 12, 16, 20],
    ("batch_size", "8:21:4"): [8, 12, 16, 20],
    ("learning_rate", "1e-5:1:log10"): [1e-5, 1e-4, 1e-3, 1e-2, 1e-1, 1],
    ("l2", "1e-6:0.5:log10"): [1e-6, 1e-5, 1e-4, 1e-3, 1e-2, 1e-1],
    ("label_smoothing", USUAL["label_smoothing"]): [0, 0.05, 0.1, 0.15, 0.2],
    ("dropout", "0:0.5:0.25"): [0, 0.25, 0.5],
    ("dropout", USUAL["dropout"]): [0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7],
    ("dropout", "0:0.5:0.1"): [0, 0.1, 0.2, 0.3, 0.4, 0.5],
    ("dropout", "0.1:0.7:0.2"): [0.1, 0.3, 0.5, 0.7],
    ("pooling", USUAL["pooling"]): ["average", "flatten", "max"],
}


def drawn(name: str, text: str, count: int = 300) -> list:
    """Draws as KerasTuner's oracles make them; the trainer takes each."""
    space = searches.space(f"--search={name}", f"--{name}={text}")
    hp = keras_tuner.HyperParameters()
    space.declare(hp)
    (parameter,) = hp.space
    assert hp.values == space.defaults()
    draws = [parameter.random_sample(seed) for seed in range(count)]
    for value in set(draws):
        assert getattr(space.config({name: value}), name) == value
        assert type(value) is FIELDS[name].type
    return draws


@pytest.mark.parametrize(("name", "text"), ENDLESS)
def test_draws_fill_all_of_a_range(name, text):
    parameter = parse(name, text)
    draws = np.array(drawn(name, text))
    assert parameter.low <= draws.min() and draws.max() <= parameter.high
    scale = np.log if "log" in text else float
    edges = np.linspace(*map(scale, (parameter.low, parameter.high)), 11)
    counts, _ = np.histogram(scale(draws) if "log" in text else draws, edges)
    # Each tenth gets 30 of 300: beyond five standard deviations it is no chance.
    assert (abs(counts - 30) < 5 * math.sqrt(27)).all()


@pytest.mark.parametrize(("name", "text"), STEPPED)
def test_draws_are_all_values_on_the_steps_and_no_others(name, text):
    draws, wanted = sorted(set(drawn(name, text))), STEPPED[name, text]
    assert all(parse(name, text).holds(value) for value in draws)
    assert draws == (pytest.approx(wanted, rel=1e-9) if name != "pooling" else wanted)


def test_any_draw_of_all_parameters_is_a_config():
    space = searches.space(f"--search={','.join(USUAL)}", *(f"--{n}={v}" for n, v in WHOLE.items()))
    hp = keras_tuner.HyperParameters()
    space.declare(hp)
    seen = set()
    for seed in range(200):
        values = {each.name: each.random_sample(seed + at) for at, each in enumerate(hp.space)}
        config = space.config(values)
        assert {name: getattr(config, name) for name in values} == values
        # What belongs to a choice falls away with it.
        tuned, viewed = config.fine_tune_from != "none", config.augmentation != "none"
        assert config.fine_tune_epochs == (2 if tuned else Config.fine_tune_epochs)
        assert config.views == (3 if viewed else Config.views)
        seen.add((tuned, viewed))
    assert len(seen) == 4


def test_a_tuners_own_epochs_are_heeded_and_its_other_notes_are_not():
    space = searches.space("--epochs=9")
    noted = {"tuner/epochs": 3, "tuner/initial_epoch": 0, "tuner/bracket": 2, "head_units": 128}
    assert space.config(noted) == Config(epochs=3, head_units=128)


def test_a_space_is_written_as_its_flags_are():
    given = {"head_units": "64:1024:log2", "dropout": "0:0.5:0.1", "pooling": "max,flatten",
             "learning_rate": "1e-05:0.01:log"}  # fmt: skip
    space = searches.space(*(f"--{name}={text}" for name, text in given.items()))
    assert space.texts() == given
