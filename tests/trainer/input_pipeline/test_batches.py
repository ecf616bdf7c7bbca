"""Batches: the same whether rows are held in memory or read from the disk."""

import numpy as np
import pytest
import tensorflow as tf

from tests.helpers import datasets
from tests.helpers.memory import resident
from trainer.input_pipeline import batches
from trainer.input_pipeline.batches import Rows, ordered_batches, train_batches
from trainer.input_pipeline.cache import CachedRows, Spec

COUNT, BATCH = 26, 8
LABELS = np.arange(COUNT)  # an image's label is its number
IMAGES = datasets.made(LABELS)


@pytest.fixture(scope="module")
def cached(tmp_path_factory):
    """Rows of three views: each holds the number of its image and of its view."""
    spec = Spec("rows", (2, 3), "bfloat16", {})
    rows = CachedRows(tmp_path_factory.mktemp("cache"), spec)
    order = np.random.default_rng(0).permutation(COUNT)  # as they lie on the disk
    with rows.filling():
        for view in (0, 1, 5):
            values = np.zeros((COUNT, 2, 3), np.float32)
            values[:, 0, 0], values[:, 1, 2] = LABELS, view
            rows.append(IMAGES.digests[order], view, values[order].astype(np_dtype(spec)))
    yield rows
    rows.close()


def np_dtype(spec: Spec):
    return tf.as_dtype(spec.dtype).as_numpy_dtype


@pytest.fixture(params=[batches.MEMORY, 0], ids=["held in memory", "read from the disk"])
def rows(request, cached, monkeypatch):
    monkeypatch.setattr(batches, "MEMORY", request.param)
    made = Rows(cached, IMAGES.digests, (0, 1, 5))
    assert made.held is (request.param > 0)
    return made


def stream(rows: Rows, epochs: range, *, seed: int = 1, at=None, **options) -> list:
    at = np.arange(COUNT) if at is None else at
    made = train_batches(rows, LABELS, at=at, batch_size=BATCH, seed=seed, epochs=epochs, **options)
    return list(made.as_numpy_iterator())


def labels(stream: list) -> list[int]:
    return np.concatenate([truth for _, truth in stream]).tolist()


def test_a_row_goes_with_the_label_of_its_image(rows):
    for inputs, truth in stream(rows, range(2)):
        assert (inputs.dtype, inputs.shape[1:]) == (np_dtype(rows._cached.spec), (2, 3))
        np.testing.assert_array_equal(inputs[:, 0, 0].astype(int), truth)


def test_held_rows_and_rows_from_the_disk_make_the_same_batches(cached, monkeypatch):
    made = []
    for memory in (batches.MEMORY, 0):
        monkeypatch.setattr(batches, "MEMORY", memory)
        rows = Rows(cached, IMAGES.digests, (0, 1, 5))
        made.append([(i.tobytes(), t.tolist()) for i, t in stream(rows, range(3), view_count=6)])
        scored = ordered_batches(rows, np.arange(COUNT), BATCH).as_numpy_iterator()
        made[-1] += [each.tobytes() for each in scored]
    assert made[0] == made[1]


def test_nothing_is_tuned_while_it_runs(rows):
    """A tuner lets the end of an iterator wait: see `streaming.options`."""
    at = np.arange(COUNT)
    train = train_batches(rows, LABELS, at=at, batch_size=BATCH, seed=1, epochs=range(1))
    for made in (train, ordered_batches(rows, at, BATCH)):
        assert made.options().autotune.enabled is False


def test_rows_are_held_in_memory_once(tmp_path):
    """In MiB; TensorFlow would copy them into a constant, and tf.data into what it rewrites."""
    with CachedRows(tmp_path, Spec("large", (3 * 2**20,), "uint8", {})) as large:
        with large.filling():
            for image in IMAGES.digests:
                large.append(image[None], 0, np.zeros((1, 3 * 2**20), np.uint8))
        rows = Rows(large, IMAGES.digests, (0,))
        before = resident()
        made = train_batches(
            rows, LABELS, at=np.arange(COUNT), batch_size=1, seed=1, epochs=range(1)
        )
        running = iter(made)
        next(running)
        assert rows.held and resident() - before < 1.4 * 3 * COUNT


def test_an_epoch_holds_every_image_once_and_keeps_the_tail(rows):
    epoch = stream(rows, range(1))
    assert [len(truth) for _, truth in epoch] == [8, 8, 8, 2]
    assert sorted(labels(epoch)) == list(range(COUNT))


