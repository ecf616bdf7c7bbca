"""The plan: which rows each phase reads, and what has to be computed first."""

import dataclasses

import pytest

from trainer.config import Phase
from trainer.input_pipeline.cache import Spec
from trainer.input_pipeline.plan import Demand, make_plan, views_of_epochs
from trainer.input_pipeline.stages import Stage, square_stage

IMAGES = {"train": 100, "validation": 20, "test": 10}
HEAD = Phase("head", None, range(40), 1e-4)
TUNED = {block: Phase("fine_tune", block, range(40, 45), 1e-5)
         for block in ("block1", "block3", "block5")}  # fmt: skip


def chain(*names: str, augmented: bool = False, precision: str = "float32"):
    """Squares, then a stage for each cut: the lower, the larger its rows."""
    stages = [square_stage(32)]
    for i, name in enumerate(names):
        side = 8 >> i
        spec = Spec(name, (side, side, 16), "float32",
                    {"augmented": augmented, "precision": precision})  # fmt: skip
        stages.append(Stage(spec, augmented=augmented, seed=1 if augmented and i == 0 else None))
    return tuple(stages)


def demand(phases, *names: str, view_count: int = 1, precision: str = "float32", **changes):
    augmented = view_count != 1
    wanted = Demand(
        phases=tuple(phases),
        train=chain(*names, augmented=augmented, precision=precision),
        score=chain(*names),
        train_images=("train",),
        score_images=("validation", "test"),
        view_count=view_count,
    )
    return dataclasses.replace(wanted, **changes)


def nothing_cached(stage: Stage, name: str, views: tuple[int, ...]) -> int:
    return IMAGES[name] * len(views)


def all_cached(stage: Stage, name: str, views: tuple[int, ...]) -> int:
    return 0


def plenty() -> int:
    return 10**12


def never_asked() -> int:
    raise AssertionError("the cache is listed where nothing is missing")


def reads(plan) -> list[tuple[str, str]]:
    return [(each.train.spec.name, each.score.spec.name) for each in plan.phases]


def fills(plan) -> list[tuple[str, str, str, int]]:
    return [(f.stage.spec.name, f.below.spec.name, f.images, f.missing) for f in plan.fills]


def test_a_phase_reads_the_highest_stage_below_which_it_trains_nothing():
    plan = make_plan(demand([HEAD], "block5_pool"), nothing_cached, plenty)
    assert reads(plan) == [("block5_pool", "block5_pool")]
    two = demand([HEAD, TUNED["block5"]], "block4_pool", "block5_pool")
    plan = make_plan(two, nothing_cached, plenty)
    assert reads(plan) == [("block5_pool",) * 2, ("block4_pool",) * 2]
    all_blocks = demand([HEAD, TUNED["block1"]], "block5_pool")
    assert reads(make_plan(all_blocks, nothing_cached, plenty))[1] == ("square", "square")


def test_the_bytes_are_those_of_the_missing_rows():
    wanted = demand([HEAD], "block5_pool")
    plan = make_plan(wanted, nothing_cached, plenty)
    row = wanted.train[1].spec.row_bytes
    assert (plan.missing_bytes, plan.rejected_bytes) == (130 * row, 0)
    # Exactly as much room as is needed is enough, a byte less is not.
    assert reads(make_plan(wanted, nothing_cached, lambda: 130 * row)) == reads(plan)
    short = make_plan(wanted, nothing_cached, lambda: 130 * row - 1)
    assert reads(short) == [("square", "block5_pool")]
    assert short.rejected_bytes == 130 * row


def test_cached_rows_need_no_room():
    plan = make_plan(demand([HEAD], "block5_pool"), all_cached, never_asked)
    assert reads(plan) == [("block5_pool", "block5_pool")]
    assert (plan.missing_bytes, plan.rejected_bytes) == (0, 0)
    assert [each.missing for each in plan.fills] == [0] * 3  # they are still to be checked


def test_lower_stages_are_computed_before_those_above_them():
    phases = [HEAD, TUNED["block5"]]
    plan = make_plan(demand(phases, "block4_pool", "block5_pool"), nothing_cached, plenty)
    done = set()
    for fill in plan.fills:
        below = fill.below.spec.name
        assert below == "square" or (below, fill.images) in done
        done.add((fill.stage.spec.name, fill.images))
    assert len(done) == len(plan.fills) == 6
    assert all(f.below.spec.name == "block4_pool" for f in plan.fills
               if f.stage.spec.name == "block5_pool")  # fmt: skip


