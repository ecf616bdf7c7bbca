"""One call of `trainer.evaluate`: a network on images that its run did not have."""

import contextlib
import dataclasses
import os
import pathlib
from collections.abc import Iterator, Mapping
from typing import Any

from trainer.config import Config
from trainer.evaluation import images_used, poses, predictions, summary
from trainer.evaluation.predictions import Predictions
from trainer.inference import labelled_images, run_dataset
from trainer.inference.external_scores import Scores, path_of, scores
from trainer.inference.labelled_images import Labelled
from trainer.inference.network import Network, load
from trainer.inference.unseen_images import (
    CLOSED,
    USED,
    Unseen,
    require_origin,
    test_opened,
    unseen,
)
from trainer.model import about
from trainer.run import files, lease, run_dir
from trainer.run.errors import ConfigError, RunError
from trainer.run.progress import working

_METRICS = "metrics.json"
_PREDICTIONS, _UNUSED, _POSES = "predictions.csv", "left_out.csv", "alignment.csv"
_OURS = {_METRICS, _PREDICTIONS, USED, _UNUSED, _POSES, lease.NAME}
_COLUMNS = ("image_id", "split", "reason")  # of left_out.csv
_SEEN = ("train", "validation", labelled_images.ALL)  # splits that training read, or that hold them
_UNREAD = (*CLOSED, labelled_images.ALL)  # splits that --notest leaves, or that hold them


@dataclasses.dataclass(frozen=True, eq=False)
class Evaluated:
    """How a network did.

    Attributes:
        network: The network.
        metrics: What metrics.json holds, see docs/evaluating.md.
        predictions: The probabilities of every image that was scored.
        path: The folder where all is; None where nothing was written.
    """

    network: Network
    metrics: Mapping[str, Any]
    predictions: Predictions
    path: pathlib.Path | None


def evaluate(
    run: str | os.PathLike,
    *,
    dataset: str = "",
    split: str = "",
    images: str | os.PathLike = "",
    data_dir: str = "",
    output: str | os.PathLike | None = "",
) -> Evaluated:
    """Scores a network on images with known classes, without those that it has seen.

    Args:
        run: A run folder, or a file .keras.
        dataset: Name of a prepared dataset; "" is the one that the network was trained on.
        split: One of its splits, or "all"; "" is test.
        images: A folder of labelled images in place of a dataset, see `labelled_images.of_folder`.
        data_dir: Folder of datasets; "" is that of the run, or TFDS' own.
        output: A folder for what is written; "" is evaluations/RUN-DATASET-SPLIT, or RUN-FOLDER
            of images; None writes nothing.

    Raises:
        ConfigError: There is no such split, the folder holds something else, or images are given
            with a dataset or a split.
        RunError: There is no network, no such images, or none is left.
    """
    if images and (dataset or split):
        raise ConfigError(
            "images is given with dataset or split, which are of datasets. Give one kind."
        )
    with working("loading the network"):
        network = load(run)
    require_origin(network)
    with contextlib.ExitStack() as opened:
        labelled = opened.enter_context(
            _labelled(network, dataset, split or "test", images, data_dir)
        )
        of = unseen(network, labelled, data_dir)
        folder = None
        if output is not None:
            folder = _folder(network, labelled, output)
            opened.enter_context(run_dir.held(folder, "output"))
        scored = scores(network, labelled, of, data_dir)
        if folder is not None:
            _write(folder, scored, of)
    return Evaluated(network, scored.metrics, scored.table, folder)


