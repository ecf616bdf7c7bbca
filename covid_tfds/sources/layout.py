"""What the folders above a user's image say of it: split, class, patient."""

import collections
import dataclasses
import functools
import re
from collections.abc import Iterable, Sequence

from covid_tfds.sources import class_names

SPLIT_WORDS = {
    "train": "train", "training": "train", "test": "test", "testing": "test",
    "val": "validation", "valid": "validation", "validation": "validation", "dev": "validation",
}  # fmt: skip
NO_CLASS = "in no class folder"
TOO_DEEP = "folders below that of a patient"
MASK = "a mask, not an image"
NO_IMAGE = "not an image by its name"

_MASKS = {"mask", "masks", "segmentation", "segmentations", "annotation", "annotations",
          "heatmap", "heatmaps"}  # fmt: skip
# Folders that say how or as what images are kept, and nothing of who is on them.
_CONTAINERS = {"images", "image", "img", "imgs", "pictures", "xray", "xrays", "jpg", "jpeg", "png",
               "dicom", "dcm"}  # fmt: skip
_BESIDE_THEM = {"part", "stage", "x"}  # `images_part_2`, `stage_2_train_images`, `png 512x512`
_WORDS = re.compile(r"[^\W\d_]+")
_XRAY = re.compile(r"x[-_ ]ray")
# DICOM often has no suffix, so all others are looked into.
_NO_IMAGE = re.compile(
    r"(^|/)(dicomdir|readme|licen[cs]e|notice|authors|citation|changelog|makefile|dockerfile)$"
    r"|\.(txt|csv|tsv|json|xml|ya?ml|md|rst|pdf|html?|css|js|svg|xls[xmb]?|od[st]|doc\w*|ppt\w*|zip"
    r"|7z|rar|tar|tgz|gz|bz2|xz|zst|tab|jsonl|parquet|feather|npy|npz|h5|hdf5|mat|pkl|pt|pth|py|ipynb|sh|log|ini|cfg|toml|db|sqlite)$",
    re.IGNORECASE,
)
_TABLE = re.compile(
    r"\.(csv|tsv|tab|xls[xmb]?|ods|parquet)(\.(csv|txt|gz|bz2|xz|zst|zip))?$", re.IGNORECASE
)


@dataclasses.dataclass(frozen=True, slots=True)
class Place:
    """What the folders say of a file.

    Attributes:
        reason: Why the file is no image of a class, or "".
        label: Name of the class folder, as written, or "".
        patient: Name of the patient's folder, or "".
        split: `train`, `validation`, `test` or "".
    """

    reason: str = ""
    label: str = ""
    patient: str = ""
    split: str = ""


@dataclasses.dataclass(frozen=True)
class Layout:
    """How a user's folders are read.

    Attributes:
        wrappers: Folders that all images lie in, outermost first.
        patients: Whether folders below a class are those of patients.
    """

    wrappers: tuple[str, ...] = ()
    patients: bool = True

    def place(self, name: str) -> Place:
        """Reads the path of one file: [SPLIT/]CLASS[/SPLIT][/PATIENT]/file."""
        folders = _folders(name)
        reason = _by_name(name)
        depth = len(self.wrappers)
        if tuple(folders[:depth]) != self.wrappers:
            return Place(reason or NO_CLASS)
        split, rest = _split_off(folders[depth:])
        if not rest:
            return Place(reason or NO_CLASS, split=split)
        if len(rest) > 2:
            return Place(reason or TOO_DEEP, rest[0], split=split)
        patient = class_names.tidy(rest[1]) if len(rest) == 2 and self.patients else ""
        return Place(reason, rest[0], patient, split)


def understand(names: Iterable[str]) -> Layout:
    """Finds out how the folders are to be read.

    Args:
        names: Paths of all files.
    """
    layout, names = Layout(), [name for name in names if not _by_name(name)]
    while (wrapper := _wrapper(names, layout)) is not None:
        layout = dataclasses.replace(layout, wrappers=(*layout.wrappers, wrapper))
    return dataclasses.replace(layout, patients=_are_patients(names, layout))


def tables(names: Iterable[str], layout: Layout) -> list[str]:
    """Tables that lie in no class folder: they may hold what the folders do not say.

    Args:
        names: Paths of all files.
        layout: How the folders are read.
    """
    found = ((name, layout.place(name)) for name in names if _TABLE.search(name))
    return [name for name, place in found if place.reason == NO_IMAGE and not place.label]


def depths(names: Iterable[str]) -> list[tuple[int, int, str]]:
    """(number of files, of folders above them, first of them), commonest depth first."""
    first: dict[int, str] = {}
    counts: collections.Counter[int] = collections.Counter()
    for name in names:
        depth = name.count("/")
        counts[depth] += 1
        first.setdefault(depth, name)
    return [(count, depth, first[depth]) for depth, count in counts.most_common()]


