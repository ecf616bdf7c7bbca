"""The network of a run folder or of a bare `model.keras`, and what goes with its answers."""

import dataclasses
import functools
import hashlib
import os
import pathlib
import tempfile
import zipfile
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from covid_tfds.parallel import in_order
from covid_tfds.sources import listing
from trainer.evaluation import notes
from trainer.evaluation.metrics import NOTICE
from trainer.input_pipeline import resize
from trainer.input_pipeline.alignment import Aligner
from trainer.model import about as about_lib
from trainer.model import saved, vgg16
from trainer.model.about import About
from trainer.run import files, machine, manifest
from trainer.run.errors import RunError
from trainer.run.text import estimate, score

BATCH = 32  # images that pass through the network at a time


@dataclasses.dataclass(frozen=True, eq=False)
class Network:
    """A trained network, ready to answer.

    Attributes:
        path: The model.keras.
        run: The run folder, if one was given.
        model: From images [batch, height, width, 1] in 0..255, of any size, to probabilities,
            float32 [batch, classes].
        class_names: What the probabilities are of.
        image_size: Pixels of a side of the squares that it sees.
        align: How images are framed before, "none" or "chest".
        about: What the file says of itself; None of one that says nothing.
        notes: Sentences that go with every answer.
        scores: Of what was scored last, of `notes.scores_of`; None where that is not known.
    """

    path: pathlib.Path
    run: pathlib.Path | None
    model: keras.Model
    class_names: tuple[str, ...]
    image_size: int
    align: str
    about: About | None
    notes: tuple[str, ...]
    scores: Mapping[str, Any] | None = None

    def origin(self) -> dict[str, Any]:
        """Which network it is, JSON-able."""
        values = {
            "path": listing.shown(str(self.path)),
            "class_names": self.class_names,
            "image_size": self.image_size,
            "align": self.align,
        }
        known = ("dataset", "fingerprint", "version") if self.about else ()
        return values | {name: getattr(self.about, name) for name in known}

    @functools.cached_property
    def weights_sha256(self) -> str:
        """Of all weights: the same wherever the file lies, and whatever it says of itself."""
        digest = hashlib.sha256()
        for weight in self.model.get_weights():
            digest.update(np.ascontiguousarray(weight))
        return digest.hexdigest()

    def worth(self) -> list[str]:
        """What has to be known with answers: scores in a sentence, the notes, the notice."""
        scored = []
        if self.scores:
            of = self.scores
            whole = score(of["balanced_accuracy"], of["n"], of["groups"])
            shortcut = estimate(of["shortcut_baseline"])
            scored.append(
                f"Balanced accuracy on {of['split']}: {whole}; higher shortcut baseline {shortcut}."
            )
        return [*scored, *self.notes, NOTICE]

    def square(self, pixels: np.ndarray) -> np.ndarray:
        """What the model makes of an image first, bit for bit; from several threads, if need be.

        Args:
            pixels: uint8 [height, width], 0..255.

        Returns:
            uint8 [size, size, 1], 0..255.
        """
        return self._square(pixels)[..., None]

    def squares(self, pixels: Sequence[np.ndarray] | np.ndarray) -> np.ndarray:
        """`square` of several images, on all cores: uint8 [n, size, size, 1].

        Args:
            pixels: n images, uint8 [height, width] of any sizes, 0..255.
        """
        made = np.empty((len(pixels), self.image_size, self.image_size, 1), np.uint8)
        for i, square in enumerate(in_order(self.square, pixels)):
            made[i] = square
        return made

    def probabilities(self, squares: np.ndarray) -> np.ndarray:
        """What the network makes of squares, in batches of 32.

        Args:
            squares: uint8 [n, size, size, 1], 0..255.

        Returns:
            float32 [n, classes]; rows sum to 1.

        Raises:
            RunError: They are not finite.
        """
        parts = [self._above(squares[i : i + BATCH]) for i in range(0, len(squares), BATCH)]
        made = np.concatenate([np.zeros((0, len(self.class_names)), np.float32), *parts])
        if not np.isfinite(made).all():
            raise RunError(
                f"The network of {self.path} gives no finite probabilities: its weights are "
                "damaged. Put back a copy of it, or train again."
            )
        return made

    @functools.cached_property
    def _square(self) -> Callable[[np.ndarray], np.ndarray]:
        """Of uint8 [height, width], uint8 [size, size]."""
        if self.align == "none":
            return lambda pixels: resize.square(pixels, self.image_size)
        align = Aligner([self.image_size])
        return lambda pixels: align(pixels)[0][self.image_size]

    @functools.cached_property
    def _above(self) -> Callable[[np.ndarray], np.ndarray]:
        """From the squares up."""
        part = vgg16.part(self.model, vgg16.SQUARE, self.model.layers[-1].name)
        shape = tf.TensorSpec((None, self.image_size, self.image_size, 1), tf.uint8)
        traced = functools.partial(part, training=False)
        compute = tf.function(traced, input_signature=[shape], autograph=False)
        return lambda squares: compute(squares).numpy()


