"""The frozen base of one model: its parts and the stores of what they compute, opened once."""

import copy
import dataclasses
from collections.abc import Callable

import keras

from trainer import features, frozen
from trainer.augmentation import layer
from trainer.config import Config, cache_folder
from trainer.run.errors import RunError


class Base:
    """Parts and stores of a model whose lower layers keep the weights they started from.

    Attributes:
        config: The run.
        model: The whole model.
        lowest: The cut below which the run trains nothing; None: it trains all blocks.
        augment: Makes the views; None without augmentation.
        tell: Called whenever rows have been computed, or are waited for.
    """

    def __init__(
        self,
        config: Config,
        model: keras.Model,
        jit: bool = False,
        tell: Callable[[], None] = lambda: None,
    ) -> None:
        """Takes the run, the model before anything is trained, and whether XLA compiles parts."""
        self.config, self.model, self._jit, self.tell = config, model, jit, tell
        self.lowest = frozen.cut(None if config.fine_tune_from == "none" else config.fine_tune_from)
        self.augment = layer.augmentation(config.augmentation)
        self.cache_dir = cache_folder(config.cache_dir)
        self._parts: dict[tuple[str | None, str | None], keras.Model] = {}
        self._stores: dict[tuple[str, bool], features.Store] = {}

    def under(self, config: Config, head: keras.Model) -> "Base":
        """The same frozen layers under another head: their parts and stores are shared.

        Args:
            config: Differs from this base's in what concerns the head alone; nothing is fine-tuned.
            head: From `backbone.build_head`.
        """
        self.part(None, self.lowest)  # a head alone could not build it
        other = copy.copy(self)
        other.config, other.model = config, head
        frozen_parts = {cuts: part for cuts, part in self._parts.items() if cuts[1]}
        other._parts = {**frozen_parts, (self.lowest, None): head}
        return other

    def shares(self, other: "Base") -> bool:
        """Whether closing one closes the other."""
        return self._stores is other._stores

    def part(self, below: str | None, upto: str | None) -> keras.Model:
        """`frozen.part`; the same object each time, so that it is compiled once."""
        if (below, upto) not in self._parts:
            self._parts[below, upto] = frozen.part(self.model, below, upto, self._jit)
        return self._parts[below, upto]

    def trained(self) -> keras.Model:
        """All layers that the run ever trains; images or rows of the lowest cut go in."""
        return self.part(self.lowest, None) if self.lowest else self.model

    def store(self, cut: str, augmented: bool) -> features.Store:
        """The store of what the base computes up to a cut, of views or of images as they are.

        Raises:
            RunError: The cache folder can't be used.
        """
        augmented = augmented and self.augment is not None
        if (cut, augmented) not in self._stores:
            config = self.config
            key = features.Key(
                network=frozen.digest(self.part(None, cut)),
                cut=cut,
                image_size=config.image_size,
                augmentation=dataclasses.asdict(self.augment.ranges) if augmented else {},
                seed=config.seed if augmented else 0,
                precision=keras.config.dtype_policy().name,
            )
            try:
                store = features.Store(self.cache_dir, key, config.views if augmented else 1)
            except OSError as error:
                raise RunError(
                    f"{self.cache_dir} can't be used ({error.strerror}). Give another --cache_dir."
                ) from None
            for damage in store.damaged:
                print(f"{damage}; it is computed again.")
            self._stores[cut, augmented] = store
        return self._stores[cut, augmented]

    def close(self) -> None:
        """Lets other processes evict what was used."""
        for store in self._stores.values():
            store.close()
