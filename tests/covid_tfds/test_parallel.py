"""A function over many items: in order, never far ahead, no work left behind."""

import threading

import pytest

from covid_tfds import parallel


def test_results_come_in_order_and_items_are_taken_as_they_are_needed():
    taken = []

    def items():
        for number in range(1000):
            taken.append(number)
            yield number

    results = parallel.in_order(lambda x: x * x, items(), threads=2)
    assert [next(results) for _ in range(10)] == [x * x for x in range(10)]
    assert len(taken) <= 10 + (2 * parallel._AHEAD + 1) * parallel._CHUNK
    assert list(results) == [x * x for x in range(10, 1000)]


def test_an_error_reaches_the_caller_and_nothing_goes_on_behind_it():
    def fail(number: int) -> int:
        if number == 5:
            raise ValueError("five")
        return number

    before = threading.active_count()
    with pytest.raises(ValueError, match="five"):
        list(parallel.in_order(fail, range(1000), threads=3))
    assert threading.active_count() == before


def test_a_caller_that_stops_early_leaves_no_thread():
    before = threading.active_count()
    results = parallel.in_order(str, range(1000), threads=3)
    assert next(results) == "0"
    results.close()
    assert threading.active_count() == before
