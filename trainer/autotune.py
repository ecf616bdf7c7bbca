"""Which precision, with or without XLA, passes films through the frozen part fastest, here.

`--precision=auto` goes by what the processor says of itself; `--autotune` measures.
"""

import dataclasses
import time
from collections.abc import Sequence

import keras
import numpy as np

from trainer import backbone, frozen
from trainer.config import PRECISIONS
from trainer.weights import Weights

_BATCH = 16  # films
_SECONDS = 1.0  # of measuring each candidate, after its first batch, which compiles


@dataclasses.dataclass(frozen=True)
class Trial:
    """One candidate.

    Attributes:
        policy: Keras' dtype policy.
        jit: Whether XLA compiles the frozen part.
        films_per_second: Through VGG16 up to its last pooling, median of the batches.
    """

    policy: str
    jit: bool
    films_per_second: float


def candidates(precision: str) -> list[str]:
    """The policies worth measuring: the one asked for, or all that this hardware may do well."""
    if precision != "auto":
        return [precision]
    every = [policy for policy in PRECISIONS if policy != "auto"]
    # A CPU is slower in float16 than in float32, always.
    return every if backbone.gpu_capability() is not None else every[:2]


def trials(precision: str, image_size: int) -> list[Trial]:
    """Measures every candidate, the fastest first; leaves the global policy as it was.

    Args:
        precision: Of the flag.
        image_size: Pixels of a side.
    """
    before = keras.config.dtype_policy()
    try:
        found = [
            Trial(policy, jit, _films_per_second(policy, jit, image_size))
            for policy in candidates(precision)
            for jit in (False, True)
        ]
    finally:
        keras.config.set_dtype_policy(before)
    return sorted(found, key=lambda trial: -trial.films_per_second)


def text(found: Sequence[Trial]) -> str:
    """One line: what was picked, and what it was picked from."""
    all_of_them = ", ".join(
        f"{trial.policy}{' with XLA' if trial.jit else ''} {trial.films_per_second:,.0f}"
        for trial in found
    )
    return f"measured, films/s through the frozen part: {all_of_them}"


def _films_per_second(policy: str, jit: bool, image_size: int) -> float:
    keras.config.set_dtype_policy(policy)
    model = backbone.build_model(
        classes=2, image_size=image_size, head_units=1, dropout=0.0, pooling="average",
        weights=Weights(None, "", "random numbers"),
    )  # fmt: skip
    part = frozen.part(model, None, frozen.cut(None), jit=jit)
    films = np.random.default_rng(0).uniform(0, 255, (_BATCH, image_size, image_size, 1))
    films = films.astype(np.float32)
    part.predict_on_batch(films)
    seconds: list[float] = []
    while sum(seconds) < _SECONDS:
        begin = time.perf_counter()
        part.predict_on_batch(films)
        seconds.append(time.perf_counter() - begin)
    return _BATCH / float(np.median(seconds))
