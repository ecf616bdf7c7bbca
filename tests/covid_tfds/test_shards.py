"""How many files a split has: as asked, or as TFDS counts, with a limit of examples a file."""

import types

import numpy as np
import pytest
import tensorflow_datasets as tfds

from covid_tfds import shards


@pytest.mark.parametrize("asked,lengths", [
    (None, [833, 834, 833]), (1, [2500]), (2, [1250, 1250]), (4, [625] * 4),
])  # fmt: skip
def test_a_number_of_shards_that_is_asked_for_goes_before_the_limit(asked, lengths):
    table = np.full(2500, 100, [("height", "i4"), ("width", "i4")])
    found = types.SimpleNamespace(readings=types.SimpleNamespace(table=table))
    config = tfds.download.DownloadConfig(num_shards=asked)
    runs = shards.divided(found, range(2500), config)
    assert [len(run) for run in runs] == lengths
    assert [place for run in runs for place in run] == list(range(2500))
