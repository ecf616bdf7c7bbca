"""What all trials of a search share: the images, VGG16, and the rows that its frozen part computed.

Only train and validation are held: a trial can't reach the test split.
"""

import copy
import dataclasses
import functools
from collections.abc import Callable, Mapping

import keras

from trainer import feeds, train
from trainer.base import Base
from trainer.config import Config
from trainer.input_pipeline import dataset
from trainer.model import vgg16
from trainer.training.setup import Start, head, network, start

_OPEN = ("train", "validation")


class Bench:
    """Opened once; gives each trial its network on rows that are kept.

    Attributes:
        images: Of train and validation, by split.
        name, fingerprint: Of the dataset.
    """

    def __init__(self, started: Start, crossed: bool) -> None:
        """Takes what the trainer opened, and whether folds are made of both splits' images."""
        self.images: Mapping[str, dataset.Images] = {
            split: started.images.splits[split] for split in _OPEN
        }
        self.name, self.fingerprint = started.images.name, started.images.fingerprint
        self._jit, self._model = started.jit, started.model
        self._weights, self._normalization = started.weights, started.normalization
        self._crossed, self._epochs = crossed, started.config.epochs
        self._shared: dict[str, tuple[Base, bool]] = {}

    @classmethod
    def open(cls, config: Config, crossed: bool) -> "Bench":
        """Opens dataset and weights for all trials.

        Raises:
            RunError: As for `start`.
        """
        return cls(start(config), crossed)

    @functools.cached_property
    def everyone(self) -> dataset.Images:
        """The images of both splits."""
        return dataset.joined([self.images[split] for split in _OPEN])

    def crossed(self) -> "Bench":
        """The same images and network for folds, whose images are those of both splits."""
        if self._crossed:
            return self
        other = copy.copy(self)
        other._crossed, other._shared = True, {}
        return other

    def base(self, config: Config, tell: Callable[[], None] = lambda: None) -> Base:
        """A trial's network over its frozen part, whose rows are computed where they are lacking.

        `tell` is called while they are.

        A trial that changes the head alone builds that head and no more; one that trains blocks, or
        whose rows find no room, has a whole network of its own. `done` gives it back.
        """
        if config.fine_tune_from == "none" and feeds.views(config):
            shared, kept = self._shared_base(config, tell)
            if kept:
                of_block5 = shared.part(None, shared.lowest).output
                return shared.under(config, vgg16.build_head(of_block5, **head(config)))
        base = self.bare(config, tell)
        self._keep(base, quiet=True)
        return base

    def bare(self, config: Config, tell: Callable[[], None] = lambda: None) -> Base:
        """A whole network of a trial's own, no rows computed yet."""
        return Base(config, network(config, self._weights, self._normalization), self._jit, tell)

    def done(self, base: Base) -> None:
        """Lets go of what belongs to a trial alone."""
        if not any(base.shares(shared) for shared, _ in self._shared.values()):
            base.close()

    def _shared_base(self, config: Config, tell: Callable[[], None]) -> tuple[Base, bool]:
        """The base under all heads of an augmentation, and whether its rows found room."""
        if config.augmentation not in self._shared:
            longest = dataclasses.replace(config, epochs=self._epochs)
            base = Base(longest, self._model, self._jit, tell)
            self._shared[config.augmentation] = base, self._keep(base, quiet=False)
        return self._shared[config.augmentation]

    def _keep(self, base: Base, quiet: bool) -> bool:
        everyone = {"train": self.everyone, "validation": self.everyone}
        return train.keep_rows(base, everyone if self._crossed else self.images, quiet)


def parameters(model: keras.Model) -> int:
    """How many weights are trained."""
    return sum(weight.shape.num_elements() for weight in model.trainable_weights)
