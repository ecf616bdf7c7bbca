"""Which split a group goes to, and the proof that no group is in two."""

import collections
import hashlib
from collections.abc import Sequence

from covid_tfds.errors import DatasetError
from covid_tfds.records import ImageRecord

VALIDATION_SHARE = 0.12
TEST_SHARE = 0.20
_SHOWN = 10  # groups listed in an error
LEFT_OUT_COVID = "patient also has a COVID image"
LEFT_OUT_TEST = "patient or copy is in Kaggle's test"
LEFT_OUT_CONTROL = "patient or copy is in control"


def hashed_split(group: str, *, test_share: float) -> str:
    """A split from the group's name alone, so that an image added later moves no other.

    Args:
        group: The group's name.
        test_share: Share of the groups that goes to test, 0..1.

    Returns:
        `test`, `validation` (a further `VALIDATION_SHARE` of the groups) or `train`.
    """
    digest = hashlib.sha256(f"covid_tfds:{group}".encode()).digest()
    place = int.from_bytes(digest[:8], "big") / 2**64
    if place < test_share:
        return "test"
    return "validation" if place < test_share + VALIDATION_SHARE else "train"


def full(records: Sequence[ImageRecord], groups: Sequence[str]) -> tuple[list[str], list[str]]:
    """The splits of the `full` config.

    Kaggle's official test folder and a fifth of the COVID groups are test; Cohen's other
    pneumonias are `control`; the rest is train and validation by a hash of the group, which keeps
    the shares alike in every class and source. What is held out wins over what is trained on:
    where a group reaches into the official test, or into control, the rest of it is left out.

    Args:
        records: The usable images.
        groups: The group of each.

    Returns:
        (split of each image or "" when it is left out, reason of each or "").
    """
    together = list(zip(records, groups, strict=True))
    covid = {name for record, name in together if record.label == "covid19"}
    official = {name for record, name in together if record.original_split == "test"}
    control = {name for record, name in together if _for_control(record)} - covid - official

    def place(record: ImageRecord, name: str) -> tuple[str, str]:
        if record.original_split == "test":
            return "test", ""
        if name in official:
            return "", LEFT_OUT_TEST
        if _for_control(record):
            return ("", LEFT_OUT_COVID) if name in covid else ("control", "")
        if name in control:
            return "", LEFT_OUT_CONTROL
        return hashed_split(name, test_share=TEST_SHARE if name in covid else 0), ""

    placed = [place(record, name) for record, name in together]
    return [split for split, _ in placed], [reason for _, reason in placed]


def _for_control(record: ImageRecord) -> bool:
    return record.source == "cohen" and record.label != "covid19"


def by_group(records: Sequence[ImageRecord], groups: Sequence[str]) -> list[str]:
    """The splits a user gives with the images, or by a hash of the group."""
    return [
        record.original_split or hashed_split(name, test_share=TEST_SHARE)
        for record, name in zip(records, groups, strict=True)
    ]


def nearest(
    records: Sequence[ImageRecord], groups: Sequence[str], wanted: Sequence[str]
) -> list[str]:
    """Puts whole groups where `wanted` has most of their images, at the same sizes a class.

    Test is filled first, then validation, each to the number of images that `wanted` gives it in
    that class, or as near to it as whole groups allow; among the fillings that fit, the one that
    keeps most images where `wanted` has them is taken.

    Args:
        records: All images.
        groups: The group of each.
        wanted: The split of each image if patients didn't matter.

    Returns:
        The split of each image.
    """
    result = ["train"] * len(records)
    # A group goes as one, so its class is that of its first image.
    label_of = {g: r.label for r, g in reversed(list(zip(records, groups, strict=True)))}
    for label in sorted(set(label_of.values())):
        free = {name for name, own in label_of.items() if own == label}
        for split in ("test", "validation"):
            chosen = _fill(
                sizes=collections.Counter(g for g in groups if g in free),
                kept=collections.Counter(
                    g for g, w in zip(groups, wanted, strict=True) if w == split and g in free
                ),
                target=sum(
                    w == split and r.label == label for r, w in zip(records, wanted, strict=True)
                ),
            )
            free -= chosen
            result = [split if g in chosen else r for g, r in zip(groups, result, strict=True)]
    return result


def _fill(sizes: dict[str, int], kept: dict[str, int], target: int) -> set[str]:
    """Groups whose sizes sum as near to `target` as they can, with most `kept` (a knapsack)."""
    best: dict[int, tuple[int, tuple[str, ...]]] = {0: (0, ())}
    for name in sorted(sizes):
        for total, (score, names) in sorted(best.items(), reverse=True):
            # Twice the target always holds the nearest sum: further ones are never better.
            reached = total + sizes[name]
            candidate = (score + kept.get(name, 0), (*names, name))
            if reached <= 2 * target and candidate[0] > best.get(reached, (-1, ()))[0]:
                best[reached] = candidate
    nearest_total = min(best, key=lambda total: (abs(total - target), -best[total][0], total))
    return set(best[nearest_total][1])


def shared_between(keys: Sequence[str], splits: Sequence[str]) -> dict[str, list[str]]:
    """Keys (groups or patients) that are in more than one split: key -> its splits, sorted."""
    places = collections.defaultdict(set)
    for key, split in zip(keys, splits, strict=True):
        if split:
            places[key].add(split)
    return {key: sorted(where) for key, where in sorted(places.items()) if len(where) > 1}


def require_disjoint(
    records: Sequence[ImageRecord], groups: Sequence[str], splits: Sequence[str]
) -> None:
    """Stops the build when a group is in two splits.

    Raises:
        DatasetError: With the groups, their splits and an image of each in each.
    """
    shared = shared_between(groups, splits)
    if not shared:
        return
    first: dict[tuple[str, str], str] = {}
    for record, name, split in zip(records, groups, splits, strict=True):
        if name in shared:
            first.setdefault((name, split), record.image_id)
    listed = [
        f"  {name}: " + ", ".join(f"{split} ({first[name, split]})" for split in where)
        for name, where in list(shared.items())[:_SHOWN]
    ]
    more = [f"  and {len(shared) - _SHOWN} more"] * (len(shared) > _SHOWN)
    raise DatasetError(
        "\n".join(
            [
                f"{len(shared)} groups are in more than one split. A group is one patient, or "
                "patients joined by a copy of an image or by one name in several sources; with an "
                "image of it in each split:",
                *listed,
                *more,
                "Give all images of a group the same split, or remove the copies. Where persons of "
                "several sources have one name, let their names differ, as A-12 and B-12 do.",
            ]
        )
    )


def empty_classes(
    records: Sequence[ImageRecord], splits: Sequence[str], class_names: Sequence[str]
) -> dict[str, list[str]]:
    """Classes without an image, by split: train, validation and test have to have all of them."""
    held = {(split, record.label) for record, split in zip(records, splits, strict=True)}
    missing = {
        split: [name for name in class_names if (split, name) not in held]
        for split in ("train", "validation", "test")
    }
    return {split: names for split, names in missing.items() if names}
