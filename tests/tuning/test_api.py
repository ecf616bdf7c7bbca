"""Searches from Python, and the folder of a search in plain KerasTuner."""

import json
import shutil
import signal
import sys

import keras
import keras_tuner
import numpy as np
import pytest

import trainer
import tuning
from tests.helpers import searches
from trainer.evaluation import predictions

SPACE = {"head_units": "8:32:log2", "learning_rate": "1e-4:1e-2:log"}
_KERAS = ("dtype_policy", "floatx", "image_data_format")


@pytest.fixture(scope="module")
def config(data_dir, cache_dir) -> trainer.Config:
    return trainer.Config(dataset="tiny", image_size=32, width=0.1, weights="none", epochs=2,
                          align="chest", precision="float32", data_dir=data_dir,
                          cache_dir=cache_dir)  # fmt: skip


@pytest.fixture(scope="module")
def kept(config, tmp_path_factory) -> tuning.Search:
    """A search that keeps its two best networks; convolutions that tell images apart."""
    settings = tuning.Settings(max_trials=2, keep_best=2, final_folds=0)
    with pytest.MonkeyPatch.context() as patch:
        searches.fix_random_weights(patch)
        return tuning.run(config, SPACE, tmp_path_factory.mktemp("a") / "search", settings)


def test_a_search_gives_its_trials_its_best_and_kerastuners_tuner(kept):
    assert [trial.trial_id for trial in kept.trials] == ["0000", "0001"]
    assert isinstance(kept.tuner, keras_tuner.RandomSearch)
    best = max(kept.trials, key=lambda trial: trial.score)
    assert kept.best.score == best.score
    assert kept.best.hyperparameters.values.keys() == SPACE.keys()


def test_plain_kerastuner_reads_the_folder(kept, capsys):
    tuner = keras_tuner.RandomSearch(
        lambda hp: None, objective=keras_tuner.Objective("val_balanced_accuracy", "max"),
        directory=str(kept.path.parent), project_name=kept.path.name,
    )  # fmt: skip
    tuner.results_summary()
    assert f"Score: {kept.best.score}" in capsys.readouterr().out
    (values,) = tuner.get_best_hyperparameters()
    best = [trial for trial in kept.trials if trial.score == kept.best.score]  # it may be one of
    assert values.values in [trial.hyperparameters.values for trial in best]


def test_the_name_of_its_folder_plays_no_part(kept, tmp_path, monkeypatch):
    folder = shutil.copytree(kept.path, tmp_path / "a[1]*")
    monkeypatch.chdir(folder)
    for path in (".", folder):
        search = tuning.load(path)
        assert [trial.trial_id for trial in search.trials] == ["0000", "0001"]
        assert search.best.trial_id == kept.best.trial_id
    assert {path.name for path in folder.iterdir()} == {path.name for path in kept.path.iterdir()}


@pytest.mark.slow
def test_the_best_network_predicts_what_its_trial_predicted(kept, config, data_dir):
    from trainer.input_pipeline import dataset, decode

    first, second = kept.tuner.get_best_models(2)
    assert not np.array_equal(first.get_weights()[-1], second.get_weights()[-1])
    table = predictions.read(kept.path / f"trial_{kept.best.trial_id}" / "predictions.csv")
    opened = dataset.open_dataset("tiny", str(data_dir), 4)
    images = opened.splits["validation"]
    assert list(table.image_ids) == images.image_ids.tolist()
    shown = dict(opened.encoded(images.take(range(6))))
    pixels = np.stack([decode.pixels(shown[i], "") for i in range(6)])  # all are of one size
    given = first.predict_on_batch(pixels[..., None])
    np.testing.assert_allclose(given, table.probabilities[:6], atol=2e-6)


def test_a_search_goes_on_from_python_and_is_loaded(kept, config, capsys):
    settings = tuning.Settings(max_trials=2, keep_best=2, final_folds=0)
    again = tuning.run(config, SPACE, kept.path, settings)
    assert "2 trials have ended" in " ".join(capsys.readouterr().out.split())
    assert again.best.trial_id == tuning.load(kept.path).best.trial_id == kept.best.trial_id
    with pytest.raises(trainer.RunError, match=r"holds no search\. Give the folder of one"):
        tuning.load(kept.path.parent)


