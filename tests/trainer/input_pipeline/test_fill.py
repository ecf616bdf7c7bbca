"""Filling: nothing is computed twice, nothing is lost, and every row is what its stage makes."""

import dataclasses
import errno
import fcntl
import os
import signal
import time

import numpy as np
import pytest

from tests.helpers import commands, filling
from tests.helpers.filling import IMAGES, ROWS
from trainer.augmentation.random import uniform_draws
from trainer.input_pipeline import cache_files, cache_folders
from trainer.input_pipeline import fill as fill_lib
from trainer.input_pipeline.cache import Spec
from trainer.input_pipeline.fill import fill
from trainer.input_pipeline.plan import Fill
from trainer.input_pipeline.stages import OpenStages, square_stage
from trainer.run import command
from trainer.run.errors import ConfigFailedError, RunError


@pytest.fixture
def opened(tmp_path):
    """The cache, opened again by each call."""
    every = []

    def again():
        every.append(OpenStages(tmp_path / "cache"))
        return every[-1]

    yield again
    for each in every:
        each.close()


def filled(opened: OpenStages, **arguments) -> int:
    return fill(filling.planned(opened), IMAGES, opened, **arguments)


def check_rows(opened: OpenStages) -> None:
    """Every row is what its stage makes of the image and the view."""
    train, score = filling.chains()
    for name, chain, views in (("train", train, (0, 1)), ("validation", score, (0,))):
        images = IMAGES[name]
        for view in views:
            draws = uniform_draws(images.image_ids, view, 1) if chain[1].augmented else None
            lower = filling.lower(filling.squares(name), draws)
            got = opened.rows(chain[1]).read(images.digests, view)
            np.testing.assert_array_equal(got, lower)
            top = opened.rows(chain[2]).read(images.digests, view)
            np.testing.assert_array_equal(top, filling.upper(lower, None))


def test_every_row_is_computed_once_and_right(opened):
    assert filled(opened()) == ROWS
    check_rows(opened())
    assert filled(opened()) == 0


def test_several_devices_compute_larger_batches(opened):
    counts = []

    def counted(compute):
        return lambda lower, draws: counts.append(len(lower)) or compute(lower, draws)

    cache = opened()
    assert fill(filling.planned(cache, counted), IMAGES, cache, devices=2) == ROWS
    check_rows(opened())
    assert sorted(counts) == [70] * 2 + [72] * 4 + [128] * 4


def test_a_new_image_and_a_new_view_compute_themselves_only(opened, monkeypatch):
    few = {**IMAGES, "train": IMAGES["train"].take(range(199))}
    with monkeypatch.context() as patched:
        patched.setattr(filling, "IMAGES", few)
        first = opened()
        assert fill(filling.planned(first), few, first) == ROWS - 4
    assert filled(opened()) == 4  # two stages of two views
    check_rows(opened())


def test_a_damaged_row_is_computed_again(opened, tmp_path):
    first = opened()
    filled(first)
    stage = filling.chains()[0][2]
    path = first.rows(stage).folder / "rows.bin"
    data = bytearray(path.read_bytes())
    data[5] ^= 1
    path.write_bytes(data)
    assert filled(opened()) == 1
    check_rows(opened())
    assert filled(opened()) == 0


def test_where_the_rows_below_find_no_room_the_squares_are_passed_through(opened):
    """Those of the head fit, and those that the second phase would train from do not."""
    cache = opened()
    plan = filling.planned(cache, room=470 * 32 + 70 * 256)
    assert [each.train.spec.name for each in plan.phases] == ["square", "block5_pool"][::-1]
    assert fill(plan, IMAGES, cache) == 2 * 200 + 2 * 70
    train, _ = filling.chains()
    images = IMAGES["train"]
    for view in (0, 1):
        below = filling.lower(filling.squares("train"), uniform_draws(images.image_ids, view, 1))
        assert len(cache.rows(train[1]).missing(images.digests, view)) == 200
        got = cache.rows(train[2]).read(images.digests, view)
        np.testing.assert_array_equal(got, filling.upper(below, None))


def test_a_damaged_row_whose_lower_row_is_gone_is_computed_from_its_square(opened):
    cache = opened()
    filled(cache)
    train, _ = filling.chains()
    images = IMAGES["train"]
    wanted = cache.rows(train[2]).read(images.digests, 1)
    lower, path = cache.rows(train[1]).folder, cache.rows(train[2]).folder / "rows.bin"
    cache.close()
    assert cache_folders.remove(lower)
    data = bytearray(path.read_bytes())
    data[5] ^= 1
    path.write_bytes(data)
    cache = opened()
    plan = filling.planned(cache)
    assert not any(each.missing for each in plan.fills if each.stage.spec.name == "block5_pool")
    fill(plan, IMAGES, cache)
    np.testing.assert_array_equal(cache.rows(train[2]).read(images.digests, 1), wanted)


def test_a_full_disk_is_a_sentence_and_nothing_is_lost(opened, monkeypatch):
    writes, write = [], cache_files.write

    def until_full(*arguments):
        writes.append(1)
        if len(writes) > 14:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        write(*arguments)

    cache = opened()
    filling.planned(cache)  # the squares are there
    with monkeypatch.context() as patched:
        patched.setattr(cache_files, "write", until_full)
        with pytest.raises(RunError, match=r"No space left on device\)\. Make room on that disk"):
            filled(cache)
    left = filled(opened())
    assert 0 < left < ROWS  # 14 writes are 7 batches
    check_rows(opened())


