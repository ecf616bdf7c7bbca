"""What a training starts from."""

import copy
import dataclasses
import json
import shutil

import keras
import numpy as np
import pytest

from tests.helpers.trainings import opened_once, quick
from trainer.config import Config
from trainer.evaluation import baselines
from trainer.input_pipeline import alignment, decode, resize, stages
from trainer.run import run_dir
from trainer.run.errors import RunError
from trainer.training import setup as setup_lib
from trainer.training.setup import set_up


@pytest.fixture(autouse=True)
def policy():
    before = keras.config.dtype_policy()
    yield
    keras.config.set_dtype_policy(before)


@pytest.fixture
def made(data_dir, tmp_path, monkeypatch):
    monkeypatch.setattr(setup_lib.dataset_lib, "open_dataset", opened_once)
    opened = []

    def make(arguments=None, **changes):
        opened.append(set_up(quick(data_dir, tmp_path / "cache", **changes), **(arguments or {})))
        return opened[-1]

    yield make
    for each in opened:
        each.opened.close()


def test_squares_of_the_network_and_of_the_baseline_are_cached(made, tiny):
    setup = made(image_size=40)
    images = setup.dataset.splits["test"]
    for size in (40, baselines.SIZE):
        squares = setup.squares(images, size)
        assert (squares.dtype, squares.shape) == (np.uint8, (len(images), size, size, 1))
        for index, encoded in list(tiny.encoded(images))[:3]:
            wanted = resize.square(decode.pixels(encoded, ""), size)
            np.testing.assert_array_equal(squares[index, ..., 0], wanted)


@pytest.mark.slow
def test_squares_of_aligned_images_are_aligned_and_their_poses_are_cached(made, tiny):
    setup = made(image_size=40, align="chest")
    images = setup.dataset.splits["test"]
    aligner, poses = alignment.Aligner([40, baselines.SIZE]), setup.poses(images)
    for index, encoded in list(tiny.encoded(images))[:3]:
        squares, pose = aligner(decode.pixels(encoded, ""))
        np.testing.assert_array_equal(poses[index], pose)
        for size, square in squares.items():
            np.testing.assert_array_equal(setup.squares(images, size)[index, ..., 0], square)
    assert setup.origin["alignment"] == alignment.FORMULA
    assert "alignment" not in made().origin


@pytest.mark.slow
def test_further_kinds_of_squares_bring_those_of_the_baseline_beside_them(made):
    setup = made({"further": [decode.Kind(48, "chest")]}, image_size=40)
    images = setup.dataset.splits["validation"]
    for align in ("none", "chest"):
        assert setup.opened.missing(stages.square_stage(32, align), images, (0,)) == 0
    assert setup.opened.missing(stages.square_stage(48, "chest"), images, (0,)) == 0
    assert len(setup.poses(images)) == len(images)


def test_only_the_splits_that_are_read_are_decoded(made):
    setup = made({"splits": ("train", "validation")})
    setup.squares(setup.dataset.splits["validation"], 32)
    with pytest.raises(KeyError):
        setup.squares(setup.dataset.splits["test"], 32)


def test_a_line_is_printed_on_each_choice(made, capsys):
    setup = made(augmentation="article")
    out = capsys.readouterr().out
    count = sum(map(len, setup.dataset.splits.values()))
    assert f"Dataset covid_tfds/tiny/2.0.0: {count} images." in out
    assert "Precision float32: as --precision says." in out
    assert "Weights: random numbers." in out
    assert "flips images, so that hearts change sides" in out
    made(augmentation="radiograph")
    assert "flips" not in capsys.readouterr().out


def test_reframed_images_are_counted_beside_the_datasets(made, capsys):
    setup = made({"stressed": True, "splits": ("validation",)})
    count = len(setup.dataset.splits["validation"])
    line = (
        f"Dataset covid_tfds/tiny/2.0.0: {count} images, and {2 * count} of validation re-framed."
    )
    assert line in " ".join(capsys.readouterr().out.split())


