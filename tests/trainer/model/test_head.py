"""The heads of an ensemble: one network of the members' own layers over what they share."""

import dataclasses

import keras
import numpy as np
import pytest

from tests.helpers.images import radiographs
from trainer.config import BLOCKS, Config
from trainer.model import head, networks
from trainer.model.head import is_of_head, member_seed, reset_head
from trainer.model.networks import Networks
from trainer.model.precision import Precision
from trainer.model.weights import Weights

QUICK = Config(
    image_size=32, align="none", width=0.05, weights="none", head_units=6, dropout=0.5, ensemble=3
)
FLOAT32, RANDOM = Precision("float32", False, ""), Weights(None, "", "random numbers")
TUNED = {"fine_tune_from": "block4"}


def build(**changes) -> Networks:
    return networks.build(dataclasses.replace(QUICK, **changes), FLOAT32, RANDOM, None)


def stirred(**changes) -> keras.Model:
    """A network all of whose trained weights differ, as after a training."""
    model, rng = build(**changes).trained, np.random.default_rng(0)
    for weight in model.weights:
        if weight.path.startswith(("block4", "block5", "head", "last")):
            weight.assign(weight + rng.normal(0, 0.05, weight.shape))
    return model


def output(model: keras.Model, name: str, images: np.ndarray) -> np.ndarray:
    part = keras.Model(model.input, model.get_layer(name).output)
    return keras.ops.convert_to_numpy(part(images))


@pytest.mark.slow
@pytest.mark.parametrize("classes", [2, 4])
@pytest.mark.parametrize("changes", [{}, TUNED])
def test_probabilities_are_the_mean_of_the_members(changes, classes):
    model, images = stirred(classes=classes, **changes), radiographs(5)
    each = []
    for end in ("", "_2", "_3"):
        logits = output(model, f"logits{end}", images)
        shares = np.exp(logits - logits.max(axis=1, keepdims=True))
        each.append(shares / shares.sum(axis=1, keepdims=True))
        np.testing.assert_allclose(output(model, f"probabilities{end}", images), each[-1],
                                   atol=1e-6)  # fmt: skip
    np.testing.assert_allclose(model.predict(images, verbose=0), np.mean(each, axis=0), atol=1e-6)
    assert np.ptp(each, axis=0).max() > 1e-2  # the members differ


@pytest.mark.parametrize(
    ("first", "copied"),
    [("none", ()), ("block5", BLOCKS[4:]), ("block4", BLOCKS[3:]), ("block1", BLOCKS)],
)
def test_what_is_trained_is_there_for_each_member_and_the_rest_once(first, copied):
    model = build(fine_tune_from=first, ensemble=2).trained
    names = {layer.name for layer in model.layers}
    for block in BLOCKS:
        copies = {f"{block}_conv1_2", f"{block}_pool_2"}
        assert {f"{block}_conv1", f"{block}_pool"} < names
        assert copies & names == (copies if block in copied else set())
    assert {"head", "head_2", "last", "last_2", "dropout", "dropout_2"} < names
    assert "square_2" not in names and "head_3" not in names


def test_members_begin_with_equal_blocks_and_heads_of_their_own():
    model = build(**TUNED).trained
    for name in ("block4_conv1", "block5_conv3"):
        for end in ("_2", "_3"):
            others = model.get_layer(name + end).get_weights()
            for one, other in zip(model.get_layer(name).get_weights(), others, strict=True):
                np.testing.assert_array_equal(one, other)
    kernels = [model.get_layer(f"head{end}").kernel.numpy() for end in ("", "_2", "_3")]
    assert len({kernel.tobytes() for kernel in kernels}) == 3


@pytest.mark.parametrize("changes", [{}, TUNED], ids=["heads", "blocks, too"])
def test_the_first_member_is_the_network_without_the_others(changes):
    """So that both share the rows of what is frozen, and one is read off as the other."""
    alone, model = build(ensemble=1, **changes).trained, build(**changes).trained
    for layer in [each for each in alone.layers if each.weights]:
        others = model.get_layer(layer.name).get_weights()
        for one, other in zip(layer.get_weights(), others, strict=True):
            np.testing.assert_array_equal(one, other)
    images = radiographs()
    shares = [output(each, "probabilities", images) for each in (alone, model)]
    np.testing.assert_array_equal(*shares)


