"""The claims of the article's reading: how many images, which epochs, beside what it printed."""

import numpy as np
import pytest

from tests.helpers.predictions import baseline, make, random_predictions, run_folder
from trainer.evaluation import article
from trainer.evaluation.metrics import run_metrics


def test_the_test_accuracy_is_that_of_the_first_images_of_the_folder():
    # 18 images, batches of 10: the article's test of two classes scored 2 images.
    labels = [1] * 9 + [0] * 9
    shares = np.tile([0.9, 0.1], (18, 1))
    p = make(labels, shares, image_ids=[f"{99 - i}.png" for i in range(18)])
    misread = article.misread_test_accuracy(p, 10)
    assert (misread["n"], misread["value"]) == (2, 1.0)
    assert misread["low"] == pytest.approx(0.025 ** (1 / 2))
    shares[17] = (0.1, 0.9)  # the healthy image whose name sorts first
    p = make(labels, shares, image_ids=p.image_ids)
    assert article.misread_test_accuracy(p, 10)["value"] == 0.5
    assert article.misread_test_accuracy(p, 1)["value"] == (p.predicted == p.labels).mean()
    for n, images in ((27, 3), (36, 4)):
        assert article.misread_test_accuracy(random_predictions(n), 10)["n"] == images
    with pytest.raises(ValueError, match="at least 1"):
        article.misread_test_accuracy(p, 0)


def test_validation_is_without_the_unfilled_last_batch():
    assert [article.validation_images(25, batch) for batch in (10, 25, 26)] == [20, 25, 25]


def test_accuracies_are_means_over_the_last_ten_epochs(tmp_path):
    run_folder(tmp_path, as_published=True)
    read = run_metrics(tmp_path, baseline())["as_published"]
    assert read["validation_accuracy_last_epoch"] == 0.12
    assert read["validation_accuracy_last_10"] == pytest.approx(np.mean(range(3, 13)) / 100)
    assert read["train_accuracy_last_10"] == pytest.approx(
        np.mean([1 - 0.5 / epoch for epoch in range(3, 13)])
    )


@pytest.mark.parametrize(("classes", "printed"), [(2, ("0.812", "1.000", 2)),
                                                  (4, ("0.660", "0.500", 4))])  # fmt: skip
def test_the_lines_hold_what_the_article_printed(tmp_path, classes, printed):
    run_folder(tmp_path, classes=classes, as_published=True)
    metrics = run_metrics(tmp_path, baseline())
    *_, validation, test, last = article.lines(metrics)
    accuracy = metrics["splits"]["test"]["accuracy"]
    assert validation.split()[3:5] == ["0.120", printed[0]]
    assert test.split()[4:7] == [
        f"{metrics['as_published']['test_accuracy']['value']:.3f}", printed[1],
        f"{accuracy['value']:.3f}",
    ]  # fmt: skip
    assert f"was of {printed[2]} images" in last


def test_beside_classes_that_the_article_did_not_have_nothing_is_of_it(tmp_path):
    run_folder(tmp_path, as_published=True)
    metrics = run_metrics(tmp_path, baseline())
    metrics["splits"]["test"]["classes"]["a fifth"] = {}
    *_, validation, test = article.lines(metrics)
    assert validation.split()[3:5] == ["0.120", "-"]
    assert test.split()[:3] == ["test,", "first", "8"] and test.split()[5] == "-"