def load(run: str | os.PathLike) -> Network:
    """Opens the network of a run.

    Args:
        run: The folder of a run that has ended, or a file whose name ends in ".keras".

    Raises:
        RunError: There is no network there, it is damaged, or another program wrote it.
    """
    path, folder = about_lib.located(run)
    about = about_lib.read(path)
    model = _loaded(path)
    class_names = saved.class_names_of(model)
    layers = {layer.name: layer for layer in model.layers}
    if vgg16.SQUARE not in layers:
        raise RunError(
            f"{path} has no layer {vgg16.SQUARE}, so another program wrote it. Give a model.keras "
            "that the trainer wrote."
        )
    network = Network(
        path=path,
        run=folder,
        model=model,
        class_names=class_names,
        image_size=layers[vgg16.SQUARE].output.shape[1],
        align="chest" if "pose" in layers else "none",
        about=about,
        notes=about.notes if about else (notes.UNKNOWN,),
        scores=about.scores if about else None,
    )
    if about is None and folder is not None:
        network = _with_metrics(network, folder)
    _require_same_squares(network)
    return network


def _loaded(path: pathlib.Path) -> keras.Model:
    try:
        return keras.saving.load_model(path, compile=False)
    except (ValueError, TypeError, KeyError, OSError, zipfile.BadZipFile) as error:
        if isinstance(error, OSError) and machine.is_full(error):
            raise RunError(
                f"The folder of temporary files {tempfile.gettempdir()} is full: Keras unpacks the "
                "network there. Free some of it, or name another folder in TMPDIR."
            ) from None
        first = str(error).strip().partition("\n")[0]
        raise RunError(
            f"Keras {keras.__version__} can't load {path} ({first}). Put back a copy of it, or "
            "give another."
        ) from None


def _with_metrics(network: Network, folder: pathlib.Path) -> Network:
    """A network whose file says nothing of itself, with what its run folder says."""
    path = folder / "metrics.json"
    if not path.is_file():
        return network
    manifest.require_whole(folder, path.name)
    mend = "Put back a copy of it, or give the model.keras alone."
    values = files.read_json(path, "dataset", "splits", "opened", mend=mend)
    return dataclasses.replace(
        network, notes=notes.notes_of(values), scores=notes.scores_of(values)
    )


def _require_same_squares(network: Network) -> None:
    """Refuses a network whose first nodes are those of another release.

    They are computed here, outside the network: see `Network.square`.
    """
    pixels = np.random.default_rng(0).integers(0, 256, (120, 100), "uint8")
    first = keras.Model(network.model.input, network.model.get_layer(vgg16.SQUARE).output)
    inside = keras.ops.convert_to_numpy(first(pixels[None, ..., None]))
    if (inside[0] != network.square(pixels)).any():
        version = network.about.version if network.about else ""
        raise RunError(
            f"{network.path} makes other squares of images than this release does. Use the "
            f"release that wrote it{version and f' ({version})'}."
        )
