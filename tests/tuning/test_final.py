"""The closing comparison: where its trainings end, what it prints, and why there may be none."""

import pytest
import tensorflow as tf

from tests.helpers.searches import ended_search, open_trials
from trainer.config import Config
from trainer.input_pipeline import cache_folders
from tuning import final, finish


def comparison(low: float, high: float) -> dict:
    difference = {"value": (low + high) / 2, "low": low, "high": high, "n": 270}
    side = {"balanced_accuracy": {"value": 0.8, "low": 0.7, "high": 0.9}, "by_fold": {"sd": 0.01},
            "epochs": 7}  # fmt: skip
    shortcut = {"mean": 0.7, "sd": 0.02}
    return {"best": side, "default": side, "difference": difference, "folds": 5, "groups": 210,
            "shortcut_baseline": {"full_image": shortcut, "lungs_masked": shortcut}}  # fmt: skip


@pytest.mark.parametrize(
    ("low", "high", "conclusion"),
    [(0.01, 0.05, ""), (-0.02, 0.05, "has not shown a gain"), (-0.09, -0.01, "keep them")],
)
def test_the_conclusion_follows_from_the_interval(low, high, conclusion):
    text = final.text(comparison(low, high))
    (difference,) = [line for line in text.splitlines() if "difference, paired" in line]
    assert f"[{low:+.3f}, {high:+.3f}]" in difference
    assert "n = 270 images of 210 patient groups" in text
    assert max(map(len, text.splitlines())) <= 80
    for words in ("has not shown a gain", "keep them"):
        assert (words in text) == (words == conclusion)


def test_a_fold_ends_where_the_search_kept_the_trial():
    config = Config(epochs=40, early_stopping=3)
    assert final.at_epoch(config, 12.4) == Config(epochs=12)
    assert final.at_epoch(config, 0.4).epochs == 1
    tuned = Config(fine_tune_from="block5")
    assert final.at_epoch(tuned, 3.0) == tuned


def test_a_configuration_that_was_no_trial_ends_where_its_trial_would(quick):
    trials = open_trials(*quick, "--epochs=6", "--learning_rate=1e-3:1e-2:log")
    default = trials.space.unsearched()
    values = {"learning_rate": default.learning_rate}
    assert final.kept_epoch(trials.bench, default) == trials(**values)["epoch"]


NONE = {
    "--final_folds=2): a chief has no images. The same command": (2, []),
    "--final_folds=50): 50 folds need as many patient groups": (50, []),
    "--final_folds=2): --normalization=featurewise is fitted": (2, ["--normalization=featurewise"]),
}


@pytest.mark.parametrize("reason", NONE)
def test_a_search_without_its_comparison_names_the_reason_and_is_done(
    reason, quick, tmp_path, capsys
):
    count, flags = NONE[reason]
    spec, _ = ended_search(tmp_path / "s", [0.5], *quick, *flags)
    bench = open_trials(*quick).bench if count == 50 else None if "chief" in reason else object()
    assert finish.finish(spec, bench, count)
    printed = capsys.readouterr().out
    assert f"No closing comparison ({reason}" in printed
    assert "train:  python -m trainer.main --hparams=" in printed
    assert not (spec.folder.root / "final.json").exists()


def test_a_comparison_whose_rows_find_no_room_passes_the_images(quick, tmp_path):
    """A head-only search whose rows fit, and its folds' rows, of both splits' views, do not."""
    flags = [*quick, "--learning_rate=1e-3:1e-2:log", "--augmentation=radiograph", "--views=2",
             "--epochs=1"]  # fmt: skip

    def opened(folder, *room):
        return open_trials(*flags, f"--cache_dir={tmp_path / folder}", *room)

    def frozen(bench, config) -> bool:
        """Whether it reads what the frozen part made."""
        return bench.training(config).plan.phases[0].train.compute is not None

    roomy = opened("roomy")
    assert frozen(roomy.bench, roomy.space.config({}))
    used = sum(entry.bytes for entry in cache_folders.entries(tmp_path / "roomy"))
    tight = opened("tight", f"--cache_gib={(used + 600) / 2**30}")
    config = tight.space.config({})
    assert frozen(tight.bench, config)
    crossed = tight.bench.crossed()
    assert not frozen(crossed, config)
    assert final.compare(crossed, config, config, 2)["difference"]["value"] == 0


def test_a_comparison_that_runs_out_of_memory_leaves_the_search_finished(
    quick, tmp_path, capsys, monkeypatch
):
    def full(*_):
        raise tf.errors.ResourceExhaustedError(None, None, "OOM when allocating\nmore")

    monkeypatch.setattr(final, "compare", full)
    spec, _ = ended_search(tmp_path / "s", [0.5], *quick)
    assert finish.finish(spec, object(), 2)
    assert "(--final_folds=2): Out of memory: OOM when allocating\n" in capsys.readouterr().out
