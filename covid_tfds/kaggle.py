"""Kaggle "Chest X-Ray Images (Pneumonia)" (Kermany et al. 2018) -> Film records.

Kermany, Zhang, Goldbaum: Labeled Optical Coherence Tomography (OCT) and Chest X-Ray Images for
Classification, Mendeley Data, 2018, doi:10.17632/rscbjbr9sj.2, CC BY 4.0. AP films of children of
one to five years from one hospital.
"""

import pathlib
import re

from covid_tfds import storage
from covid_tfds.errors import DatasetError
from covid_tfds.films import Exclusion, Film

_PNEUMONIA = re.compile(r"^person(?P<number>\d+)_(?P<cause>bacteria|virus)_\d+(?:_\d+)?\.jpe?g$")
_NORMAL = re.compile(r"^(?P<prefix>NORMAL2-)?IM-(?P<number>\d+)-\d+(?:-\d+)?\.jpe?g$")
_CAUSES = {"bacteria": "bacterial", "virus": "viral"}
_NEEDED = tuple(
    f"{split}/{kind}" for split in ("train", "test") for kind in ("NORMAL", "PNEUMONIA")
)
_SYSTEM_FILES = (".DS_Store", "desktop.ini", "Thumbs.db")

TREE = """  chest_xray/{train,test}/{NORMAL,PNEUMONIA}/*.jpeg   (val/ is optional)
      or the downloaded zip (archive.zip) as it is.
      From https://www.kaggle.com/datasets/paultimothymooney/chest-xray-pneumonia"""


def find(manual_dir: pathlib.Path) -> storage.Storage | None:
    """The source under `manual_dir`, or None."""
    return storage.find(manual_dir, ("chest_xray",), "train/")


def films(files: storage.Storage) -> tuple[list[Film], list[Exclusion]]:
    """Every file of the source, as a film or with the reason why it is none.

    Raises:
        DatasetError: A folder of the official train or test is missing; all are listed.
    """
    folders = {name.rsplit("/", 1)[0] for name in files.names}
    missing = [folder for folder in _NEEDED if folder not in folders]
    if missing:
        listed = "\n".join(f"  {files.where}/{folder}" for folder in missing)
        raise DatasetError(
            f"Half of the Kaggle films is missing. Not there, or empty:\n{listed}\n"
            f"Unpack the archive again. Expected:\n{TREE}"
        )
    found, left_out = (
        [],
        [Exclusion(f"kaggle/{m}", "path leaves the archive") for m in files.refused],
    )
    for name in files.names:
        film = _film(name)
        (found if isinstance(film, Film) else left_out).append(film)
    return found, left_out


def _film(name: str) -> Film | Exclusion:
    parts = name.split("/")
    shown = f"kaggle/{name}"
    if parts[-1] in _SYSTEM_FILES or parts[-1].startswith("._"):
        return Exclusion(shown, "system file")
    if len(parts) != 3 or parts[0] not in ("train", "val", "test"):
        return Exclusion(shown, "outside train, val and test")
    split, kind, file = parts
    patient, label = _patient_and_label(file)
    if patient is None:
        return Exclusion(shown, "file name not understood")
    if (label == "healthy") != (kind == "NORMAL"):
        return Exclusion(shown, "file name contradicts its folder")
    return Film(
        film_id=f"kaggle/{split}/{file.rsplit('.', 1)[0]}",
        label=label,
        source="kaggle",
        patient=f"kaggle/{patient}",
        name=name,
        original_split=split,
        view="AP",
        licence="CC BY 4.0",
        credit="https://doi.org/10.17632/rscbjbr9sj.2",
    )


def _patient_and_label(file: str) -> tuple[str | None, str]:
    """Bare person numbers are reused across causes, and IM-N across its two prefixes: keep both."""
    if match := _PNEUMONIA.match(file):
        return f"person{match['number']}_{match['cause']}", _CAUSES[match["cause"]]
    if match := _NORMAL.match(file):
        return f"{match['prefix'] or ''}IM-{match['number']}", "healthy"
    return None, ""
