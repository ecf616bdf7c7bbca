"""What is fitted, against Keras' ImageDataGenerator, and the layers that apply it."""

import dataclasses

import keras
import numpy as np
import pytest
from keras.src.legacy.preprocessing.image import ImageDataGenerator

from trainer.model import normalization
from trainer.model.normalization import Normalization, fit, normalized
from trainer.model.vgg16 import BGR_STD, build_model, set_trainable
from trainer.model.weights import Weights
from trainer.run.errors import RunError

SIDE = 32
ONE_LONG = ["zca", pytest.param("featurewise", marks=pytest.mark.slow)]


def images(count=40, size=SIDE, seed=0):
    """Smooth pictures with some noise: singular values of many sizes, as those of real images."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:size, :size] / size
    waves = [
        sum(np.sin(9 * (a * x + b * y) + c) for a, b, c in rng.uniform(-1, 1, (4, 3)))
        for _ in range(count)
    ]
    noisy = 128 + 25 * np.array(waves) + rng.normal(0, 8, (count, size, size))
    return noisy.clip(0, 255).astype(np.uint8)


def generator(kind, train):
    """Keras' own, as the article should have fitted it."""
    fitted = ImageDataGenerator(
        rescale=1 / 255,
        featurewise_center=True,
        featurewise_std_normalization=True,
        zca_whitening=kind == "zca",
        dtype="float64",
    )
    fitted.fit(rgb(train))
    return fitted


def rgb(pictures):
    return np.repeat(pictures[..., None], 3, axis=-1).astype("float32")


def applied(fitted, pictures):
    grey = keras.Input((*pictures.shape[1:], 1))
    model = keras.Model(grey, normalized(grey, fitted))
    return model.predict(pictures[..., None].astype("float32"), verbose=0)[..., 0]


def small(fitted):
    weights = Weights(None, "", "random numbers")
    return build_model(classes=2, image_size=SIDE, head_units=8, dropout=0.5, pooling="flatten",
                       weights=weights, normalization=fitted, width=0.05)  # fmt: skip


# The layers work in float32, and whitening multiplies by some tens.
@pytest.mark.parametrize(("kind", "tolerance"), [("featurewise", 1e-5), ("zca", 1e-4)])
@pytest.mark.parametrize("unseen", [True, pytest.param(False, marks=pytest.mark.slow)])
def test_as_imagedatagenerator_fits_and_standardises_it(kind, tolerance, unseen):
    train = images(size=16)
    pictures = images(size=16, seed=1) if unseen else train
    theirs = generator(kind, train).standardize(rgb(pictures))
    fitted = fit(kind, train)
    ours = applied(fitted, pictures) * fitted.deviation
    assert theirs.std() > 0.05
    for channel in range(3):
        np.testing.assert_allclose(ours, theirs[..., channel], atol=tolerance)


def test_the_two_factors_are_imagedatagenerators_matrix():
    train = images(12, 8)
    fitted = fit("zca", train)
    matrix = (fitted.basis * fitted.gains) @ fitted.basis.T
    # Equal channels: a pixel of one channel gets a third from each.
    theirs = generator("zca", train).zca_whitening_matrix[::3, ::3] * 3
    np.testing.assert_allclose(matrix, theirs, atol=1e-5 * abs(theirs).max())
    np.testing.assert_allclose(fitted.basis.T @ fitted.basis, np.eye(12), atol=1e-5)


@pytest.mark.parametrize("kind", ["featurewise", "zca"])
def test_fitted_images_have_mean_0_and_deviation_1(kind):
    train = images()
    out = applied(fit(kind, train), train)
    assert np.sqrt(np.square(out).mean()) == pytest.approx(1, abs=1e-3)
    if kind == "featurewise":
        assert out.mean() == pytest.approx(0, abs=1e-4)


def test_whitened_train_images_are_orthogonal_and_equally_long():
    flat = applied(fit("zca", images()), images()).reshape(40, -1)
    products = flat @ flat.T / SIDE**2
    np.testing.assert_allclose(products, np.eye(40), atol=1e-2)


def test_images_that_occur_twice_do_not_blow_up():
    train = np.concatenate([images(20), images(20)])
    fitted = fit("zca", train)
    assert fitted.basis.shape == (SIDE**2, 20)
    assert abs(applied(fitted, images(seed=1))).max() < 50


def test_more_images_than_pixels():
    fitted = fit("zca", images(200, 8))
    assert fitted.basis.shape == (64, 64)


