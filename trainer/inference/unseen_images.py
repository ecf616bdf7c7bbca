"""The images that can score a network: of its classes, and not of its own training."""

import collections
import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from covid_tfds.sources import class_names
from trainer.config import Config
from trainer.evaluation import images_used
from trainer.inference import labelled_images, overlap, run_dataset
from trainer.inference.labelled_images import Labelled
from trainer.inference.network import Network
from trainer.input_pipeline.dataset import Images
from trainer.run import manifest
from trainer.run.errors import RunError
from trainer.run.text import counted, listed

USED = "images_used.csv"
_UNKNOWN_CLASS = "unknown_class"
_WORDS = {**overlap.REASONS, _UNKNOWN_CLASS: "of classes that it does not have"}
_NOT_CHECKED = (
    "Not checked: a model.keras alone does not say on which images it was trained. If some of "
    "these were among them, the scores are too high. Give the run folder."
)
CLOSED = ("test", "control")  # splits that are opened together, or not at all
_CLOSED_NOT_CHECKED = (
    "Not checked: the images and patients of the test split of the network's own dataset, which "
    "its run has not opened (--notest). The run folder names none of them, and the dataset is not "
    "at hand: {}"
)
_OTHER_SALT = (
    "Not checked: patients whom DICOM headers name. They are known by hashes, whose salt is not "
    "that of the network's dataset, so that some of these may be among its own. Give that "
    "dataset's --data_dir, which has the file .patient_salt, or its COVID_TFDS_SALT."
)


@dataclasses.dataclass(frozen=True, eq=False)
class Unseen:
    """The images that can score a network, and the others.

    Attributes:
        images: Labels and class names are those of the network.
        left_out: Of each other image its id, its split and the reason; and of each file of a folder
            that can't be used, without a split.
        counts: Images by reason, keys of `overlap.REASONS`.
        classes: Images by class that the network does not have.
        checked: Whether it is known which images the network has seen.
        headers_compared: Whether that includes the persons whom DICOM headers name.
        closed_unknown: Why it is not known which images the run keeps closed; "" where it is, or
            where it keeps none.
    """

    images: Images
    left_out: Sequence[tuple[str, str, str]]
    counts: dict[str, int]
    classes: dict[str, int]
    checked: bool
    headers_compared: bool
    closed_unknown: str = ""

    def to_json(self) -> dict[str, Any]:
        """How many were left out, for metrics.json."""
        files = collections.Counter(reason for _, split, reason in self.left_out if not split)
        unknown = overlap.UNOPENED if self.closed_unknown else ()
        return {
            "checked": self.checked,
            **self.counts,
            **dict.fromkeys(unknown),  # None: nobody has looked
            "unknown_classes": self.classes,
            "unusable": dict(files),
        }

    def sentences(self) -> Iterator[str]:
        """What was left out, and which classes have no image."""
        if not self.checked:
            yield _NOT_CHECKED
        if any(self.counts.values()):
            yield f"left out: {_in_words(self.counts)}"
        elif self.checked:
            patient = ", or a known patient," if self.headers_compared else ""
            yield (
                f"left out: none; none of these has the pixels{patient} of what the network has "
                "seen"
            )
        if self.closed_unknown:
            yield _CLOSED_NOT_CHECKED.format(self.closed_unknown)
        if not self.headers_compared:
            yield _OTHER_SALT
        if self.classes:
            names = listed([f"{name} ({n})" for name, n in self.classes.items()])
            images = counted(sum(self.classes.values()), "image")
            yield f"left out: {images} of classes that the network does not have, {names}"
        if unusable := sum(not split for _, split, _ in self.left_out):
            yield f"{counted(unusable, 'file')} can't be used: left_out.csv has the reasons"
        ours = self.images.class_names
        held = [name for i, name in enumerate(ours) if (self.images.labels == i).any()]
        missing = [name for name in ours if name not in held]
        if missing:
            yield (
                f"no image of {listed(missing)}: no sensitivity there, and balanced accuracy is "
                f"the mean over {listed(held)} alone"
            )


