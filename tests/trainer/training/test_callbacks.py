"""What a run shows and writes at its epochs' ends."""

import types

import keras
import numpy as np
import pytest

from trainer.config import Phase
from trainer.evaluation import article, history
from trainer.input_pipeline.plan import PhasePlan, Plan
from trainer.input_pipeline.stages import square_stage
from trainer.training import callback_state, callbacks

STAGE = square_stage(32)
PHASES = (Phase("head", None, range(4), 1e-3), Phase("fine_tune", "block5", range(4, 8), 1e-4))
PLAN = Plan(tuple(PhasePlan(phase, STAGE, STAGE, ()) for phase in PHASES), (), 0, 0)


def logs(best: bool, **changes) -> dict:
    return {"loss": 0.5, "accuracy": 0.8, "val_loss": 0.7, "val_balanced_accuracy": 0.6,
            "images_per_second": 1234.0, "input_wait": 0.01, "best": best, **changes}  # fmt: skip


def model(rate: float = 1e-3):
    optimizer = types.SimpleNamespace(learning_rate=rate)
    return types.SimpleNamespace(stop_training=False, optimizer=optimizer)


@pytest.mark.parametrize(
    "best,ends",
    [([True, False, False, False], 2), ([True, False, True, False], None), ([True] * 4, None),
     ([False] * 4, 1)],
)  # fmt: skip
def test_early_stopping_counts_from_the_best_epoch_or_the_phases_start(best, ends):
    stopping = callbacks.EarlyStopping(PLAN, 2)
    stopping.set_model(model())
    for epoch, each in enumerate(best):
        stopping.on_epoch_end(epoch, logs(each))
        if stopping.model.stop_training:
            break
    assert (epoch if stopping.model.stop_training else None) == ends


def test_a_phase_is_given_its_own_patience():
    stopping = callbacks.EarlyStopping(PLAN, 2)
    stopping.set_model(model())
    stopping.on_epoch_end(0, logs(True))
    stopping.on_epoch_end(4, logs(False))  # the first of fine-tuning
    assert not stopping.model.stop_training
    stopping.on_epoch_end(5, logs(False))
    assert stopping.model.stop_training


def test_history_is_written_after_every_epoch_and_marks_the_best_alone(tmp_path):
    path = tmp_path / "history.csv"
    written = callbacks.History(path, PLAN)
    for epoch, best in ((0, True), (1, False), (2, True), (4, False)):
        written.on_epoch_end(epoch, logs(best))
        assert len(history.read(path)) == len(written.rows)
    rows = history.read(path)
    assert [row["best"] for row in rows] == [False, False, True, False]
    assert [row["epoch"] for row in rows] == [1, 2, 3, 5]
    assert [row["phase"] for row in rows] == ["head"] * 3 + ["fine_tune"]
    assert history.best_epoch(rows) == 3


def test_numbers_that_a_users_callback_added_to_the_logs_are_kept(tmp_path):
    written = callbacks.History(tmp_path / "history.csv", PLAN)
    rate, many = keras.Variable(0.25), keras.ops.zeros(3)
    truths = {"better": True, "worse": np.False_}
    none = {"many": many, "name": "warm", "turn": 1j, "turns": np.complex64(2)}
    written.on_epoch_end(0, {**logs(True), "rate": rate, **truths, **none})
    (row,) = written.rows
    assert (row["rate"], row["better"], row["worse"]) == (
        0.25,
        1,
        0,
    ) and not row.keys() & none.keys()
    rate.assign(0.5)
    assert row["rate"] == 0.25
    (read,) = history.read(tmp_path / "history.csv")
    assert (read["rate"], read["better"], read["worse"]) == (0.25, 1, 0)
    again = callbacks.History(tmp_path / "again.csv", PLAN)
    callback_state.restore([again], *callback_state.of([written], [{}]), [{}])
    again.on_train_end()
    assert (tmp_path / "again.csv").read_bytes() == (tmp_path / "history.csv").read_bytes()


