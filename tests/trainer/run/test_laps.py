"""The clock of a run's parts."""

import time

import pytest

from trainer.run.laps import Laps


def test_parts_follow_one_another(monkeypatch):
    now = iter([10.0, 11.0, 15.0])
    monkeypatch.setattr(time, "monotonic", lambda: next(now))
    laps = Laps()
    laps.end("opening")
    laps.end("training")
    assert laps.seconds == pytest.approx({"opening": 1.0, "training": 4.0})
