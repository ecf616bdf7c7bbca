"""Grad-CAM: the paper's formula, for every number of classes and of members."""

import keras
import numpy as np
import pytest

from tests.helpers.small_networks import lively, squares
from trainer.inference import gradcam
from trainer.inference.gradcam import heatmaps
from trainer.model import saved, vgg16


def output(model, name, x):
    part = keras.Model(model.get_layer(vgg16.SQUARE).output, model.get_layer(name).output)
    return keras.ops.convert_to_numpy(part(x.astype("float32")))


def by_hand(model, x, label, logits="logits", last="block5_conv3"):
    """The weighed sum, not cut off at 0; a slope is what a channel does that is raised a little."""
    activations, above = output(model, last, x), vgg16.part(model, last, logits)
    channels = activations.shape[3]

    def own(raised):
        values = above(raised.reshape(-1, *activations.shape[1:]))
        values = keras.ops.convert_to_numpy(values).astype("float64")
        of_class = values[:, label] - (values[:, 1 - label] if values.shape[1] == 2 else 0)
        return of_class.reshape(channels, len(x))

    step = 0.01 * np.eye(channels, dtype="float32")[:, None, None, None]  # one channel at a time
    slopes = (own(activations + step) - own(activations - step)) / 0.02
    return np.einsum("cn,nhwc->nhw", slopes, activations)


def scaled(weighed):
    positive = np.maximum(weighed, 0)
    highest = positive.max(axis=(1, 2), keepdims=True)
    return np.divide(positive, highest, out=np.zeros_like(positive), where=highest > 0)


@pytest.mark.parametrize("classes", [2, 4])
@pytest.mark.parametrize("pooling", ["flatten", "average"])
@pytest.mark.slow
def test_a_map_is_the_sum_of_channels_weighed_by_their_mean_slopes(classes, pooling):
    model, x = lively(classes=classes, pooling=pooling), squares(3)
    for label in range(classes):
        given = heatmaps(model, x, label)
        assert given.dtype == np.float32 and given.shape == (3, 4, 4)
        np.testing.assert_allclose(given, scaled(by_hand(model, x, label)), atol=0.02)


def test_of_two_classes_one_has_what_speaks_against_the_other():
    model, x = lively(), squares(8)
    first, second = (heatmaps(model, x, label) for label in (0, 1))
    assert not (first * second).any()
    assert first.any() and second.any()


def test_by_default_the_class_is_the_predicted_one():
    model, x = lively(classes=4), squares(6)
    predicted = output(model, "probabilities", x).argmax(axis=1)
    assert len(set(predicted)) > 1
    np.testing.assert_array_equal(heatmaps(model, x), heatmaps(model, x, predicted))
    assert not np.array_equal(heatmaps(model, x), heatmaps(model, x, (predicted + 1) % 4))


def test_the_maximum_of_a_map_is_1_or_the_map_is_0():
    model, x = lively(), squares(8)
    highest = [heatmaps(model, x, label).max(axis=(1, 2)) for label in (0, 1)]
    assert set(np.concatenate(highest)) <= {0.0, 1.0}
    model.get_layer("last").kernel.assign(0 * model.get_layer("last").kernel)
    assert not heatmaps(model, x).any()


def test_members_that_share_convolutions_have_the_map_of_their_mean_logits():
    model, x = lively(classes=3, ensemble=2), squares(3)
    of_each = [by_hand(model, x, 1, logits) for logits in ("logits", "logits_2")]
    np.testing.assert_allclose(heatmaps(model, x, 1), scaled(sum(of_each)), atol=0.02)


def test_members_with_convolutions_of_their_own_have_the_sum_of_their_maps():
    model, x = lively(classes=3, ensemble=2, trained_from="block5"), squares(3)
    one, two = by_hand(model, x, 1), by_hand(model, x, 1, "logits_2", "block5_conv3_2")
    assert np.abs(one - two).max() > 0.1 * np.abs(one).max()
    expected = scaled(np.maximum(one, 0) + np.maximum(two, 0))
    np.testing.assert_allclose(heatmaps(model, x, 1), expected, atol=0.02)


def test_batches_of_images_do_not_change_a_map(monkeypatch):
    model, x = lively(), squares(5)
    whole = heatmaps(model, x)
    monkeypatch.setattr(gradcam, "_BATCH", 2)
    np.testing.assert_allclose(heatmaps(model, x), whole, atol=1e-5)


@pytest.mark.slow
def test_a_saved_network_has_the_same_maps(tmp_path):
    model, x = lively(classes=3, align="chest"), squares(2)
    saved.save(model, tmp_path / "model.keras", ("a", "b", "c"))
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    np.testing.assert_allclose(heatmaps(loaded, x), heatmaps(model, x), atol=1e-5)


def test_no_image_has_no_map():
    assert heatmaps(lively(), squares(0)).shape == (0, 4, 4)
