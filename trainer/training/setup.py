"""What a training starts from: the dataset, the precision, the weights, squares, networks, rows."""

import contextlib
import dataclasses
import sys
from collections.abc import Callable, Collection, Iterator, Mapping
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from trainer.config import Config, cache_folder
from trainer.evaluation import baselines
from trainer.input_pipeline import alignment, cache_folders, stages, stress
from trainer.input_pipeline import dataset as dataset_lib
from trainer.input_pipeline.dataset import Dataset, Images
from trainer.input_pipeline.decode import Kind
from trainer.input_pipeline.fill import Batches
from trainer.model import normalization, precision
from trainer.model import weights as weights_lib
from trainer.model.normalization import Normalization
from trainer.model.precision import Precision
from trainer.model.weights import Weights
from trainer.run import run_dir
from trainer.run.errors import RunError
from trainer.run.progress import fitted
from trainer.training import memory

WITHOUT_TEST = ("train", "validation")  # the splits of a run that does not score test
# `fill.Computing` of the networks of a config, which a process elsewhere can build.
ComputeRows = Callable[[Config, stages.Stage, Batches], Iterator[np.ndarray]]


@dataclasses.dataclass(frozen=True)
class Setup:
    """Opened and chosen, before a network is built.

    Attributes:
        config: The run, with the dataset's name in place of `auto`.
        dataset: The dataset, with the splits whose images are read.
        precision: How the network computes.
        weights: What its convolutions start from.
        normalization: What was fitted on the train images, if anything.
        opened: The cache.
        origin: What config.json holds.
        compute: How missing rows are computed; None: in this process.
        kept: What one process keeps from one task to the next: networks, trainings.
    """

    config: Config
    dataset: Dataset
    precision: Precision
    weights: Weights
    normalization: Normalization | None
    opened: stages.OpenStages
    origin: dict[str, Any]
    compute: ComputeRows | None = None
    kept: dict[str, Any] = dataclasses.field(default_factory=dict)

    def squares(self, images: Images, size: int) -> np.ndarray:
        """uint8 [n, size, size, 1], 0..255: the squares of images, aligned as the config says."""
        return self._read(stages.square_stage(size, self.config.align), images)

    def poses(self, images: Images) -> np.ndarray:
        """float32 [n, 5]: what aligned the squares of images; columns of `alignment.POSE`."""
        return self._read(stages.pose_stage(), images)

    def _read(self, stage: stages.Stage, images: Images) -> np.ndarray:
        """Rows that `set_up` cached."""
        return self.opened.rows_of(stage, images, (0,)).read(images.digests, 0)


def set_up(
    config: Config,
    *,
    splits: Collection[str] | None = None,
    further: Collection[Kind] = (),
    stressed: bool = False,
    began: Mapping[str, Any] | None = None,
    **origin: Any,
) -> Setup:
    """Opens the dataset, chooses the precision, fetches the weights and caches the squares.

    Prints a line on each. Seeds everything, and sets Keras' global policy.

    Args:
        config: The run.
        splits: Those whose images are read; unless given, all that the config scores.
        further: More kinds of squares to cache.
        stressed: Whether the images of validation are read re-framed, too (see `stress`).
        began: The config.json of a run that is gone on with, or the origin.json of a search: what
            was chosen then is not chosen again.
        origin: What else config.json is to hold.

    Raises:
        RunError: The dataset or the weights are missing, or are others than those of `began`, the
            precision can't be had, or the memory is too small for the network.
    """
    memory.require_parameters(config)
    keras.utils.set_random_seed(config.seed)
    if config.deterministic:
        tf.config.experimental.enable_op_determinism()
    name = began["config"]["dataset"] if began else config.dataset
    dataset = dataset_lib.open_dataset(name, config.data_dir, config.classes)
    splits = splits or (dataset.splits if config.test else WITHOUT_TEST)
    kept = {each: images for each, images in dataset.splits.items() if each in splits}
    if config.normalization == "zca":
        memory.require_whitening(config, len(kept["train"]))
    dataset = dataclasses.replace(dataset, splits=kept)
    read = list(dataset.splits.values())
    again = [stress.stressed(dataset.splits["validation"])] if stressed else []
    print(fitted(_of_dataset(dataset.name, sum(map(len, read)), sum(map(len, again)))))
    searched = (origin.get("hparams") or {}).get("dataset_fingerprint", dataset.fingerprint)
    if searched != dataset.fingerprint:
        line = "The search of --hparams saw other images than these; its values may not suit them."
        print(fitted(line))
    config = dataclasses.replace(config, dataset=dataset.name.split("/")[1])
    chosen = _precision(config, began)
    print(fitted(f"Precision {chosen.policy}: {chosen.reason}."))
    keras.config.set_dtype_policy(chosen.policy)
    cache_dir = cache_folder(config.cache_dir)
    weights = weights_lib.vgg16_weights(config.weights, cache_dir)
    print(fitted(f"Weights: {weights.source}."), flush=True)
    ranges = config.augmentation_ranges
    if ranges is not None and (ranges.flip_x or ranges.flip_y):
        line = f"Augmentation {config.augmentation} flips images, so that hearts change sides."
        print(fitted(f"{line} radiograph does not."))
    if began:
        _require_same(began, dataset.fingerprint, weights.sha256)
    if old := cache_folders.old_release(cache_dir):
        print(fitted(old))
    origin = _origin(config, dataset, chosen, weights, origin)
    with contextlib.ExitStack() as closed:
        opened = closed.enter_context(contextlib.closing(stages.OpenStages(cache_dir)))
        setup = Setup(config, dataset, chosen, weights, None, opened, origin)
        cache_squares(config, dataset, dataset_lib.joined(read + again), opened, further)
        if config.normalization != "imagenet":
            squares = setup.squares(dataset.splits["train"], config.image_size)[..., 0]
            normalizer = normalization.fit(config.normalization, squares)
            setup = dataclasses.replace(setup, normalization=normalizer)
        closed.pop_all()  # all went well: the caller closes it
    return setup


