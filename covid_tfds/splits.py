"""Which split a group goes to, and the proof that no group is in two."""

import collections
import hashlib
from collections.abc import Sequence

from covid_tfds.errors import DatasetError
from covid_tfds.films import Film

VALIDATION_SHARE = 0.12
TEST_SHARE = 0.20
LEFT_OUT_COVID = "patient also has a COVID film"
LEFT_OUT_TEST = "patient or copy is in Kaggle's test"


def hashed_split(group: str, *, test_share: float) -> str:
    """A split from the group's name alone, so that a film added later moves no other.

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


def full(films: Sequence[Film], groups: Sequence[str]) -> tuple[list[str], list[str]]:
    """The splits of the `full` config.

    Kaggle's official test folder and a fifth of the COVID groups are test; Cohen's other
    pneumonias are `control`; the rest is train and validation by a hash of the group, which keeps
    the shares alike in every class and source.

    Args:
        films: The usable films.
        groups: The group of each.

    Returns:
        (split of each film or "" when it is left out, reason of each or "").
    """
    covid = {g for f, g in zip(films, groups, strict=True) if f.label == "covid19"}
    official = {g for f, g in zip(films, groups, strict=True) if f.original_split == "test"}

    def place(film: Film, name: str) -> tuple[str, str]:
        if film.original_split == "test":
            return "test", ""
        if name in official:
            return "", LEFT_OUT_TEST
        if film.source == "cohen" and film.label != "covid19":
            return ("", LEFT_OUT_COVID) if name in covid else ("control", "")
        return hashed_split(name, test_share=TEST_SHARE if name in covid else 0), ""

    placed = [place(film, name) for film, name in zip(films, groups, strict=True)]
    return [split for split, _ in placed], [reason for _, reason in placed]


def by_group(films: Sequence[Film], groups: Sequence[str]) -> list[str]:
    """The splits a user gives with the films, or by a hash of the group."""
    return [
        film.original_split or hashed_split(name, test_share=TEST_SHARE)
        for film, name in zip(films, groups, strict=True)
    ]


def nearest(films: Sequence[Film], groups: Sequence[str], wanted: Sequence[str]) -> list[str]:
    """Puts whole groups where `wanted` has most of their films, at the same sizes a class.

    Test is filled first, then validation, each to the number of films that `wanted` gives it in
    that class, or as near to it as whole groups allow; among the fillings that fit, the one that
    keeps most films where `wanted` has them is taken.

    Args:
        films: All films.
        groups: The group of each.
        wanted: The split of each film if patients didn't matter.

    Returns:
        The split of each film.
    """
    result = ["train"] * len(films)
    # A group goes as one, so its class is that of its first film.
    label_of = {g: f.label for f, g in reversed(list(zip(films, groups, strict=True)))}
    for label in sorted(set(label_of.values())):
        free = {name for name, own in label_of.items() if own == label}
        for split in ("test", "validation"):
            chosen = _fill(
                sizes=collections.Counter(g for g in groups if g in free),
                kept=collections.Counter(
                    g for g, w in zip(groups, wanted, strict=True) if w == split and g in free
                ),
                target=sum(
                    w == split and f.label == label for f, w in zip(films, wanted, strict=True)
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


def require_disjoint(groups: Sequence[str], splits: Sequence[str]) -> None:
    """Stops the build when a group is in two splits.

    Raises:
        DatasetError: With the groups and their splits.
    """
    if shared := shared_between(groups, splits):
        listed = "\n".join(
            f"  {name}: {', '.join(where)}" for name, where in list(shared.items())[:20]
        )
        raise DatasetError(
            f"{len(shared)} groups (one patient, or copies of one film) are in more than one "
            f"split:\n{listed}\nGive all films of a group the same split."
        )
