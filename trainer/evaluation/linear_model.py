"""The linear model of the shortcut baselines, fitted once to the same images.

It follows from what it is fitted to alone, whatever is scored by it, and fitting takes seconds. So
it is kept in a file whose name is a fingerprint of that: images, labels, settings and release of
scikit-learn. Runs, seeds, folds and searches of one dataset share it.
"""

import contextlib
import hashlib
import io
import json
import pathlib

import numpy as np
import sklearn
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler
from threadpoolctl import threadpool_limits

from trainer.run import files
from trainer.run.progress import working

FOLDER = "baselines"  # of the cache
_MOST_FILES = 200  # some 35 kB each; the oldest go first
_SCORED_AT_ONCE = 4096  # images
_SETTINGS = {"C": 0.01, "class_weight": "balanced", "max_iter": 1000}
# What of the fitted model its calls follow from.
_SCALER, _REGRESSION = ("mean_", "scale_"), ("classes_", "coef_", "intercept_")


def fitted(
    squares: np.ndarray, labels: np.ndarray, what: str, folder: pathlib.Path | None = None
) -> Pipeline:
    """Logistic regression on standardised pixels, each class weighed equally.

    Args:
        squares: uint8 [n, side, side], 0..255.
        labels: int [n]; at least two classes occur.
        what: Is fitted, for the line that shows it; what was kept is read without one.
        folder: Where models are kept, which is made; None keeps none.

    Returns:
        The model; `probabilities` takes it.
    """
    path = folder and folder / f"{_fingerprint(squares, labels)}.npz"
    if path is not None and (model := _read(path)) is not None:
        return model
    # Two threads of a linear algebra library gain nothing on matrices of this size, and beside
    # other work on the same cores they wait for each other by spinning: 12 s in place of 1.7.
    with working(f"fitting {what}"), threadpool_limits(1, user_api="blas"):
        model = make_pipeline(StandardScaler(), LogisticRegression(**_SETTINGS))
        model.fit(_pixels(squares), labels)
    if path is not None:
        with contextlib.suppress(OSError):  # a full disk: the next run fits it
            _write(path, model)
    return model


def probabilities(model: Pipeline, squares: np.ndarray, classes: int) -> np.ndarray:
    """float32 [n, classes]. A class that was not fitted to is no column of the model: 0.

    Args:
        model: Of `fitted`.
        squares: uint8 [n, side, side], 0..255.
        classes: Number of classes.
    """
    shares = np.zeros((len(squares), classes), np.float32)
    for first in range(0, len(squares), _SCORED_AT_ONCE):
        part = slice(first, first + _SCORED_AT_ONCE)
        shares[part, model.classes_] = model.predict_proba(_pixels(squares[part]))
    return shares


def _pixels(squares: np.ndarray) -> np.ndarray:
    """float32 [n, pixels], 0..255; standardised inside the model."""
    return squares.reshape(len(squares), -1).astype(np.float32)


def _fingerprint(squares: np.ndarray, labels: np.ndarray) -> str:
    """64 hexadecimal digits of all that the model follows from."""
    known = json.dumps([_SETTINGS, sklearn.__version__, squares.shape])
    digest = hashlib.sha256(known.encode())
    digest.update(np.ascontiguousarray(squares))
    digest.update(np.ascontiguousarray(labels, np.int64))
    return digest.hexdigest()


def _read(path: pathlib.Path) -> Pipeline | None:
    """A model that was kept; None where there is none, or its file is damaged."""
    try:
        with np.load(io.BytesIO(files.read_sealed(path))) as arrays:
            model = make_pipeline(StandardScaler(), LogisticRegression(**_SETTINGS))
            for step, names in zip(model, (_SCALER, _REGRESSION), strict=True):
                for name in names:
                    setattr(step, name, arrays[name])
    except (OSError, files.DamagedError):
        return None
    return model


def _write(path: pathlib.Path, model: Pipeline) -> None:
    parts = zip(model, (_SCALER, _REGRESSION), strict=True)
    arrays = {name: getattr(step, name) for step, names in parts for name in names}
    packed = io.BytesIO()
    np.savez(packed, **arrays)
    files.make_folder(path.parent)
    files.write_sealed(path, packed.getvalue())
    by_age = sorted(path.parent.glob("*.npz"), key=lambda each: each.stat().st_mtime)
    for old in by_age[:-_MOST_FILES]:
        old.unlink()
