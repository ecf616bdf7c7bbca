"""What a build leaves beside its TFRecords: exclusions, attribution and a one-screen summary."""

import collections
import csv
import dataclasses
import io
import json
from collections.abc import Iterable, Sequence

from etils import epath

from covid_tfds.films import LABELS, Exclusion, Film

SPLITS = ("train", "validation", "test", "control")
SUMMARY = "summary.txt"


@dataclasses.dataclass(frozen=True)
class Report:
    """Everything a build found out.

    Attributes:
        title: Dataset, config and version.
        films: The usable films that got a split.
        groups: The group of each film.
        splits: The split of each film.
        exclusions: Files and rows left out.
        largest_groups: (name, films, patients) of the largest groups.
        notes: Sentences the user has to read, e.g. drift or a patient in two splits.
    """

    title: str
    films: Sequence[Film]
    groups: Sequence[str]
    splits: Sequence[str]
    exclusions: Sequence[Exclusion]
    largest_groups: Sequence[tuple[str, int, int]] = ()
    notes: Sequence[str] = ()

    def text(self) -> str:
        """The one-screen summary."""
        used, out = len(self.films), len(self.exclusions)
        lines = [self.title, f"found {used + out}, used {used}, left out {out}"]
        reasons = collections.Counter(e.reason for e in self.exclusions)
        lines += [f"  {count:6d}  {reason}" for reason, count in reasons.most_common()]
        lines += ["", *self._table()]
        several = [entry for entry in self.largest_groups if entry[1] > 1]
        if several:
            lines += ["", "largest groups (kept in one split): films / patients"]
            lines += [f"  {n:4d} / {patients:<3d} {name}" for name, n, patients in several]
        return "\n".join([*lines, "", *(f"! {note}" for note in self.notes)]).rstrip() + "\n"

    def _table(self) -> list[str]:
        """Films and groups per class, source and split."""
        present = [split for split in SPLITS if split in self.splits]
        cells = collections.Counter(
            (f.label, f.source, s) for f, s in zip(self.films, self.splits, strict=True)
        )
        rows = sorted(
            {(f.label, f.source) for f in self.films}, key=lambda r: (LABELS.index(r[0]), r)
        )
        lines = [f"{'films':22s}" + "".join(f"{split:>12s}" for split in present)]
        for label, source in rows:
            counts = "".join(f"{cells[label, source, split]:12d}" for split in present)
            lines.append(f"  {label:10s}{source:10s}{counts}")
        totals = collections.Counter(self.splits)
        lines.append(f"  {'all':20s}" + "".join(f"{totals[split]:12d}" for split in present))
        groups = {split: set() for split in present}
        for name, split in zip(self.groups, self.splits, strict=True):
            groups[split].add(name)
        lines.append(
            f"  {'groups':20s}" + "".join(f"{len(groups[split]):12d}" for split in present)
        )
        shared = sum(map(len, groups.values())) - len(set(self.groups))
        return [*lines, f"groups in more than one split: {shared}"]

    def write(self, folder: epath.Path) -> None:
        """Writes exclusions.csv, ATTRIBUTION.csv, summary.txt and notes.json into `folder`.

        TFDS builds into a temporary folder and renames it, so the four appear together.
        """
        (folder / "exclusions.csv").write_text(
            _csv(("file", "reason"), map(dataclasses.astuple, self.exclusions))
        )
        columns = ("film_id", "source", "patient", "group", "split", "label", "licence", "credit")
        rows = (
            (f.film_id, f.source, f.patient, group, split, f.label, f.licence, f.credit)
            for f, group, split in zip(self.films, self.groups, self.splits, strict=True)
        )
        (folder / "ATTRIBUTION.csv").write_text(_csv(columns, rows))
        (folder / SUMMARY).write_text(self.text())
        (folder / "notes.json").write_text(json.dumps(list(self.notes), indent=1))


def _csv(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(header)
    writer.writerows(rows)
    return out.getvalue()