def test_a_row_counts_once_though_training_and_scoring_both_read_it():
    """Without augmentation, in float32, a train image's row is the one it is scored by."""
    names = ("all",)
    wanted = demand([HEAD], "block5_pool", train_images=names, score_images=names)
    plan = make_plan(wanted, lambda stage, name, views: 50, plenty)
    assert fills(plan) == [("block5_pool", "square", "all", 50)]
    assert plan.missing_bytes == 50 * wanted.train[1].spec.row_bytes


def test_rows_of_the_runs_precision_and_those_of_scoring_are_two():
    names = ("all",)
    wanted = demand([HEAD], "block5_pool", train_images=names, score_images=names,
                    precision="mixed_bfloat16")  # fmt: skip
    plan = make_plan(wanted, lambda stage, name, views: 50, plenty)
    assert len(plan.fills) == 2


@pytest.mark.parametrize(
    "epochs,count,views",
    [(range(40), 8, tuple(range(8))), (range(3), 8, (0, 1, 2)), (range(40, 45), 8, (0, 1, 2, 3, 4)),
     (range(6, 10), 8, (0, 1, 6, 7)), (range(9), 1, (0,))],
)  # fmt: skip
def test_epochs_take_their_views_in_turn(epochs, count, views):
    assert views_of_epochs(epochs, count) == views


def test_views_that_no_epoch_takes_are_not_computed():
    short = dataclasses.replace(HEAD, epochs=range(2))
    plan = make_plan(demand([short], "block5_pool", view_count=8), nothing_cached, plenty)
    assert plan.phases[0].views == (0, 1)
    train = next(fill for fill in plan.fills if fill.images == "train")
    assert (train.views, train.missing) == ((0, 1), 200)
    # What is scored is the images as they are.
    assert all(fill.views == (0,) for fill in plan.fills if fill.images != "train")


def test_without_a_number_of_views_training_reads_squares_and_scoring_does_not():
    plan = make_plan(demand([HEAD], "block5_pool", view_count=0), nothing_cached, plenty)
    assert reads(plan) == [("square", "block5_pool")]
    assert plan.phases[0].views == ()
    assert {fill.images for fill in plan.fills} == {"validation", "test"}
    assert plan.rejected_bytes == 0  # nothing was given up


def test_without_any_room_all_is_read_from_squares():
    phases = [HEAD, TUNED["block5"]]
    plan = make_plan(demand(phases, "block4_pool", "block5_pool"), nothing_cached, lambda: 0)
    assert reads(plan) == [("square", "square")] * 2
    assert (plan.fills, plan.missing_bytes) == ((), 0)
    assert plan.rejected_bytes > 0


def test_where_a_later_phases_rows_do_not_fit_the_head_still_has_its_own():
    wanted = demand([HEAD, TUNED["block3"]], "block2_pool", "block5_pool")
    lower, top = (stage.spec.row_bytes for stage in wanted.train[1:])
    plan = make_plan(wanted, nothing_cached, lambda: 130 * top + 30 * lower)
    assert reads(plan) == [("block5_pool", "block5_pool"), ("square", "block2_pool")]
    # Its rows come from the squares, in one pass.
    assert ("block5_pool", "square", "train", 100) in fills(plan)
    assert plan.rejected_bytes == 130 * (lower + top)


def test_where_only_scored_rows_fit_they_are_cached():
    wanted = demand([HEAD], "block5_pool", view_count=8)
    room = 30 * wanted.score[1].spec.row_bytes
    plan = make_plan(wanted, nothing_cached, lambda: room)
    assert reads(plan) == [("square", "block5_pool")]
    assert plan.missing_bytes == room


def test_a_lower_row_is_needed_only_where_the_row_above_is_missing():
    """The head's rows are all there: block 4 has to be computed for fine-tuning's views alone."""
    wanted = demand([HEAD, TUNED["block5"]], "block4_pool", "block5_pool", view_count=8)

    def missing(stage, name, views):
        return 0 if stage.spec.name == "block5_pool" else nothing_cached(stage, name, views)

    plan = make_plan(wanted, missing, plenty)
    lower = next(
        f for f in plan.fills if f.stage.spec.name == "block4_pool" and f.images == "train"
    )
    assert lower.views == (0, 1, 2, 3, 4)
    plan = make_plan(wanted, nothing_cached, plenty)
    lower = next(
        f for f in plan.fills if f.stage.spec.name == "block4_pool" and f.images == "train"
    )
    assert lower.views == tuple(range(8))


def test_an_epoch_belongs_to_the_phase_that_runs_it():
    plan = make_plan(demand([HEAD, TUNED["block5"]], "block4_pool", "block5_pool"),
                     nothing_cached, plenty)  # fmt: skip
    assert [plan.phase_of(epoch).phase.name for epoch in (0, 39, 40, 44)] == [
        "head", "head", "fine_tune", "fine_tune",
    ]  # fmt: skip
