"""What is scored: the validation images after each epoch, and the table of what was predicted."""

from collections.abc import Callable
from typing import Any

import numpy as np

from trainer.evaluation import metrics
from trainer.evaluation.predictions import Predictions
from trainer.input_pipeline.dataset import Images
from trainer.input_pipeline.plan import PhasePlan
from trainer.training.training import Training


class Validation:
    """Scores images after an epoch, for `loop.train_phases`.

    Attributes:
        probabilities: float32 [n, classes] of the last epoch.
    """

    def __init__(
        self,
        training: Training,
        name: str = "validation",
        on_progress: Callable[[int], None] = lambda images: None,
    ) -> None:
        """Scores nothing yet.

        Args:
            training: Whose network is scored.
            name: Of the images.
            on_progress: Called with the number of images of each batch that was scored.
        """
        self._training, self._name, self._on_progress = training, name, on_progress
        self.probabilities = np.zeros((0, training.config.classes), np.float32)

    def __call__(self, plan: PhasePlan) -> dict[str, Any]:
        """`val_loss` (nats), `val_accuracy` and `val_balanced_accuracy` of all images.

        Args:
            plan: Of the phase under way.
        """
        labels = self._training.images[self._name].labels
        self.probabilities = self._training.probabilities(
            plan, self._name, on_progress=self._on_progress
        )
        scores = metrics.loss_and_accuracy(labels, self.probabilities)
        return {f"val_{name}": value for name, value in scores.items()}


def predictions_of(
    images: Images,
    probabilities: np.ndarray,
    *,
    repeats: np.ndarray | None = None,
    folds: np.ndarray | None = None,
) -> Predictions:
    """The table of what a network gives of some images.

    Args:
        images: n images; one stands once for each repeat.
        probabilities: float32 [n, classes].
        repeats: int64 [n]; None for a run.
        folds: int64 [n]; None for a run.
    """
    names = ("image_ids", "patients", "groups", "sources", "splits", "labels", "class_names")
    return Predictions(
        **{name: getattr(images, name) for name in names},
        probabilities=probabilities, repeats=repeats, folds=folds,
    )  # fmt: skip
