"""What a flag declares, what is refused with which words, and what KerasTuner then draws."""

import dataclasses
import math

import keras_tuner
import numpy as np
import pytest
from absl import flags

from tests.helpers import searches
from trainer.augmentation import presets
from trainer.config import BELONGING, Config
from trainer.run.errors import ConfigError
from tuning import space as space_lib
from tuning.space import USUAL, Parameter, Space, parse

FIELDS = {field.name: field for field in dataclasses.fields(Config)}
VIEWED = "--augmentation=radiograph"


def searched(*argv: str) -> Space:
    """The space of a command line."""
    values = flags.FlagValues()
    space_lib.define_flags(values)
    values(["tuning.main", *argv])
    return space_lib.from_flags(values)


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
    ("image_size", "112,150,224"): Parameter("image_size", choices=(112, 150, 224)),
    ("shift", "0:0.12:0.03"): Parameter("shift", low=0.0, high=0.12, scale="0.03"),
    ("optimizer", "adam,sgd"): Parameter("optimizer", choices=("adam", "sgd")),
}


@pytest.mark.parametrize(("name", "text"), FORMS)
def test_a_flag_is_a_value_a_range_or_choices(name, text):
    parsed = parse(name, text)
    assert parsed == FORMS[name, text]
    values = parsed.ends if isinstance(parsed, Parameter) else [parsed]
    assert {type(value) for value in values} == {FIELDS[name].type}


def names(*argv: str) -> list[str]:
    return [parameter.name for parameter in searched(*argv).parameters]


def test_what_is_searched():
    assert names() == ["head_units", "learning_rate"]
    assert names("--search=dropout,pooling") == ["dropout", "pooling"]
    assert names("--dropout=0:0.5:linear") == ["head_units", "learning_rate", "dropout"]
    assert names("--search=l2", "--pooling=max,average") == ["l2", "pooling"]
    assert names("--head_units=64") == ["learning_rate"]
    assert names("--search=shift,views", VIEWED) == ["views", "shift"]
    assert names(f"--search={','.join(USUAL)}") == list(USUAL)


def test_a_parameter_that_is_not_searched_has_its_value_or_the_trainers_default():
    space = searched("--search=l2", "--dropout=0.25", "--classes=3", "--epochs=7")
    config = space.config({"l2": 0.5})
    assert config == Config(l2=0.5, dropout=0.25, classes=3, epochs=7)
    with_range = searched("--search=l2", "--l2=0.1:0.2:linear").parameters
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


@pytest.mark.parametrize("name", presets.STRENGTHS)
def test_the_default_of_a_strength_is_that_of_the_preset(name):
    space = searched(f"--search={name}", VIEWED)
    assert space.defaults() == {name: getattr(presets.PRESETS["radiograph"], name)}
    assert searched(f"--search={name}", f"--{name}=-1,0", VIEWED).defaults() == {name: -1}
    unsearched = space.unsearched()
    assert unsearched == space.config({})
    assert unsearched.augmentation_ranges == Config(augmentation="radiograph").augmentation_ranges


@pytest.mark.parametrize("augmentation", ["article", "none,article", "article,radiograph+gamma"])
def test_the_default_of_a_strength_is_that_of_the_preset_in_force(augmentation):
    space = searched("--shift=0:0.2:0.05", f"--augmentation={augmentation}")
    assert space.defaults()["shift"] == presets.PRESETS["article"].shift == 0.2


@pytest.mark.parametrize("preset", presets.PRESETS)
def test_a_strength_of_minus_1_and_that_of_the_preset_are_one_config(preset):
    zoom = presets.PRESETS[preset].zoom
    space = searched(f"--zoom=-1,{zoom},0.3", f"--augmentation=none,{preset}")
    chosen = [{"augmentation": preset, "zoom": value} for value in (-1, zoom, 0.3)]
    by_name, by_number, other = map(space.config, chosen)
    assert by_name == by_number != other
    assert space.effective(chosen[0])["zoom"] == zoom


def test_unsearched_is_the_trainers_default_in_the_space_or_not():
    space = searched("--head_units=2:4:linear", "--learning_rate=1e-2,1e-3", "--epochs=3",
                         "--fine_tune_from=block4,block5", "--fine_tune_epochs=2",
                         "--augmentation=article,radiograph", "--views=3",
                         "--pooling=max")  # fmt: skip
    assert space.config({}).head_units == 4
    assert space.unsearched() == Config(epochs=3, pooling="max")


