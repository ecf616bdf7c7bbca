"""What a build leaves beside its TFRecords: exclusions, attribution and a one-screen summary."""

import collections
import csv
import json
import shlex
from collections.abc import Iterable, Iterator, Sequence

from etils import epath

from covid_tfds import groups, splits
from covid_tfds.collection import Collection
from covid_tfds.sources import wording

SUMMARY = "summary.txt"
_SPLITS = ("train", "validation", "test", "control")
_COLUMN, _FIRST, _SOURCE = 12, 30, 10  # columns of a cell, of the names, of the source in them
_LINES = 12  # reasons and licenses that are listed; the rest is one line

_ATTRIBUTION = (
    "image_id", "source", "patient", "group", "split", "label", "license", "credit", "sha256",
    "image_sha256", "git_blob_sha1",
)  # fmt: skip


class Report:
    """The account of one build.

    Attributes:
        collection: What was found.
    """

    def __init__(self, collection: Collection) -> None:
        """Counts what is stored.

        Args:
            collection: What was found.
        """
        self.collection = collection
        self._places = collection.stored()

    def text(self) -> str:
        """The one-screen summary, at most 80 columns wide."""
        found = self.collection
        used, out = sum(map(bool, found.splits)), len(found.exclusions)
        lines = [found.title, *self._origins()]
        lines.append(f"found {used + out}, used {used}, left out {out}")
        lines += _counted(collections.Counter(each.reason for each in found.exclusions))
        if found.limit is not None:
            lines.append(f"stored {len(self._places)}: at most {found.limit} a split")
        lines += ["", *self._table(), self._torn(), "", "licenses (ATTRIBUTION.csv has each)"]
        lines += _counted(collections.Counter(found.record(i).license for i in self._places))
        if large := groups.largest(*self._stored_groups(), 5):
            lines += ["", "largest groups (kept in one split): images / patients"]
            lines += [f"  {n:4d} / {patients:<3d} {name}" for name, n, patients in large]
        lines += [""] if found.notes else []
        return wording.wrapped("\n".join([*lines, *self._notes()])) + "\n"

    def _origins(self) -> list[str]:
        return [
            f"from {each.where}" + (f", commit {each.commit}" if each.commit else "")
            for each in self.collection.origins
        ]

    def _stored_groups(self) -> tuple[list, list[str]]:
        found = self.collection
        records = [found.record(i) for i in self._places]
        return records, [found.groups[i] for i in self._places]

    def _table(self) -> list[str]:
        """Images and groups per class, source and split."""
        found = self.collection
        present = [split for split in _SPLITS if split in found.splits]
        cells: collections.Counter = collections.Counter()
        held: dict[str, set[str]] = {split: set() for split in present}
        for i in self._places:
            record, split = found.record(i), found.splits[i]
            cells[record.label, record.source, split] += 1
            cells[split] += 1
            held[split].add(found.groups[i])
        order = {name: place for place, name in enumerate(found.class_names)}
        rows = sorted({key[:2] for key in cells if isinstance(key, tuple)},
                      key=lambda row: (order[row[0]], row))  # fmt: skip
        names = [max(map(len, column)) for column in zip(*rows, strict=True)] or [0, 0]
        source = min(names[1], _SOURCE)
        label = min(max(8, names[0]), _FIRST - 3 - source)
        first = label + 2 + (source and source + 1)
        lines = [f"{'images':{first}s}" + _cells(present)]
        for name, of in rows:
            shown = f"  {wording.one_line(name, label):{label}s} {wording.one_line(of, _SOURCE)}"
            lines.append(f"{shown:{first}s}" + _cells(cells[name, of, s] for s in present))
        lines.append(f"{'  all':{first}s}" + _cells(cells[split] for split in present))
        lines.append(f"{'  groups':{first}s}" + _cells(len(held[split]) for split in present))
        return lines

    def _torn(self) -> str:
        """How many groups are in more than one split, if that can be said."""
        found = self.collection
        known = found.patients_known()
        if len(known) and not known.any():
            return "groups in more than one split: not checked, since no patients are known"
        own = [found.groups[i] for i in self._places]
        shared = splits.shared_between(own, [found.splits[i] for i in self._places])
        unknown = int((~known).sum())
        images = wording.counted(unknown, "image")
        more = f" (not checked for {images} of unknown patients)" if unknown else ""
        return f"groups in more than one split: {len(shared)}{more}"

    def _notes(self) -> Iterator[str]:
        return (f"! {note}" for note in self.collection.notes)

    def write(self, folder: epath.Path) -> None:
        """Writes exclusions.csv, ATTRIBUTION.csv, summary.txt and notes.json into `folder`.

        TFDS builds into a temporary folder and renames it, so the four appear together.
        """
        found = self.collection
        left_out = ((each.file, each.reason) for each in found.exclusions)
        _write_csv(folder / "exclusions.csv", ("file", "reason"), left_out)
        _write_csv(folder / "ATTRIBUTION.csv", _ATTRIBUTION, map(self._credit, self._places))
        (folder / SUMMARY).write_text(self.text())
        (folder / "notes.json").write_text(json.dumps(list(found.notes), indent=1))

    def _credit(self, place: int) -> tuple[str, ...]:
        found, record = self.collection, self.collection.record(place)
        digests = (found.readings.hexadecimal(name, place) for name in _ATTRIBUTION[-3:])
        return (
            record.image_id, record.source, record.patient, found.groups[place],
            found.splits[place], record.label, record.license, record.credit, *digests,
        )  # fmt: skip


def next_command(config: str, classes: int, data_dir: str) -> str:
    """What a user types after a build.

    Args:
        config: Its name.
        classes: How many the dataset has.
        data_dir: Where the datasets are, or "" for TFDS' own folder.
    """
    where = f" --data_dir={shlex.quote(data_dir)}" if data_dir else ""
    return f"next: python -m trainer.main --dataset={config} --classes={classes}{where}"


def _cells(values: Iterable[object]) -> str:
    return "".join(f"{value!s:>{_COLUMN}s}" for value in values)


def _counted(counts: collections.Counter) -> list[str]:
    lines = [f"  {count:6d}  {what}" for what, count in counts.most_common(_LINES)]
    if rest := counts.most_common()[_LINES:]:
        lines.append(f"  {sum(count for _, count in rest):6d}  {len(rest)} others")
    return lines


def _write_csv(path: epath.Path, header: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    with path.open("w") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(header)
        writer.writerows(rows)
