"""A search goes on where it was killed, runs nothing twice, and ends with what it promises."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys

import keras
import pytest

from tests.helpers import searches
from tests.helpers.searches import search, table
from trainer import cross_validation, train
from trainer.evaluation import baselines
from trainer.execution import local
from trainer.run.errors import ConfigError, RunError
from trainer.run.libraries import keras_settings
from trainer.training.training import Training
from tuning import retraining, trainings
from tuning import trial as trial_lib

SPACE = ("--head_units=8:32:log2", "--learning_rate=1e-4:1e-2:log", "--final_folds=0")
OBJECTIVE = "val_balanced_accuracy"


class Killed(BaseException):
    """Stands for the end of the process."""


def killed_after(monkeypatch, count: int) -> None:
    """Ends the search when so many trials have begun, in the middle of the last."""
    begun, run = [], trial_lib.run

    def counted(*arguments):
        begun.append(arguments)
        if len(begun) == count:
            raise Killed
        return run(*arguments)

    monkeypatch.setattr(trial_lib, "run", counted)


@pytest.fixture(scope="module")
def undisturbed(quick, tmp_path_factory):
    """The folder of a search of two trials."""
    folder = tmp_path_factory.mktemp("undisturbed") / "search"
    assert search(folder, *quick, *SPACE, "--max_trials=2")
    return folder


def killed_and_gone_on_with(folder, flags, count, monkeypatch) -> None:
    with monkeypatch.context() as patch, pytest.raises(Killed):
        killed_after(patch, count)
        search(folder, *flags)
    assert search(folder, *flags)


@pytest.mark.slow
@pytest.mark.parametrize("count", [1, 2])
def test_a_killed_search_ends_as_an_undisturbed_one(
    count, quick, undisturbed, tmp_path, monkeypatch
):
    killed_and_gone_on_with(tmp_path, (*quick, *SPACE, "--max_trials=2"), count, monkeypatch)
    assert searches.ranking(tmp_path) == searches.ranking(undisturbed)


@pytest.mark.slow
@pytest.mark.parametrize("tuner", ["grid", "bayesian"])
def test_another_tuner_goes_on_too(tuner, quick, tmp_path, monkeypatch):
    flags = (*quick, *SPACE, f"--tuner={tuner}", "--max_trials=4")
    killed_and_gone_on_with(tmp_path / "killed", flags, 3, monkeypatch)
    assert search(tmp_path / "undisturbed", *flags)
    assert searches.ranking(tmp_path / "killed") == searches.ranking(tmp_path / "undisturbed")


@pytest.mark.slow
def test_a_larger_budget_goes_on_to_what_a_search_begun_with_it_gives(
    quick, undisturbed, tmp_path, capsys
):
    for budget in (1, 2):
        assert search(tmp_path, *quick, *SPACE, f"--max_trials={budget}")
    assert "1 trial has ended" in " ".join(capsys.readouterr().out.split())
    assert searches.ranking(tmp_path) == searches.ranking(undisturbed)


@pytest.mark.slow
def test_a_finished_search_opens_no_images(quick, undisturbed, monkeypatch, capsys):
    best = undisturbed / "best_hparams.json"
    before = json.loads(best.read_text())
    monkeypatch.setattr(trainings, "open_images", None)
    monkeypatch.setattr(baselines, "shortcut_baseline", None)  # and fits no baseline again
    assert search(undisturbed, *quick, *SPACE, "--max_trials=2")
    assert json.loads(best.read_text()) == before  # the fingerprint of the images is there still
    printed = capsys.readouterr().out
    assert "2 trials finished, 0 failed" in printed
    assert "shortcut baseline, balanced accuracy on the same images" in printed


@pytest.mark.slow
def test_a_search_killed_behind_its_last_trial_gets_its_shortcut_baseline(
    quick, undisturbed, tmp_path, monkeypatch
):
    shutil.copytree(undisturbed, tmp_path / "search")
    best = tmp_path / "search" / "best_hparams.json"
    whole = json.loads(best.read_text())
    left = {name: value for name, value in whole.items() if name != "shortcut_baseline"}
    best.write_text(json.dumps(left))  # as it is when the last trial has ended
    monkeypatch.setattr(trial_lib, "run", None)  # no trial runs again
    assert search(tmp_path / "search", *quick, *SPACE, "--max_trials=2")
    assert json.loads(best.read_text())["shortcut_baseline"] == whole["shortcut_baseline"]


@pytest.mark.slow
def test_a_small_space_is_exhausted(quick, tmp_path, capsys):
    flags = ("--head_units=8,16", "--learning_rate=1e-3", "--final_folds=0", "--max_trials=9")
    assert search(tmp_path, *quick, *flags)
    assert "exhausted: no configuration is left" in capsys.readouterr().out
    assert sorted(row["head_units"] for row in table(tmp_path)) == ["16", "8"]
    assert search(tmp_path, *quick, *flags)  # which finds it so
    assert capsys.readouterr().out.count("exhausted: no configuration is left") == 1


@pytest.mark.slow
def test_hyperband_trains_few_configurations_longer(quick, tmp_path):
    flags = ("--tuner=hyperband", "--epochs=4", "--head_units=8:64:8", "--final_folds=0")
    assert search(tmp_path, *quick, *flags)
    epochs = [int(row["epochs"]) for row in table(tmp_path)]
    assert min(epochs) < 4 and 0 < epochs.count(4) < len(epochs)


@pytest.mark.slow
def test_a_trial_that_diverges_fails_with_its_reason_and_the_search_goes_on(
    quick, tmp_path, monkeypatch
):
    searches.fix_random_weights(monkeypatch, first=1e36)
    with pytest.raises(RunError, match="All of the 5 trials so far failed; the last: In epoch 1"):
        search(tmp_path, *quick, *SPACE, f"--cache_dir={tmp_path / 'cache'}")
    assert {row["status"] for row in table(tmp_path)} == {"FAILED"}


@pytest.mark.slow
def test_an_unexpected_error_is_kept_with_its_traceback(quick, tmp_path, monkeypatch):
    def broken(*_):
        raise TypeError("a fault of ours")

    run = trial_lib.run
    monkeypatch.setattr(trial_lib, "run", broken)
    with pytest.raises(RunError, match="TypeError: a fault of ours"):
        search(tmp_path, *quick, *SPACE)
    assert "in broken" in (tmp_path / "trial_0000" / "error.txt").read_text()
    monkeypatch.setattr(trial_lib, "run", run)
    assert search(tmp_path, *quick, *SPACE, "--max_trials=6")  # goes on with the others


@pytest.mark.slow
def test_other_flags_are_refused_by_name(quick, undisturbed):
    folder = undisturbed
    with pytest.raises(ConfigError, match="--seed is 2, and was 1"):
        search(folder, *quick, *SPACE, "--seed=2")


REFUSED = {
    "fulll": ["--dataset=fulll"],
    "There is no file": ["--weights=nowhere.h5", "--width=1"],
    "50 folds need as many patient groups": ["--folds=50"],
}


@pytest.mark.slow
@pytest.mark.parametrize("message", REFUSED)
def test_what_is_refused_removes_nothing(message, quick, undisturbed, tmp_path):
    """With --overwrite, and with a search or without one."""
    folder = undisturbed
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    for root, overwrite in ((folder, True), (tmp_path / "new", False)):
        with pytest.raises(RunError, match=message):
            search(root, *quick, *SPACE, *REFUSED[message], overwrite=overwrite)
    assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == before
    assert not (tmp_path / "new").exists()


@pytest.mark.slow
def test_overwrite_searches_again(quick, undisturbed, tmp_path):
    assert search(tmp_path, *quick, *SPACE, "--max_trials=2", "--seed=2")
    (tmp_path / "trial_0001" / "error.txt").touch()
    assert search(tmp_path, *quick, *SPACE, "--max_trials=2", overwrite=True)
    assert searches.ranking(tmp_path) == searches.ranking(undisturbed)
    assert not (tmp_path / "trial_0001" / "error.txt").exists()


def test_other_images_are_refused(quick, undisturbed, tmp_path):
    path = tmp_path / "search"
    shutil.copytree(undisturbed, path)
    changed = json.loads((path / "origin.json").read_text())
    changed["dataset"]["fingerprint"] = "other"
    (path / "origin.json").write_text(json.dumps(changed))
    with pytest.raises(RunError, match=r"The dataset is not the one that was begun with \("):
        search(path, *quick, *SPACE, "--max_trials=5")


def test_the_precision_with_which_a_search_began_is_not_chosen_again(
    quick, undisturbed, tmp_path, monkeypatch, capsys
):
    """Else trials of two precisions would be ranked together, where machines differ."""
    path = tmp_path / "search"
    shutil.copytree(undisturbed, path)
    origin = json.loads((path / "origin.json").read_text())
    other = {"float32": "mixed_bfloat16"}.get(origin["precision"], "float32")
    (path / "origin.json").write_text(json.dumps({**origin, "precision": other}))
    killed_after(monkeypatch, 1)
    with keras_settings(), pytest.raises(Killed):
        search(path, *quick, *SPACE, "--max_trials=3")
    assert f"Precision {other}: with which it began." in capsys.readouterr().out


# The end


@pytest.mark.slow
def test_the_end_compares_with_the_defaults_and_trains_the_best_once(quick, tmp_path, capsys):
    flags = (*quick, *SPACE[:2], "--max_trials=2", "--final_folds=2")
    assert search(tmp_path, *flags, retrain_best=True)
    first = capsys.readouterr().out
    assert "out of 2 new folds" in first
    made = json.loads((tmp_path / "final.json").read_text())
    best = json.loads((tmp_path / "best_hparams.json").read_text())
    assert made["trial"] == best["trial"]
    assert made["best"]["epochs"] == best["metrics"]["epoch"]
    config = json.loads((tmp_path / "retrained" / "config.json").read_text())
    assert config["hparams"]["trial"] == best["trial"]
    assert config["config"]["head_units"] == best["values"]["head_units"]
    stamps = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.json")}
    assert search(tmp_path, *flags, retrain_best=True)  # all is there
    for name in ("final.json", "retrained/metrics.json"):
        assert (tmp_path / name).stat().st_mtime_ns == stamps[tmp_path / name]
    assert "out of 2 new folds" in capsys.readouterr().out


@pytest.mark.slow
def test_a_search_killed_in_its_closing_comparison_goes_on_by_fold(
    quick, undisturbed, tmp_path, monkeypatch
):
    shutil.copytree(undisturbed, tmp_path / "search")
    flags = (*quick, *SPACE[:2], "--max_trials=2", "--final_folds=3")
    train_fold, trained = cross_validation.train_fold, []

    def dying(setup, config, fold, number, *more):
        if len(trained) == 4:
            raise Killed
        trained.append((config, number))
        return train_fold(setup, config, fold, number, *more)

    monkeypatch.setattr(cross_validation, "train_fold", dying)
    monkeypatch.setattr(trial_lib, "run", None)  # no trial runs again
    with pytest.raises(Killed):
        search(tmp_path / "search", *flags)
    kept = list((tmp_path / "search" / "checkpoints").glob("fold_*"))
    assert len(kept) == 4 + 1  # folds, and the epoch of the defaults
    first = trained.copy()
    trained.clear()
    assert search(tmp_path / "search", *flags)
    assert len(trained) == 2 and not {*trained} & {*first}
    assert json.loads((tmp_path / "search" / "final.json").read_text())["folds"] == 3
    assert not (tmp_path / "search" / "checkpoints").exists()


@pytest.mark.slow
def test_a_search_killed_while_its_best_values_are_trained_goes_on_there(
    quick, undisturbed, tmp_path, monkeypatch
):
    flags, left = (*quick, *SPACE, "--max_trials=2", "--checkpoint_every=0"), iter(range(4))
    for name in ("killed", "whole"):
        shutil.copytree(undisturbed, tmp_path / name)
    train_and_evaluate = train.train_and_evaluate

    def step(batch, logs):
        if next(left, None) is None:
            raise Killed

    def dying(*arguments, **options):
        kill = keras.callbacks.LambdaCallback(on_train_batch_end=step)
        return train_and_evaluate(*arguments, callbacks=[kill], **options)

    monkeypatch.setattr(trial_lib, "run", None)  # no trial runs again
    with monkeypatch.context() as patch, pytest.raises(Killed):
        patch.setattr(train, "train_and_evaluate", dying)
        patch.setattr(Training, "steps_per_call", lambda self, plan: 1)
        search(tmp_path / "killed", *flags, retrain_best=True)
    assert not (tmp_path / "killed" / "retrained" / "metrics.json").exists()
    for name in ("killed", "whole"):
        assert search(tmp_path / name, *flags, retrain_best=True)
    for name in ("history.csv", "predictions.csv", "metrics.json"):
        killed, whole = (tmp_path / each / "retrained" / name for each in ("killed", "whole"))
        assert killed.read_bytes() == whole.read_bytes()


def test_nobody_takes_a_search_whose_best_values_are_trained(
    quick, undisturbed, tmp_path, monkeypatch
):
    """--overwrite of another process would remove the run under way."""
    shutil.copytree(undisturbed, tmp_path / "search")
    flags = (*quick, *SPACE, "--max_trials=2")

    def retrain(*_):
        with pytest.raises(RunError, match="in use by process"):
            search(tmp_path / "search", *flags, overwrite=True)
        raise Killed

    monkeypatch.setattr(retraining, "retrain", retrain)
    with pytest.raises(Killed):
        search(tmp_path / "search", *flags, retrain_best=True)


@pytest.mark.slow
def test_what_was_scored_in_folds_is_compared_at_its_last_epoch(quick, tmp_path):
    flags = ("--folds=2", "--final_folds=2", "--max_trials=1", "--epochs=3", "--head_units=8,256")
    assert search(tmp_path, *quick, *flags, "--learning_rate=1e-4")
    made = json.loads((tmp_path / "final.json").read_text())
    assert [made[side]["epochs"] for side in ("best", "default")] == [3, 3]
    # The defaults were the only trial.
    assert made["same"] and made["difference"]["value"] == 0


@pytest.mark.slow
@pytest.mark.parametrize(
    ("units", "reference"),
    [("256,8,16,32,64,4,2,5,6,7", "the defaults"),
     ("8,16,32,64,4,2,5,6,7,9", "the values nearest to the defaults")],
)  # fmt: skip
def test_after_ten_trials_the_best_is_compared_with_the_defaults(
    units, reference, quick, tmp_path, capsys
):
    flags = (f"--head_units={units}", "--learning_rate=1e-4", "--epochs=1", "--max_trials=10",
             "--final_folds=0")  # fmt: skip
    assert search(tmp_path, *quick, *flags)
    out = " ".join(capsys.readouterr().out.split())
    better = rf"less {reference}: balanced accuracy .{{20,200}} They chose it out of 10, which"
    same = f"{reference.capitalize()} are the best of 10 trials so far"
    assert len(re.findall(f"{better}|{same}", out)) == 1


@pytest.mark.slow
def test_only_the_best_networks_are_kept(quick, tmp_path):
    assert search(tmp_path, *quick, *SPACE, "--max_trials=4", "--keep_best=2")
    kept = {path.parent.name for path in tmp_path.glob("trial_*/checkpoint.weights.h5")}
    rows = table(tmp_path)
    assert kept == {f"trial_{row['trial']}" for row in rows if row["rank"] in ("1", "2")}


# Kills


COMMAND = [sys.executable, "-m", "tuning.main", *SPACE, "--max_trials=4"]


@pytest.mark.slow
@pytest.mark.parametrize("signal_", [signal.SIGKILL, signal.SIGINT, signal.SIGTERM])
def test_a_process_that_is_killed_goes_on(signal_, data_dir, tmp_path):
    """As the command itself; `quick` patches only this process."""
    flags = [*searches.QUICK, f"--data_dir={data_dir}", f"--cache_dir={tmp_path / 'cache'}"]
    command = [*COMMAND, *flags, f"--search_dir={tmp_path / 'search'}"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    for line in process.stdout:
        if "trial 0001" in line:
            os.kill(process.pid, signal_)
            break
    process.stdout.read()
    assert process.wait() != 0
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert "Going on in" in done.stdout and "4 trials finished, 0 failed" in done.stdout
    other = [*COMMAND, *flags, f"--search_dir={tmp_path / 'undisturbed'}"]
    subprocess.run(other, capture_output=True, check=True)
    assert searches.ranking(tmp_path / "search") == searches.ranking(tmp_path / "undisturbed")


@pytest.mark.slow
def test_a_cluster_without_a_node_is_waited_for(quick, undisturbed, tmp_path, monkeypatch):
    class Late(local.LocalExecutor):
        """The first node joins when it is waited for."""

        slots = 0

        def next(self):
            if not self.slots:
                self.slots = 1
                return None
            return super().next()

    monkeypatch.setattr(local, "LocalExecutor", Late)
    assert search(tmp_path / "late", *quick, *SPACE, "--max_trials=2")
    assert searches.ranking(tmp_path / "late") == searches.ranking(undisturbed)
