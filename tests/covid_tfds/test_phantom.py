"""Synthetic films: pure, varied, of four kinds, and without a shortcut unless one is planted."""

import concurrent.futures
import itertools

import numpy as np
import pytest
from PIL import Image
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import balanced_accuracy_score
from sklearn.model_selection import StratifiedGroupKFold, cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from covid_tfds import phantom
from covid_tfds.films import LABELS, read_film
from tests.covid_tfds.pictures import encoded


def films(patients: int, **options) -> tuple[np.ndarray, np.ndarray, list[str]]:
    """First films of patients at 32 x 32, their classes and keys."""
    with concurrent.futures.ThreadPoolExecutor() as pool:
        drawn = list(pool.map(lambda n: phantom.draw_film(0, n, 0, size=96, **options),
                              range(patients)))  # fmt: skip
    small = [np.asarray(Image.fromarray(f).resize((32, 32), Image.Resampling.BOX)) for f in drawn]
    who = [phantom.patient(0, number) for number in range(patients)]
    return np.stack(small), np.array([LABELS.index(w.label) for w in who]), [w.key for w in who]


def score(pixels: np.ndarray, labels: np.ndarray, groups: list[str]) -> float:
    model = make_pipeline(StandardScaler(), LogisticRegression(C=0.01, max_iter=500))
    flat = pixels.reshape(len(pixels), -1)
    called = cross_val_predict(model, flat, labels, groups=groups, cv=StratifiedGroupKFold(5))
    return balanced_accuracy_score(labels, called)


def test_a_film_is_a_pure_function_of_its_arguments():
    first = phantom.draw_film(3, 7, 0)
    phantom.draw_film(3, 8, 0)
    assert np.array_equal(first, phantom.draw_film(3, 7, 0))
    others = [phantom.draw_film(3, 7, 1), phantom.draw_film(4, 7, 0), phantom.draw_film(3, 11, 0)]
    for one, other in itertools.combinations([first, *others], 2):
        assert np.abs(one.astype(int) - other).mean() > 3


@pytest.mark.parametrize("size", [32, 64, 224, 300])
def test_size_and_range(size):
    pixels = phantom.draw_film(0, 1, 0, size=size)
    assert pixels.shape == (size, size)
    assert pixels.dtype == np.uint8
    assert pixels.std() > 30


def test_classes_take_turns_and_some_patients_return():
    people = [phantom.patient(0, number) for number in range(400)]
    assert [p.label for p in people[:4]] == list(LABELS)
    assert {p.films for p in people} == {1, 2}
    assert 0.35 < np.mean([p.films == 2 for p in people]) < 0.55
    assert {p.sex for p in people} == {"M", "F"}
    assert all(18 <= p.age < 90 for p in people)


def test_the_middle_of_the_chest_is_dense_and_the_lungs_are_not():
    mean = np.mean([phantom.draw_film(0, 4 * n, 0, size=96) for n in range(24)], axis=0)
    lungs = (mean[35:55, 22:34].mean() + mean[35:55, 62:74].mean()) / 2
    assert mean[35:55, 45:51].mean() > lungs + 60  # spine and mediastinum
    assert mean[78:90, 30:66].mean() > lungs + 80  # abdomen


def test_disease_shows_where_it_should():
    def added(label: str) -> np.ndarray:
        number = LABELS.index(label)
        films_ = [phantom.draw_film(0, 4 * n + number, 0, size=96) for n in range(60)]
        healthy = [phantom.draw_film(0, 4 * n, 0, size=96) for n in range(60)]
        return np.mean(films_, axis=0) - np.mean(healthy, axis=0)

    covid = added("covid19")
    outer = np.r_[16:26, 70:80]
    assert covid[55:72, outer].mean() > covid[20:40, outer].mean()  # lower zones more than upper
    assert added("bacterial")[30:70, 16:80].mean() > 0


def test_without_a_planted_shortcut_the_border_tells_little():
    pixels, labels, groups = films(240)
    border = pixels.copy()
    border[:, 5:27, 5:27] = 0
    assert score(border, labels, groups) < 0.45
    assert 0.35 < score(pixels, labels, groups) < 0.8  # neither hopeless nor trivial


def test_a_planted_shortcut_gives_the_class_away():
    pixels, labels, groups = films(240, shortcut=True)
    pixels[:, 5:27, 5:27] = 0
    assert score(pixels, labels, groups) > 0.95


def test_a_synthetic_film_passes_as_a_film():
    reading = read_film(encoded(phantom.draw_film(0, 0, 0)))
    assert (reading.width, reading.height) == (224, 224)


def test_contact_sheet():
    sheet = phantom.contact_sheet(size=48)
    assert sheet.width > 6 * 48
    assert sheet.height > 4 * 48
