"""What ends a build, or has to be said of it, once the images have been read."""

from collections.abc import Iterable, Sequence

from covid_tfds import groups, splits
from covid_tfds.errors import DatasetError
from covid_tfds.first_pass import Readings
from covid_tfds.records import Exclusion, ImageRecord
from covid_tfds.sources import own, wording

Pairs = Sequence[tuple[int, int]]
_SHOWN = 10  # names listed in an error


def require_one_label(readings: Readings, near_equal: Pairs) -> list[str]:
    """Refuses equal pixels under two labels; nearly equal ones under two labels are noted.

    Raises:
        DatasetError: With the pairs.
    """
    records = readings.records

    def torn(pairs: Pairs) -> list[str]:
        return [
            f"{records[i].image_id} ({records[i].label}) and "
            f"{records[j].image_id} ({records[j].label})"
            for i, j in pairs
            if records[i].label != records[j].label
        ]

    if equal := torn(groups.equal_pairs([readings.table["image_sha256"]])):
        raise DatasetError(
            f"{len(equal)} images stand under two labels with the same pixels:\n"
            f"{wording.lines(equal)}\n"
            "Keep each image under one label."
        )
    if alike := torn(near_equal):
        pairs = wording.counted(len(alike), "pair")
        return [f"Nearly equal images under two labels, {pairs}: {wording.listed(alike, most=1)}."]
    return []


def require_every_source(
    names: Iterable[str], records: Sequence[ImageRecord], exclusions: Sequence[Exclusion]
) -> None:
    """Refuses a source of which no image is left.

    Raises:
        DatasetError: With its first files and what is wrong with them.
    """
    used = {record.source for record in records}
    for name in names:
        if name not in used:
            left_out = [each for each in exclusions if each.file.startswith(f"{name}/")]
            listed = "\n".join(f"  {each.file}: {each.reason}" for each in left_out[:_SHOWN])
            raise DatasetError(
                f"The source {name} yields no image. Its first files:\n{listed}\n"
                "Download it again, or put the whole of it into the manual folder."
            )


def require_every_class(
    class_names: Sequence[str],
    found: Sequence[ImageRecord],
    readings: Readings,
    placed: Sequence[str],
    exclusions: Sequence[Exclusion],
) -> None:
    """Refuses a class of which no image is left; `found` are the records before reading."""
    used = {r.label for r, split in zip(readings.records, placed, strict=True) if split}
    own.require_every_class(class_names, used, exclusions, records=found)


def empty_classes(
    records: Sequence[ImageRecord], placed: Sequence[str], class_names: Sequence[str]
) -> list[str]:
    """Notes on the classes that a split lacks."""
    return [
        f"{split} has no image of {wording.listed(missing)}: there are too few patients for "
        "every split, or the splits leave it out. Add images, or give other splits."
        for split, missing in splits.empty_classes(records, placed, class_names).items()
    ]


def unstated_modality(readings: Readings) -> list[str]:
    """A note on DICOM files that do not say what they are."""
    count = readings.unstated
    files = wording.counted(count, "DICOM file")
    return [f"Taken for radiographs though no modality is stated: {files}."] * (count > 0)
