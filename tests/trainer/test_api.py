"""The trainer from Python, and in a notebook."""

import dataclasses
import pathlib
import signal

import keras
import nbclient
import nbformat
import numpy as np
import pytest

import trainer
import tuning
from tests.helpers.trainings import quick
from trainer.config import Config

pytestmark = pytest.mark.usefixtures("undrawn")

CONFIG = {"precision": "auto"}  # bfloat16 where the processor has it
LOGS: list[set[str]] = []  # names of the numbers that a user's callback got, one entry an epoch


@pytest.fixture(scope="module")
def run(data_dir, tmp_path_factory) -> trainer.Run:
    """A run of someone whose Keras has settings of its own, with a callback."""
    policy, handler = keras.config.dtype_policy(), signal.getsignal(signal.SIGINT)
    noted = keras.callbacks.LambdaCallback(on_epoch_end=lambda epoch, logs: LOGS.append(set(logs)))
    keras.config.set_epsilon(1e-5)
    try:
        folder = tmp_path_factory.mktemp("api") / "run"
        done = trainer.fit(quick(data_dir, **CONFIG), folder, callbacks=[noted])
        assert keras.config.epsilon() == 1e-5
    finally:
        keras.config.set_epsilon(1e-7)
    assert keras.config.dtype_policy() == policy
    assert signal.getsignal(signal.SIGINT) is handler
    return done


def test_a_run_has_its_metrics_history_predictions_and_config(run, data_dir):
    scores = run.metrics["splits"]["test"]["balanced_accuracy"]
    assert 0 <= scores["low"] <= scores["value"] <= scores["high"] <= 1
    assert [row["epoch"] for row in run.history] == [1, 2]
    assert run.predictions.split_names[:2] == ["validation", "test"]
    np.testing.assert_allclose(run.predictions.probabilities.sum(axis=1), 1, atol=1e-5)
    assert run.config == quick(data_dir, **CONFIG)


def test_loading_gives_the_same_run(run):
    again = trainer.load(str(run.path))
    assert again == run
    assert again.metrics == run.metrics
    assert again.history == run.history


def test_a_second_run_does_not_replace_the_first(run, data_dir):
    before = (run.path / "metrics.json").read_bytes()
    other = dataclasses.replace(run.config, seed=7)
    with pytest.raises(trainer.ConfigError, match=r"--seed is 7, and was 1\..*--overwrite"):
        trainer.fit(other, run.path)
    assert (run.path / "metrics.json").read_bytes() == before


def test_a_run_that_has_ended_is_left_as_it_is(run, capsys):
    before = (run.path / "metrics.json").stat().st_mtime_ns
    again = trainer.fit(run.config, run.path)
    assert (again.finished, again.best_epoch) == (True, run.best_epoch)
    assert capsys.readouterr().out == (
        f"{run.path} holds this run, and it has ended. --overwrite begins it again.\n"
    )
    assert (run.path / "metrics.json").stat().st_mtime_ns == before


@pytest.mark.slow
def test_overwriting_replaces_what_a_run_left_and_nothing_else(data_dir, tmp_path):
    assert len(trainer.fit(quick(data_dir, epochs=3), tmp_path).history) == 3
    for name in ("notes.txt", "plots/thesis.svg"):
        (tmp_path / name).write_text("mine")
    assert len(trainer.fit(quick(data_dir, epochs=1), tmp_path, overwrite=True).history) == 1
    for name in ("notes.txt", "plots/thesis.svg"):
        assert (tmp_path / name).read_text() == "mine"


@pytest.mark.slow
def test_overwriting_with_what_is_refused_removes_nothing(data_dir, tmp_path):
    trainer.fit(quick(data_dir, epochs=1), tmp_path)
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    with pytest.raises(trainer.RunError, match="--dataset=fulll is not built in"):
        trainer.fit(quick(data_dir, dataset="fulll"), tmp_path, overwrite=True)
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before