def test_a_member_s_head_is_that_of_a_network_of_its_seed():
    nets, rows = build(), np.random.default_rng(0).exponential(8, (12, 1, 1, 26))
    of_members = nets.logits("block5_pool")(rows.astype("float32"), training=True)
    for member, logits in enumerate(of_members):
        alone = build(ensemble=1)
        reset_head(alone.trained, member_seed(QUICK.seed, member))
        own = alone.logits("block5_pool")(rows.astype("float32"), training=True)
        np.testing.assert_array_equal(own, logits)  # the weights, and the units that it drops
    assert not np.allclose(of_members[0], of_members[1])


@pytest.mark.slow
def test_no_two_seeds_and_layers_have_draws_in_common():
    """Neighbouring seeds above all, which --seeds gives."""
    drawn = []
    for seed in (7, 8, 9):
        net = build(ensemble=1)
        reset_head(net.trained, seed)
        for name in head._TRAINED:
            kernel = np.asarray(net.trained.get_layer(name).kernel)
            limit = np.sqrt(6 / sum(kernel.shape))  # Glorot's: layers differ in their scale
            drawn.append((kernel / limit).ravel()[:20])
    alike = np.abs(np.corrcoef(drawn)) - np.eye(len(drawn))
    assert alike.max() < 0.9


def test_ensembles_of_other_seeds_have_no_member_in_common():
    seeds = [member_seed(seed, member) for seed in range(100) for member in range(20)]
    assert len(set(seeds)) == len(seeds)
    assert all(0 <= seed < 2**31 for seed in seeds)
    assert [member_seed(seed, 0) for seed in (0, 7, 2**31 - 1)] == [0, 7, 2**31 - 1]


@pytest.mark.slow
@pytest.mark.parametrize("below", ["block5_pool", "square", "block3_pool", "block4_pool"])
def test_all_members_are_fed_by_rows_of_any_stage(below):
    """Those above the cut as well, as long as the members' blocks are equal."""
    nets, images = build(**TUNED), radiographs().astype("float32")
    rows = output(nets.served, below, images)
    shares = nets.probabilities(below).predict(rows, verbose=0)
    np.testing.assert_allclose(shares, nets.served.predict(images, verbose=0), atol=1e-6)
    logits = nets.logits(below).predict(rows, verbose=0)
    for end, own in zip(("", "_2", "_3"), logits, strict=True):
        np.testing.assert_allclose(own, output(nets.trained, f"logits{end}", images), atol=1e-5)


def test_a_part_trains_the_heads_alone_or_the_members_blocks_with_them():
    nets = build(**TUNED)
    nets.train_from(None)
    heads = {weight.path for weight in nets.logits("block5_pool").trainable_weights}
    assert len(heads) == 3 * 4 and all(map(is_of_head, heads))
    nets.train_from("block4")
    tuned = {weight.path for weight in nets.logits("block3_pool").trainable_weights}
    assert len(tuned) == 3 * (4 + 12) and heads < tuned
    assert {path[:6] for path in tuned if not is_of_head(path)} == {"block4", "block5"}


def test_heads_over_other_networks_are_those_of_the_whole():
    config = dataclasses.replace(QUICK, seed=4, l2=0.1)
    one = networks.build(dataclasses.replace(QUICK, ensemble=1), FLOAT32, RANDOM, None)
    heads, whole = networks.build_heads(config, FLOAT32, one), build(seed=4, l2=0.1)
    ours, theirs = heads.logits("block5_pool"), whole.logits("block5_pool")
    for mine, other in zip(ours.get_weights(), theirs.get_weights(), strict=True):
        np.testing.assert_array_equal(mine, other)
    rows = np.random.default_rng(0).exponential(8, (12, 1, 1, 26)).astype("float32")
    for mine, other in zip(ours(rows), theirs(rows), strict=True):
        np.testing.assert_array_equal(mine, other)
    assert len(ours.losses) == 6 and float(sum(ours.losses)) == pytest.approx(
        float(sum(theirs.losses))
    )


@pytest.mark.bfloat16
@pytest.mark.slow
def test_the_served_network_takes_over_what_each_member_has_learnt():
    bfloat16 = Precision("mixed_bfloat16", False, "")
    nets = networks.build(dataclasses.replace(QUICK, **TUNED), bfloat16, RANDOM, None)
    nets.train_from("block4")
    for name in ("block4_conv1_3", "head", "last_2"):
        bias = nets.trained.get_layer(name).bias
        bias.assign(bias + 1)
    nets.serve()
    for one, other in zip(nets.trained.get_weights(), nets.served.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)
