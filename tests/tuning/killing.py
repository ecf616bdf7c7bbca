"""What rounds and tests of kills share: who can be killed, and what a search found."""

import csv
import pathlib


def ranking(folder: pathlib.Path) -> list[tuple]:
    """Trials as they are ranked, with their values and score."""
    with open(folder / "trials.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    keys = ("rank", "trial", "status", "head_units", "learning_rate", "val_balanced_accuracy",
            "val_loss")  # fmt: skip
    return sorted(tuple(row[key] for key in keys) for row in rows)


def victims(parent: int) -> dict[str, int]:
    """Process ids of a search by part."""
    found = {"parent": parent}
    for path in pathlib.Path("/proc").glob("[0-9]*"):
        try:
            if int((path / "stat").read_text().rpartition(")")[2].split()[1]) != parent:
                continue
            environment = (path / "environ").read_bytes().split(b"\0")
        except OSError:
            continue
        for variable in environment:
            if variable.startswith(b"KERASTUNER_TUNER_ID="):
                found[variable.partition(b"=")[2].decode()] = int(path.name)
    return found
