"""A license that is asked for allows itself and its versions, never one with further terms."""

import pytest

from covid_tfds import licenses
from covid_tfds.errors import DatasetError
from covid_tfds.records import ImageRecord

ALLOWED = [
    ("CC BY", "CC BY"), ("CC BY", "CC BY 4.0"), ("cc-by", "CC BY 4.0"), ("CC BY", "cc_by-3.0"),
    ("CC BY-NC-SA", "CC BY-NC-SA 4.0"), ("Apache 2.0", "Apache 2.0"), ("Apache", "Apache 2.0"),
    ("not stated", "not stated"),
]  # fmt: skip
REFUSED = [
    ("CC BY", "CC BY-NC"), ("CC BY", "CC BY-NC 4.0"), ("CC BY", "CC BY-SA 4.0"),
    ("CC BY 4.0", "CC BY 3.0"), ("CC BY 4.0", "CC BY"), ("CC BY-NC", "CC BY"),
    ("CC BY", "not stated"), ("CC", "CC BY"),
]  # fmt: skip


@pytest.mark.parametrize("wanted,license_", ALLOWED)
def test_allowed(wanted, license_):
    assert licenses.allows([wanted], license_)


@pytest.mark.parametrize("wanted,license_", REFUSED)
def test_refused(wanted, license_):
    assert not licenses.allows([wanted], license_)


def test_a_license_that_no_image_has_is_named_with_those_that_there_are():
    records = [ImageRecord(str(i), "x", "own", str(i), str(i), license="CC BY 4.0") for i in (1, 2)]
    with pytest.raises(DatasetError, match=r"'MIT'(.|\n)*2  CC BY 4\.0"):
        licenses.require_known(["CC BY", "MIT"], records)