@contextlib.contextmanager
def _labelled(
    network: Network, dataset: str, split: str, images: str | os.PathLike, data_dir: str
) -> Iterator[Labelled]:
    config = Config.read(network.run) if network.run else None
    data_dir = data_dir or (config.data_dir if config else "")
    if images:
        with labelled_images.of_folder(images, data_dir) as labelled:
            yield labelled
        return
    with working("opening the dataset"):
        chosen = dataset or _own(network, config)
        labelled = labelled_images.of_dataset(chosen, data_dir, split, network.class_names)
    own = labelled.of_classes == _trained_on(network)
    closed = not test_opened(network)
    if own and split in _UNREAD and closed:
        raise RunError(
            f"The run of {path_of(network)} has not opened test of {labelled.name}, its own "
            "dataset. Its command with --test scores it there; or give another --dataset, or "
            "--images."
        )
    if own and not network.run and split in _SEEN:
        other = "another --dataset" if closed else "--split=test, another --dataset"
        raise RunError(
            f"{network.path} was trained on train of {labelled.name}, and validation chose its "
            f"epoch: scores of --split={split} would show what it remembers. Give {other} or "
            "--images."
        )
    yield labelled


def _trained_on(network: Network) -> str | None:
    """The fingerprint of the dataset that a network was trained on, as far as it is known."""
    if network.run:
        return run_dataset.recorded(network.run)["fingerprint"]
    return network.about.fingerprint if network.about else None


def _own(network: Network, config: Config | None) -> str:
    """The dataset that a network was trained on."""
    if config:
        return config.dataset
    if network.about:
        return network.about.dataset.split("/")[1]
    raise ConfigError(f"{network.path} does not say its dataset. Give --dataset or --images.")


def _folder(network: Network, labelled: Labelled, output: str | os.PathLike) -> pathlib.Path:
    """Where to write.

    Raises:
        ConfigError: Something else is there.
    """
    path = pathlib.Path(files.expanded(output) or _default(network, labelled))
    there = path / _METRICS
    if there.is_file():
        before = files.read_json(there, mend="Give another --output.")
        of = [before.get("network", {}).get("weights_sha256"),
              before.get("dataset", {}).get("fingerprint")]  # fmt: skip
        same = of == [network.weights_sha256, labelled.fingerprint]
        if same and labelled.split in before.get("splits", ()):
            return path
    elif not path.is_dir() or {_whole_name(each) for each in path.iterdir()} <= _OURS:
        return path  # a call was killed in it, or is under way
    raise ConfigError(
        f"--output {path} holds something else than this network's scores of these images. Give "
        "another folder."
    )


def _whole_name(path: pathlib.Path) -> str:
    """The name of a file, also of one that is not whole yet."""
    return files.unfinished(path) or path.name


def _default(network: Network, labelled: Labelled) -> str:
    """evaluations/RUN-DATASET-SPLIT, or evaluations/RUN-FOLDER."""
    run = pathlib.Path(path_of(network))
    run = run.parent if run.name == about.FILE else run  # the name of all of them
    name = run.name.removesuffix(about.SUFFIX)
    if name.startswith("seed_"):
        name = f"{run.parent.name}-{name}"
    if labelled.split == labelled_images.OF_FOLDER:
        of = os.path.basename(labelled.name)
    else:
        of = f"{labelled.name.split('/')[1]}-{labelled.split}"
    return os.path.join("evaluations", f"{name}-{of}")


def _write(folder: pathlib.Path, scored: Scores, of: Unseen) -> None:
    """Writes metrics.json last, so that where it is, all is of one evaluation."""
    left = [path for path in folder.iterdir() if files.unfinished(path) in _OURS - {lease.NAME}]
    for path in (folder / _METRICS, *left):  # of calls that were killed
        path.unlink(missing_ok=True)
    predictions.write(folder / _PREDICTIONS, scored.table)
    images_used.write(folder / USED, images_used.columns_of([of.images]))
    files.write_table(folder / _UNUSED, _COLUMNS, of.left_out)
    if scored.poses is not None:
        poses.write(folder / _POSES, scored.poses)
    files.write_json(folder / _METRICS, scored.metrics)


def show(evaluated: Evaluated) -> None:
    """Prints the scores with all that belongs to them."""
    assert evaluated.path is not None  # of a command
    print(summary.evaluation_summary(evaluated.metrics, evaluated.path))