def test_progress_is_reported_for_each_batch(opened):
    calls = []
    filled(opened(), on_progress=lambda: calls.append(1))
    # 64 rows a batch: 200 images are 4 batches, 70 are 2; two views of two stages.
    assert len(calls) == 2 * (2 * 4 + 2)


def test_while_another_process_fills_progress_is_reported_too(opened, capsys):
    cache = opened()
    filling.planned(cache)
    folder = cache.rows(filling.chains()[1][1]).folder  # which is filled first
    waited = []
    with (folder / "filling").open("a") as theirs:
        fcntl.flock(theirs, fcntl.LOCK_EX)

        def release():
            waited.append(1)
            fcntl.flock(theirs, fcntl.LOCK_UN)

        assert filled(cache, on_progress=release) == ROWS
    assert waited
    check_rows(cache)
    printed = capsys.readouterr().err
    assert printed.count("waiting for another process, which computes them, too") == 1
    _, after = printed.split("which computes them, too", 1)
    assert "computing block4_pool: 0 %, 0 of" in after  # the numbers are shown again
    assert "computing block4_pool: 100 %" in after


def test_waiting_for_another_process_ends_where_a_signal_asks_for_it(opened, monkeypatch):
    def interrupted():
        raise command.Interrupted(signal.SIGINT)

    cache = opened()
    filling.planned(cache)
    folder = cache.rows(filling.chains()[1][1]).folder  # which is filled first
    monkeypatch.setattr(command, "raise_if_interrupted", interrupted)
    with (folder / "filling").open("a") as theirs:
        fcntl.flock(theirs, fcntl.LOCK_EX)
        with pytest.raises(command.Interrupted):
            filled(cache)


# Rows that are computed elsewhere


def test_rows_computed_elsewhere_several_batches_ahead_are_the_same(opened):
    sizes = []

    def ahead(stage, batches):
        """Takes all batches before it gives the rows of the first."""
        taken = list(batches)
        sizes.extend(len(lower) for lower, _ in taken)
        yield from (stage.compute(lower, draws) for lower, draws in taken)

    assert filled(opened(), compute=ahead) == ROWS
    check_rows(opened())
    # 200 and 70 images at a time: here they are batches of 64.
    assert sorted(sizes) == [70, 70, 200, 200, 200, 200]


@pytest.mark.parametrize("side,images", [(32, 512), (512, 256), (1024, 64), (2048, 64)])
def test_what_is_handed_over_is_whole_batches_within_64_mib(side, images):
    square, top = square_stage(side), filling.chains()[0][1]
    each = Fill(top, square, "train", (0,), 1)
    assert fill_lib.handed_over(each) == images


def test_what_fails_elsewhere_keeps_the_rows_before_it(opened):
    def broken(stage, batches):
        yield stage.compute(*next(batches))
        raise RunError("A worker is gone.")

    cache = opened()
    with pytest.raises(RunError, match="A worker is gone"):
        filled(cache, compute=broken)
    assert filled(opened()) == ROWS - 70  # the lowest fill comes first
    check_rows(opened())


# Processes


def rows_of(log) -> list[int]:
    return [int(line) for line in log.read_text().split()] if log.exists() else []


@pytest.mark.slow
def test_a_killed_fill_goes_on(opened, tmp_path):
    log = tmp_path / "log"
    arguments = (str(tmp_path / "cache"), str(log), "6")
    with commands.started("tests.helpers.filling", *arguments) as process:
        while len(rows_of(log)) < 4:
            assert process.poll() is None, process.communicate()
            time.sleep(0.002)
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert process.returncode == -signal.SIGKILL
    begun = rows_of(log)
    assert sum(begun) < ROWS
    left = filled(opened())
    # The last batch may be lost that it began with, and no other.
    assert left in (ROWS - sum(begun), ROWS - sum(begun[:-1]))
    check_rows(opened())


@pytest.mark.slow
def test_two_processes_compute_nothing_twice(opened, tmp_path):
    logs = [tmp_path / name for name in ("one", "two")]
    cache = str(tmp_path / "cache")
    with (
        commands.started("tests.helpers.filling", cache, str(logs[0])) as one,
        commands.started("tests.helpers.filling", cache, str(logs[1])) as two,
    ):
        for process in (one, two):
            printed = process.communicate(timeout=300)
            assert process.returncode == 0, printed
    assert sum(rows_of(logs[0])) + sum(rows_of(logs[1])) == ROWS
    assert filled(opened()) == 0
    check_rows(opened())


def test_rows_that_are_not_finite_are_not_kept(opened):
    def broken(compute):
        def computed(below, draws):
            rows = compute(below, draws)
            return np.where(np.arange(len(rows))[:, None] == 3, np.nan, rows)

        return computed

    cache = opened()
    plan = filling.planned(cache, broken)
    with pytest.raises(ConfigFailedError, match=r"^The activations of image .* are not finite"):
        fill(plan, IMAGES, cache)
    assert filled(opened()) == ROWS  # none of that batch is there


def test_rows_that_are_not_finite_are_of_halves_or_of_the_weights():
    """Rows of 32 bits can't be made longer."""
    spec = Spec("block5_pool", (2, 2, 8), "bfloat16", {})
    said = fill_lib.not_finite(spec, ["a.png"])
    assert "a.png are not finite (block5_pool, bfloat16). Give --precision=float32" in said
    said = fill_lib.not_finite(dataclasses.replace(spec, dtype="float32"), ["a.png"])
    assert said.endswith("(block5_pool, float32). Look at these images, and at the weights "
                         "(--weights).")  # fmt: skip
