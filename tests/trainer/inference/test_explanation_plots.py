"""The picture of an explanation, whatever its image, classes and maps are."""

import numpy as np
import pytest

from tests.helpers import pictures
from trainer.evaluation import drawing
from trainer.inference import explanation_plots
from trainer.inference.explanations import Explanation
from trainer.inference.lungs import Inside
from trainer.input_pipeline import resize

NOTES = (
    "CONFOUNDED: in train, class and source go together (Cramer's V 1.00). A network may recognize "
    "the source instead of the disease: compare with the shortcut baselines.",
    "SYNTHETIC: the network was trained on drawn images.",
)


def explanation(shape=(300, 400), classes=4, frame=resize.WHOLE, heat=1.0, lungs=None):
    rng = np.random.default_rng(0)
    return Explanation(
        name="a folder/image.png", pixels=rng.integers(0, 256, shape, np.uint8),
        square=rng.integers(0, 256, (64, 64), np.uint8), frame=frame,
        class_names=tuple(f"a_long_name_of_class_{i}" for i in range(classes)),
        probabilities=np.full(classes, 1 / classes, np.float32), label=1,
        gradcam=rng.uniform(0, heat, (4, 4)).astype(np.float32),
        occlusion=rng.normal(0, heat, (8, 8)).astype(np.float32), lungs=lungs,
    )  # fmt: skip


@pytest.mark.parametrize(
    "changes",
    [{}, {"shape": (900, 200), "frame": resize.Frame(40, 41, 20, -20)}, {"classes": 14},
     {"shape": (100, 900), "heat": 0, "lungs": Inside(0.25, 0.5)}],
)  # fmt: skip
@pytest.mark.slow
def test_all_words_are_in_the_picture_and_none_meet(changes, tmp_path, monkeypatch):
    figures = pictures.saved(monkeypatch, drawing)
    each = explanation(**changes)
    explanation_plots.panels(each, NOTES, tmp_path / "a.png")
    (figure,) = figures
    texts = [text for text, _ in pictures.words(figure)]
    (heading,) = [text for text in texts if text.startswith("a folder/image.png")]
    assert heading.count(f"{1 / len(each.class_names):.3f}") == len(each.class_names)
    footer = " ".join(figure.get_supxlabel().split())
    assert " ".join(NOTES) in footer and drawing.NOTICE in footer
    assert ("0.25 of the Grad-CAM map inside the lungs" in footer) == (each.lungs is not None)
    boxed = any("boxed" in text for text in texts)
    assert boxed == (each.frame != resize.WHOLE)
    assert len(figure.axes[0].patches) == boxed
    assert any("nothing speaks" in text for text in texts) == (not each.gradcam.any())
    inside = figure.bbox
    for text, box in pictures.words(figure):
        assert inside.x0 <= box.x0 and box.x1 <= inside.x1 and box.y1 <= inside.y1, text
