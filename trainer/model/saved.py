"""The `.keras` file: what Keras alone needs to compute probabilities, from version 3.10 on.

Keras writes down all that a model was trained with, in the words of its own version, and an older
one refuses words that it does not know. So the file's description is cut down by five rules, none
of which names a layer or an argument:

* What says nothing is left out: an argument, of a constructor or a call, that is None or False, as
  it is by its signature. What a version adds is of that kind until somebody uses it. Defaults of
  another kind stay: some layers can't be read without them.
* What is for training alone is left out: initializers become zeros, which the weights replace;
  regularizers and constraints go; optimizer and loss are not there in the first place.
* What is computed is float32, and it says so, whatever precision the training had and whatever the
  global policy is where the file is read.
* What is no layer has no name: before 3.11, operations took none. Keras calls them by their kind
  when it reads the file ("square", "square_1"), so no layer may be called like one.
* No date is in it, and operations are numbered by their order in the file, not by what else the
  process has built, so that equal models are equal files.
"""

import collections
import importlib
import inspect
import io
import json
import os
import re
import shutil
import urllib.parse
import zipfile
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import keras

from trainer.model.about import MEMBER, About
from trainer.run.errors import RunError
from trainer.run.files import written_whole

# In the archive, by Keras' format.
_CONFIG, _METADATA, _WEIGHTS = "config.json", "metadata.json", "model.weights.h5"
_DATE = (1980, 1, 1, 0, 0, 0)  # of all that is in it
_PREFIX = "classes"  # of the name of the last layer
_NUMBER = re.compile(r"_\d+$")  # of the second operation of a kind, and so on
_FLOAT32 = ("float32", "mixed_bfloat16", "mixed_float16")  # policies of float32 weights


def save(
    model: keras.Model,
    path: str | os.PathLike,
    class_names: Sequence[str],
    about: About | None = None,
) -> None:
    """Writes a model for inference, with its class names. The file appears whole.

    A layer that changes nothing is put behind the model. Its name is the class names, separated by
    dots after the word "classes", as in `classes.healthy.covid19`; characters that TensorFlow does
    not have in names, and dots, are percent-encoded with > for %. So whoever loads the file with
    Keras alone reads them, it stays with the model when that is saved again, and it is what
    `model.summary()` ends in.

    Args:
        model: A functional model of Keras' own layers and operations, from any inputs to float32
            [batch, classes], with float32 weights. A mixed precision is float32 in the file. It is
            not changed.
        path: The file; its name ends in ".keras".
        class_names: What the outputs stand for, in their order.
        about: What else the file is to say, in a member that Keras ignores; see `about`.

    Raises:
        ValueError: The names are not as many as the outputs, or one is empty or stands twice; or
            something in the model is not Keras' own, or has weights that are not float32; or a
            layer is called as Keras will call an operation.
        OSError: The file can't be written.
    """
    names = tuple(class_names)
    if not all(names) or len(set(names)) != len(names) or len(names) != model.output.shape[-1]:
        raise ValueError(
            f"The class names {', '.join(names)} were given for a model of "
            f"{model.output.shape[-1]} outputs. Give another name for each."
        )
    _require_other_names(model)
    complete = _archive(_named(model, names))
    with written_whole(path) as beside:
        _rewrite(complete, beside, about)


def _require_other_names(model: keras.Model) -> None:
    """Refuses what a process that has named no operation yet could not load."""
    layers = {layer.name for layer in model.layers}
    names = {each.name for each in model.operations if each.name not in layers}
    kinds = {_NUMBER.sub("", name) for name in names}
    for name in sorted(layers):
        if _NUMBER.sub("", name) in kinds:
            raise ValueError(
                f"A layer is called {name}, and so will Keras call an operation when it reads the "
                "file. Give the layer another name."
            )


def weights_of(model: keras.Model) -> bytes:
    """The weights of a model, as `model.save_weights` writes them into a file `.weights.h5`.

    Args:
        model: Any, uncompiled. It is not changed.
    """
    with zipfile.ZipFile(_archive(model)) as members:
        return members.read(_WEIGHTS)


def _archive(model: keras.Model) -> io.BytesIO:
    """What Keras saves, in memory: on a full disk, HDF5's own files end the process (SIGSEGV)."""
    archive = _InMemory()
    model.save(archive)
    return archive


def class_names_of(model: keras.Model) -> tuple[str, ...]:
    """The class names that `save` gave a model.

    Args:
        model: A loaded model.

    Returns:
        What the outputs stand for, in their order.

    Raises:
        RunError: The model carries none.
    """
    prefix, *quoted = model.layers[-1].name.split(".")
    if prefix != _PREFIX or len(quoted) != model.output.shape[-1]:
        raise RunError(
            f"The model {model.name} does not say what its outputs stand for: its last layer is "
            f"called {model.layers[-1].name}. Give a model.keras that the trainer wrote."
        )
    return tuple(urllib.parse.unquote(name.replace(">", "%")) for name in quoted)


class _InMemory(io.BytesIO):
    """What Keras takes for a path: one that ends in .keras."""

    def __str__(self) -> str:
        return ".keras"


