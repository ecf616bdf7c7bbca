"""The stages of a network: what their rows depend on, and that they are what the layers give."""

import dataclasses
import functools

import keras
import numpy as np
import pytest

from tests.helpers.images import radiographs
from trainer.augmentation.layer import augmentation
from trainer.augmentation.random import uniform_draws
from trainer.config import Config
from trainer.model import chains, networks, normalization, vgg16
from trainer.model.chains import Chains
from trainer.model.precision import Precision
from trainer.model.weights import Weights

QUICK = Config(
    image_size=32, align="none", width=0.05, weights="none", head_units=4, precision="float32"
)
PLAIN = {"precision": "float32"}
MIXED = {"precision": "mixed_bfloat16"}
AUGMENTED = {"augmentation": "article"}
TUNED = {"fine_tune_from": "block4"}


@functools.cache
def fitted(kind):
    return None if kind == "imagenet" else normalization.fit(kind, radiographs(6)[..., 0])


# Of which the networks are others.
BUILT = ("image_size", "align", "width", "normalization", "precision", "fine_tune_from", "classes",
         "head_units", "pooling", "dropout", "l2")  # fmt: skip


@functools.cache
def built(**settings) -> networks.Networks:
    config = dataclasses.replace(QUICK, **settings)
    precision = Precision(config.precision, False, "")
    return networks.build(config, precision, Weights(None, "", ""), fitted(config.normalization))


@pytest.fixture(autouse=True, scope="module")
def _networks_end_with_the_module():
    yield
    built.cache_clear()


def make(first_weights=1, **changes) -> tuple[Chains, networks.Networks]:
    """The chains of a config over networks whose weights follow from a number of their own."""
    config = dataclasses.replace(QUICK, **changes)
    nets = built(seed=first_weights, **{name: changes[name] for name in BUILT if name in changes})
    return chains.make_chains(config, nets, Precision(config.precision, False, "")), nets


def keys(chain) -> list[str]:
    """The names of a chain's cache folders, without that of the squares."""
    return [stage.spec.folder_name() for stage in chain[1:]]


def top(chain, squares, draws=None):
    """Rows of the last stage, each computed from the stage below."""
    rows = squares
    for stage in chain[1:]:
        rows = stage.compute(rows, draws if stage.seed is not None else None)
    return rows


@pytest.fixture(scope="module")
def first():
    return keys(make(**AUGMENTED)[0].train) + keys(make()[0].score)


@pytest.mark.parametrize(
    "changes",
    [
        {"first_weights": 2}, {"image_size": 40}, {"normalization": "featurewise"},
        {"normalization": "zca"}, {"width": 0.1}, {"align": "chest"},
    ],
    ids=str,
)  # fmt: skip
def test_a_change_of_the_frozen_layers_changes_every_key(changes, first):
    train, score = make(**AUGMENTED, **changes)[0].train, make(**changes)[0].score
    assert not set(keys(train) + keys(score)) & set(first)


@pytest.mark.parametrize(
    "changes", [MIXED, {"augmentation": "radiograph"}, {"seed": 2}, {"augmentation": "none"}],
    ids=str,
)  # fmt: skip
def test_precision_augmentation_and_seed_are_in_the_key_of_train_rows_alone(changes, first):
    made, _ = make(**{**AUGMENTED, **changes})
    assert not set(keys(made.train)) & set(first[:1])
    assert keys(made.score) == first[1:]


@pytest.mark.parametrize(
    "changes",
    [
        {"batch_size": 8}, {"epochs": 3}, {"learning_rate": 0.1}, {"views": 3}, {"classes": 2},
        {"head_units": 9}, {"pooling": "max"}, {"dropout": 0.1}, {"l2": 0.1},
        {"label_smoothing": 0.1}, {"class_weights": "balanced"}, {"early_stopping": 2},
        {"cache_gib": 1.0}, {"deterministic": True}, {"as_published": True},
    ],
    ids=str,
)  # fmt: skip
def test_no_other_setting_is_in_a_key(changes, first):
    made, _ = make(**AUGMENTED, **changes)
    assert keys(made.train) + keys(made.score) == first


def test_without_augmentation_the_seed_is_in_no_key(first):
    made, _ = make(seed=2)
    assert keys(made.train) == keys(made.score) == first[1:]


def test_each_cut_has_a_key_of_its_own():
    names = {f"block{block}_pool" for block in (1, 2, 3, 4, 5)}
    each = {}
    for block in ("block2", "block3", "block4", "block5"):
        chain = make(fine_tune_from=block)[0].train
        each |= {stage.spec.name: stage.spec.folder_name() for stage in chain[1:]}
    assert each.keys() == names and len(set(each.values())) == 5


