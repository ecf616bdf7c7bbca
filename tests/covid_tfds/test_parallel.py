"""A function over many items: in order, never far ahead, no work left behind."""

import itertools
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


def test_a_few_items_keep_all_threads_busy():
    together = threading.Barrier(8, timeout=60)  # passed when eight are worked on at a time
    assert len(list(parallel.in_order(lambda _: together.wait(), range(8), threads=8))) == 8


@pytest.mark.parametrize(("threads", "most"), [(1, 32), (2, 32), (8, 32), (64, 4), (1000, 1)])
def test_chunks_grow_and_results_ahead_are_limited(threads, most):
    sizes = list(itertools.islice(parallel._sizes(threads), 10 * threads))
    assert sizes[:threads] == [1] * threads
    assert sizes == sorted(sizes) and sizes[-1] == most
    assert max(sizes) * threads * parallel._AHEAD <= max(512, 2 * threads)


def test_a_caller_that_stops_waits_for_what_is_worked_on_alone(monkeypatch):
    goes_on, begun = threading.Event(), []

    class Ended(threading.Event):
        def set(self):
            super().set()
            goes_on.set()

    def one(number: int) -> int:
        begun.append(number)
        if number >= 150:  # ahead of the caller, who stops at 100
            goes_on.wait(60)
        return number

    monkeypatch.setattr(parallel, "Event", Ended)
    results = parallel.in_order(one, range(1000), threads=2)
    assert [next(results) for _ in range(100)] == list(range(100))
    results.close()
    assert len([number for number in begun if number >= 150]) <= 2


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
