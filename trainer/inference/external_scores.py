"""Every number of a network on images that its run did not have, for metrics.json."""

import os
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np

from trainer.evaluation import baselines, metrics, notes
from trainer.evaluation.confounding import confounding
from trainer.evaluation.poses import Poses
from trainer.evaluation.predictions import Predictions
from trainer.inference import run_dataset
from trainer.inference.labelled_images import Labelled
from trainer.inference.network import Network
from trainer.inference.unseen_images import Unseen
from trainer.input_pipeline import alignment, decode
from trainer.input_pipeline.dataset import Images
from trainer.run.errors import RunError
from trainer.run.progress import progress, working

_CONFOUNDED = (
    "CONFOUNDED: in these images class and source go together (Cramer's V {:.2f}). A network that "
    "recognizes the source instead of the disease scores well on them, too."
)
_COLUMNS = ("image_ids", "patients", "groups", "sources", "splits", "labels", "class_names")


class Scores(NamedTuple):
    """What a network makes of images, and what of it is measured."""

    table: Predictions
    poses: Poses | None
    metrics: dict[str, Any]


def scores(network: Network, labelled: Labelled, unseen: Unseen, data_dir: str = "") -> Scores:
    """Scores images, some hundred at a time; what stays in memory of each is its small square.

    Args:
        network: The network.
        labelled: Where the images come from.
        unseen: Those that can score it.
        data_dir: Where the network's own dataset may be if it is not where it was.

    Returns:
        Rows of predictions.csv and of alignment.csv (None where the network aligns nothing), and
        what metrics.json holds, see docs/evaluating.md.
    """
    images = unseen.images
    probabilities, small, poses = _computed(network, labelled, images)
    columns = {name: getattr(images, name) for name in _COLUMNS}
    table = Predictions(**columns, probabilities=probabilities)
    baseline, missing = None, []
    try:
        baseline = run_dataset.shortcut_baseline(
            network, small, images.labels, images.groups, data_dir
        )
    except RunError as error:
        missing = [f"The shortcut baseline was not computed. {error}"]
    with working("computing the scores and their intervals"):
        score = {**metrics.score(table), "shortcut_baseline": baseline}
        found = confounding(images.labels, images.sources.tolist(), images.class_names)
    aligned = {"alignment": {"template": alignment.FORMULA, **poses.counts()}} if poses else {}
    of_network = {"path": path_of(network), "weights_sha256": network.weights_sha256}
    result = {
        "network": {**network.origin(), **of_network, "notes": list(network.notes)},
        "dataset": {name: getattr(labelled, name) for name in ("name", "fingerprint", "synthetic")},
        "left_out": unseen.to_json(),
        "splits": {labelled.split: score},
        "confounding": found,
        **aligned,
        "images": [*labelled.notes, *unseen.sentences()],
        "notes": [*missing, *_warnings(score, found)],
        "notice": metrics.NOTICE,
    }
    return Scores(table, poses, result)


def path_of(network: Network) -> str:
    """The run folder of a network, or its file."""
    return os.path.abspath(network.run or network.path)


def _computed(
    network: Network, labelled: Labelled, images: Images
) -> tuple[np.ndarray, np.ndarray, Poses | None]:
    """Probabilities float32 [n, classes], squares uint8 [n, 32, 32], and poses if there are any."""
    large = decode.Kind(network.image_size, network.align)
    little = large._replace(size=baselines.SIZE)
    aligned = network.align != "none"
    probabilities = np.empty((len(images), len(network.class_names)), np.float32)
    small = np.empty((len(images), little.size, little.size), np.uint8)
    poses = np.empty((len(images), len(alignment.POSE)), np.float32)
    kinds = list(dict.fromkeys([large, little, *([decode.POSE] if aligned else [])]))
    with progress(len(images), "scoring") as bar:
        for at, made in decode.squares(labelled.store, images, kinds):
            probabilities[at] = network.probabilities(made[large])
            small[at] = made[little][..., 0]
            if aligned:
                poses[at] = made[decode.POSE]
            bar.update(len(at))
    if not aligned:
        return probabilities, small, None
    doubts = alignment.at_bounds(poses), alignment.weak(poses)
    table = Poses(images.image_ids.tolist(), images.splits.tolist(), poses, *doubts)
    return probabilities, small, table


def _warnings(score: Mapping[str, Any], found: Mapping[str, Any]) -> Iterator[str]:
    """What makes these scores less than they look."""
    if score["shortcut_baseline"]:
        yield from notes.against_baseline(score["balanced_accuracy"], score["shortcut_baseline"])
    if found["confounded"]:
        yield _CONFOUNDED.format(found["cramers_v"])
