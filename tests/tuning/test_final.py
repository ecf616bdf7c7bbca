"""What the closing comparison says of what it found."""

import pytest
import tensorflow as tf

from tests.tuning.ended import searched
from tests.tuning.trials import opened
from trainer import frozen
from trainer.config import Config
from tuning import final, finish


def found(low: float, high: float) -> dict:
    estimate = {"value": (low + high) / 2, "low": low, "high": high, "n": 270}
    side = {"balanced_accuracy": {"value": 0.8, "low": 0.7, "high": 0.9}, "folds": {"sd": 0.01},
            "epochs": 7}  # fmt: skip
    floor = {"mean": 0.7, "sd": 0.02}
    return {"best": side, "default": side, "difference": estimate, "folds": 5,
            "floor": {"whole_image": floor, "lungs_removed": floor}}  # fmt: skip


@pytest.mark.parametrize(
    ("low", "high", "verdict"),
    [(0.01, 0.05, ""), (-0.02, 0.05, "has not shown a gain"), (-0.09, -0.01, "keep them")],
)
def test_the_verdict_follows_from_the_interval(low, high, verdict):
    text = final.text(found(low, high))
    assert f"[{low:+.3f}, {high:+.3f}]   paired" in text
    for words in ("has not shown a gain", "keep them"):
        assert (words in text) == (words == verdict)


def test_a_fold_ends_where_the_search_kept_the_trial():
    config = Config(epochs=40, early_stopping=3)
    assert final.at_epoch(config, 12.4) == Config(epochs=12)
    assert final.at_epoch(config, 0.4).epochs == 1
    tuned = Config(fine_tune_from="block5")
    assert final.at_epoch(tuned, 3.0) == tuned


def test_a_configuration_that_was_no_trial_ends_where_its_trial_would(quick):
    asked = opened(*quick, "--epochs=6", "--learning_rate=1e-3:1e-2:log")
    default = asked.space.unsearched()
    hp = {"learning_rate": default.learning_rate}
    assert final.kept_epoch(asked.bench, default) == asked(**hp)["epoch"]


NONE = {
    "--final_folds=2): a chief has no images. The same command": (2, []),
    "--final_folds=50): 50 folds need as many patients": (50, []),
    "--final_folds=2): --normalization=featurewise is fitted": (2, ["--normalization=featurewise"]),
}


@pytest.mark.parametrize("reason", NONE)
def test_a_search_without_its_comparison_says_why_and_is_done(reason, quick, tmp_path, capsys):
    count, flags = NONE[reason]
    asked, _ = searched(tmp_path / "s", [0.5], *quick, *flags)
    bench = opened(*quick).bench if count == 50 else None if "chief" in reason else object()
    assert finish.finish(asked, bench, count)
    said = capsys.readouterr().out
    assert f"No closing comparison ({reason}" in said
    assert "train:  python -m trainer.main --hparams=" in said
    assert not (asked.folder.root / "final.json").exists()


def test_a_comparison_whose_rows_find_no_room_passes_the_images(quick, tmp_path):
    """A head-only search whose rows fit, and its folds' rows, of both splits' views, do not."""
    flags = [*quick, "--learning_rate=1e-3:1e-2:log", "--augmentation=radiograph", "--views=2",
             f"--cache_dir={tmp_path}", "--precision=float32"]  # fmt: skip
    roomy = opened(*flags)
    config = roomy.space.config({})
    kept = roomy.bench.base(config)
    assert not {layer.name for layer in kept.model.layers} & {"block1_conv1"}  # a head alone
    images = {name: len(split.labels) for name, split in roomy.bench.images.items()}
    row = frozen.bytes_a_row(kept.part(None, kept.lowest).output)
    room = row * (2 * images["train"] + images["validation"] + 3)
    tight = opened(*flags, f"--cache_gib={room / 2**30}", f"--cache_dir={tmp_path / 'tight'}")
    config = tight.space.config({})
    base = tight.bench.base(config)
    assert not {layer.name for layer in base.model.layers} & {"block1_conv1"}
    found = final.compare(tight.bench, config, config, 2)
    assert found["difference"]["value"] == 0


def test_a_comparison_that_runs_out_of_memory_leaves_the_search_finished(
    quick, tmp_path, capsys, monkeypatch
):
    def full(*_):
        raise tf.errors.ResourceExhaustedError(None, None, "OOM when allocating\nmore")

    monkeypatch.setattr(final, "compare", full)
    asked, _ = searched(tmp_path / "s", [0.5], *quick)
    assert finish.finish(asked, object(), 2)
    assert "(--final_folds=2): Out of memory: OOM when allocating\n" in capsys.readouterr().out
