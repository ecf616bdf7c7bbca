"""Data sets drawn at random with patients whose images are alike, for `benchmarks.coverage`.

Every function draws many data sets at once: arrays are [sets, patients], or [sets, images].
"""

from typing import NamedTuple

import numpy as np

_MOST = 30  # images of a patient
_SHARED = 25  # data sets with the same sizes, where images are drawn one by one


class Kind(NamedTuple):
    """How many images a patient has, and how alike they are.

    Args:
        sizes: "one"; "geometric", of mean 3; or "heavy", P(s) ~ s^-1.3; at most 30.
        icc: Intraclass correlation, 0..1; a tuple has one for the first class, one for the others.
    """

    sizes: str
    icc: float | tuple[float, float]

    def of_class(self, c: int) -> float:
        """The correlation in a class."""
        return self.icc[min(c, 1)] if isinstance(self.icc, tuple) else self.icc


KINDS = (
    Kind("one", 0.0),
    *(Kind(sizes, icc) for sizes in ("geometric", "heavy") for icc in (0.0, 0.3, 0.8)),
)


def sizes(rng: np.random.Generator, kind: Kind, shape: tuple[int, ...]) -> np.ndarray:
    """Images of each patient, int64 of the shape."""
    if kind.sizes == "one":
        return np.ones(shape, np.int64)
    if kind.sizes == "geometric":
        return np.minimum(rng.geometric(1 / 3, shape), _MOST)
    shares = np.arange(1, _MOST + 1) ** -1.3
    return rng.choice(np.arange(1, _MOST + 1), shape, p=shares / shares.sum())


def right(rng: np.random.Generator, size: np.ndarray, share: float, icc: float) -> np.ndarray:
    """Right images of each patient, beta-binomial with this mean share and correlation."""
    if icc == 0:
        return rng.binomial(size, share)
    spread = (1 - icc) / icc
    return rng.binomial(size, rng.beta(share * spread, (1 - share) * spread, size.shape))


def discordant(
    rng: np.random.Generator, size: np.ndarray, ours: float, theirs: float, icc: float
) -> tuple[np.ndarray, np.ndarray]:
    """Images of each patient that only ours, and only theirs, has right."""
    either = right(rng, size, ours + theirs, icc)
    part = right(rng, either, ours / (ours + theirs), icc)
    return part, either - part


class Images(NamedTuple):
    """Some data sets of the same patients, image by image.

    Args:
        groups: int [images], the patient of each.
        noise: float64 [sets, images], of variance 1, correlated within patients.
    """

    groups: np.ndarray
    noise: np.ndarray


def images(rng: np.random.Generator, kind: Kind, patients: int, tail: float | None) -> Images:
    """Data sets with effects of patients.

    Args:
        rng: Draws all.
        kind: Of the patients; a correlation for all.
        patients: Their number.
        tail: Degrees of freedom of Student's t, of the images' own part; None: normal.
    """
    groups = np.repeat(np.arange(patients), sizes(rng, kind, (patients,)))
    icc = kind.of_class(0)
    shape = _SHARED, len(groups)
    own = rng.standard_normal(shape) if tail is None else rng.standard_t(tail, shape)
    shared = rng.standard_normal((_SHARED, patients))[:, groups]
    return Images(groups, np.sqrt(icc) * shared + np.sqrt(1 - icc) * own)
