"""The first pass of a build: every image is read once, and what is kept of it is small.

Pixels and thumbnails go to a spool on the disk; a row of digests and sizes stays in memory, some
150 bytes an image beside its record.
"""

import dataclasses
import hashlib
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from covid_tfds import copies, disk_space, parallel, progress
from covid_tfds.disk_space import Decode
from covid_tfds.reading import Header, Unusable
from covid_tfds.records import HEADER_KEY, Exclusion, ImageRecord
from covid_tfds.sources.storage import Unreadable
from covid_tfds.spool import Spool

ROW = np.dtype(
    [
        ("sha256", "V32"),
        ("image_sha256", "V32"),
        ("git_blob_sha1", "V20"),
        ("offset", "i8"),
        ("height", "i4"),
        ("width", "i4"),
        ("original_height", "i4"),
        ("original_width", "i4"),
    ]
)
# The key of a person, of the id that a file's header has.
PatientKey = Callable[[str], str]


@dataclasses.dataclass(frozen=True)
class Readings:
    """The images that can be used, in the order of their records.

    Attributes:
        records: n records; what a file's header says of the person is in them.
        table: n rows of `ROW`: digests, place in the spool, sizes in pixels.
        modes, formats: n short names each, of the original files.
        unusable: The images that can't be used.
        unstated: DICOM files among the images that state no modality.
        spool: Their pixels and thumbnails.
    """

    records: list[ImageRecord]
    table: np.ndarray
    modes: list[str]
    formats: list[str]
    unusable: list[Exclusion]
    spool: Spool
    unstated: int = 0

    def pixels(self, place: int) -> np.ndarray:
        """uint8 [h, w] of one image. Thread-safe."""
        row = self.table[place]
        return self.spool.pixels(int(row["offset"]), int(row["height"]), int(row["width"]))

    def hexadecimal(self, digest: str, place: int) -> str:
        """A digest of one image: `sha256`, `image_sha256` or `git_blob_sha1`."""
        return self.table[digest][place].tobytes().hex()


def read_all(
    records: Sequence[ImageRecord],
    decode: Decode,
    spool: Spool,
    patient_key: PatientKey | None = None,
) -> Readings:
    """Reads all images on all cores; what can't be used is left out with its reason.

    Args:
        records: What the sources know of each.
        decode: Gives an image's file and pixels; called from several threads.
        spool: Takes the pixels.
        patient_key: Called when a header names a person; None: what headers say of who a person
            is is not used.

    Raises:
        DatasetError: The disk is too full for so many images.
    """

    def one(record: ImageRecord) -> _Result | str:
        try:
            data, image = decode(record)
        except (Unusable, Unreadable) as error:
            return str(error)
        row = (
            hashlib.sha256(data).digest(),
            copies.pixels_sha256(image.pixels),
            copies.git_blob_sha1(data),
            spool.add(image.pixels),
            *image.pixels.shape,
            image.height,
            image.width,
        )
        return _Result(row, copies.thumbnail(image.pixels), image.mode, image.format, image.header)

    readings = Readings([], np.empty(len(records), ROW), [], [], [], spool)
    disk_space.require(records, decode, spool)
    results = progress.counted(parallel.in_order(one, records), "reading", len(records))
    unstated = 0
    for record, result in zip(records, results, strict=True):
        if isinstance(result, str):
            readings.unusable.append(Exclusion(f"{record.source}/{record.name}", result))
            continue
        readings.table[len(readings.records)] = result.row
        readings.records.append(_with_header(record, result.header, patient_key))
        readings.modes.append(result.mode)
        readings.formats.append(result.format)
        spool.add_thumbnail(result.thumbnail)
        unstated += result.format == "DICOM" and not result.header.modality
    table = readings.table[: len(readings.records)]
    return dataclasses.replace(readings, table=table, unstated=unstated)


@dataclasses.dataclass(frozen=True, slots=True)
class _Result:
    row: tuple
    thumbnail: np.ndarray
    mode: str
    format: str
    header: Header


def _with_header(
    record: ImageRecord, header: Header, patient_key: PatientKey | None
) -> ImageRecord:
    """Fills in what the source does not say; a user's table goes before a file's header.

    Who a person is by the table and by the header stands side by side: see `header_patients`.
    """
    values: dict[str, Any] = {}
    if patient_key and header.patient_id:
        key = HEADER_KEY + patient_key(header.patient_id)
        if record.patient_known:
            values["also"] = (*record.also, key)
        else:
            values |= {"patient": key, "patient_known": True}
    if header.sex and not record.sex:
        values["sex"] = header.sex
    if header.age == header.age and record.age != record.age:  # NaN where it is not known
        values["age"] = header.age
    if header.projection and not record.projection:
        values["projection"] = header.projection
    return dataclasses.replace(record, **values) if values else record
