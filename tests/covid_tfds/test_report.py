"""The summary of a build stays on one screen."""

from covid_tfds.collection import Collection
from covid_tfds.first_pass import Readings
from covid_tfds.records import Exclusion
from covid_tfds.report import Report


def test_reasons_beyond_the_twelve_commonest_are_one_line():
    left_out = [
        Exclusion(f"own/{i}.png", f"reason {k:02}") for k in range(20) for i in range(30 - k)
    ]
    readings = Readings([], None, [], [], [], None)
    found = Collection("covid_tfds/x/2.0.0", ("a", "b"), [], readings, [], [], left_out, [])
    lines = Report(found).text().splitlines()
    first = lines.index(f"found {len(left_out)}, used 0, left out {len(left_out)}") + 1
    assert lines[first : first + 12] == [f"  {30 - k:6d}  reason {k:02}" for k in range(12)]
    assert lines[first + 12 : first + 14] == [f"  {sum(range(11, 19)):6d}  8 others", ""]
