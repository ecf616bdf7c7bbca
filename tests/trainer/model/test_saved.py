import json
import os
import subprocess
import sys
import zipfile

import keras
import numpy as np
import pytest

from tests.trainer.model.test_about import SAYS
from trainer.input_pipeline.alignment import aligned
from trainer.input_pipeline.resize import squared
from trainer.model import about, vgg16
from trainer.model.saved import class_names_of, save
from trainer.model.weights import Weights
from trainer.run.errors import RunError

NAMES = ("healthy", "covid19", "bacterial", "viral")
SIZE = 32


def _model(classes: int = 4, align: bool = False) -> keras.Model:
    """Every kind of layer that the trainer's networks have, few of each."""
    images = keras.Input((None, None, 1), name="image")
    squares = aligned(images, SIZE)[0] if align else squared(images, SIZE)
    x = keras.layers.Rescaling(1 / 255, offset=-0.5, dtype="float32")(squares)
    x = keras.layers.Reshape((SIZE * SIZE,), dtype="float32", name="flat")(x)
    for units in (8, SIZE * SIZE):
        x = keras.layers.Dense(units, use_bias=False, trainable=False, dtype="float32")(x)
    x = keras.layers.Reshape((SIZE, SIZE, 1), dtype="float32", name="image_again")(x)
    x = keras.layers.Concatenate(dtype="float32", name="channels")([x, x, x])
    x = keras.layers.Conv2D(6, 3, padding="same", activation="relu", name="conv")(x)
    x = keras.layers.MaxPooling2D(2)(x)
    x = keras.layers.Flatten()(x)
    x = keras.layers.Dense(16, "relu", kernel_regularizer=keras.regularizers.L2(1e-4))(x)
    x = keras.layers.Dropout(0.5, seed=1)(x)
    x = keras.layers.Dense(
        1 if classes == 2 else classes, dtype="float32", name="logits",
        kernel_constraint=keras.constraints.MaxNorm(9),
    )(x)  # fmt: skip
    if classes == 2:
        x = keras.ops.pad(x, ((0, 0), (1, 0)))
    model = keras.Model(images, keras.layers.Softmax(dtype="float32")(x), name="network")
    rng = np.random.default_rng(0)
    for weight in model.trainable_weights:
        weight.assign(rng.normal(0, 0.3, weight.shape))
    return model


@pytest.fixture(scope="module")
def images() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (5, 90, 71, 1), dtype="uint8")


@pytest.fixture
def policy():
    before = keras.config.dtype_policy()
    yield keras.config.set_dtype_policy
    keras.config.set_dtype_policy(before)


def _config(path) -> str:
    with zipfile.ZipFile(path) as archive:
        return archive.read("config.json").decode()


# Only Keras: none of ours may be imported.
_LOAD = """
import sys
for package in ("trainer", "covid_tfds", "tuning", "benchmarks"):
    sys.modules[package] = None
import keras, numpy as np
model = keras.saving.load_model("model.keras")
np.save("probabilities.npy", model.predict(np.load("images.npy"), verbose=0))
model.save("again.keras")
again = keras.saving.load_model("again.keras")
print(keras.backend.backend(), keras.__version__, again.layers[-1].name, again.output_names[0])
"""


