"""The randomized-weights check: what it moves, and what it says."""

import numpy as np
import pytest

from tests.helpers.small_networks import lively, squares
from trainer.inference import gradcam, randomized


@pytest.fixture(scope="module")
def model():
    return lively(classes=3)


@pytest.mark.slow
def test_the_network_is_as_it_was_afterwards(model):
    x = squares(2)
    before = [each.copy() for each in model.get_weights()]
    first = randomized.correlations(model, x, [0, 1], gradcam.heatmaps(model, x, [0, 1]))
    for one, other in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)
    second = randomized.correlations(model, x, [0, 1], gradcam.heatmaps(model, x, [0, 1]))
    for part in randomized.PARTS:
        np.testing.assert_array_equal(first[part], second[part])  # nothing in it is left to chance


def test_weights_lose_their_places_and_keep_their_values(model):
    layers = {layer.name: [each.copy() for each in layer.get_weights()] for layer in model.layers}
    with randomized._moved(model, randomized.PARTS["head and block 5"], 0):
        for layer in model.layers:
            for one, other in zip(layers[layer.name], layer.get_weights(), strict=True):
                moved = layer.name.startswith(("head", "last", "block5"))
                np.testing.assert_array_equal(np.sort(one.ravel()), np.sort(other.ravel()))
                if one.size > 20:
                    assert np.array_equal(one, other) != moved, layer.name


def test_an_error_inside_puts_them_back(model):
    before = model.get_layer("head").get_weights()[0].copy()
    with pytest.raises(ZeroDivisionError), randomized._moved(model, ("head",), 0):
        raise ZeroDivisionError
    np.testing.assert_array_equal(before, model.get_layer("head").get_weights()[0])


def test_every_member_of_an_ensemble_is_moved():
    model = lively(classes=3, ensemble=2, trained_from="block5")
    names = ("last", "last_2", "block5_conv3", "block5_conv3_2")
    before = {name: model.get_layer(name).get_weights()[0].copy() for name in names}
    with randomized._moved(model, randomized.PARTS["head and block 5"], 0):
        for name in names:
            assert not np.array_equal(before[name], model.get_layer(name).get_weights()[0])


def test_a_map_that_no_weight_changes_has_a_correlation_of_1(model, monkeypatch):
    maps = np.random.default_rng(0).uniform(size=(2, 4, 4)).astype(np.float32)
    monkeypatch.setattr(gradcam, "heatmaps", lambda *_: maps)
    of_parts = randomized.correlations(model, squares(2), [0, 0], maps)
    for values in of_parts.values():
        np.testing.assert_allclose(values, 1)
    assert "explains little" in randomized.sentence(of_parts)


def test_a_map_without_anything_has_a_correlation_of_0(model):
    of_parts = randomized.correlations(model, squares(1), [0], np.zeros((1, 4, 4), np.float32))
    assert [values.tolist() for values in of_parts.values()] == [[0], [0]]


@pytest.mark.parametrize(
    "head,both,words",
    [(0.1, 0.0, "most of a map comes from what was learned"),
     (0.8, 0.1, "less from the head"),
     (0.9, 0.7, "explains little")],
)  # fmt: skip
def test_the_sentence_says_how_much_is_learned(head, both, words):
    values = map(np.atleast_1d, (head, both))
    text = randomized.sentence(dict(zip(randomized.PARTS, values, strict=True)))
    assert words in text and f"{head:.2f} (random head)" in text
