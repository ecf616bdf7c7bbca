"""The claims of an opened network: where it is from, what it sees, what goes with its answers."""

import dataclasses
import errno
import json
import os
import pathlib
import shutil

import keras
import numpy as np
import pytest

from tests.helpers.images_of import decoded
from tests.helpers.small_networks import lively
from trainer.evaluation import notes, predictions
from trainer.inference import network
from trainer.model import about, saved, vgg16
from trainer.run.errors import RunError

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def run(aligned_run) -> pathlib.Path:
    return aligned_run[0]


@pytest.fixture(scope="module")
def opened(run) -> network.Network:
    return network.load(run)


def small(path, align) -> pathlib.Path:
    """A model.keras of two classes."""
    model = lively(align=align)
    saved.save(model, path, ("one", "other"))
    return path


def test_a_run_says_what_its_network_is(opened, run, tiny):
    assert (opened.run, opened.path) == (run, run / "model.keras")
    assert (opened.image_size, opened.align) == (32, "chest")
    assert opened.class_names == tiny.class_names
    says, metrics = opened.about, json.loads((run / "metrics.json").read_text())
    assert (says.class_names, says.image_size, says.align) == (tiny.class_names, 32, "chest")
    assert (says.dataset, says.fingerprint) == ("covid_tfds/tiny/2.0.0", tiny.fingerprint)
    assert says.synthetic and says.version == about.release()
    assert says.notes == opened.notes == notes.notes_of(metrics)
    assert says.scores == notes.scores_of(metrics)


def test_a_bare_file_says_the_same(opened, run, tmp_path):
    bare = network.load(shutil.copy(run / "model.keras", tmp_path / "of_a_friend.keras"))
    assert (bare.run, bare.about, bare.notes) == (None, opened.about, opened.notes)


def test_the_file_says_what_the_folder_says_when_it_does_not(opened, run, tmp_path):
    """As of runs before there was the member."""
    folder = shutil.copytree(run, tmp_path / "run")
    saved.save(opened.model, folder / "model.keras", opened.class_names)
    (folder / "manifest.json").unlink()  # which has the file's digest
    old = network.load(folder)
    assert (old.about, old.notes) == (None, opened.notes)
    assert network.load(folder / "model.keras").notes == (notes.UNKNOWN,)
    (folder / "metrics.json").unlink()
    assert network.load(folder).notes == (notes.UNKNOWN,)


@pytest.mark.parametrize("align", ["none", "chest"])
def test_squares_are_what_the_model_makes_inside(align, tmp_path):
    net = network.load(small(tmp_path / "m.keras", align))
    sides = ((90, 71), (64, 500), (32, 32), (320, 400))
    images = [np.random.default_rng(0).integers(0, 256, each, "uint8") for each in sides]
    first = keras.Model(net.model.input, net.model.get_layer(vgg16.SQUARE).output)
    squares = net.squares(images)
    assert squares.dtype == np.uint8
    for image, square in zip(images, squares, strict=True):
        assert (first(image[None, ..., None]).numpy()[0] == square).all()
    whole = [net.model(image[None, ..., None]).numpy()[0] for image in images]
    np.testing.assert_allclose(net.probabilities(squares), whole, atol=1e-6)


def test_probabilities_are_those_of_the_runs_table(opened, run, tiny):
    rows = predictions.read(run / "predictions.csv").of_split("test")
    images = dict(decoded(tiny, "test"))
    squares = opened.squares([images[name] for name in rows.image_ids])
    np.testing.assert_allclose(opened.probabilities(squares), rows.probabilities, atol=1e-6)
    assert opened.probabilities(squares[:0]).shape == (0, 4)


def test_a_folder_without_a_network_is_refused(tmp_path):
    with pytest.raises(RunError, match=r"has no model\.keras: it is no folder of a run"):
        network.load(tmp_path)
    with pytest.raises(RunError, match="There is no file"):
        network.load(tmp_path / "m.keras")


def test_a_damaged_file_is_refused(run, tmp_path):
    folder = shutil.copytree(run, tmp_path / "run")
    data = bytearray((folder / "model.keras").read_bytes())
    data[len(data) // 2] ^= 1
    (folder / "model.keras").write_bytes(data)
    with pytest.raises(RunError, match="is damaged: its content is not what it was"):
        network.load(folder)
    with pytest.raises(RunError, match=r"can't load|is damaged"):
        network.load(folder / "model.keras")


def test_a_full_folder_of_temporary_files_is_not_taken_for_a_damaged_network(run, monkeypatch):
    def full(*_, **__):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(keras.saving, "load_model", full)
    with pytest.raises(RunError, match=r"^The folder of temporary files .* is full: .* TMPDIR\."):
        network.load(run)


def test_what_another_program_wrote_is_refused(tmp_path):
    images = keras.Input((None, None, 1))
    model = keras.Model(images, keras.layers.GlobalAveragePooling2D()(images))
    model.save(tmp_path / "m.keras")
    with pytest.raises(RunError, match="does not say what its outputs stand for"):
        network.load(tmp_path / "m.keras")
    saved.save(model, tmp_path / "m.keras", ["one"])
    with pytest.raises(RunError, match="has no layer square, so another program wrote it"):
        network.load(tmp_path / "m.keras")


def test_a_network_that_makes_other_squares_is_refused(run, tmp_path):
    """As one of another release would."""
    images = keras.Input((None, None, 1))
    square = keras.layers.Resizing(32, 32)(keras.ops.cast(images, "float32"))
    square = keras.layers.Identity(name="square")(square)
    model = keras.Model(images, keras.layers.GlobalAveragePooling2D()(square))
    says = dataclasses.replace(about.read(run / "model.keras"), version="1.9")
    saved.save(model, tmp_path / "m.keras", ["one"], says)
    with pytest.raises(RunError, match=r"other squares of images .* that wrote it \(1\.9\)"):
        network.load(tmp_path / "m.keras")


def test_damaged_weights_give_no_answer(tmp_path):
    model = lively()
    (kernel,) = (layer.kernel for layer in model.layers if layer.name == "last")
    kernel.assign(kernel * np.nan)
    saved.save(model, tmp_path / "m.keras", ("one", "other"))
    net = network.load(tmp_path / "m.keras")
    with pytest.raises(RunError, match="gives no finite probabilities: its weights are damaged"):
        net.probabilities(np.zeros((3, 64, 64, 1), np.uint8))
