"""`trainer.export`: other runtimes give what Keras gives, or nothing is left."""

import io
import json
import pathlib
import re
import shutil
import zipfile
from collections.abc import Iterator

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

import trainer
from tests.helpers import commands, images_of, trainings
from trainer.evaluation.metrics import NOTICE
from trainer.inference import exports, network, quantization, saved_model
from trainer.run.errors import ConfigError, RunError

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("undrawn", "loaded_once")]

BOTH = ["onnx", "litert"]


@pytest.fixture(autouse=True, scope="module")
def few_compared() -> Iterator[None]:
    """The quick tests compare an image of each size."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(exports, "_COMPARED", len(exports._SIZES))
        yield


@pytest.fixture(scope="module")
def run(data_dir, tmp_path_factory) -> pathlib.Path:
    """Of two classes, whose network has one unit, and not aligned, which converts in seconds."""
    folder = tmp_path_factory.mktemp("run") / "run"
    changes = {"epochs": 1, "classes": 2, "align": "none", "width": 0.3}
    trainings.run(trainings.quick(data_dir, **changes), folder)
    return folder


@pytest.fixture(scope="module")
def served(run, tmp_path_factory):
    folder = tmp_path_factory.mktemp("exported")
    (made,) = trainer.load(run).export("savedmodel", folder)
    assert made.path == folder / "savedmodel" / "1"
    assert made.difference <= 1e-6 and made.bytes > 1e5 and made.milliseconds > 0
    return tf.saved_model.load(made.path), made.path


@pytest.fixture(scope="module")
def images(tiny):
    return [data for _, data in images_of.encoded(tiny, "test")][:3]


def encoded(pixels, form, **options):
    out = io.BytesIO()
    Image.fromarray(pixels).save(out, form, **options)
    return out.getvalue()


def test_bytes_get_the_answers_of_predict(run, served, images, tmp_path):
    signature = served[0].signatures["serving_bytes"]
    given = signature(image_bytes=tf.constant(images))
    assert given["labels"].numpy().tolist() == [[b"healthy", b"covid19"]] * 3
    for i, data in enumerate(images):
        (tmp_path / f"{i}.png").write_bytes(data)
    answers = trainer.load(run).predict(tmp_path)
    expected = [[*each.probabilities.values()] for each in answers]
    np.testing.assert_allclose(given["probabilities"], expected, atol=1e-6)


def test_a_session_finds_what_it_needs_as_that_of_tensorflow_serving_does(served, images):
    expected = served[0].signatures["serving_bytes"](image_bytes=tf.constant(images))
    with tf.compat.v1.Session(graph=tf.Graph()) as session:
        loaded = tf.compat.v1.saved_model.loader.load(session, ["serve"], str(served[1]))
        signature = loaded.signature_def["serving_bytes"]
        names = signature.inputs["image_bytes"].name, signature.outputs["probabilities"].name
        given = session.run(names[1], {names[0]: images})
    np.testing.assert_allclose(given, expected["probabilities"], atol=1e-6)


def test_pixels_get_the_answers_of_the_network(run, served):
    pixels = exports.drawn(8)
    signature, opened = served[0].signatures["serving_default"], network.load(run)
    for each in pixels:
        given = signature(image=tf.constant(each))
        expected = opened.probabilities(opened.squares(each[..., 0]))
        np.testing.assert_allclose(given["probabilities"], expected, atol=1e-6)
        assert given["labels"].shape == (1, 2)


@pytest.mark.parametrize("form", ["PNG", "JPEG", "GIF"])
@pytest.mark.parametrize("colour", [False, True])
def test_encoded_images_are_decoded_and_shrunk_as_the_dataset_does(run, served, form, colour):
    pixels = exports.drawn(5)[4][0, ..., 0]
    pixels = np.kron(pixels, np.ones((2, 2), np.uint8))  # over 320 pixels
    if colour:
        pixels = np.stack([pixels, pixels // 2, 255 - pixels // 3], axis=2)
    data = encoded(pixels, form)
    from covid_tfds.reading import read_image

    opened = network.load(run)
    expected = opened.probabilities(opened.squares([read_image(data).pixels]))
    given = served[0].signatures["serving_bytes"](image_bytes=tf.constant([data]))
    np.testing.assert_allclose(given["probabilities"], expected, atol=0.01)


@pytest.mark.parametrize("form", ["", "text", "torn", "BMP", "WEBP", "TIFF"])
def test_what_is_not_decoded_ends_the_call_with_an_invalid_argument(served, images, form):
    data = form.encode() if form in ("", "text") else images[0][:200]
    if form.isupper():
        data = encoded(np.zeros((90, 90, 3), np.uint8), form)
    with pytest.raises(tf.errors.InvalidArgumentError):
        served[0].signatures["serving_bytes"](image_bytes=tf.constant([images[0], data]))


def test_a_saved_model_says_what_it_is(run, served):
    extra = served[1] / "assets.extra"
    assert (extra / "labels.txt").read_text() == "healthy\ncovid19\n"
    about = json.loads((extra / "covid_tfds.json").read_text())
    assert about["class_names"] == ["healthy", "covid19"] and NOTICE in about["notes"]


def test_the_command_replaces_what_is_there_and_prints_what_it_takes(run, tmp_path):
    (tmp_path / "savedmodel" / "1").mkdir(parents=True)
    (tmp_path / "savedmodel" / "1" / "of_before").touch()
    ended = commands.run("trainer.export", f"--run={run}", f"--output={tmp_path}")
    assert ended.status == 0, ended.err
    assert [path.name for path in (tmp_path / "savedmodel").iterdir()] == ["1"]
    assert not (tmp_path / "savedmodel" / "1" / "of_before").exists()
    lines = ended.out.splitlines()
    assert [line.split()[0] for line in lines[:3]] == ["format", "keras", "savedmodel"]
    assert "MiB" in lines[2] and " ms" in lines[2] and NOTICE in ended.out


@pytest.fixture
def written_at_once(served, monkeypatch) -> None:
    """What was exported before, in place of the same once more."""

    def write(network, path, **options) -> None:
        shutil.copytree(served[1], path, dirs_exist_ok=True)

    monkeypatch.setattr(saved_model, "write", write)


@pytest.mark.usefixtures("written_at_once")
def test_one_that_gives_other_probabilities_leaves_nothing(run, tmp_path, monkeypatch):
    network_of_another = saved_model.opened

    def other(path):
        compute = network_of_another(path)
        return lambda pixels: compute(pixels)[:, ::-1]

    monkeypatch.setattr(saved_model, "opened", other)
    with pytest.raises(RunError, match="gives other probabilities than Keras"):
        trainer.load(run).export("savedmodel", tmp_path)
    assert list((tmp_path / "savedmodel").iterdir()) == []


@pytest.mark.usefixtures("written_at_once")
def test_numbers_that_are_none_leave_nothing(run, tmp_path, monkeypatch):
    monkeypatch.setattr(saved_model, "opened", lambda path: lambda x: np.full((len(x), 2), np.nan))
    with pytest.raises(RunError, match="difference is nan"):
        trainer.load(run).export("savedmodel", tmp_path)
    assert list((tmp_path / "savedmodel").iterdir()) == []


def test_what_a_format_does_not_offer_is_refused():
    with pytest.raises(ConfigError, match="is not offered by savedmodel"):
        exports.require(["savedmodel"], "float16")
    with pytest.raises(ConfigError, match="--format is 'coreml'"):
        exports.require(["coreml"], "none")
    with pytest.raises(ConfigError, match="--format is ''"):
        exports.require([], "none")
    with pytest.raises(ConfigError, match="--quantize is 'int8'"):
        exports.require(["onnx"], "int8")


def test_a_missing_package_is_one_sentence(monkeypatch):
    monkeypatch.setattr(saved_model, "PACKAGES", ("no_such_package",))
    with pytest.raises(RunError, match=r"no_such_package.*pip install \"covid-tfds\[export\]\""):
        exports.require(["savedmodel"], "none")


@pytest.mark.parametrize(
    "words,message",
    [([], "--run is missing"), (["--run=x", "--output="], "--output is empty"),
     (["--run=x", "onnx"], "are no flags"), (["--run=x.keras"], "There is no file x.keras")],
)  # fmt: skip
def test_what_makes_no_sense_is_refused_before_tensorflow(words, message):
    ended = commands.run("trainer.export", *words)
    assert ended.status in (1, 2) and message in ended.err


@pytest.fixture(scope="module")
def others(run, tmp_path_factory):
    for name in ("tf2onnx", "onnxruntime", "ai_edge_litert"):
        pytest.importorskip(name)
    folder = tmp_path_factory.mktemp("others")
    return {each.kind: each for each in trainer.load(run).export(BOTH, folder)}


def test_onnx_and_litert_give_what_keras_gives(others):
    assert list(others) == BOTH
    assert all(each.difference < 1e-5 for each in others.values())


def test_an_onnx_file_says_what_it_is(others):
    import onnxruntime

    session = onnxruntime.InferenceSession(str(others["onnx"].path))
    says = session.get_modelmeta().custom_metadata_map
    assert json.loads(says["labels"]) == ["healthy", "covid19"]
    assert NOTICE in json.loads(says["about"])["notes"]
    (given,) = session.run(None, {"image": np.concatenate([exports.drawn(3)[2]] * 4)})
    assert given.shape == (4, 2)


def test_a_litert_file_says_what_it_is(others):
    with zipfile.ZipFile(others["litert"].path) as behind:
        assert behind.read("labels.txt") == b"healthy\ncovid19\n"
        assert NOTICE in json.loads(behind.read("covid_tfds.json"))["notes"]


def test_half_of_the_room_costs_what_is_printed(data_dir, tmp_path):
    for name in ("tf2onnx", "onnxruntime", "ai_edge_litert"):
        pytest.importorskip(name)
    trainings.run(trainings.quick(data_dir, epochs=1, align="chest", width=0.5), tmp_path / "run")
    whole = trainer.load(tmp_path / "run").export(BOTH, tmp_path)
    words = f"--format={','.join(BOTH)}", "--quantize=float16", f"--output={tmp_path}"
    ended = commands.run("trainer.export", f"--run={tmp_path / 'run'}", *words)
    assert ended.status == 0, ended.err
    half = [tmp_path / name for name in ("model.float16.onnx", "model.float16.tflite")]
    for one, other in zip(whole, half, strict=True):
        assert other.stat().st_size < 0.6 * one.bytes
    for kind in BOTH:
        assert f"{kind}: balanced accuracy on validation" in ended.out.replace("\n", " ")


def test_a_network_that_calls_images_otherwise_has_the_difference_with_its_interval(run):
    whole = network.load(run)

    def same(pixels: np.ndarray) -> np.ndarray:
        return whole.probabilities(whole.square(pixels[0, ..., 0])[None])

    computes = {"same": same, "turned": lambda pixels: same(pixels)[:, ::-1]}
    alike, turned = quantization.costs(whole, computes)
    of = r"\d+ images of \d+ patient groups"
    assert re.fullmatch(rf"same: .* \[.*\] against .*; all {of} are called as before\.", alike)
    said = re.fullmatch(
        r"turned: .* validation (\S+) \[.*\] against (\S+) \[.*\] of float32, .*\[.*\].*; "
        r"of (\d+) images of \d+ patient groups, (\d+) are called otherwise\.",
        turned,
    )
    ours, theirs, images, changed = said.groups()
    assert float(ours) + float(theirs) == pytest.approx(1, abs=2e-3)  # of two classes
    assert images == changed


def test_of_a_network_alone_the_cost_of_half_of_the_room_is_not_measured(run, tmp_path):
    pytest.importorskip("ai_edge_litert")
    words = "--format=litert", "--quantize=float16", f"--output={tmp_path}"
    bare = commands.run("trainer.export", f"--run={run / 'model.keras'}", *words)
    assert "was not measured" in bare.out and bare.status == 0
