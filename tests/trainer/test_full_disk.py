"""Runs whose disk is full or becomes full: what is refused at the start, and what is never lost."""

import contextlib
import json
import types
from collections.abc import Callable

import keras
import numpy as np
import pytest
import tensorflow as tf

from tests.helpers import commands
from tests.helpers.machines import largest_file, small_disk
from tests.helpers.trainings import epochs, quick, run
from trainer import scoring, train
from trainer.evaluation import history
from trainer.run import run_dir, saved_state
from trainer.run.manifest import PLOTS, REPORT
from trainer.run.run_dir import Identity
from trainer.training.curves import TensorBoard

pytestmark = pytest.mark.slow

TINY = ("--dataset=tiny", "--classes=4", "--image_size=32", "--width=0.1", "--weights=none",
        "--head_units=8", "--epochs=1", "--precision=float32")  # fmt: skip
RESULTS = ("metrics.json", "predictions.csv", "model.keras", "history.csv")


class Once(keras.callbacks.Callback):
    """Does something at the end of the first epoch, or of the training."""

    def __init__(self, do: Callable[[], object], *, at_end: bool = False) -> None:
        super().__init__()
        self._do, self._at_end = do, at_end

    def on_epoch_end(self, epoch, logs=None):
        if epoch == 0 and not self._at_end:
            self._do()

    def on_train_end(self, logs=None):
        if self._at_end:
            self._do()


def replaced_by_a_file(folder) -> None:
    """So that nothing can be written into it, whoever tries."""
    for path in folder.iterdir():
        path.unlink()
    folder.rmdir()
    folder.write_text("")


def whole(folder) -> bool:
    return all((folder / name).stat().st_size for name in RESULTS)


@pytest.mark.usefixtures("undrawn_here")
def test_a_state_that_can_not_be_saved_costs_a_line_and_no_epoch(data_dir, tmp_path, capsys):
    config = quick(data_dir, epochs=3, checkpoint_every=0.0)
    run(config, tmp_path / "whole")
    capsys.readouterr()
    broken = Once(lambda: replaced_by_a_file(tmp_path / "a" / "checkpoints"))
    run(config, tmp_path / "a", callbacks=[broken])
    assert whole(tmp_path / "a")
    assert epochs(tmp_path / "a") == epochs(tmp_path / "whole")
    printed = capsys.readouterr().err
    assert printed.count("The state of the training could not be written") == 1


@pytest.mark.usefixtures("undrawn_here")
def test_the_state_before_stays_where_a_new_one_finds_no_room(data_dir, tmp_path, capsys):
    config = quick(data_dir, epochs=2, checkpoint_every=0.0)
    before = []

    def full() -> None:
        before.append((tmp_path / saved_state.FILE).read_bytes())
        limits.enter_context(largest_file(5000))

    with contextlib.ExitStack() as limits, pytest.raises(OSError, match="File too large"):
        run(config, tmp_path, callbacks=[Once(full)])
    assert (tmp_path / saved_state.FILE).read_bytes() == before[0]
    assert saved_state.read(tmp_path / saved_state.FILE) is not None
    assert "The state of the training could not be written" in capsys.readouterr().err


def test_plots_that_fail_cost_no_result_and_the_same_command_draws_them(data_dir, tmp_path, capsys):
    config, identity = quick(data_dir), Identity("trainer.main", {})
    path = tmp_path / "a"
    broken = Once(lambda: replaced_by_a_file(path / "plots"), at_end=True)
    with run_dir.create(path, "", identity, overwrite=False) as folder:
        result = train.train_and_evaluate(config, folder, [broken])
    printed = capsys.readouterr()
    assert whole(path) and json.loads((path / "metrics.json").read_text()) == result
    assert "The plots could not be written" in printed.err
    assert "balanced accuracy" in printed.out  # the summary
    assert not (path / "plots").is_dir()
    (path / "plots").unlink()
    with run_dir.create(path, "", identity, overwrite=False) as folder:
        assert folder.damaged() == list(scoring.plots_of(config))
        assert not run_dir.nothing_left(folder)
        again = train.train_and_evaluate(config, folder)
    assert "done again" in capsys.readouterr().out
    assert again == result
    assert all((path / name).stat().st_size for name in PLOTS)
    with run_dir.create(path, "", identity, overwrite=False) as folder:
        assert run_dir.nothing_left(folder)