@pytest.mark.parametrize(
    ("lowest", "names"),
    [
        ("none", ["square", "block5_pool"]),
        ("block5", ["square", "block4_pool", "block5_pool"]),
        ("block1", ["square", "block5_pool"]),
    ],
)
def test_there_is_a_stage_for_each_cut_that_a_phase_trains_from(lowest, names):
    made, _ = make(fine_tune_from=lowest)
    for chain in made:
        assert [stage.spec.name for stage in chain] == names


def test_in_float32_without_augmentation_training_and_scoring_share_their_rows():
    made, _ = make(**TUNED)
    assert keys(made.train) == keys(made.score)
    assert not any(stage.augmented for stage in made.train)
    assert [stage.seed for stage in made.train] == [None] * 3


@pytest.mark.parametrize("changes", [MIXED, AUGMENTED, {**MIXED, **AUGMENTED}], ids=str)
def test_otherwise_they_share_the_squares_alone(changes):
    train, score = make(**TUNED, **changes)[0]
    assert train[0].spec == score[0].spec
    assert not set(keys(train)) & set(keys(score))


def test_views_are_drawn_in_the_first_stage_above_the_squares_and_go_on_from_there():
    train, score = make(**TUNED, **AUGMENTED, seed=7)[0]
    assert [stage.augmented for stage in train] == [False, True, True]
    assert [stage.seed for stage in train] == [None, 7, None]
    assert not any(stage.augmented for stage in score)


@pytest.mark.bfloat16
def test_rows_are_described_as_they_are():
    train, score = make(**TUNED, **MIXED)[0]
    for chain, dtype in ((train, "bfloat16"), (score, "float32")):
        lower, upper = (stage.spec for stage in chain[1:])
        assert (lower.shape, upper.shape) == ((4, 4, 13), (1, 1, 26))
        assert (lower.dtype, upper.dtype) == (dtype, dtype)
        rows = top(chain, radiographs())
        assert rows.shape == (4, *upper.shape) and rows.dtype.name == dtype


LONG = [
    pytest.param(
        MIXED, AUGMENTED, marks=[pytest.mark.slow, pytest.mark.bfloat16], id="mixed, augmented"
    )
]


@pytest.mark.parametrize(
    ("precision", "augmented"),
    [(PLAIN, AUGMENTED), pytest.param(MIXED, {}, marks=pytest.mark.slow), *LONG],
    ids=str,
)
@pytest.mark.slow
def test_rows_are_the_layers_applied_by_hand(precision, augmented):
    (train, score), nets = make(**precision, **augmented)
    squares, draws = radiographs(), uniform_draws("abcd", 1, 1)

    def by_hand(model, x):
        for layer in model.layers[model.layers.index(model.get_layer("square")) + 1 :]:
            x = layer([x, x, x]) if layer.name == "grey_to_bgr" else layer(x)
            if layer.name == "block5_pool":
                return keras.ops.convert_to_numpy(keras.ops.cast(x, "float32"))

    plain = squares.astype("float32")
    views = augmentation("article")(squares, draws) if augmented else plain
    close = {"rtol": 0.05, "atol": 0.05} if precision == MIXED else {"rtol": 1e-4, "atol": 1e-4}
    rows = top(train, squares, draws).astype("float32")
    np.testing.assert_allclose(rows, by_hand(nets.trained, views), **close)
    assert len({row.tobytes() for row in rows}) == 4
    np.testing.assert_allclose(
        top(score, squares), by_hand(nets.served, plain), rtol=1e-4, atol=1e-4
    )


@pytest.mark.parametrize(("precision", "augmented"), [(PLAIN, {}), *LONG], ids=str)
def test_a_stage_through_a_lower_one_is_the_direct_one(precision, augmented):
    direct, through = make(**precision, **augmented)[0], make(**TUNED, **precision, **augmented)[0]
    squares, draws = radiographs(), uniform_draws("abcd", 1, 1)
    for one, other in zip(direct, through, strict=True):
        assert len(one) == 2 and len(other) == 3
        assert one[-1].spec == other[-1].spec
        np.testing.assert_allclose(
            top(one, squares, draws).astype("float32"),
            top(other, squares, draws).astype("float32"),
            rtol=1e-5,
        )


def test_scored_rows_are_those_of_the_model_that_is_served():
    (_, score), nets = make(**MIXED, **AUGMENTED)
    squares = radiographs()
    rows = top(score, squares)
    probabilities = nets.probabilities("block5_pool").predict_on_batch(rows)
    np.testing.assert_allclose(probabilities, nets.served.predict_on_batch(squares), atol=1e-6)


@pytest.mark.slow
def test_xla_compiles_the_frozen_part_where_it_was_measured_to_be_faster():
    config = QUICK
    nets = make()[1]
    squares = radiographs()
    plain = top(chains.make_chains(config, nets, Precision("float32", False, "")).train, squares)
    fast = chains.make_chains(config, nets, Precision("float32", True, "")).train
    np.testing.assert_allclose(top(fast, squares), plain, rtol=1e-4, atol=1e-5)
    assert vgg16.part(nets.trained, "square", "block5_pool", True).jit_compile