def test_the_order_is_of_the_seed_and_the_epoch_whatever_came_before(rows):
    every = labels(stream(rows, range(5)))
    orders = [every[first : first + COUNT] for first in range(0, len(every), COUNT)]
    assert len({tuple(order) for order in orders}) == 5
    for epoch, order in enumerate(orders):
        assert labels(stream(rows, range(epoch, epoch + 1))) == order
        assert labels(stream(rows, range(epoch, epoch + 1), seed=2)) != order


def test_skip_gives_exactly_the_rest_of_the_epoch(rows):
    whole = stream(rows, range(2, 4))
    for skip in range(5):
        rest = stream(rows, range(2, 4), skip=skip)
        assert len(rest) == len(whole) - skip
        for one, other in zip(rest, whole[skip:], strict=True):
            np.testing.assert_array_equal(one[1], other[1])
            np.testing.assert_array_equal(one[0], other[0])


def test_batches_that_come_together_are_those_that_come_alone(rows):
    """At whichever of them an epoch goes on; those of two epochs never come together."""
    for skip in (0, 1, 2):
        alone = stream(rows, range(2, 4), skip=skip)
        together = stream(rows, range(2, 4), skip=skip, together=3)
        assert labels(together) == labels(alone)
        np.testing.assert_array_equal(
            *(np.concatenate([i for i, _ in s]) for s in (together, alone))
        )
        batches = [len(truth) for _, truth in together]
        assert batches == {0: [24, 2], 1: [18], 2: [10]}[skip] + [24, 2]


def test_an_epoch_takes_its_view_in_turn(rows):
    """Of six views those that these epochs take are there: 0, 1 and 5."""
    for epoch, view in ((0, 0), (1, 1), (5, 5), (6, 0), (11, 5)):
        for inputs, _ in stream(rows, range(epoch, epoch + 1), view_count=6):
            assert (inputs[:, 1, 2].astype(int) == view).all()


def test_some_images_alone_are_trained_on(rows):
    some = np.array([20, 3, 7, 11, 2])
    epoch = stream(rows, range(1), at=some)
    assert sorted(labels(epoch)) == sorted(some.tolist())


def test_one_image_is_enough(rows):
    assert labels(stream(rows, range(3), at=np.array([4]))) == [4, 4, 4]


def test_draws_follow_their_images_and_their_epoch(rows):
    def draws(epoch: int, at: np.ndarray) -> np.ndarray:
        return np.stack([at, np.full(len(at), int(epoch))], 1).astype(np.float32)

    made = stream(rows, range(2, 4), draws=draws)
    for i, ((inputs, numbers), truth) in enumerate(made):
        epoch = 2 + i // 4
        np.testing.assert_array_equal(numbers, np.stack([truth, np.full(len(truth), epoch)], 1))
        np.testing.assert_array_equal(inputs[:, 0, 0].astype(int), truth)


def test_what_is_scored_comes_in_order_with_its_tail(rows):
    for at in (np.arange(COUNT), np.array([9, 2, 2, 25])):
        made = list(ordered_batches(rows, at, 3).as_numpy_iterator())
        assert [len(each) for each in made] == [3] * (len(at) // 3) + (
            [len(at) % 3] if len(at) % 3 else []
        )
        every = np.concatenate(made)
        np.testing.assert_array_equal(every[:, 0, 0].astype(int), at)
        assert (every[:, 1, 2].astype(int) == 0).all()  # the images as they are


def test_many_epochs_hold_no_more_memory_than_a_few(tmp_path, monkeypatch):
    """40 more epochs read 60 MB from the disk."""
    monkeypatch.setattr(batches, "MEMORY", 0)
    with CachedRows(tmp_path, Spec("large", (60_000,), "uint8", {})) as large:
        with large.filling():
            large.append(IMAGES.digests, 0, np.zeros((COUNT, 60_000), np.uint8))
        made = train_batches(
            Rows(large, IMAGES.digests, (0,)), LABELS, at=np.arange(COUNT), batch_size=BATCH,
            seed=1, epochs=range(50),
        )  # fmt: skip
        held = []  # now, not at most: a test before this one may have held more
        for i, _ in enumerate(made):
            if i in (40, 199):
                held.append(resident())
    assert held[1] - held[0] < 16
