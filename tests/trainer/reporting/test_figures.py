"""What figures of reports draw, by their artists."""

import numpy as np
import pytest

from tests.helpers.predictions import make
from trainer.evaluation.calibration import by_confidence
from trainer.reporting import figures

SHARES = np.array([[0.98, 0.02]] * 6 + [[0.92, 0.08]] * 2 + [[0.45, 0.55]] * 4)
LABELS = [0] * 5 + [1] * 3 + [1, 1, 1, 0]  # 5 of 8 right between .9 and 1, 3 of 4 at .55
GROUPS = [f"g{i // 2}" for i in range(12)]


def test_a_bin_of_confidence_ends_where_the_next_begins():
    confidence, bins = by_confidence(np.array([[0.5, 0.5], [0.75, 0.25], [1, 0], [0.5625, 0.4375]]))
    assert confidence.tolist() == [0.5, 0.75, 1, 0.5625]
    assert bins.tolist() == [4, 7, 9, 5]


def test_points_of_the_reliability_lie_at_the_mean_confidence_with_their_intervals():
    """In the middle of the last bin, .95, nearly all networks would look less sure than right."""
    table = make(LABELS, SHARES, GROUPS)
    share, number, confidence = figures.reliability(table)
    assert number.tolist() == [0, 0, 0, 0, 0, 4, 0, 0, 0, 8]
    assert confidence[[5, 9]] == pytest.approx([0.55, (6 * 0.98 + 2 * 0.92) / 8])
    assert share.value[[5, 9]] == pytest.approx([3 / 4, 5 / 8])
    curve, counts = figures.draw_reliability(table).axes
    (drawn,) = curve.containers
    points, _, (bars,) = drawn
    np.testing.assert_allclose(points.get_xdata(), confidence[[5, 9]])
    np.testing.assert_allclose(points.get_ydata(), share.value[[5, 9]])
    ends = np.array([[segment[0, 1], segment[1, 1]] for segment in bars.get_segments()])
    np.testing.assert_allclose(ends, np.stack([share.low, share.high], 1)[[5, 9]])
    assert [bar.get_height() for bar in counts.patches] == number.tolist()


def test_groups_and_not_images_make_the_intervals_of_the_reliability():
    alone = figures.reliability(make(LABELS, SHARES))[0]
    together = figures.reliability(make(LABELS, SHARES, ["a"] * 8 + GROUPS[8:]))[0]
    assert together.high[9] - together.low[9] > alone.high[9] - alone.low[9]