def no_image_by_name(name: str) -> bool:
    """Whether a file's suffix is one that no image has, or its name that of a document."""
    return _NO_IMAGE.search(name) is not None


def is_container(folder: str) -> bool:
    """Whether a folder's name says how images are kept, and nothing else: `images`, `xray`."""
    return _meaning(folder) == "container"


def folder_of_masks(name: str) -> str:
    """The outermost folder of masks above a file, with those above it."""
    parts = name.split("/")
    return next(
        ("/".join(parts[:n]) for n in range(1, len(parts)) if _meaning(parts[n - 1]) == "mask"), ""
    )


def container_of_class(name: str, layout: Layout) -> str:
    """The container (`images`, `xray`) that the folder of a file's class lies in, or "".

    Args:
        name: Path of the file, which has a class.
        layout: How the folders are read.
    """
    parts, first = name.split("/")[:-1], len(layout.wrappers)
    above = range(first, parts.index(layout.place(name).label, first))
    return next(("/".join(parts[: n + 1]) for n in above if _meaning(parts[n]) == "container"), "")


def containers_below_class(name: str, layout: Layout) -> list[str]:
    """The containers between the folder of a file's class and the file, outermost first.

    Args:
        name: Path of the file, which has a class.
        layout: How the folders are read.
    """
    parts, first = name.split("/")[:-1], len(layout.wrappers)
    below = range(parts.index(layout.place(name).label, first) + 1, len(parts))
    return ["/".join(parts[: n + 1]) for n in below if _meaning(parts[n]) == "container"]


@functools.lru_cache(maxsize=4096)  # the files of a folder come one after another
def _meaning(folder: str) -> str:
    """`mask`, `container`, a split, or "" where a folder's name says nothing of the kind.

    Containers may be numbered (`images_001`) and name a split (`train_images`).
    """
    name = folder.strip().casefold()
    if name in SPLIT_WORDS:
        return SPLIT_WORDS[name]
    words = set(_WORDS.findall(_XRAY.sub("xray", name)))
    kinds = words - _CONTAINERS - _BESIDE_THEM
    # `lung masks` hold masks; `lung segmentation data` holds the images, too.
    if any(word.endswith("s") for word in words & _MASKS) or (
        words & _MASKS and kinds <= _MASKS | SPLIT_WORDS.keys()
    ):
        return "mask"
    if not name or (words & _CONTAINERS and not kinds):
        return "container"
    named = {SPLIT_WORDS.get(word, "") for word in kinds}
    return named.pop() if words & _CONTAINERS and len(named) == 1 else ""


def _folders(name: str) -> list[str]:
    """The folders above a file, without containers; what lies below a mask's folder has none."""
    folders = []
    for part in name.split("/")[:-1]:
        meaning = _meaning(part)
        if meaning == "mask":
            break
        if meaning != "container":
            folders.append(part)
    return folders


def _by_name(name: str) -> str:
    if any(_meaning(part) == "mask" for part in name.split("/")[:-1]):
        return MASK
    return NO_IMAGE if _NO_IMAGE.search(name) else ""


def _split_of(folder: str) -> str:
    meaning = _meaning(folder)
    return meaning if meaning in SPLIT_WORDS.values() else ""


def _split_off(folders: Sequence[str]) -> tuple[str, list[str]]:
    for place, part in enumerate(folders[:2]):
        if split := _split_of(part):
            return split, [*folders[:place], *folders[place + 1 :]]
    return "", list(folders)


def _wrapper(names: Sequence[str], layout: Layout) -> str | None:
    """The one folder that all images lie in and that is no class itself, or None.

    Images in no folder do not count. One folder with folders in it is taken for a wrapper: a
    dataset of one class is of no use.
    """
    depth = len(layout.wrappers)
    below = [folders for name in names if len(folders := _folders(name)[depth:]) > 0]
    tops = {folders[0] for folders in below}
    if len(tops) != 1:
        return None
    (top,) = tops
    if _split_of(top) or class_names.is_public(top):
        return None
    inner = [_split_off(folders[1:])[1] for folders in below]
    classes = {class_names.key(rest[0]) for rest in inner if rest}
    # Images beside a single folder speak for a class, in which some images have a patient.
    several = all(len(folders) > 1 for folders in below) or len(classes) > 1
    known = any(map(class_names.is_public, classes)) or any(len(rest) > 1 for rest in inner)
    return top if classes and (several or known) else None


def _are_patients(names: Sequence[str], layout: Layout) -> bool:
    """One folder below every class, for several images, sorts images and names nobody."""
    images: collections.Counter[tuple[str, str]] = collections.Counter()
    for name in names:
        place = layout.place(name)
        if not place.reason and place.patient:
            images[class_names.key(place.label), place.patient] += 1
    below = collections.Counter(label for label, _ in images)
    return any(count > 1 for count in below.values()) or all(n == 1 for n in images.values())
