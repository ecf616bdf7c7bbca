"""Served is trained: `model.keras`, loaded by Keras alone, reproduces predictions.csv."""

import keras
import numpy as np
import pytest

from tests.helpers import trainings
from trainer.evaluation import predictions
from trainer.input_pipeline import decode
from trainer.input_pipeline.dataset import open_dataset

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("undrawn")]

AUGMENTED = {"augmentation": "radiograph", "views": 2}
RUNS = {
    "2 classes": {"classes": 2, "epochs": 1},
    "4 classes, augmented, fine-tuned": {**AUGMENTED, **trainings.TUNED},
    "whitened, averaged": {"normalization": "zca", "pooling": "average"},
    "standardised, augmented batch by batch": {
        "normalization": "featurewise", "augmentation": "article", "views": 0, "classes": 3,
    },
    "2 classes in bfloat16, augmented, fine-tuned": {
        "classes": 2, "precision": "mixed_bfloat16", **AUGMENTED, **trainings.TUNED,
    },
    "aligned, standardised, augmented, fine-tuned": {
        "align": "chest", "normalization": "featurewise", **AUGMENTED, **trainings.TUNED,
        "fine_tune_learning_rate": 1e-6,  # more, and random weights give one answer to all images
    },
    "ensemble in bfloat16, augmented, fine-tuned": {
        "ensemble": 2, "precision": "mixed_bfloat16", **AUGMENTED, **trainings.TUNED,
        "fine_tune_schedule": "cosine",
    },
    "ensemble of 2 classes": {"ensemble": 3, "classes": 2},
    "4 classes in bfloat16, whitened": {"precision": "mixed_bfloat16", "normalization": "zca"},
}  # fmt: skip
QUICK = "2 classes"


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    """Of the whole VGG16: what a narrow one gives of different images is nearly the same."""
    path = tmp_path_factory.mktemp("weights") / "vgg16.weights.h5"
    trainings.write_weights(path)
    return path


@pytest.mark.parametrize("name", [QUICK, *(name for name in RUNS if name != QUICK)])
def test_the_saved_model_gives_the_predictions_that_were_scored(name, data_dir, tmp_path, weights):
    config = trainings.quick(
        data_dir,
        **{"width": 1.0, "weights": str(weights), "learning_rate": 1e-4, **RUNS[name]},
    )
    trainings.run(config, tmp_path / "run")
    model = keras.saving.load_model(tmp_path / "run" / "model.keras")
    table = predictions.read(tmp_path / "run" / "predictions.csv")
    # The network tells images apart, by a hundred times what is compared below.
    assert table.probabilities.std(axis=0).max() > 1e-3
    dataset = open_dataset("tiny", str(data_dir), config.classes)
    scored = 0
    for split in table.split_names:
        images, rows = dataset.splits[split], table.of_split(split)
        row_of = {image_id: i for i, image_id in enumerate(rows.image_ids)}
        for index, encoded in dataset.encoded(images):
            image = decode.pixels(encoded, "")
            served = model(image[None, ..., None]).numpy()[0]
            written = rows.probabilities[row_of[images.image_ids[index]]]
            np.testing.assert_allclose(served, written, atol=1e-5)
            assert served.argmax() == written.argmax()
            scored += 1
    assert scored == len(table.labels)
