"""What is scored after an epoch."""

import types

import numpy as np
import pytest

from trainer.training.validation import Validation


def test_the_numbers_are_those_of_the_served_probabilities_of_all_images():
    truth = np.array([0, 0, 0, 1])
    shares = np.array([[0.8, 0.2], [0.6, 0.4], [0.3, 0.7], [0.1, 0.9]], np.float32)
    scored = []
    training = types.SimpleNamespace(
        images={"validation": types.SimpleNamespace(labels=truth)},
        config=types.SimpleNamespace(classes=2),
        probabilities=lambda plan, name, on_progress: scored.append((plan, name)) or shares,
    )
    validation = Validation(training)
    numbers = validation("a plan")
    assert scored == [("a plan", "validation")]
    assert numbers["val_accuracy"] == 0.75
    assert numbers["val_balanced_accuracy"] == pytest.approx((2 / 3 + 1) / 2)
    assert numbers["val_loss"] == pytest.approx(-np.log([0.8, 0.6, 0.3, 0.9]).mean())
    assert validation.probabilities is shares