def test_a_report_that_fails_costs_no_result_and_the_same_command_writes_it(
    data_dir, tmp_path, capsys
):
    config, identity = quick(data_dir), Identity("trainer.main", {})
    path = tmp_path / "a"
    broken = Once(lambda: (path / REPORT).mkdir(), at_end=True)
    with run_dir.create(path, "", identity, overwrite=False) as folder:
        result = train.train_and_evaluate(config, folder, [broken])
    printed = capsys.readouterr()
    assert whole(path) and json.loads((path / "metrics.json").read_text()) == result
    assert "The report could not be written" in printed.err
    assert "python -m trainer.report writes it again." in printed.err.replace("\n", " ")
    (path / REPORT).rmdir()
    with run_dir.create(path, "", identity, overwrite=False) as folder:
        assert folder.damaged() == [REPORT]
        assert not run_dir.nothing_left(folder)
    assert commands.run("trainer.report", f"--run={path}").status == 0
    with run_dir.create(path, "", identity, overwrite=False) as folder:
        assert run_dir.nothing_left(folder)


def test_curves_that_fail_cost_a_line_and_no_result(tmp_path, capsys):
    """TensorFlow's writer, whose disk is full from its third epoch on."""
    writer = tf.summary.create_file_writer(str(tmp_path))
    images = types.SimpleNamespace(labels=np.array([0]), class_names=("healthy",))
    training = types.SimpleNamespace(images={"validation": images})
    board = TensorBoard(writer, training, types.SimpleNamespace(probabilities=np.ones((1, 1))))
    board.set_model(type("Model", (), {"optimizer": type("O", (), {"learning_rate": 0.1})}))
    logs = {"loss": 1.0, "best": False}
    for epoch in range(2):
        board.on_epoch_end(epoch, logs)
    with largest_file(sum(path.stat().st_size for path in tmp_path.iterdir())):
        for epoch in range(2, 6):
            board.on_epoch_end(epoch, logs)
    printed = capsys.readouterr().err
    assert printed.count("What TensorBoard shows could not be written") == 1
    assert "history.csv has the same numbers" in printed


def test_a_path_that_is_too_long_for_tensorboard_s_files_alone_costs_no_result(
    data_dir, tmp_path, capsys
):
    """A name of TensorBoard's is 60 characters long."""
    folder = tmp_path
    while len(str(folder)) < 3800:
        folder = folder / ("x" * 200)
    folder = folder / ("y" * (4095 - len(str(folder)) - 60))
    run(quick(data_dir, epochs=1), folder)
    assert whole(folder)
    assert history.read(folder / "history.csv")
    assert "What TensorBoard shows could not be written" in capsys.readouterr().err


def test_a_command_on_a_disk_that_is_too_small_ends_at_once_with_the_numbers(data_dir, tmp_path):
    flags = (*TINY, f"--data_dir={data_dir}", f"--cache_dir={tmp_path / 'cache'}")
    with small_disk(tmp_path / "disk", 3) as disk:
        for module, where in (
            ("trainer.main", "--run_dir"),
            ("trainer.crossval", "--run_dir"),
            ("tuning.main", "--search_dir"),
        ):
            ended = commands.run(module, *flags, f"{where}={disk / 'a'}")
            assert ended.status == 1
            assert "3.0 MiB free. Free some room" in " ".join(ended.err.split())
            assert len(ended.err.splitlines()) <= 5
            assert list(disk.iterdir()) == []


def test_a_cache_on_a_full_disk_is_a_sentence(data_dir, tmp_path):
    with small_disk(tmp_path / "disk", 1) as disk:
        (disk / "full").write_bytes(bytes(2**20 - 20_000))
        flags = (*TINY, f"--data_dir={data_dir}", f"--cache_dir={disk / 'cache'}")
        ended = commands.run("trainer.main", *flags, f"--run_dir={tmp_path / 'a'}")
    assert ended.status == 1
    assert "do not fit into" in " ".join(ended.err.split())
    assert not (tmp_path / "a").exists()