def _of_dataset(name: str, images: int, reframed: int) -> str:
    more = f", and {reframed:,} of validation re-framed" if reframed else ""
    return f"Dataset {name}: {images:,} images{more}."


def _precision(config: Config, began: Mapping[str, Any] | None) -> Precision:
    if began is None:
        return precision.choose(config.precision, config.image_size, autotune=config.autotune)
    policy = precision.choose(began["precision"], config.image_size, autotune=False).policy
    return Precision(policy, began["xla"], "with which it began")


def _require_same(began: Mapping[str, Any], fingerprint: str, weights: str) -> None:
    """Refuses to go on with other images or other weights."""
    for what, before, now in (
        ("dataset", began["dataset"]["fingerprint"], fingerprint),
        ("file of weights", began["weights"]["sha256"], weights),
    ):
        if before != now:
            raise RunError(
                f"The {what} is not the one that was begun with ({now[:12]}, and was "
                f"{before[:12]}). Bring that back, give another folder, or --overwrite."
            )
    packages = run_dir.provenance()["packages"]
    changed = [name for name, version in packages.items() if began["packages"][name] != version]
    if changed:
        line = f"Since it began, {', '.join(changed)} changed: what follows may differ a bit."
        print(fitted(line))


def square_stages(config: Config, further: Collection[Kind] = ()) -> list[stages.Stage]:
    """The network's squares and those of further kinds, each beside the shortcut baseline's.

    And the poses where some are aligned.
    """
    kinds = {Kind(config.image_size, config.align), *further}
    kinds |= {kind._replace(size=baselines.SIZE) for kind in kinds}
    poses = [stages.pose_stage()] if any(kind.align != "none" for kind in kinds) else []
    return [*(stages.square_stage(*kind) for kind in sorted(kinds)), *poses]


def cache_squares(
    config: Config,
    dataset: Dataset,
    images: Images,
    opened: stages.OpenStages,
    further: Collection[Kind] = (),
) -> None:
    """Caches all squares, and their poses, that are missing.

    Args:
        config: Names the size and the alignment.
        dataset: Where the images are stored.
        images: Of the dataset, of any splits.
        opened: The cache.
        further: More kinds of squares.

    Raises:
        RunError: They do not fit into the cache, which they have to: all else is read from them.
    """
    squares = square_stages(config, further)
    needed = sum(opened.missing(each, images, (0,)) * each.spec.row_bytes for each in squares)
    if needed and not cache_folders.make_room(
        opened.cache_dir, needed, int(config.cache_gib * 2**30)
    ):
        raise RunError(
            f"The squares of {len(images):,} images take {needed / 2**30:.2g} GiB and do not "
            f"fit into {opened.cache_dir} (--cache_gib={config.cache_gib:g}). Give more, make room "
            "on the disk, or give another --cache_dir."
        )
    stages.fill_squares(dataset, images, squares, opened)


def _origin(
    config: Config, dataset: Dataset, chosen: Precision, weights: Weights, origin: Mapping[str, Any]
) -> dict[str, Any]:
    """What config.json holds."""
    return {
        **{name: value for name, value in origin.items() if value is not None},
        "config": config.to_json(),
        "command": sys.argv,
        "dataset": {
            "name": dataset.name,
            "fingerprint": dataset.fingerprint,
            "synthetic": dataset.synthetic,
            "planted_shortcut": dataset.planted_shortcut,
            "class_names": list(dataset.class_names),
            "groups_in_more_than_one_split": dataset.leaks,
            "images": dataset.counts(),
            **({"patient_salt": dataset.salt} if dataset.salt else {}),
        },
        "weights": {"source": weights.source, "sha256": weights.sha256},
        "precision": chosen.policy,
        "xla": chosen.jit,
        **({} if config.align == "none" else {"alignment": alignment.FORMULA}),
        **run_dir.provenance(),
    }
