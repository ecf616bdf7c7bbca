"""Training-only augmentation of grey images: one warp, then the exposure.

Flips, rotation, shift, shear and zoom become one matrix per image, so that each image is sampled
once and on one channel. Images are [batch, height, width, 1] on the 0..255 scale throughout, and
float32 unless said otherwise. Everything random is drawn first, as uniform numbers; the rest are
pure functions of those numbers. All of it is `keras.ops`, so it runs on TensorFlow and on JAX.
"""

import functools
from collections.abc import Callable

import keras
from keras import ops

from trainer.augmentation import intensity, presets, spatial
from trainer.augmentation.presets import Ranges
from trainer.augmentation.random import parameters_from

FORMULA = "matrix, bend, exposure"  # change it with the pixels: caches go by it


def augment(
    images: keras.KerasTensor, draws: keras.KerasTensor, ranges: Ranges
) -> keras.KerasTensor:
    """Augments images by given random numbers; a pure function.

    Args:
        images: float32 [batch, height, width, 1] in 0..255.
        draws: float32 [batch, DRAWS] in [0, 1), see `parameters_from`.
        ranges: how far each parameter may stray.

    Returns:
        float32 [batch, height, width, 1] in 0..255.
    """
    parameters = parameters_from(draws, ranges)
    _, height, width, _ = ops.shape(images)
    bend = None
    if ranges.elastic:
        bend = spatial.bends(parameters.elastic_seed, ranges.elastic, height, width)
    images = spatial.warp(images, spatial.transforms(parameters, height, width), bend)
    if ranges.gamma:
        images = intensity.respond(images, parameters.gamma)
    if ranges.channel_shift:
        images = intensity.shift_channel(images, parameters.channel_shift)
    if ranges.brightness or ranges.contrast:
        images = intensity.expose(images, parameters.brightness, parameters.contrast)
    if ranges.noise:
        images = intensity.add_noise(images, parameters.noise, parameters.noise_seed)
    if ranges.cutout:
        rectangle = parameters.cutout_area, parameters.cutout_aspect
        images = intensity.cover(images, *rectangle, parameters.cutout_x, parameters.cutout_y)
    return images


class Augmentation(keras.layers.Layer):
    """`augment` as a layer of two inputs, the images and their random numbers.

    Nothing is drawn here, so a view is the same in any batch, order and process.

        >>> layer = augmentation("radiograph")
        >>> views = layer(images, uniform_draws(image_ids, view=0, seed=1))
    """

    def __init__(self, ranges: Ranges) -> None:
        """Has no weights.

        Args:
            ranges: How far each parameter may stray.
        """
        # float32 whatever the policy: in bfloat16 a coordinate of 149.2 is 149.
        super().__init__(name="augmentation", dtype="float32")
        self.ranges = ranges
        self._augment = _compiled(functools.partial(augment, ranges=ranges))

    def build(self, images_shape: tuple, draws_shape: tuple) -> None:
        """Checks the shapes.

        Raises:
            ValueError: the images are not [batch, height, width, 1].
        """
        if len(images_shape) != 4 or images_shape[-1] != 1:
            raise ValueError(
                f"Augmentation got images of shape {tuple(images_shape)}. "
                "Give it grey images of shape [batch, height, width, 1]."
            )

    def call(self, images: keras.KerasTensor, draws: keras.KerasTensor) -> keras.KerasTensor:
        """Makes the view of each image that its draws describe.

        Args:
            images: [batch, height, width, 1] in 0..255, uint8 or float.
            draws: float32 [batch, DRAWS] in [0, 1).

        Returns:
            float32 [batch, height, width, 1] in 0..255.
        """
        images = ops.cast(images, "float32")
        # XLA sums the pixels of one image in another order, by .003 grey levels. In a graph whose
        # batch is open that stays so: a second row would cost every batch one.
        if images.shape[0] == 1:
            return self._augment(ops.repeat(images, 2, axis=0), ops.repeat(draws, 2, axis=0))[:1]
        return self._augment(images, draws)

    def compute_output_shape(self, images_shape: tuple, draws_shape: tuple) -> tuple:
        """The shape of the views is that of the images."""
        return images_shape


def augmentation(flag: str) -> Augmentation | None:
    """Makes the augmentation layer that the flag --augmentation names.

    Args:
        flag: as for `presets.ranges`.

    Returns:
        The layer, or None for "none".

    Raises:
        ValueError: as for `presets.ranges`.
    """
    chosen = presets.ranges(flag)
    return None if chosen is None else Augmentation(chosen)


def _compiled(function: Callable[..., keras.KerasTensor]) -> Callable[..., keras.KerasTensor]:
    """Compiles with XLA on TensorFlow, whether or not the model around it is compiled.

    Fused, the warp and the exposure are one pass over the pixels in place of some thirty, while
    VGG16 is slower under XLA on a CPU. JAX compiles the whole training step anyway.
    """
    if keras.backend.backend() != "tensorflow":
        return function
    import tensorflow as tf

    return tf.function(function, jit_compile=True, autograph=False)
