"""What all trials of a search share: the images, VGG16, and the cached rows of its frozen part.

Only train and validation are opened: a trial can't reach the test split.
"""

import dataclasses
import functools
from collections.abc import Callable, Mapping

import keras
import numpy as np

from trainer import cross_validation
from trainer.config import Config
from trainer.input_pipeline.dataset import Images, joined
from trainer.training.setup import Setup, set_up
from trainer.training.training import Training

_OPEN = cross_validation.SPLITS


class Bench:
    """Opened once; gives each trial its training on cached rows.

    Attributes:
        images: Of train and validation, by split.
        name, fingerprint: Of the dataset.
    """

    def __init__(self, setup: Setup, crossed: bool) -> None:
        """Builds nothing yet.

        Args:
            setup: What the trainer opened.
            crossed: Whether folds are made of both splits' images.
        """
        self._setup, self._crossed = setup, crossed
        self.images: Mapping[str, Images] = {name: setup.dataset.splits[name] for name in _OPEN}
        self.name, self.fingerprint = setup.dataset.name, setup.dataset.fingerprint
        self._shared: dict[str, Training] = {}

    @classmethod
    def open(cls, config: Config, crossed: bool) -> "Bench":
        """Opens dataset and weights for all trials, and forgets the test split.

        Raises:
            RunError: As for `set_up`.
        """
        setup = set_up(config, splits=_OPEN)
        splits = {name: setup.dataset.splits[name] for name in _OPEN}
        dataset = dataclasses.replace(setup.dataset, splits=splits)
        return cls(dataclasses.replace(setup, dataset=dataset), crossed)

    @functools.cached_property
    def everyone(self) -> Images:
        """The images of both splits."""
        return joined([self.images[split] for split in _OPEN])

    def crossed(self) -> "Bench":
        """The same images and networks for folds, whose images are those of both splits."""
        return self if self._crossed else Bench(self._setup, True)

    def squares(self, images: Images, size: int) -> np.ndarray:
        """uint8 [n, size, size, 1]: see `Setup.squares`."""
        return self._setup.squares(images, size)

    def training(self, config: Config, on_progress: Callable[[], None] = lambda: None) -> Training:
        """A trial's training, its rows computed where they are missing.

        A trial that changes the head alone builds that head and no more; one that trains blocks, or
        whose rows do not fit into the cache, has a whole network of its own.

        Args:
            config: Of the trial.
            on_progress: Called while rows are computed.
        """
        if config.fine_tune_from == "none" and config.view_count:
            shared = self._shared_training(config, on_progress)
            if shared.plan.phases[0].train.compute is not None:
                return shared.under(config)
        return self.whole(config, on_progress, quiet=True)

    def whole(
        self,
        config: Config,
        on_progress: Callable[[], None] = lambda: None,
        *,
        images: Mapping[str, Images] | None = None,
        quiet: bool = False,
    ) -> Training:
        """A training with a whole network of its own.

        Args:
            config: What is trained.
            on_progress: Called while rows are computed.
            images: Of `train` and `validation`, in place of all of them.
            quiet: Whether to print nothing of what is computed.
        """
        every, train, score = self.images, "train", ("validation",)
        if images is not None:
            every = images
        elif self._crossed:
            name = cross_validation.ALL
            every, train, score = {name: self.everyone}, name, (name,)
        return Training(
            self._setup, config, every, train=train, score=score, on_progress=on_progress,
            quiet=quiet,
        )  # fmt: skip

    def _shared_training(self, config: Config, on_progress: Callable[[], None]) -> Training:
        """The training under all heads of an augmentation, with rows for the longest of them."""
        if config.augmentation not in self._shared:
            longest = dataclasses.replace(config, epochs=self._setup.config.epochs)
            self._shared[config.augmentation] = self.whole(longest, on_progress)
        return self._shared[config.augmentation]


def parameters(model: keras.Model) -> int:
    """How many weights are trained."""
    return sum(weight.shape.num_elements() for weight in model.trainable_weights)
