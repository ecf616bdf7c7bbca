"""Networks of some channels of VGG16, with weights that tell images apart."""

import keras
import numpy as np

from trainer.model import vgg16
from trainer.model.weights import Weights

RANDOM = Weights(None, "", "random numbers")


def lively(**changes):
    """5 % of VGG16's channels at 64 pixels, two classes; all weights drawn, the same each time."""
    options = {"classes": 2, "image_size": 64, "head_units": 8, "dropout": 0.5,
               "pooling": "flatten", "weights": RANDOM, "width": 0.05}  # fmt: skip
    keras.utils.set_random_seed(5)
    model = vgg16.build_model(**(options | changes))
    draw = np.random.default_rng(5)
    for layer in model.layers:
        if isinstance(layer, keras.layers.Conv2D):
            layer.kernel.assign(layer.kernel * 1.2)
            layer.bias.assign(draw.uniform(0, 0.3, layer.bias.shape))
    _balance(model, squares(16, options["image_size"]))
    return model


def _balance(model, images):
    """Gives each logit the mean 0 over images, so that every class is called of some."""
    names = [layer.name for layer in model.layers if layer.name.startswith("last")]
    for name in names:
        part = vgg16.part(model, vgg16.SQUARE, name)
        logits = keras.ops.convert_to_numpy(part(images.astype("float32")))
        last = model.get_layer(name)
        last.set_weights([last.kernel / logits.std(), -logits.mean(axis=0) / logits.std()])


def squares(n, size=64, seed=0):
    """uint8 [n, size, size, 1]: smooth patterns, no two alike."""
    coarse = np.random.default_rng(seed).uniform(0, 255, (n, 4, 4, 1))
    return np.repeat(np.repeat(coarse, size // 4, 1), size // 4, 2).astype(np.uint8)
