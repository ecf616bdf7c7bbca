"""Folders that hold images and name no class, beside folders that do.

`images`, `xray`, `test` and `masks` say how images are kept. Where one of them stands beside the
folders of classes it may be a class itself, or hold images that nobody sorted: neither is left out
in silence.
"""

import collections
from collections.abc import Callable, Iterable, Mapping, Sequence

from covid_tfds.errors import DatasetError
from covid_tfds.records import ImageRecord
from covid_tfds.sources import class_names, layout, listing, walk
from covid_tfds.sources.wording import counted, listed

# Nothing is lost with these: the folder is empty, or is read under another name.
_NOTHING_LOST = (listing.HIDDEN, listing.TWO_FORMS, walk.EMPTY, walk.LOOP, walk.HERE, walk.OF_TFDS)
_ANSWERS = ("mask", "segment", "annotat", "heatmap")
_NEGATIONS = {"no", "none", "without", "nothing"}
_MANY_CLASSES = 2  # masks beside fewer are more likely a class: mask and its contrary


def refuse(
    files: listing.Storage,
    read: layout.Layout,
    records: Sequence[ImageRecord],
    as_a_file: Callable[[str, str], str],
) -> list[str]:
    """Ends the build for images that are lost because their folder names no class.

    Args:
        files: All files.
        read: How their folders are read.
        records: The images of the classes.
        as_a_file: Of a name and the reason why it can't be used, a path that says what it is.

    Returns:
        Notes: one a folder of masks that is left out.

    Raises:
        DatasetError: Names the folders.
    """
    _refuse_two_levels(read, records)
    used = {above for name in {_above(r.name) for r in records} for above in _all_above(name)}
    unusable = [(name, as_a_file(name, reason)) for name, reason in files.exclusions
                if reason not in _NOTHING_LOST]  # fmt: skip
    found: dict[tuple[str, str], list[str]] = collections.defaultdict(list)
    for name, path in [*((name, name) for name in files.names), *unusable]:
        place = read.place(path)
        if place.label or layout.no_image_by_name(path):
            continue
        folder = layout.folder_of_masks(path) if place.reason == layout.MASK else _above(path)
        if place.reason in (layout.MASK, layout.NO_CLASS) and folder and folder not in used:
            found[folder, place.reason].append(name)
    labels = sorted({record.label for record in records})
    masks = {folder for folder, reason in found if reason == layout.MASK}
    if _are_left_out(labels):
        found = {key: names for key, names in found.items() if key[0] not in masks}
    else:
        masks = set()
    if found:
        raise _error({folder: names for (folder, _), names in found.items()}, labels)
    if not masks:
        return []
    return [f"{listed(sorted(masks))} beside the classes: masks, which are left out."]


def _are_left_out(labels: Sequence[str]) -> bool:
    """Whether masks beside these classes are no class themselves."""
    keys = [class_names.key(label) for label in labels]
    answers = any(word in name for name in keys for word in _ANSWERS) or {*keys} & _NEGATIONS
    return len(labels) >= _MANY_CLASSES and not answers


def _refuse_two_levels(read: layout.Layout, records: Sequence[ImageRecord]) -> None:
    """`xray/anna/*` beside `ct/bob/*` would give the classes anna and ct."""
    inside: dict[str, dict[str, str]] = collections.defaultdict(dict)
    outside: dict[str, str] = {}
    for name in {f"{_above(record.name)}/x" for record in records}:
        label = read.place(name).label
        container = layout.container_of_class(name, read)
        classes = inside[container] if container else outside
        classes[class_names.key(label)] = label
    if inside and outside and not outside.keys() & set().union(*inside.values()):
        folder = min(inside)
        raise DatasetError(
            f"The folders in {folder}/ would be classes ({listed(sorted(inside[folder].values()))})"
            f", and so would those beside it ({listed(sorted(outside.values()))}). If {folder}/ is "
            f"a class, rename it (e.g. `{_other_name(folder)}`); if not, put the folders of all "
            "classes side by side."
        )


def _other_name(folder: str) -> str:
    """A name of a class that says the same: of `xray/test`, `xray_class`."""
    parts = folder.split("/")
    telling = next(filter(layout.is_container, parts), parts[-1])
    return f"{telling.strip().rstrip('sS')}_class"


def _error(found: Mapping[str, Sequence[str]], labels: Sequence[str]) -> DatasetError:
    folders = sorted(found)
    count = sum(map(len, found.values()))
    is_one = "it is a class, rename it" if len(folders) == 1 else "they are classes, rename them"
    return DatasetError(
        f"{counted(count, 'file')} in {listed(f'{folder}/' for folder in folders)} would be lost: "
        f"by its name such a folder is no class, while folders beside it are ({listed(labels)}). "
        f"If {is_one} (e.g. `{_other_name(folders[0])}`); if not, put the images below folders of "
        "classes, or take them out."
    )


def _above(name: str) -> str:
    return name.rpartition("/")[0]


def _all_above(folder: str) -> Iterable[str]:
    parts = folder.split("/")
    return ("/".join(parts[:n]) for n in range(1, len(parts) + 1))
