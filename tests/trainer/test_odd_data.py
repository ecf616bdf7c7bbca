"""Whole trainings of datasets that are small or strange: a result, or one sentence, no warnings."""

import warnings

import keras
import numpy as np
import pytest

import covid_tfds
import trainer as api
from tests.covid_tfds import made_sources
from tests.helpers.images import encoded, radiograph
from tests.helpers.trainings import TUNED, quick
from trainer.evaluation import predictions
from trainer.input_pipeline import resize

pytestmark = pytest.mark.slow

A, B, C = "covid19", "healthy", "other"
USUAL = {"train": {A: 6, B: 6}, "val": {A: 3, B: 3}, "test": {A: 3, B: 3}}
ONE_EACH = {split: {A: 1, B: 1} for split in USUAL}


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """Builds datasets of own images, each once: {split: {label: images}}, a patient an image."""
    folders = {}

    def of(table):
        if (key := str(table)) not in folders:
            folders[key] = folder = tmp_path_factory.mktemp("odd")
            counts = [(s, label, n) for s, of in table.items() for label, n in of.items()]
            names = [f"{s}/{label}/{i}.png" for s, label, n in counts for i in range(n)]
            for number, name in enumerate(names):
                made_sources.write(folder / "own" / name, encoded(radiograph(number)))
            covid_tfds.build("folder", manual_dir=folder / "own", data_dir=folder)
        return folders[key]

    return of


@pytest.fixture
def fit(built, tmp_path):
    """Runs a config on a dataset; no library may warn."""

    def run(table, function=api.fit, **changes):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            for kind in (RuntimeWarning, UserWarning, FutureWarning):
                warnings.simplefilter("error", kind)
            config = quick(built(table), dataset="folder", classes=2, epochs=1)
            config = api.Config.from_json({**config.to_json(), **changes})
            return function(config, run_dir=tmp_path / "run")

    return run


def folds(count):
    def cross_validate(config, run_dir):
        return api.cross_validate(config, count, 1, run_dir)

    return cross_validate


# What gives a result


@pytest.mark.parametrize(
    "changes",
    [{}, {"normalization": "zca"}, {"early_stopping": 1, "augmentation": "radiograph", "views": 0}],
)
def test_one_image_of_each_class_in_each_split(changes, fit):
    test = fit(ONE_EACH, **changes).metrics["splits"]["test"]
    assert (test["n"], test["groups"]) == (2, 2)
    assert all(each["sensitivity"]["n"] == 1 for each in test["classes"].values())


def test_blocks_are_trained_on_one_image_of_each_class(fit):
    assert len(fit(ONE_EACH, **TUNED).history) == 2


def test_a_test_split_of_one_image_has_what_it_defines(fit):
    run = fit({**ONE_EACH, "test": {A: 1}})
    test = run.metrics["splits"]["test"]
    assert test["n"] == 1 and test["balanced_accuracy"]["value"] in (0, 1)
    absent = test["classes"][B]
    assert absent["n"] == 0
    assert absent["sensitivity"]["value"] is absent["roc_auc"]["value"] is None
    assert len(list((run.path / "plots").glob("*.png"))) >= 4
    # And what is not defined goes through the files.
    assert api.load(run.path).metrics == run.metrics
    assert len(predictions.read(run.path / "predictions.csv").of_split("test").labels) == 1


def test_a_test_split_without_the_first_classes(fit):
    table = {"train": {A: 2, B: 2, C: 2}, "val": {A: 1, B: 1, C: 1}, "test": {C: 2}}
    test = fit(table, classes=3).metrics["splits"]["test"]
    assert [each["n"] for each in test["classes"].values()].count(0) == 2


@pytest.mark.parametrize("changes", [{}, {"as_published": True, "augmentation": "article"}])
def test_a_batch_may_be_larger_than_the_split(changes, fit):
    assert len(fit(USUAL, batch_size=4096, **changes).history) == 1


def test_folds_of_one_patient_of_each_class(fit):
    result = fit(ONE_EACH, folds(2)).metrics
    assert (result["n"], result["folds"]) == (4, 2)


@pytest.mark.parametrize("grey", [0, 255])
@pytest.mark.parametrize("function", [api.fit, folds(2)], ids=["run", "folds"])
def test_images_that_are_all_equal(function, grey, fit, monkeypatch, tmp_path):
    monkeypatch.setattr(resize, "square", lambda image, size: np.full((size, size), grey, np.uint8))
    run = fit(USUAL, function, cache_dir=str(tmp_path / "cache"), augmentation="radiograph")
    shares = run.predictions.probabilities
    assert np.isfinite(shares).all() and np.ptp(shares, axis=0).max() < 0.2


# What is one sentence


@pytest.mark.parametrize("normalization", ["featurewise", "zca"])
def test_equal_images_can_not_be_normalized_by_what_they_differ_in(
    normalization, fit, monkeypatch, tmp_path
):
    monkeypatch.setattr(resize, "square", lambda image, size: np.zeros((size, size), np.uint8))
    with pytest.raises(api.RunError, match=rf"are one grey: .*--normalization={normalization} can"):
        fit(USUAL, cache_dir=str(tmp_path / "cache"), normalization=normalization)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    "table,message",
    [
        ({**USUAL, "train": {A: 6}}, "no image of healthy in train. Add images to that split"),
        ({**USUAL, "val": {B: 3}}, "no image of covid19 in validation. Add images to that split"),
        ({s: USUAL[s] for s in ("train", "val")}, "in test. Add images to that split"),
        ({"train": {A: 6}, "val": {B: 6}, "test": {A: 2}}, "no image of healthy in train. Add"),
        ({split: {A: 2} for split in USUAL}, "--classes=2, and .* has 1: covid19. Add images"),
    ],
)
def test_a_class_that_can_not_be_learned_or_chosen_is_named(table, message, fit, tmp_path):
    with pytest.raises(api.RunError, match=message):
        fit(table)
    assert not (tmp_path / "run").exists()


def test_fewer_classes_are_advised_where_they_help(fit):
    table = {**USUAL, "train": {A: 6, B: 6, C: 1}, "test": {A: 3, B: 3, C: 3}}
    with pytest.raises(
        api.RunError, match=r"no image of other in validation\. Give --classes=2, or"
    ):
        fit(table, classes=3)
    assert fit(table, classes=2).metrics["splits"]["test"]["n"] == 6


def test_more_folds_than_a_class_has_patients(fit, tmp_path):
    with pytest.raises(api.RunError, match=r"20 folds need .* has 9\. Give fewer folds\."):
        fit(USUAL, folds(20))
    assert not (tmp_path / "run").exists()


def test_a_fold_that_diverges_is_named(fit, monkeypatch):
    init = keras.initializers.GlorotUniform.__call__

    def broken(self, shape, dtype=None):
        return init(self, shape, dtype=dtype) * np.inf

    monkeypatch.setattr(keras.initializers.GlorotUniform, "__call__", broken)
    with pytest.raises(api.RunError, match=r"Fold 1 \(seed 1\) failed\. In .*step 1 of"):
        fit(USUAL, folds(2))


def test_a_cache_folder_that_no_system_makes_is_one_sentence(fit, tmp_path):
    with pytest.raises(api.RunError, match=r"cache folder /proc/.* can't be used .*--cache_dir"):
        fit(USUAL, cache_dir="/proc/nowhere")
    assert not (tmp_path / "run").exists()