class Epochs(keras.callbacks.Callback):
    """Notes epochs in a file, since each training has a copy of it."""

    def __init__(self, path):
        super().__init__()
        self.path = path

    def on_epoch_end(self, epoch, logs=None):
        with open(self.path, "a") as file:
            print(epoch, "val_balanced_accuracy" in logs, file=file)


@pytest.mark.parametrize("name", ["best_hparams.json", "search.json", "oracle.json"])
@pytest.mark.parametrize("content", [b"{", b"[]", b"{}", b"\xff\xfe", b"[" * 100_000])
def test_a_damaged_file_of_a_search_is_a_sentence(kept, tmp_path, name, content):
    shutil.copytree(kept.path, tmp_path / "copy")
    (tmp_path / "copy" / name).write_bytes(content)
    with pytest.raises(trainer.RunError, match=r" is damaged[: ]"):
        _ = tuning.load(tmp_path / "copy").best


def test_a_best_trial_that_is_none_of_the_searchs_is_a_sentence(kept, tmp_path):
    shutil.copytree(kept.path, tmp_path / "copy")
    (tmp_path / "copy" / "best_hparams.json").write_text('{"trial": "0099"}')
    with pytest.raises(trainer.RunError, match="names no trial of the search"):
        _ = tuning.load(tmp_path / "copy").best
    (tmp_path / "copy" / "best_hparams.json").unlink()
    with pytest.raises(trainer.RunError, match=r"No trial of .* has finished: trials\.csv"):
        _ = type(kept)(tmp_path / "copy").best  # as `tuning.run` returns it
    with pytest.raises(trainer.RunError, match=r"No trial of .* has finished: trials\.csv"):
        tuning.load(tmp_path / "copy")


def test_a_result_that_was_removed_is_written_again(kept, config, tmp_path):
    shutil.copytree(kept.path, tmp_path / "copy")
    written = json.loads((tmp_path / "copy" / "best_hparams.json").read_text())
    (tmp_path / "copy" / "best_hparams.json").unlink()
    settings = tuning.Settings(max_trials=2, keep_best=2, final_folds=0)
    tuning.run(config, SPACE, tmp_path / "copy", settings)
    again = json.loads((tmp_path / "copy" / "best_hparams.json").read_text())
    assert again.keys() == written.keys()
    assert again["dataset_fingerprint"] == written["dataset_fingerprint"]


@pytest.mark.slow
def test_the_users_callbacks_are_called_and_nothing_of_the_process_is_changed(config, tmp_path):
    before = [signal.getsignal(each) for each in (signal.SIGINT, signal.SIGTERM)]
    state = [getattr(keras.config, name)() for name in _KERAS]
    argv = list(sys.argv)
    settings = tuning.Settings(max_trials=1, final_folds=0, executions_per_trial=2)
    tuning.run(config, SPACE, tmp_path / "s", settings, callbacks=[Epochs(tmp_path / "seen")])
    assert (tmp_path / "seen").read_text() == "0 True\n1 True\n" * 2
    assert [signal.getsignal(each) for each in (signal.SIGINT, signal.SIGTERM)] == before
    assert [getattr(keras.config, name)() for name in _KERAS] == state
    assert sys.argv == argv


def test_what_the_command_refuses_is_refused(config, tmp_path):
    for space, settings, message in (
        ({"colour": "1,2"}, None, "colour, which can't be searched"),
        (SPACE, {"folds": 1}, "--folds is 1"),
        (SPACE, {"tuner": "greedy"}, "--tuner is greedy. Choose from: random"),
    ):
        with pytest.raises(trainer.ConfigError, match=message):
            tuning.run(config, space, tmp_path / "s", settings and tuning.Settings(**settings))
    assert not (tmp_path / "s").exists()


def test_public_names_are_listed_and_others_are_errors():
    assert set(tuning.__all__) <= set(dir(tuning))
    with pytest.raises(AttributeError, match="no attribute 'tune_it'"):
        _ = tuning.tune_it