WRONG = {
    "--search names colour, epochs, which can't be searched. Choose from: head_units, ": [
        "--search=colour,l2,epochs"
    ],
    "--search names dropout, and --dropout=0.3 fixes it. Leave one of them out, or give a range "
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
    "--batch_size is 0. Give 1 to 1000000": ["--batch_size=0:8:linear"],
    "--fine_tune_epochs=9 has no effect without --fine_tune_from": ["--fine_tune_epochs=9"],
    "--views=3 has no effect without --augmentation": ["--views=3"],
    "--classes is 1. Give 2 or more": ["--classes=1"],
    "A search over shift has no effect without --augmentation. Add --augmentation=radiograph, or "
    "--augmentation=none,radiograph to search that, too.": ["--search=shift"],
    "A search over views, contrast has no effect without --augmentation": [
        "--views=2:8:log2", "--contrast=0,0.2", "--augmentation=none"
    ],
    "--shift=0.1 has no effect without --augmentation": ["--shift=0.1"],
    # Where a default is "none", what belongs to it is checked all the same.
    "--shift is 0.6. Give 0 to 0.5": ["--shift=0:0.6:0.1", "--augmentation=none,radiograph"],
    "--zoom is 1.0. Give 0 to 0.9": ["--zoom=0:1:linear", VIEWED],
    "--views is 2000. Give 0 to 1000": ["--views=8,2000", "--augmentation=none,article"],
    "--weight_decay is 2.0. Give 0 to 1": ["--weight_decay=0,2"],
    "--optimizer is 'adamw'. Give one of adam, sgd": ["--optimizer=adam,adamw"],
    "--image_size is 16. Give 32 to 1024": ["--image_size=16,112"],
    "--image_size=112.5,150 can't be read": ["--image_size=112.5,150"],
}  # fmt: skip


@pytest.mark.parametrize("message", WRONG)
def test_what_makes_no_sense_is_refused_with_its_mend(message):
    with pytest.raises(ConfigError) as refused:
        searched(*WRONG[message])
    assert message in str(refused.value)


# What KerasTuner draws

DEFAULT = Config().to_json()
WHOLE = {"epochs": 3, "fine_tune_epochs": 2}
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
    ("optimizer", USUAL["optimizer"]): ["adam", "sgd"],
    ("image_size", USUAL["image_size"]): [112, 150, 224],
    ("align", USUAL["align"]): ["chest", "none"],
    ("views", USUAL["views"]): [2, 4, 8, 16],
    ("shift", USUAL["shift"]): [0, 0.03, 0.06, 0.09, 0.12],
    ("zoom", USUAL["zoom"]): [0, 0.05, 0.1, 0.15, 0.2],
    ("contrast", USUAL["contrast"]): [0, 0.1, 0.2, 0.3, 0.4],
}


def drawn(name: str, text: str, count: int = 300) -> list:
    """Draws as KerasTuner's oracles make them; the trainer takes each."""
    also = [VIEWED] if name in BELONGING["augmentation"] else []
    space = searched(f"--search={name}", f"--{name}={text}", *also)
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
    assert draws == (wanted if FIELDS[name].type is str else pytest.approx(wanted, rel=1e-9))


def test_any_draw_of_all_parameters_is_a_config():
    space = searched(f"--search={','.join(USUAL)}", *(f"--{n}={v}" for n, v in WHOLE.items()))
    hp = keras_tuner.HyperParameters()
    space.declare(hp)
    seen = set()
    for seed in range(200):
        values = {each.name: each.random_sample(seed + at) for at, each in enumerate(hp.space)}
        config = space.config(values)
        # What belongs to a choice falls away with it, searched or not.
        tuned, viewed = config.fine_tune_from != "none", config.augmentation != "none"
        assert config.fine_tune_epochs == (2 if tuned else Config.fine_tune_epochs)
        wanted = values if viewed else values | {n: DEFAULT[n] for n in BELONGING["augmentation"]}
        assert {name: getattr(config, name) for name in values} == wanted
        seen.add((tuned, viewed))
    assert len(seen) == 4