@pytest.mark.slow
def test_a_changed_bit_is_refused_and_made_again(data_dir, tmp_path, capsys):
    run = trainer.fit(quick(data_dir, epochs=1), tmp_path)
    before = {path: path.read_bytes() for path in tmp_path.rglob("*.*") if path.is_file()}
    for name in ("metrics.json", "predictions.csv", "model.keras"):
        content = bytearray((tmp_path / name).read_bytes())
        content[len(content) // 2] ^= 4
        (tmp_path / name).write_bytes(content)
    again = trainer.load(tmp_path)
    for use in (lambda: again.metrics, lambda: again.predictions, again.model):
        with pytest.raises(trainer.RunError, match="damaged"):
            use()
    capsys.readouterr()
    trainer.fit(run.config, tmp_path)
    assert "The run goes on at the end of its training." in capsys.readouterr().out
    for name in ("metrics.json", "predictions.csv"):
        assert (tmp_path / name).read_bytes() == before[tmp_path / name], name
    images = np.full((1, 40, 50, 1), 7, np.uint8)
    assert trainer.load(tmp_path).model().predict(images, verbose=0).shape == (1, 4)


@pytest.mark.parametrize("given,message", [
    (keras.callbacks.EarlyStopping(), r"callbacks is EarlyStopping\. Give a list of Keras"),
    ("early", r"callbacks is str\. Give a list"), (None, r"callbacks is NoneType\. Give a list"),
    ([keras.callbacks.EarlyStopping], r"callbacks\[0\] is the class EarlyStopping\. Give an"),
    ([keras.callbacks.EarlyStopping(), "early"], r"callbacks\[1\] is 'early', no Keras callback"),
])  # fmt: skip
def test_what_is_no_list_of_callbacks_is_refused_before_anything_is_read(tmp_path, given, message):
    with pytest.raises(trainer.ConfigError, match=f"^{message}"):
        trainer.fit(Config(dataset="nowhere"), tmp_path / "run", callbacks=given)
    space = {"head_units": "8,16"}
    with pytest.raises(trainer.ConfigError, match=f"^{message}"):
        tuning.run(Config(dataset="nowhere"), space, tmp_path / "search", callbacks=given)
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_the_best_epoch_so_far_can_be_used_at_any_time(data_dir, tmp_path):
    class Stop(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            if epoch == 3:
                raise ZeroDivisionError

    config = quick(data_dir, epochs=5, checkpoint_every=0, normalization="zca")
    with pytest.raises(ZeroDivisionError):
        trainer.fit(config, tmp_path, callbacks=[Stop()])
    run = trainer.load(tmp_path)
    images = np.random.default_rng(0).integers(0, 255, (3, 40, 50, 1), np.uint8)
    assert (run.finished, repr(run).endswith(f"best_epoch={run.best_epoch})")) == (False, True)
    with pytest.raises(trainer.RunError, match="has not ended, so it has no metrics yet"):
        _ = run.metrics
    so_far = run.model().predict(images, verbose=0)
    assert so_far.shape == (3, 4)
    shorter = dataclasses.replace(config, epochs=run.best_epoch)
    whole = trainer.fit(shorter, tmp_path / "shorter")
    assert whole.best_epoch == run.best_epoch
    np.testing.assert_allclose(so_far, whole.model().predict(images, verbose=0), atol=1e-6)


def test_a_folder_that_can_not_be_made_fails_before_anything_is_opened(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(trainer.ConfigError, match="can't be written"):
        trainer.fit(trainer.Config(data_dir=tmp_path), tmp_path / "file" / "run")


def test_a_missing_dataset_is_one_sentence_and_leaves_no_folder(tmp_path):
    config = trainer.Config(dataset="not_built", data_dir=tmp_path)
    with pytest.raises(trainer.RunError, match="--dataset=not_built is not built in"):
        trainer.fit(config, tmp_path / "run")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("missing", ["", "a file"])
def test_loading_what_is_no_run_is_one_sentence(missing, tmp_path):
    if missing:
        (tmp_path / "history.csv").write_text("epoch\n1\n")
    with pytest.raises(trainer.RunError, match="holds no run of which an epoch was saved"):
        trainer.load(tmp_path)


def test_loading_a_run_of_an_earlier_release_names_the_way_on(tmp_path):
    (tmp_path / "metrics.json").write_text("{}")
    (tmp_path / "predictions.csv").write_text("split,film_id,patient\n")
    with pytest.raises(trainer.RunError, match=r"of an earlier release.*python -m trainer\.main"):
        trainer.load(tmp_path)


def test_callbacks_are_called_with_the_epochs_numbers(run):
    assert len(LOGS) == len(run.history)
    for logs in LOGS:
        assert {"loss", "accuracy", "val_loss", "val_accuracy", "val_balanced_accuracy"} <= logs


@pytest.mark.slow
def test_cross_validation_has_metrics_and_predictions_and_no_history(data_dir, tmp_path):
    crossed = trainer.cross_validate(quick(data_dir, epochs=1), 2, 2, tmp_path / "folds")
    assert (crossed.metrics["folds"], crossed.metrics["repeats"]) == (2, 2)
    assert sorted(set(crossed.predictions.repeats)) == [0, 1]
    assert crossed.history == []
    again = trainer.cross_validate(crossed.config, 2, 2, crossed.path)  # which has ended
    assert (again.finished, again.metrics) == (True, crossed.metrics)
    with pytest.raises(trainer.RunError, match="a cross-validation, which keeps no network"):
        crossed.model()
    with pytest.raises(trainer.ConfigError, match="--folds is 1"):
        trainer.cross_validate(quick(data_dir), 1)


def test_public_names_are_listed_and_others_are_errors():
    assert set(trainer.__all__) <= set(dir(trainer))
    assert all(getattr(trainer, name) for name in trainer.__all__)
    with pytest.raises(AttributeError, match="no attribute 'train_it'"):
        _ = trainer.train_it


CELLS = (
    "import trainer",
    "config = trainer.Config(classes=4, dataset='tiny', data_dir={data!r}, cache_dir={cache!r}, "
    "image_size=32, width=0.1, weights='none', epochs=1)",
    "run = trainer.fit(config, {run!r})",
    "run.metrics['splits']['test']['balanced_accuracy']['value']",
    "import dataclasses\nother = dataclasses.replace(config, seed=2)",
    "try:\n    trainer.fit(other, {run!r})\nexcept ValueError as error:\n    print(error)",
)


@pytest.mark.slow
def test_a_notebook_runs_from_its_first_cell_to_its_last(data_dir, tmp_path):
    """No cell ends the kernel, and a mistake is an exception that the notebook can catch."""
    folders = {"data": str(data_dir), "cache": str(tmp_path / "cache"), "run": str(tmp_path / "r")}
    cells = [nbformat.v4.new_code_cell(cell.format(**folders)) for cell in CELLS]
    notebook = nbformat.v4.new_notebook(cells=cells)
    root = pathlib.Path(__file__).parents[2]
    nbclient.NotebookClient(notebook, timeout=300, resources={"metadata": {"path": root}}).execute()
    value = float(notebook.cells[3].outputs[0]["data"]["text/plain"])
    assert (
        value
        == trainer.load(tmp_path / "r").metrics["splits"]["test"]["balanced_accuracy"]["value"]
    )
    assert "--seed is 2, and was 1" in notebook.cells[5].outputs[0]["text"]