def unseen(network: Network, labelled: Labelled, data_dir: str = "") -> Unseen:
    """The images that can score a network.

    Args:
        network: Of a run folder that `require_origin` accepts, or a bare one: then nothing is left
            out for what it has seen.
        labelled: The images.
        data_dir: Where the network's own dataset may be, as for `run_dataset.opened`. It is
            opened for the images that a run with `--notest` keeps closed.

    Raises:
        RunError: There is none.
    """
    images = labelled.images
    ours = {class_names.key(name): i for i, name in enumerate(network.class_names)}
    theirs = [ours.get(class_names.key(name), -1) for name in images.class_names]
    labels = np.array(theirs)[images.labels]
    reasons: np.ndarray = np.full(len(images), "", np.dtypes.StringDType())
    headers_compared, closed_unknown = True, ""
    if network.run is not None:
        used, given = images_used.read(network.run / USED), images_used.columns_of([images])
        closed, closed_unknown = _closed(network, data_dir)
        reasons = overlap.reasons(used, given, closed)
        if overlap.has_headers(used) and overlap.has_headers(given):
            of_run = run_dataset.recorded(network.run).get("patient_salt")
            headers_compared = labelled.salt == of_run
    reasons[labels < 0] = _UNKNOWN_CLASS
    counts = collections.Counter(reasons.tolist())
    if not counts[""]:
        raise RunError(_nothing_left(network, labelled, counts))
    unknown = [images.class_names[label] for label in images.labels[labels < 0]]
    rows = zip(images.image_ids.tolist(), images.splits.tolist(), reasons.tolist(), strict=True)
    mine = dataclasses.replace(images, labels=labels, class_names=network.class_names)
    return Unseen(
        images=mine.take(np.flatnonzero(reasons == "")),
        left_out=[
            *(row for row in rows if row[2]),
            *((each.file, "", each.reason) for each in labelled.unusable),
        ],
        counts={reason: counts[reason] for reason in overlap.REASONS},
        classes=dict(sorted(collections.Counter(unknown).items())),
        checked=network.run is not None,
        headers_compared=headers_compared,
        closed_unknown=closed_unknown,
    )


def test_opened(network: Network) -> bool:
    """Whether the run of a network has scored its test split, as far as it is known."""
    if network.run:
        return Config.read(network.run).test
    return network.scores is None or network.scores["split"] != "validation"


def _closed(network: Network, data_dir: str) -> tuple[overlap.Columns | None, str]:
    """The images that a run has not opened, or why they are not known."""
    if test_opened(network):
        return None, ""
    try:
        splits = run_dataset.opened(network, data_dir).splits
    except RunError as error:
        return None, str(error)
    return images_used.columns_of(splits[name] for name in CLOSED if name in splits), ""


def require_origin(network: Network) -> None:
    """Refuses a run folder that does not say on what the network was trained.

    Raises:
        RunError: A file is missing, or is not what the run wrote.
    """
    if network.run is None:
        return
    for name in (manifest.CONFIG, USED):
        if not (network.run / name).is_file():
            raise RunError(
                f"{network.run} has no {name}, which says on what the network was trained. Put "
                "back a copy of it, or give the model.keras alone: then that is not checked."
            )
        manifest.require_whole(network.run, name)


def _nothing_left(network: Network, labelled: Labelled, counts: collections.Counter) -> str:
    if counts[_UNKNOWN_CLASS] == counts.total():
        mend = (
            f"They are of {listed(labelled.images.class_names)}, and it has "
            f"{listed(network.class_names)}: name the classes as it does."
        )
    elif not counts.keys() - {*overlap.UNOPENED, _UNKNOWN_CLASS}:
        mend = "The run's own command with --test opens and scores them; or give other images."
    elif labelled.split == labelled_images.OF_FOLDER:
        mend = "If these are other persons of the same names, give a source in images.csv."
    else:
        mend = "Give another split or another dataset."
    return (
        f"No image of {labelled.name}, {labelled.split}, can score the network: there are "
        f"{_in_words(counts)}. {mend}"
    )


def _in_words(counts: Mapping[str, int]) -> str:
    return listed([f"{counted(counts[key], 'image')} {of}" for key, of in _WORDS.items()
                   if counts.get(key)])  # fmt: skip
