"""Both sides of the race get the same images and folds; no time is judged."""

import numpy as np
import pytest
from absl import flags

from benchmarks import article_race
from trainer.input_pipeline import dataset as dataset_lib
from trainer.input_pipeline import decode
from trainer.run.libraries import keras_settings


def test_views_of_the_peer_are_the_articles_and_differ():
    image = np.random.default_rng(1).uniform(0, 255, (2, 40, 40, 3)).astype(np.float32)
    one, again, other = (article_race._views(image, seed) for seed in (1, 1, 2))
    np.testing.assert_array_equal(one, again)
    assert not np.allclose(one, other)
    assert one.min() >= 0 and one.max() <= 1


@pytest.mark.slow
def test_the_peer_gets_the_stored_images_by_class(data_dir, tmp_path):
    dataset = dataset_lib.open_dataset("tiny", str(data_dir), 3)
    images = dataset_lib.joined([dataset.splits[name] for name in ("train", "validation")])
    article_race.export(dataset, images, tmp_path)
    paths = sorted(tmp_path.glob("train/*/*.png"), key=lambda path: path.name)
    assert len(paths) == len(images)
    for path, label in zip(paths, images.labels, strict=True):
        assert path.parent.name == f"{label}_{images.class_names[label]}"
    (_, squares), *_ = decode.squares(dataset, images.take([5]), (decode.Kind(32),))
    stored = decode.pixels(paths[5].read_bytes(), "5")
    (square,) = squares[decode.Kind(32)]
    np.testing.assert_array_equal(decode.resize.square(stored, 32), square[..., 0])


@pytest.mark.slow
def test_our_folds_are_read_from_the_predictions(data_dir, tmp_path, monkeypatch):
    dataset = dataset_lib.open_dataset("tiny", str(data_dir), 2)
    images = dataset_lib.joined([dataset.splits[name] for name in ("train", "validation")])
    monkeypatch.setattr(article_race, "_FOLDS", 2)
    values = flags.FlagValues()
    article_race.define_flags(values)
    values(["article_race", f"--data_dir={data_dir}", f"--cache_dir={tmp_path}", "--classes=2",
            "--epochs=1", "--our_seeds=2"])  # fmt: skip
    tiny = {"dataset": "tiny", "weights": "none", "width": 0.05, "image_size": 32}
    with keras_settings():
        listed, right, fold = article_race._our_folds(images, values, tiny)
    assert set(listed) == {"balanced_accuracy", "by_fold", "shortcut_baseline"}
    assert set(listed["shortcut_baseline"]) == {"full_image", "lungs_masked"}
    assert set(right) <= {0.0, 0.5, 1.0} and set(fold) == {0, 1}
    by_class = [right[images.labels == label].mean() for label in (0, 1)]
    np.testing.assert_allclose(listed["balanced_accuracy"]["value"], np.mean(by_class), atol=1e-6)