def test_what_an_earlier_release_cached_is_one_sentence(made, tmp_path, capsys):
    folder = tmp_path / "cache" / "features" / ("0" * 16)
    folder.mkdir(parents=True)
    (folder / "0-0.shard").write_bytes(b"1")
    made()
    assert "of release 1.0.0" in capsys.readouterr().out


@pytest.mark.bfloat16
def test_keras_policy_is_that_of_the_run(made):
    made(precision="mixed_bfloat16")
    assert keras.config.dtype_policy().name == "mixed_bfloat16"


@pytest.mark.parametrize("normalization", ["featurewise", "zca"])
def test_normalization_is_fitted_on_the_train_images(made, monkeypatch, normalization):
    fitted, fit = [], setup_lib.normalization.fit
    monkeypatch.setattr(
        setup_lib.normalization,
        "fit",
        lambda kind, squares: fitted.append(squares) or fit(kind, squares),
    )
    setup = made(normalization=normalization)
    assert setup.normalization is not None
    wanted = setup.squares(setup.dataset.splits["train"], 32)[..., 0]
    np.testing.assert_array_equal(fitted[0], wanted)
    assert made().normalization is None


def test_the_origin_holds_all_that_a_run_depends_on(made, tmp_path):
    setup = made({"hparams": {"file": "a.json"}, "other": None}, dataset="tiny")
    run_dir.plain(tmp_path).begin(setup.origin)
    written = json.loads((tmp_path / "config.json").read_text())
    assert written["hparams"] == {"file": "a.json"} and "other" not in written
    assert Config.read(tmp_path) == setup.config
    assert written["dataset"]["fingerprint"] == setup.dataset.fingerprint
    assert written["dataset"]["synthetic"] is True
    assert written["weights"]["source"] == "random numbers"
    assert (tmp_path / "flags.txt").read_text() == setup.config.to_flags()


def test_a_search_of_other_images_is_pointed_out(made, capsys):
    same = made().dataset.fingerprint
    for fingerprint, other in ((same, False), ("0" * 64, True)):
        made({"hparams": {"dataset_fingerprint": fingerprint}})
        assert ("saw other images" in capsys.readouterr().out) is other


def test_auto_becomes_the_datasets_own_name(data_dir, tmp_path):
    shutil.copytree(data_dir / "covid_tfds" / "tiny", tmp_path / "covid_tfds" / "article")
    config = dataclasses.replace(quick(tmp_path, tmp_path / "cache"), dataset="auto")
    setup = set_up(config)
    setup.opened.close()
    assert setup.config.dataset == "tiny"  # as it was built


def test_squares_that_do_not_fit_into_the_cache_are_an_error(made):
    with pytest.raises(RunError, match=r"squares of 100 images .* do not fit .*--cache_gib=1e-06"):
        made(cache_gib=1e-6)


OTHER = {
    r"The dataset is not the one that .* \(\w{12}, and was 0{12}\)": {"dataset": "fingerprint"},
    r"The file of weights is not .* \(, and was 0{12}\)": {"weights": "sha256"},
}


@pytest.mark.parametrize("message", OTHER)
def test_a_run_goes_on_with_the_images_and_weights_that_it_began_with_alone(message, made):
    began = copy.deepcopy(made().origin)
    for part, name in OTHER[message].items():
        began[part][name] = "0" * 64
    with pytest.raises(RunError, match=rf"{message}\. Bring that back"):
        made({"began": began})


def test_packages_that_changed_since_a_run_began_are_named_and_it_goes_on(made, capsys):
    began = copy.deepcopy(made().origin)
    capsys.readouterr()
    made({"began": began})
    assert "changed" not in capsys.readouterr().out
    began["packages"] |= {"keras": "3.0.0", "numpy": None}
    made({"began": began})
    said = "Since it began, keras, numpy changed: what follows may differ a bit."
    assert said in capsys.readouterr().out
