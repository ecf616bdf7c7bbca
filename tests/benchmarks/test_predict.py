"""The benchmark runs to its line on few images and a narrow network; no time is judged."""

import pytest

from benchmarks import predict
from covid_tfds.reading import encode
from tests.helpers.images import radiograph


@pytest.mark.slow
def test_files_are_timed_against_squares_that_are_ready(tmp_path):
    for i in range(5):
        (tmp_path / f"{i}.png").write_bytes(encode(radiograph(i, (80, 90))))
    (tmp_path / "wrong.png").write_bytes(b"no image")
    line = predict.measure([str(tmp_path)], images=6, size=32, align="none", width=0.05, rounds=2)
    assert line["images"] == 5
    assert set(line["figures"]) == {
        f"{side}, images/s" for side in ("files", "ready squares", "reading alone")
    }
    (claim,) = line["claims"].values()
    assert claim["target"] == 0.95 and claim["measured"] > 0
