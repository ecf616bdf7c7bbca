"""A network twice: in the run's precision, and in float32 as it is saved and scored.

What is served is what was scored: validation, test and control are scored by the very layers that
`model.keras` holds. Training runs in the precision that the hardware does best.
"""

import contextlib
from typing import Any

import keras

from trainer.augmentation.layer import Augmentation
from trainer.augmentation.random import DRAWS
from trainer.config import BLOCKS, Config
from trainer.model import vgg16
from trainer.model.head import build_head, reset_head
from trainer.model.normalization import Normalization
from trainer.model.precision import Precision, global_policy
from trainer.model.weights import Weights


class Networks:
    """The two models, whose weights begin equal.

    Attributes:
        trained: In the run's precision.
        served: In float32. Where the run's precision is float32, the same object.
    """

    def __init__(self, trained: keras.Model, served: keras.Model) -> None:
        """Neither is changed.

        Args:
            trained: A whole model, or a head alone, in the run's precision.
            served: The same layers in float32.
        """
        self.trained, self.served = trained, served
        self._pairs = [] if trained is served else _pairs(trained, served)
        self._changed: set[str] = set()  # paths of the variables that were ever trained
        self._parts: dict[tuple[str, str], keras.Model] = {}
        self._augmented: keras.Model | None = None

    def train_from(self, first_block: str | None) -> None:
        """Frees the blocks from one up, and the head; None frees the head alone."""
        vgg16.set_trainable(self.trained, first_block)
        self._changed |= {variable.path for variable in self.trained.trainable_variables}

    def serve(self) -> None:
        """Copies the weights that were ever trained into the served model."""
        for ours, theirs in self._pairs:
            if ours.path in self._changed:
                theirs.assign(ours.value)

    def logits(self, below: str) -> keras.Model:
        """From rows of a stage to logits, in the run's precision; the same object each time.

        Of an ensemble it gives a list, with the logits of each member.
        """
        return self._part(self.trained, below, "logits")

    def probabilities(self, below: str) -> keras.Model:
        """From rows of a stage to float32 probabilities; the same object each time."""
        return self._part(self.served, below, "probabilities")

    def _part(self, model: keras.Model, below: str, upto: str) -> keras.Model:
        # Of this object, not of the module: a search would hold the weights of every trial.
        if (below, upto) not in self._parts:
            with scope(model):
                self._parts[below, upto] = vgg16.top(model, below, upto)
        return self._parts[below, upto]

    def augmented_logits(self, augment: Augmentation, size: int) -> keras.Model:
        """From squares and the random numbers of their views to logits; the same object each time.

        Args:
            augment: Makes the views, when this is called first.
            size: Side of the squares in pixels.
        """
        if self._augmented is None:
            self._augmented = self._with_augmentation(augment, size)
        return self._augmented

    def _with_augmentation(self, augment: Augmentation, size: int) -> keras.Model:
        squares = keras.Input((size, size, 1), dtype="uint8", name="square")
        draws = keras.Input((DRAWS,), dtype="float32", name="draws")
        logits = self.logits(vgg16.SQUARE)
        with scope(logits):
            return keras.Model([squares, draws], logits(augment(squares, draws)))


def scope(model: keras.Model) -> contextlib.AbstractContextManager:
    """In which parts of a model are built: that of its devices, which TensorFlow alone knows."""
    strategy = getattr(model, "distribute_strategy", None)
    return strategy.scope() if strategy is not None else contextlib.nullcontext()


def _scope_of(config: Config) -> contextlib.AbstractContextManager:
    """In which the networks of a config are built."""
    if keras.backend.backend() != "tensorflow":
        return contextlib.nullcontext()
    from trainer.model import replicas  # imports TensorFlow

    return replicas.strategy(config.distribute).scope()


def _pairs(trained: keras.Model, served: keras.Model) -> list[tuple]:
    """Each variable of the trained model with its like in the served one."""
    likes = {layer.name: layer.weights for layer in served.layers}
    return [
        pair
        for layer in trained.layers
        if layer.weights
        for pair in zip(layer.weights, likes[layer.name], strict=True)
    ]


def build(
    config: Config, precision: Precision, weights: Weights, normalization: Normalization | None
) -> Networks:
    """Builds both; all that is random in them follows from the config's seed.

    Args:
        config: Size, width and head of the network, and the devices that it is on.
        precision: Of the network that is trained.
        weights: What the convolutions start from.
        normalization: What was fitted on the train images; None subtracts ImageNet's means.
    """

    first = config.fine_tune_from if config.fine_tune_from in BLOCKS else None

    def built(policy: str) -> keras.Model:
        keras.utils.set_random_seed(config.seed)
        with _scope_of(config), global_policy(policy):
            model = vgg16.build_model(
                image_size=config.image_size, align=config.align, weights=weights,
                normalization=normalization, width=config.width, trained_from=first,
                **head_arguments(config),
            )  # fmt: skip
        reset_head(model, config.seed)
        return model

    trained = built(precision.policy)
    if precision.policy == "float32":
        return Networks(trained, trained)
    served = built("float32")
    served.set_weights(trained.get_weights())
    return Networks(trained, served)


def build_heads(config: Config, precision: Precision, whole: Networks) -> Networks:
    """Builds the heads of a config over the frozen layers of other networks.

    Args:
        config: Its seed decides the heads' weights.
        precision: That of `whole.trained`.
        whole: Networks of `build`.
    """
    top = f"{BLOCKS[-1]}_pool"

    def built(policy: str, model: keras.Model) -> keras.Model:
        with scope(model), global_policy(policy):
            return build_head(model.get_layer(top).output, **head_arguments(config))

    trained = built(precision.policy, whole.trained)
    reset_head(trained, config.seed)
    if precision.policy == "float32":
        return Networks(trained, trained)
    served = built("float32", whole.served)
    served.set_weights(trained.get_weights())
    return Networks(trained, served)


def head_arguments(config: Config) -> dict[str, Any]:
    """What heads are built from, by argument."""
    names = ("classes", "head_units", "dropout", "pooling", "l2", "ensemble")
    return {name: getattr(config, name) for name in names}
