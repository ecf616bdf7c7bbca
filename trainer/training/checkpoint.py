"""The best epoch so far, in memory and on the disk."""

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np

from trainer.run.files import written_whole
from trainer.training.training import Training


@dataclasses.dataclass(frozen=True)
class Best:
    """The epoch that is kept: of the highest balanced accuracy and, among equals, the lowest loss.

    Attributes:
        epoch: Its number, from 0.
        logs: Its numbers.
        weights: Of all layers that the training ever changes.
    """

    epoch: int
    logs: dict[str, Any]
    weights: list[np.ndarray]

    @property
    def rank(self) -> tuple[float, float]:
        """What epochs are compared by."""
        return _rank(self.logs)

    def restore(self, training: Training) -> None:
        """Puts the weights back into the network that is trained."""
        training.trained_part.set_weights(self.weights)


def better(
    best: Best | None, training: Training, epoch: int, logs: dict[str, Any], path: Path | None
) -> Best:
    """The better one of the best epoch so far and the one that has just ended.

    Args:
        best: The best so far, if any.
        training: Whose network has the weights of the epoch.
        epoch: Its number, from 0.
        logs: Its numbers, `val_loss` and `val_balanced_accuracy` among them.
        path: Where the weights of a new best epoch are written; None keeps them in memory alone.
    """
    if best is not None and _rank(logs) <= best.rank:
        return best
    if path is not None:
        with written_whole(path) as beside:
            training.trained_part.save_weights(beside)
    return Best(epoch, dict(logs), training.trained_part.get_weights())


def _rank(logs: dict[str, Any]) -> tuple[float, float]:
    return logs["val_balanced_accuracy"], -logs["val_loss"]
