"""What TensorBoard shows of a training while it goes on."""

import dataclasses
import types

import numpy as np
import pytest
import tensorflow as tf

from tests.helpers import events
from trainer.config import Phase
from trainer.input_pipeline.plan import PhasePlan, Plan
from trainer.input_pipeline.stages import square_stage
from trainer.training import callback_state, curves

STAGE = square_stage(32)
PLAN = Plan((PhasePlan(Phase("head", None, range(9), 1e-3), STAGE, STAGE, ()),), (), 0, 0)
NAMES = ("healthy", "covid19", "viral")
SHARES = np.array([[0.7, 0.2, 0.1], [0.4, 0.5, 0.1], [0.1, 0.8, 0.1]], np.float32)


class Clock:
    """In place of `time` in the module."""

    def __init__(self, patch):
        self.now = 100.0
        patch.setattr(curves.time, "monotonic", lambda: self.now)


@dataclasses.dataclass
class Running:
    """What the callback reads of `Steps`."""

    sums: np.ndarray = dataclasses.field(default_factory=lambda: np.zeros(3, np.float32))
    waited: float = 0.0


@pytest.fixture
def clock(monkeypatch):
    return Clock(monkeypatch)


@pytest.fixture
def board(tmp_path, clock):
    """The callback, what it shows, and the epochs whose pictures were drawn."""
    steps, drawn = Running(), []
    training = types.SimpleNamespace(
        images={"validation": types.SimpleNamespace(labels=np.array([0, 0, 1]), class_names=NAMES)},
        plan=PLAN, steps_per_epoch=5, begun_steps=lambda plan: steps,
    )  # fmt: skip

    def draw(probabilities):
        drawn.append(int(tf.summary.experimental.get_step()))
        clock.now += took["seconds"]

    took = {"seconds": 0.0}
    writer = tf.summary.create_file_writer(str(tmp_path / "tensorboard"))
    made = writer, training, types.SimpleNamespace(probabilities=SHARES), draw
    shown = curves.TensorBoard(*made)
    optimizer = types.SimpleNamespace(learning_rate=0.25)
    shown.set_model(types.SimpleNamespace(optimizer=optimizer))
    return types.SimpleNamespace(
        shown=shown, steps=steps, drawn=drawn, took=took, made=made, folder=tmp_path
    )


def logs(best: bool) -> dict:
    return {"loss": 0.5, "val_loss": 0.75, "val_balanced_accuracy": 0.625, "best": best}


def test_an_epoch_has_its_numbers_the_rate_and_those_of_classes_that_are_there(board, tmp_path):
    for epoch in (0, 1):
        board.shown.on_epoch_end(epoch, logs(True))
    values = events.values(tmp_path)
    expected = {
        "train/loss": 0.5, "train/best": 1.0, "train/learning_rate": 0.25,
        "validation/loss": 0.75, "validation/balanced_accuracy": 0.625,
        "validation_auc/healthy": 1.0, "validation_auc/covid19": 1.0,
        "validation_sensitivity/healthy": 0.5, "validation_sensitivity/covid19": 1.0,
    }  # fmt: skip
    assert values == {tag: [(1, value), (2, value)] for tag, value in expected.items()}


def run_epoch(board, clock, epoch, seconds):
    """Five steps of 10 images, each as long, half of it waited, loss as the number of the step."""
    board.shown.on_epoch_begin(epoch)
    board.steps.sums, board.steps.waited = np.zeros(3, np.float32), 0.0
    for step in range(5):
        board.shown.on_train_batch_begin(step)
        board.steps.sums = board.steps.sums + np.array([10 * step, 5, 10], np.float32)
        board.steps.waited += seconds / 2
        clock.now += seconds
        board.shown.on_train_batch_end(step)
    board.shown.on_epoch_end(epoch, logs(False))


def test_long_steps_have_a_point_each(board, clock, tmp_path):
    for epoch in (0, 1):
        run_epoch(board, clock, epoch, 2.0)
    values = events.values(tmp_path)
    assert values["steps/loss"] == [(step + 1, step % 5) for step in range(10)]
    for name, value in {"accuracy": 0.5, "images_per_second": 5.0, "input_wait": 0.5,
                        "learning_rate": 0.25}.items():  # fmt: skip
        assert values[f"steps/{name}"] == [(step, value) for step in range(1, 11)]


def test_short_steps_share_points_a_second_apart_and_short_epochs_have_none(board, clock, tmp_path):
    run_epoch(board, clock, 0, 0.5)
    run_epoch(board, clock, 1, 0.125)
    values = events.values(tmp_path)
    assert values["steps/loss"] == [(2, 0.5), (4, 2.5)]
    assert values["train/loss"] == [(1, 0.5), (2, 0.5)]


def test_pictures_are_of_best_epochs_and_take_a_small_share_of_the_time(board, clock):
    for epoch, (best, pause) in enumerate(
        [(False, 0), (True, 10), (True, 19), (True, 1), (True, 100), (True, 50), (True, 1)]
    ):
        clock.now += pause
        board.took["seconds"] = 2.0 if epoch == 4 else 0.0
        board.shown.on_epoch_end(epoch, logs(best))
    # At 10; 29 is too soon, 30 too; after 130 they took 2 seconds, of which 100 have to pass.
    assert board.drawn == [2, 5]
    assert board.shown.pictured == 5
    clock.now += 100
    board.shown.on_epoch_end(7, logs(True))
    assert board.drawn == [2, 5, 8]


def test_curves_that_failed_are_written_again_by_a_process_that_goes_on(board, monkeypatch, capsys):
    """What failed may be mended by then: a full disk."""
    settings = callback_state.settings_of([board.shown])
    write_logs = curves.write_logs
    monkeypatch.setattr(curves, "write_logs", lambda *_: 1 / 0)
    board.shown.on_epoch_end(0, logs(False))
    monkeypatch.setattr(curves, "write_logs", write_logs)
    board.shown.on_epoch_end(1, logs(False))
    assert capsys.readouterr().err.count("What TensorBoard shows could not be written") == 1
    states, arrays = callback_state.of([board.shown], settings)
    assert not any("writes" in name for name in states[0][1])
    again = curves.TensorBoard(*board.made)
    again.set_model(board.shown.model)
    callback_state.restore([again], states, arrays, [{}])
    again.on_epoch_end(2, logs(False))
    assert [step for step, _ in events.values(board.folder)["train/loss"]] == [3]


def test_a_text_in_the_logs_costs_no_curve(board, tmp_path):
    board.shown.on_epoch_end(0, {**logs(False), "note": "warm", "many": np.zeros(3)})
    values = events.values(tmp_path)
    assert values["train/loss"] == [(1, 0.5)] and not values.keys() & {"train/note", "train/many"}


def test_pictures_that_fail_cost_a_line_and_no_curve(board, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(board.shown, "_draw", lambda probabilities: 1 / 0)
    board.shown.on_epoch_end(0, logs(True))
    board.shown.on_epoch_end(1, logs(False))
    assert "TensorBoard's pictures could not be written" in capsys.readouterr().err
    assert board.shown.pictured == 0
    assert [step for step, _ in events.values(tmp_path)["train/loss"]] == [1, 2]
