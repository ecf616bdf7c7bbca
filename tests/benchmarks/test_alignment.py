"""The benchmark runs to its line on small images and a narrow network; no time is judged."""

import pytest

from benchmarks import alignment


@pytest.mark.slow
def test_both_batches_are_timed_against_the_forward_pass():
    line = alignment.measure(size=32, pixels=48, width=0.05, rounds=1, seconds=0.0)
    assert set(line["figures"]) == {
        f"{side}, ms an image"
        for side in (
            "aligned, batch 1", "aligned, batch 32", "VGG16, batch 1", "VGG16, batch 32",
            "VGG16 in a run's precision, batch 32", "cache: aligned", "cache: as it is",
        )
    }  # fmt: skip
    assert {claim["target"] for claim in line["claims"].values()} == {10.0}