def _loaded_elsewhere(folder, images, python=sys.executable, backend="tensorflow"):
    """Probabilities and what was printed, from a process that has Keras alone."""
    np.save(folder / "images.npy", images)
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
    done = subprocess.run(
        [python, "-c", _LOAD], cwd=folder, capture_output=True, text=True,
        env=environment | {"KERAS_BACKEND": backend},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return np.load(folder / "probabilities.npy"), done.stdout.split()


@pytest.mark.slow
def test_keras_alone_loads_it_and_gives_the_same_probabilities(images, tmp_path):
    model = _model(2)
    save(model, tmp_path / "model.keras", NAMES[:2], SAYS)
    probabilities, printed = _loaded_elsewhere(tmp_path, images)
    assert np.abs(probabilities - model.predict(images, verbose=0)).max() < 1e-6
    name = ".".join(["classes", *NAMES[:2]])
    assert printed == ["tensorflow", keras.__version__, name, name]


@pytest.mark.slow
def test_keras_alone_loads_an_aligned_network(images, tmp_path):
    """Where no operation has a name yet: Keras numbers them by the process."""
    model = _aligned()
    save(model, tmp_path / "model.keras", NAMES)
    probabilities, _ = _loaded_elsewhere(tmp_path, images)
    assert np.abs(probabilities - model.predict(images, verbose=0)).max() < 1e-6


def _aligned() -> keras.Model:
    return vgg16.build_model(
        classes=4, image_size=SIZE, head_units=4, dropout=0.5, pooling="max", align="chest",
        weights=Weights(None, "", ""), width=0.02, ensemble=2, trained_from="block5",
    )  # fmt: skip


@pytest.mark.slow
def test_a_network_is_loaded_without_this_code(images, tmp_path, monkeypatch):
    model = _aligned()
    save(model, tmp_path / "model.keras", NAMES)
    for name in [name for name in sys.modules if name.partition(".")[0] == "trainer"]:
        monkeypatch.setitem(sys.modules, name, None)
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    with pytest.raises(ImportError):
        import trainer.model  # noqa: F401
    expected = keras.ops.convert_to_numpy(model(images))
    np.testing.assert_allclose(keras.ops.convert_to_numpy(loaded(images)), expected, atol=1e-6)


@pytest.mark.parametrize("name", ["square", "square_7"])
def test_a_layer_that_is_called_like_an_operation_is_refused(name, tmp_path):
    images = keras.Input((3,))
    later = keras.ops.square(images)  # whose name may be "square" already
    model = keras.Model(later, keras.layers.Dense(2, name=name)(keras.ops.square(later)))
    with pytest.raises(ValueError, match=f"A layer is called {name}, and so will Keras call"):
        save(model, tmp_path / "model.keras", NAMES[:2])
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(("classes", "align"), [(2, False), (4, True)])
def test_an_older_keras_loads_it(classes, align, images, tmp_path):
    python = os.environ.get("COVID_TFDS_OLD_KERAS")
    if not python:
        pytest.skip("COVID_TFDS_OLD_KERAS names no python that has an older Keras")
    model = _model(classes, align)
    save(model, tmp_path / "model.keras", NAMES[:classes], SAYS)
    probabilities, printed = _loaded_elsewhere(tmp_path, images, python)
    assert printed[1] != keras.__version__
    assert printed[2] == ".".join(["classes", *NAMES[:classes]])
    assert np.abs(probabilities - model.predict(images, verbose=0)).max() < 1e-4


def test_the_jax_backend_loads_it(images, tmp_path):
    pytest.importorskip("jax")
    model = _model(align=True)
    save(model, tmp_path / "model.keras", NAMES, SAYS)
    probabilities, printed = _loaded_elsewhere(tmp_path, images, backend="jax")
    assert printed[0] == "jax"
    assert np.abs(probabilities - model.predict(images, verbose=0)).max() < 1e-4


@pytest.mark.parametrize(
    "names",
    [
        pytest.param(NAMES, marks=pytest.mark.slow),
        ("a.b", "c/d", "e f", "g>h"),
        ("Lungenentzündung", "健康", "100 %", "~_-"),
        pytest.param(("0", "1", "_", "."), marks=pytest.mark.slow),
    ],
)
def test_any_class_names_come_back(names, images, tmp_path):
    model = _model()
    save(model, tmp_path / "model.keras", names)
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    assert class_names_of(loaded) == names
    # Names that TensorFlow has no scopes for would fail in a graph alone.
    assert (loaded.predict(images, verbose=0) == model.predict(images, verbose=0)).all()


def test_class_names_survive_that_keras_saves_the_model_again(tmp_path):
    save(_model(), tmp_path / "model.keras", NAMES)
    keras.saving.load_model(tmp_path / "model.keras").save(tmp_path / "again.keras")
    assert class_names_of(keras.saving.load_model(tmp_path / "again.keras")) == NAMES


@pytest.mark.slow
def test_a_loaded_model_is_saved_under_other_names(images, tmp_path):
    save(_model(), tmp_path / "model.keras", NAMES)
    first = keras.saving.load_model(tmp_path / "model.keras")
    save(first, tmp_path / "other.keras", "abcd")
    other = keras.saving.load_model(tmp_path / "other.keras")
    assert class_names_of(other) == ("a", "b", "c", "d")
    assert len(other.layers) == len(first.layers)
    assert (other.predict(images, verbose=0) == first.predict(images, verbose=0)).all()


def test_a_model_without_class_names_is_refused():
    with pytest.raises(RunError, match="does not say what its outputs stand for"):
        class_names_of(_model())


def test_nothing_that_is_for_training_alone_is_in_the_file(tmp_path):
    model = _model()
    model.compile("adam", "categorical_crossentropy")
    model.save(tmp_path / "all.keras")
    save(model, tmp_path / "model.keras", NAMES)
    words = ("GlorotUniform", "L2", "MaxNorm", "Adam", "compile_config", "build_config")
    assert [word for word in words if word not in _config(tmp_path / "all.keras")] == []
    assert [word for word in words if word in _config(tmp_path / "model.keras")] == []
    with zipfile.ZipFile(tmp_path / "model.keras") as archive:
        assert b"adam" not in archive.read("model.weights.h5")


def test_what_a_file_says_of_itself_is_read_without_keras(tmp_path):
    save(_model(), tmp_path / "model.keras", NAMES, SAYS)
    assert about.read(tmp_path / "model.keras") == SAYS
    save(_model(), tmp_path / "model.keras", NAMES)
    assert about.read(tmp_path / "model.keras") is None


def test_equal_models_are_equal_files(tmp_path, monkeypatch):
    model = _model()
    save(model, tmp_path / "one.keras", NAMES, SAYS)
    monkeypatch.setattr(zipfile.time, "time", lambda: 2e9)  # years later
    save(model, tmp_path / "other.keras", NAMES, SAYS)
    assert (tmp_path / "one.keras").read_bytes() == (tmp_path / "other.keras").read_bytes()
    with zipfile.ZipFile(tmp_path / "other.keras") as archive:
        assert json.loads(archive.read("metadata.json")).keys() == {"keras_version"}


@pytest.mark.slow
def test_what_else_the_process_has_built_does_not_show_in_the_file(tmp_path):
    for name in ("one", "other"):
        images = keras.Input((None, None, 1), name="image")
        x = keras.layers.Flatten(name="flat")(aligned(images, SIZE)[0])
        x = keras.layers.Dense(4, "softmax", kernel_initializer="ones", name="last")(x)
        save(keras.Model(images, x, name="network"), tmp_path / f"{name}.keras", NAMES)
    assert (tmp_path / "one.keras").read_bytes() == (tmp_path / "other.keras").read_bytes()
    assert keras.saving.load_model(tmp_path / "other.keras").output.shape == (None, 4)


def test_what_keras_added_since_and_nobody_uses_is_not_in_the_file(tmp_path):
    save(_model(), tmp_path / "model.keras", NAMES)
    config = json.loads(_config(tmp_path / "model.keras"))["config"]
    arguments = [
        (layer["name"], name, value)
        for layer in config["layers"]
        for name, value in layer["config"].items()
    ]
    layers = {layer["name"] for layer in config["layers"] if "keras.layers" in layer["module"]}
    assert [argument for argument in arguments if argument[2] is None] == []
    assert [name for name, argument, _ in arguments if argument == "name"] == [
        layer["name"] for layer in config["layers"] if layer["name"] in layers
    ]


def test_the_model_is_not_changed_by_saving_it(tmp_path):
    model = _model()
    model.compile("adam", "categorical_crossentropy")
    config, optimizer = model.get_config(), model.optimizer
    save(model, tmp_path / "model.keras", NAMES)
    assert model.get_config() == config
    assert model.optimizer is optimizer


@pytest.mark.slow
@pytest.mark.parametrize("name", ["mixed_bfloat16", "mixed_float16"])
def test_a_model_of_mixed_precision_is_float32_in_the_file(name, images, policy, tmp_path):
    policy(name)
    mixed = _model()
    save(mixed, tmp_path / "model.keras", NAMES)
    # The policy of the process that loads it counts no more than that of the one that wrote it.
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    assert {layer.compute_dtype for layer in loaded.layers[1:]} == {"float32"}  # 0: the input
    policy("float32")
    expected = _model()
    expected.set_weights(mixed.get_weights())
    assert (loaded.predict(images, verbose=0) == expected.predict(images, verbose=0)).all()
    assert (mixed.predict(images, verbose=0) != expected.predict(images, verbose=0)).any()


def test_weights_of_less_than_float32_are_refused(policy, tmp_path):
    policy("bfloat16")
    model = _model()
    with pytest.raises(ValueError, match="A layer has the precision bfloat16"):
        save(model, tmp_path / "model.keras", NAMES)
    assert list(tmp_path.iterdir()) == []


def test_frozen_layers_are_frozen_when_loaded(tmp_path):
    model = _model()
    model.get_layer("conv").trainable = False
    save(model, tmp_path / "model.keras", NAMES)
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    frozen = [layer.name for layer in loaded.layers if not layer.trainable]
    assert frozen == [layer.name for layer in model.layers if not layer.trainable]


class Doubled(keras.layers.Layer):
    def call(self, x):
        return 2 * x


def test_a_layer_that_is_not_of_keras_is_refused_and_the_old_file_stays(tmp_path):
    path = tmp_path / "model.keras"
    save(_model(), path, NAMES)
    before = path.read_bytes()
    model = _model()
    other = keras.Model(model.input, Doubled()(model.output))
    with pytest.raises(ValueError, match=r"Doubled .* is not of Keras"):
        save(other, path, NAMES)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("names", [NAMES[:3], ("a", "b", "c", ""), ("a", "b", "c", "a")])
def test_names_that_do_not_fit_the_outputs_are_refused(names, tmp_path):
    with pytest.raises(ValueError, match="were given for a model of 4 outputs"):
        save(_model(), tmp_path / "model.keras", names)
    assert list(tmp_path.iterdir()) == []