def test_at_most_so_many_images_fit_the_whitening(monkeypatch):
    monkeypatch.setattr(normalization, "ZCA_IMAGES", 10)
    train = images(25)
    fitted = fit("zca", train)
    assert fitted.basis.shape == (SIDE**2, 10)
    # The mean is that of all images.
    assert fitted.mean == fit("featurewise", train).mean


def test_at_the_articles_size_it_fits_in_megabytes():
    fitted = fit("zca", images(60, 150))
    assert fitted.basis.shape == (22500, 60) and fitted.basis.dtype == np.float32
    # The matrix that is never made is 67,500 x 67,500: 18 GB.
    assert fitted.basis.nbytes + fitted.gains.nbytes == 4 * (22500 * 60 + 60)


@pytest.mark.slow
def test_float_and_uint8_images_fit_alike():
    first, second = fit("zca", images()), fit("zca", images().astype("float32"))
    assert first.mean == pytest.approx(second.mean)
    np.testing.assert_allclose(first.gains, second.gains, rtol=1e-4)


@pytest.mark.parametrize("kind", ONE_LONG)
def test_vgg16_gets_the_scale_of_imagenet(kind):
    train = images()
    model = small(fit(kind, train))
    inside = keras.Model(model.input, model.get_layer("imagenet_scale").output)
    bgr = inside.predict(train[..., None], verbose=0)
    np.testing.assert_allclose(np.sqrt(np.square(bgr).mean(axis=(0, 1, 2))), BGR_STD, rtol=1e-3)
    assert "subtract_mean" not in {layer.name for layer in model.layers}


def test_without_a_fit_the_means_of_imagenet_are_subtracted_and_no_more():
    names = [layer.name for layer in small(None).layers]
    start = names.index("square")
    assert names[start : start + 4] == ["square", "grey_to_bgr", "subtract_mean", "block1_conv1"]


@pytest.mark.slow
@pytest.mark.parametrize("kind", ONE_LONG)
def test_a_saved_model_holds_keras_layers_and_its_fit(kind, tmp_path):
    model = small(fit(kind, images()))
    assert all(type(layer).__module__.startswith("keras.") for layer in model.layers)
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    pictures = images(4, seed=1)[..., None]
    np.testing.assert_array_equal(
        loaded.predict(pictures, verbose=0), model.predict(pictures, verbose=0)
    )


@pytest.mark.slow
@pytest.mark.parametrize("block", [None, "block1", "block5"])
def test_training_leaves_the_fit_alone(block):
    plain, fitted = small(None), small(fit("zca", images()))
    assert set_trainable(fitted, block) == set_trainable(plain, block)
    before = fitted.get_layer("whiten_analyse").get_weights()[0]
    fitted.compile(keras.optimizers.SGD(0.01), "sparse_categorical_crossentropy")
    fitted.fit(images(4)[..., None], np.array([0, 1, 1, 0]), verbose=0)
    np.testing.assert_array_equal(fitted.get_layer("whiten_analyse").get_weights()[0], before)


def test_bfloat16_policy_does_not_touch_the_whitening():
    expected = applied(fit("zca", images()), images())
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        mixed = applied(fit("zca", images()), images())
    finally:
        keras.config.set_dtype_policy("float32")
    np.testing.assert_array_equal(mixed, expected)


@pytest.mark.parametrize(
    ("kind", "pictures", "message"),
    [
        ("imagenet", images(2), "no fit of 'imagenet'. Choose one of: featurewise, zca"),
        ("zca", images(2)[..., None], r"shape \(2, 32, 32, 1\). Give it one or more"),
        ("zca", images(2)[:, 1:], r"shape \(2, 31, 32\). Give it one or more"),
        ("zca", images(2)[:0], r"shape \(0, 32, 32\). Give it one or more"),
        ("featurewise", np.full((3, 8, 8), 7, np.uint8), "All images of train are one grey"),
    ],
)
def test_images_that_cannot_be_fitted_are_refused(kind, pictures, message):
    with pytest.raises((ValueError, RunError), match=message):
        fit(kind, pictures)


def test_a_whitening_of_another_size_is_refused():
    with pytest.raises(
        ValueError, match=r"fitted on images of 64 pixels, and the model's have 32 x"
    ):
        small(fit("zca", images(5, 8)))


def test_a_fit_cannot_be_changed():
    with pytest.raises(dataclasses.FrozenInstanceError):
        Normalization(0.5, 0.2).mean = 0.1
