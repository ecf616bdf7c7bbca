"""The file that a training goes on from: whole or refused, and what it says of the run."""

import os

import numpy as np
import pytest

from trainer.run import files, saved_folds, saved_state
from trainer.run.saved_state import FILE, where_it_goes_on

PHASES = [{"name": "head", "start": 0, "stop": 30}, {"name": "block5", "start": 30, "stop": 40}]
BEST = {"epoch": 11, "logs": {"val_balanced_accuracy": 0.81234, "val_loss": 0.5}}
VALUES = {"phases": PHASES, "steps": 14, "epoch": 12, "step": 7, "best": BEST, "ended": False}


def left(folder, **changes):
    """Leaves what a run that was killed leaves."""
    (folder / FILE).parent.mkdir(parents=True)
    saved_state.write(folder / FILE, {**VALUES, **changes}, {})
    return folder


@pytest.mark.parametrize(
    "array",
    [np.arange(6, dtype=np.float32).reshape(2, 3), np.array(np.pi), np.array([], np.int64),
     np.array([1, 2**63], np.uint64), np.array([np.nan, -0.0, 5e-324])],
)  # fmt: skip
def test_what_was_saved_is_read_bit_for_bit(array, tmp_path):
    values = {"epoch": 3, "loss": 0.1 + 0.2, "names": ["a", None], "deep": {"is": True}}
    saved_state.write(tmp_path / "state", values, {"best/0": array, "a name": array[..., None]})
    saved = saved_state.read(tmp_path / "state")
    assert saved.values == values
    assert list(saved.arrays) == ["best/0", "a name"]
    assert saved.arrays["best/0"].dtype == array.dtype
    assert saved.arrays["best/0"].shape == array.shape
    assert saved.arrays["best/0"].tobytes() == array.tobytes()


def test_where_nothing_was_saved_there_is_no_state(tmp_path):
    assert saved_state.read(tmp_path / "state") is None


def test_a_state_that_is_not_whole_is_refused_by_name(tmp_path):
    path = tmp_path / "state"
    saved_state.write(path, VALUES, {"network/0": np.zeros(3)})
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(files.DamagedError, match=f"^{path} is damaged"):
        saved_state.read(path)


def test_a_state_that_can_not_be_written_leaves_the_one_before(tmp_path):
    path = tmp_path / "state"
    saved_state.write(path, VALUES, {})
    with pytest.raises(TypeError):
        saved_state.write(path, {"callback": object()}, {})
    with pytest.raises(ValueError, match="Object arrays"):
        saved_state.write(path, {}, {"a": np.array([object()])})
    assert saved_state.read(path).values == VALUES
    assert [each.name for each in tmp_path.iterdir()] == ["state"]


PLACES = {
    "epoch 13 of 40, step 7 of 14": {},
    "epoch 13 of 40": {"step": 0},
    "epoch 1 of 40": {"epoch": 0, "step": 0, "best": None},
    "epoch 40 of 40, step 14 of 14": {"epoch": 39, "step": 14},
    "the end of its training": {"epoch": 40, "step": 0},
}


@pytest.mark.parametrize("text", PLACES)
def test_a_state_says_where_the_training_is(text, tmp_path):
    assert saved_state.read(left(tmp_path, **PLACES[text]) / FILE).text() == text


def test_early_stopping_ends_a_training_before_its_last_epoch(tmp_path):
    saved = saved_state.read(left(tmp_path, step=0, ended=True) / FILE)
    assert saved.text() == "the end of its training"


@pytest.mark.parametrize(("best", "epoch"), [(BEST, 12), (None, None)])
def test_the_best_epoch_counts_from_one(best, epoch, tmp_path):
    assert saved_state.read(left(tmp_path, best=best) / FILE).best_epoch == epoch


# The line of an interrupted command


def test_the_line_names_the_place_and_the_best_epoch(tmp_path):
    assert where_it_goes_on(left(tmp_path / "a")) == (
        f"{tmp_path}/a is at epoch 13 of 40, step 7 of 14: the same command with "
        f"--run_dir={tmp_path}/a goes on there. Best so far: epoch 12, balanced accuracy 0.812 on "
        "validation; "
        f'trainer.load("{tmp_path}/a").model() has it.'
    )


def test_the_line_has_no_best_epoch_before_one_was_scored(tmp_path):
    line = where_it_goes_on(left(tmp_path / "a", epoch=0, best=None))
    assert line == (
        f"{tmp_path}/a is at epoch 1 of 40, step 7 of 14: the same command with "
        f"--run_dir={tmp_path}/a goes on there."
    )


def test_the_line_promises_nothing_that_is_not_there(tmp_path):
    assert where_it_goes_on(tmp_path) == (
        f"nothing of the training is saved in {tmp_path} yet: the same command with "
        f"--run_dir={tmp_path} goes on there with what is cached."
    )
    path = left(tmp_path / "a") / FILE
    path.write_bytes(b"half of it")
    line = where_it_goes_on(tmp_path / "a")
    assert line.startswith(f"{path} is damaged") and "goes on" not in line


def test_the_line_of_several_seeds_names_those_that_ended_and_the_one_under_way(tmp_path):
    for seed in (8, 9):
        (tmp_path / f"seed_{seed}").mkdir()
        (tmp_path / f"seed_{seed}" / "metrics.json").touch()
        os.utime(tmp_path / f"seed_{seed}", (seed, seed))
    again = f"the same command with --run_dir={tmp_path} goes on there"
    assert where_it_goes_on(tmp_path) == f"2 of the seeds in {tmp_path} have ended: {again}."
    os.utime(left(tmp_path / "seed_10"), (10, 10))
    line = where_it_goes_on(tmp_path)
    assert line.startswith(
        f"2 of the seeds in {tmp_path} have ended; {tmp_path}/seed_10 is at epoch 13 of 40, step 7 "
        f"of 14: {again}. Best so far: epoch 12"
    )


def test_what_was_begun_with_overwrite_goes_on_without_it(tmp_path):
    again = f"the same command with --run_dir={tmp_path}/a and without --overwrite goes on there."
    assert again in where_it_goes_on(left(tmp_path / "a"), overwrite=True)
    assert again in saved_folds.where_it_goes_on(tmp_path / "a", overwrite=True)
