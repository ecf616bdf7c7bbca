"""A function over many items on all cores, in order, with a bounded number of results in memory."""

import collections
import concurrent.futures
import os
from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")

CORES = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
_AHEAD = 32  # results a core may be ahead of the caller


def in_order(
    function: Callable[[Item], Result], items: Iterable[Item], threads: int = CORES
) -> Iterator[Result]:
    """Yields function(item) for every item, in their order.

    Threads, not processes: decoders, encoders and hashes let go of the interpreter while they work.
    `Executor.map` would start on all items at once and keep every result that the caller has not
    taken yet; here the workers stay at most `_AHEAD` items a thread in front of it.

    Args:
        function: Safe to call from several threads.
        items: Taken one after the other, only as far as needed.
        threads: How many.
    """
    pool = concurrent.futures.ThreadPoolExecutor(threads)
    waiting: collections.deque[concurrent.futures.Future[Result]] = collections.deque()
    try:
        for item in items:
            waiting.append(pool.submit(function, item))
            if len(waiting) >= threads * _AHEAD:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:  # an error here, or a caller that stops early, leaves no work behind
        pool.shutdown(wait=True, cancel_futures=True)