def test_values_that_train_the_same_are_one_config():
    space = searched("--search=shift,views,augmentation,head_units")
    plain = {"augmentation": "none", "head_units": 64}
    several = [
        {**plain, "shift": shift, "views": views} for shift in (0.0, 0.09) for views in (2, 4)
    ]
    assert {space.config(values) for values in several} == {Config(head_units=64)}
    viewed = {space.config({**values, "augmentation": "radiograph"}) for values in several}
    assert len(viewed) == 4


def test_a_tuners_own_epochs_are_heeded_and_its_other_notes_are_not():
    space = searched("--epochs=9")
    noted = {"tuner/epochs": 3, "tuner/initial_epoch": 0, "tuner/bracket": 2, "head_units": 128}
    assert space.config(noted) == Config(epochs=3, head_units=128)


def test_a_space_is_written_as_its_flags_are():
    given = {"head_units": "64:1024:log2", "dropout": "0:0.5:0.1", "pooling": "max,flatten",
             "learning_rate": "1e-05:0.01:log"}  # fmt: skip
    space = searched(*(f"--{name}={text}" for name, text in given.items()))
    assert space.texts() == given


# In Python

CONFIG = Config(classes=2, epochs=7, dropout=0.25, data_dir="data", seed=5)


def test_a_space_in_python_is_that_of_the_flags():
    argv = ["--classes=2", "--epochs=7", "--dropout=0.25", "--data_dir=data", "--seed=5"]
    texts = {"head_units": "64:1024:log2", "pooling": "max,average"}
    of_flags = searched(*argv, *(f"--{name}={text}" for name, text in texts.items()),
                        "--search=head_units")  # fmt: skip
    assert Space.of(CONFIG, texts) == of_flags
    assert of_flags.config({"pooling": "average"}) == dataclasses.replace(
        CONFIG, pooling="average", head_units=256
    )


def test_one_value_in_python_is_fixed_and_all_else_is_the_configs():
    space = Space.of(CONFIG, {"head_units": "64,128", "l2": "0.5"})
    assert space.config({"head_units": 64}) == dataclasses.replace(CONFIG, head_units=64, l2=0.5)
    assert space.texts() == {"head_units": "64,128"}
    assert space.unsearched() == dataclasses.replace(CONFIG, head_units=256, l2=0.5)


def test_what_belongs_to_a_searched_choice_may_be_set_by_the_config():
    config = dataclasses.replace(CONFIG, augmentation="article", views=3, shift=0.1)
    space = Space.of(config, {"augmentation": "none,article"})
    assert space.config({"augmentation": "article"}) == config
    assert space.config({"augmentation": "none"}) == CONFIG


@pytest.mark.parametrize(
    ("texts", "message"),
    [
        ({}, "Every parameter is fixed"),
        ({"dropout": "0.3"}, "Every parameter is fixed"),
        ({"epochs": "3,4", "l2": "0,1"}, "The space names epochs, which can't be searched. Choose"),
        ({"dropout": [0.1, 0.2]}, "dropout is [0.1, 0.2] in the space. Give text, for example '0:"),
        ({"dropout": "0:0.5:log"}, "--dropout=0:0.5:log begins at 0, which has no logarithm"),
        ({"dropout": "0:1.5:linear"}, "--dropout is 1.5. Give 0 to below 1"),
        ({"zoom": "0,0.1"}, "A search over zoom has no effect without --augmentation"),
    ],
    ids=str,
)
def test_a_space_in_python_is_checked_as_flags_are(texts, message):
    with pytest.raises(ConfigError) as refused:
        Space.of(CONFIG, texts)
    assert message in str(refused.value)


def test_help_says_why_what_changes_views_has_few_steps():
    values = flags.FlagValues()
    space_lib.define_flags(values)
    assert (
        "Each distinct combination of image_size, align, augmentation, shift, zoom, contrast costs "
        "passes of all its views" in values["search"].help
    )
    for name, usual in USUAL.items():
        assert f"Usual range: {usual}." in values[name].help


def test_values_without_effect_are_none():
    searched = searches.space("--augmentation=none,radiograph", "--search=shift,dropout")
    values = {"shift": 0.03, "dropout": 0.2}
    assert searched.effective({**values, "augmentation": "none"}) == {
        "dropout": 0.2, "augmentation": "none", "shift": None
    }  # fmt: skip
    assert searched.effective({**values, "augmentation": "radiograph"})["shift"] == 0.03