def _named(model: keras.Model, names: Sequence[str]) -> keras.Model:
    """The model, uncompiled, with a last layer that is called like the classes."""
    quoted = [
        urllib.parse.quote(name, safe="").replace(".", "%2E").replace("~", "%7E") for name in names
    ]
    name = ".".join([_PREFIX, *quoted]).replace("%", ">")
    last = model.layers[-1]
    output = last.input if last.name.startswith(f"{_PREFIX}.") else model.output  # saved before
    named = keras.layers.Identity(dtype="float32", name=name)(output)
    return keras.Model(model.input, named, name=model.name)


def _rewrite(complete: Any, path: os.PathLike, about: About | None) -> None:
    """Copies an archive of Keras with the description cut down, and adds what is said of it."""
    with zipfile.ZipFile(complete) as source, zipfile.ZipFile(path, "w") as target:
        for member in source.infolist():
            member.date_time = _DATE
            if member.filename == _CONFIG:
                config = json.loads(source.read(member))
                target.writestr(member, json.dumps(_numbered(_for_inference(config))))
                continue
            if member.filename == _METADATA:
                values = json.loads(source.read(member))
                target.writestr(member, json.dumps({"keras_version": values["keras_version"]}))
                continue
            with source.open(member) as read, target.open(member, "w", force_zip64=True) as written:
                shutil.copyfileobj(read, written)
        if about is not None:
            target.writestr(zipfile.ZipInfo(MEMBER, _DATE), about.to_json())


def _numbered(config: Mapping[str, Any]) -> dict[str, Any]:
    """A functional model's description with operations numbered by kind, in its own order."""
    counts: collections.Counter[str] = collections.Counter()
    names: dict[str, str] = {}
    for each in config["config"]["layers"]:
        if not issubclass(_class_of(each), keras.Layer):
            kind = _NUMBER.sub("", each["name"])
            names[each["name"]] = f"{kind}_{counts[kind]}" if counts[kind] else kind
            counts[kind] += 1
    return _renamed(config, names)


def _renamed(value: Any, names: Mapping[str, str]) -> Any:
    """A description in which operations, and where tensors come from, have other names."""
    if isinstance(value, list):
        return [_renamed(item, names) for item in value]
    if not isinstance(value, dict):
        return value
    result = {key: _renamed(item, names) for key, item in value.items()}
    if "inbound_nodes" in result:
        result["name"] = names.get(result["name"], result["name"])
    if "keras_history" in result:
        name, *place = result["keras_history"]
        result["keras_history"] = [names.get(name, name), *place]
    return result


def _for_inference(value: Any) -> Any:
    """Cuts down a serialized object, and those inside it, by the rules above."""
    if isinstance(value, list):
        return [_for_inference(item) for item in value]
    if not isinstance(value, dict):
        return value
    if "module" not in value or not isinstance(value.get("config"), dict):
        return {key: _for_inference(item) for key, item in value.items()}
    kind = _class_of(value)
    if issubclass(kind, keras.initializers.Initializer):
        return keras.initializers.serialize(keras.initializers.Zeros())
    if issubclass(kind, keras.regularizers.Regularizer | keras.constraints.Constraint):
        return None
    if issubclass(kind, keras.DTypePolicy):
        return _float32(value["config"]["name"])
    kept = ("module", "class_name", "registered_name", "name")
    result = {key: value[key] for key in kept if key in value}
    config = {key: _for_inference(item) for key, item in value["config"].items()}
    if not issubclass(kind, keras.Layer):
        config.pop("name", None)
    constructors = [vars(base)["__init__"] for base in kind.__mro__ if "__init__" in vars(base)]
    result["config"] = _without_unused(config, constructors)
    if "inbound_nodes" in value:
        result["inbound_nodes"] = [
            {
                "args": _for_inference(node["args"]),
                "kwargs": _without_unused(_for_inference(node["kwargs"]), [kind.call]),
            }
            for node in value["inbound_nodes"]
        ]
    return result


def _class_of(value: Mapping[str, Any]) -> type[Any]:
    module = value["module"] or ""
    if module.partition(".")[0] != "keras":
        raise ValueError(
            f"{value['class_name']} (of {module or value.get('registered_name')}) is not of Keras, "
            "and Keras alone could not load the model. Build it of Keras' own layers."
        )
    return getattr(importlib.import_module(module), value["class_name"])


def _float32(policy: str) -> str:
    if policy not in _FLOAT32:
        raise ValueError(
            f"A layer has the precision {policy}. Give a model whose layers have one of "
            f"{', '.join(_FLOAT32)}."
        )
    return "float32"


def _without_unused(arguments: Mapping[str, Any], functions: Sequence[Callable]) -> dict[str, Any]:
    """The arguments without those that are off, as they are where nobody gives them.

    Args:
        arguments: Names and values.
        functions: What takes them; of two that know a name, the first counts.

    Returns:
        The other arguments.
    """
    defaults: dict[str, Any] = {}
    for function in reversed(functions):
        parameters = inspect.signature(function).parameters.values()
        defaults |= {parameter.name: parameter.default for parameter in parameters}
    return {
        name: value
        for name, value in arguments.items()
        if not (_is_off(value) and name in defaults and _is_off(defaults[name]))
    }


def _is_off(value: Any) -> bool:
    return value is None or value is False