def test_a_number_that_only_some_epochs_have_is_a_column_of_the_history(tmp_path):
    written = callbacks.History(tmp_path / "history.csv", PLAN)
    for epoch, more in enumerate(({}, {"my_auc": 0.5}, {})):
        written.on_epoch_end(epoch, {**logs(True), **more})
    read = history.read(tmp_path / "history.csv")
    assert [row["my_auc"] for row in read] == [None, 0.5, None]
    assert [row["loss"] for row in read] == [logs(True)["loss"]] * 3


def progress(epochs, waited: float = 0.01, **changes):
    shown = callbacks.Progress(PLAN, 68, 32, 16, lambda plan: f"Advice on {plan.phase.name}.")
    for epoch in epochs:
        shown.on_epoch_begin(epoch)
        shown.on_train_batch_end(3)
        shown.on_train_batch_end(4)  # the last one holds 4 images
        for _ in range(2):
            shown.on_scored(16)
        shown.on_epoch_end(epoch, logs(True, input_wait=waited, **changes))
    shown.on_train_end()


def test_progress_counts_images_and_prints_a_line_a_phase(capsys):
    progress(range(8))
    out, err = capsys.readouterr()
    assert out.splitlines() == [
        f"{phase}: 1,234 images/s; the device waited for input 1% of the time."
        for phase in ("head", "fine_tune")
    ]
    assert [line.rpartition(", ")[0] for line in err.splitlines()] == [
        f"{'head' if epoch <= 4 else 'fine_tune'}: epoch {epoch}, loss 0.500, val. loss 0.700, "
        "balanced accuracy 0.600"
        for epoch in range(1, 9)
    ]  # all images are counted: no line says how many of a phase are missing


@pytest.mark.parametrize(
    ("epochs", "begun"),
    [(range(8), [("head", 0), ("fine_tune", 0)]), (range(3, 8), [("head", 300), ("fine_tune", 0)]),
     (range(6, 8), [("fine_tune", 200)])],
)  # fmt: skip
def test_a_bar_begins_at_what_is_done_of_its_phase(epochs, begun, monkeypatch):
    """Of 68 images that are trained on and 32 that are scored an epoch."""
    bars, real = [], callbacks.progress

    def noted(total, name, *, done, parts):
        bars.append((name, done))
        return real(total, name, done=done, parts=parts)

    monkeypatch.setattr(callbacks, "progress", noted)
    progress(epochs)
    assert bars == begun


@pytest.mark.parametrize(
    ("speed", "waited", "helps"),
    # 4 epochs of 68 images: 27 or 272 seconds, of which the share was lost.
    [(10.0, 0.5, False), (1.0, 0.1, False), (1.0, 0.5, True)],
)
def test_advice_is_for_a_wait_that_is_long_and_much_of_the_time(speed, waited, helps, capsys):
    progress(range(4), waited=waited, images_per_second=speed)
    out = capsys.readouterr().out
    assert f"{waited:.0%} of the time." in out
    assert ("Advice on head." in out) == helps


def test_the_first_epoch_counts_only_where_it_is_alone(capsys):
    shown = callbacks.Progress(PLAN, 68, 32, 16, lambda plan: "")
    for epoch, speed in ((0, 1.0), (1, 100.0), (4, 7.0)):
        shown.on_epoch_begin(epoch)
        shown.on_epoch_end(epoch, logs(True, images_per_second=speed))
    shown.on_train_end()
    out = capsys.readouterr().out
    assert "head: 100 images/s" in out and "fine_tune: 7 images/s" in out


def test_published_validation_reads_the_view_of_the_epoch_without_the_last_batch():
    truth, read = np.array([0, 1, 2, 3, 0, 0, 0]), []

    def logits_of_view(epoch, name, at):
        read.append((epoch, name, at.tolist()))
        return np.eye(4, dtype=np.float32)[[0, 1, 2, 0, 0, 0, 0]][at]

    training = types.SimpleNamespace(
        images={"validation": types.SimpleNamespace(labels=truth)},
        config=types.SimpleNamespace(batch_size=2),
        logits_of_view=logits_of_view,
    )
    numbers, count = {}, article.validation_images(7, 2)
    callbacks.PublishedValidation(training).on_epoch_end(6, numbers)
    assert 4 <= count < 7
    assert read == [(6, "validation", list(range(count)))]
    assert numbers == {"published_val_accuracy": (count - 1) / count}
