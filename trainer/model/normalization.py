"""Featurewise standardisation and ZCA whitening of images, fitted on the train split.

A. Y. Xu, "Detecting COVID-19 induced Pneumonia from Chest X-rays with Transfer Learning" (2020)
switched on `featurewise_center`, `featurewise_std_normalization` and `zca_whitening` of Keras'
ImageDataGenerator and never called its `fit`, so that they did nothing. This is what they would
have done, on grey images whose three channels are equal: one channel is enough, and its singular
values are those of three over √3. Layers are Keras' own, so that a saved model needs no code.
"""

import dataclasses

import keras
import numpy as np

from trainer.run.errors import RunError

EPSILON = 1e-6  # ImageDataGenerator's, on the standard deviation and on the singular values

# Images that the whitening is fitted on at most: evenly spaced ones of more. At 150 pixels a side
# the singular value decomposition then takes 0.3 GB, and the model grows by 92 MB.
ZCA_IMAGES = 512


@dataclasses.dataclass(frozen=True)
class Normalization:
    """What was fitted, for images in 0..1.

    An image x becomes z = (x - mean) · scale and, with a basis, basis · gains · basisᵀ · z:
    ImageDataGenerator's whitening matrix, never multiplied out.

    Attributes:
        mean: of all pixels of all images, 0..1.
        scale: 1 / (their standard deviation + 1e-6); 1 before a whitening, which ImageDataGenerator
            lets override it.
        basis: float32 [pixels, k], orthonormal columns, or None for no whitening.
        gains: float32 [k], the factor along each column, or None.
        deviation: root mean square of a pixel after all that, over the images of the fit.
    """

    mean: float
    scale: float
    basis: np.ndarray | None = None
    gains: np.ndarray | None = None
    deviation: float = 1.0


def fit(kind: str, images: np.ndarray) -> Normalization:
    """Fits on images as they are stored, without augmentation.

    The whitening has a rank of at most the number of images, which is far below that of pixels. So
    it makes all images of the fit orthogonal and equally long, whatever they show, and of any other
    image it keeps what those span and no more. Directions that no image has, of which images that
    occur twice make some, are dropped; ImageDataGenerator divides by nearly 0 there.

    Args:
        kind: "featurewise" (mean and standard deviation) or "zca" (mean, then whitening).
        images: [n, size, size] in 0..255, uint8 or float; of the train split alone.

    Returns:
        What was fitted.

    Raises:
        ValueError: there is no such kind, or the images are none, or no squares.
        RunError: the images are all one grey.
    """
    if kind not in ("featurewise", "zca"):
        raise ValueError(f"There is no fit of {kind!r}. Choose one of: featurewise, zca.")
    if images.ndim != 3 or images.shape[1] != images.shape[2] or not images.size:
        raise ValueError(
            f"The normalization got images of shape {images.shape}. "
            "Give it one or more images of shape [n, size, size]."
        )
    # Image by image: all of them in float64 would take eight times their memory.
    mean = float(np.mean([image.mean(dtype="float64") for image in images])) / 255
    squares = [np.square(image / 255.0 - mean).mean(dtype="float64") for image in images]
    std = float(np.sqrt(np.mean(squares)))
    if std == 0:
        raise RunError(
            f"All images of train are one grey: there is nothing that --normalization={kind} can "
            "fit. Look at the images, or give --normalization=imagenet."
        )
    if kind == "featurewise":
        return Normalization(mean, 1 / (std + EPSILON))
    return _whitening(images, mean)


def _whitening(images: np.ndarray, mean: float) -> Normalization:
    """The whitening, from the thin singular value decomposition of the n images.

    It is read off the n x n products of the images: a tenth of the time of numpy.linalg.svd, and in
    float64 all the digits that images of 8 bits have.
    """
    count = min(len(images), ZCA_IMAGES)
    chosen = images[np.linspace(0, len(images) - 1, count).round().astype(int)]
    flat = chosen.reshape(count, -1) / 255.0 - mean
    squares, vectors = np.linalg.eigh(flat @ flat.T)
    # The numerical rank, as numpy.linalg.matrix_rank counts it.
    held = squares > squares[-1] * max(flat.shape) * np.finfo("float64").eps
    values = np.sqrt(squares[held])
    gains = np.sqrt(count) / (np.sqrt(3) * values + EPSILON)
    return Normalization(
        mean,
        scale=1.0,
        basis=(flat.T @ (vectors[:, held] / values)).astype("float32"),
        gains=gains.astype("float32"),
        deviation=float(np.sqrt(np.square(gains * values).sum() / flat.size)),
    )


def normalized(grey: keras.KerasTensor, fitted: Normalization) -> keras.KerasTensor:
    """The layers that apply a fit, scaled so that a pixel of the fitted images deviates by 1.

    Whitening alone gives that only to images that span all directions: k of the 3 · pixels there
    are leave a deviation of √(k / (3 · pixels)), .07 for the article's images.

    Args:
        grey: float32 [batch, size, size, 1] in 0..255.
        fitted: a result of `fit`.

    Returns:
        float32 [batch, size, size, 1], about 0.

    Raises:
        ValueError: the whitening was fitted at another size.
    """
    grey = keras.layers.Rescaling(
        fitted.scale / 255,
        offset=-fitted.mean * fitted.scale,
        dtype="float32",
        name="standardise",
    )(grey)
    if fitted.basis is None:
        return grey
    _, height, width, _ = grey.shape
    pixels = len(fitted.basis)
    if height * width != pixels:
        raise ValueError(
            f"The whitening was fitted on images of {pixels} pixels, and the model's have "
            f"{height} x {width}. Fit it at the model's image size."
        )
    assert fitted.gains is not None  # it is there beside a basis
    x = keras.layers.Reshape((pixels,), dtype="float32", name="whiten_flatten")(grey)
    # `vgg16.set_trainable` never frees layers whose names begin with "whiten".
    for name, kernel in (
        ("whiten_analyse", fitted.basis * (fitted.gains / fitted.deviation)),
        ("whiten_synthesise", fitted.basis.T),
    ):
        layer = keras.layers.Dense(
            kernel.shape[1], use_bias=False, trainable=False, dtype="float32", name=name
        )
        x = layer(x)
        layer.set_weights([kernel])
    return keras.layers.Reshape((height, width, 1), dtype="float32", name="whiten_image")(x)
