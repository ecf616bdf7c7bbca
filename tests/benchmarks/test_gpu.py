"""The count of operations is right, and the benchmark runs to its line; no time is judged."""

import pytest

from benchmarks import gpu
from trainer.run.libraries import keras_settings


def test_operations_are_those_of_vgg16():
    # 15,346,630,656 multiply-adds in the convolutions at 224 px, as is widely printed.
    assert gpu.operations(224, None) == 2 * 15_346_630_656
    block5 = 2 * 3 * 14 * 14 * 9 * 512 * 512
    assert gpu.operations(224, "block5") == gpu.operations(224, None) + 2 * block5


@pytest.mark.slow
def test_shares_are_of_the_matrix_rate():
    with keras_settings():
        line = gpu.measure(size=32, batch=2, matrix=16, rounds=1, seconds=0.0)
    assert set(line["figures"]) == {"matrix", "forward", "step", "augmentation"}
    rate, forward = (line["figures"][name]["median"] for name in ("matrix", "forward"))
    share = line["claims"]["forward: share of the matrix rate"]["measured"]
    assert abs(share / (forward * gpu.operations(32, None) / rate) - 1) < 0.01
