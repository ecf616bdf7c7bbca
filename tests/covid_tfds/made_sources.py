"""The two sources in miniature, folders of own images and what was built of them, all made up."""

import csv
import pathlib
import zipfile
from collections.abc import Iterable

from covid_tfds.sources import article
from tests.helpers import images as made_images

TINY = {"name": "tiny", "images": "phantom", "patients": 40}  # a config that is soon drawn
HEADER = ("patientid", "offset", "sex", "age", "finding", "view", "modality", "folder", "filename",
          "doi", "url", "license")  # fmt: skip


def write(path: pathlib.Path, data: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)


def write_names(root: pathlib.Path, names: Iterable[str]) -> None:
    """Writes files that hold their own name, for what reads no pixels."""
    for name in names:
        write(root / name, name.encode())


def zipped(root: pathlib.Path, folder: str, path: pathlib.Path, prefix: str = "") -> None:
    """Packs a folder under `root` into a zip, as `prefix` + its path below `root`."""
    with zipfile.ZipFile(path, "w") as archive:
        for file in sorted((root / folder).rglob("*")):
            if file.is_file():
                member = zipfile.ZipInfo.from_file(file)
                member.filename = prefix + file.relative_to(root).as_posix()  # `./` as it is
                archive.writestr(member, file.read_bytes())


def reasons(exclusions) -> dict[str, str]:
    return {exclusion.file: exclusion.reason for exclusion in exclusions}


def write_kaggle(root: pathlib.Path, names: list[str], first_seed: int = 0) -> None:
    """Writes `split/KIND/file` names, each with an image of its own."""
    for seed, name in enumerate(names, start=first_seed):
        write(root / "chest_xray" / name, made_images.encoded(made_images.radiograph(seed), "JPEG"))


def row(filename: str, patient: str, **values: str) -> dict[str, str]:
    """A row of metadata.csv: a COVID PA image unless said otherwise."""
    usual = {"finding": "COVID-19", "view": "PA", "modality": "X-ray", "folder": "images",
             "sex": "M", "age": "60", "license": "CC BY 4.0"}  # fmt: skip
    return {"filename": filename, "patientid": patient} | usual | values


def write_cohen(root: pathlib.Path, rows: list[dict[str, str]], first_seed: int = 5000) -> None:
    """Writes metadata.csv and an image for every file it names."""
    folder = root / "covid-chestxray-dataset"
    for seed, name in enumerate(dict.fromkeys(r["filename"] for r in rows), start=first_seed):
        write(folder / "images" / name, made_images.encoded(made_images.radiograph(seed)))
    with open(folder / "metadata.csv", "w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, HEADER, restval="")
        writer.writeheader()
        writer.writerows(rows)


def own_images(folder: pathlib.Path, count: int = 40, first: int = 0) -> pathlib.Path:
    """`count` images of two classes and of no known patient."""
    for number in range(count):
        name = f"{('healthy', 'covid19')[number % 2]}/{number:03d}.png"
        write(folder / name, made_images.encoded(made_images.radiograph(first + number)))
    return folder


def stored(builder) -> int:
    """The number of a built dataset's examples."""
    return sum(split.num_examples for split in builder.info.splits.values())


KAGGLE = [
    "train/NORMAL/IM-0001-0001.jpeg",
    "train/NORMAL/NORMAL2-IM-0001-0001.jpeg",
    "train/NORMAL/IM-0002-0001.jpeg",
    "train/PNEUMONIA/person1_bacteria_1.jpeg",
    "train/PNEUMONIA/person1_bacteria_2.jpeg",
    "train/PNEUMONIA/person1_virus_3.jpeg",
    "test/NORMAL/IM-0003-0001.jpeg",
    "test/PNEUMONIA/person2_bacteria_4.jpeg",
    "test/PNEUMONIA/person2_virus_5.jpeg",
]


def write_article(root: pathlib.Path) -> None:
    """All 306 images of the article under their real names, with made-up pixels and patients."""
    entries = article.listed()
    kaggle = [e for e in entries if e["source"] == "kaggle"]
    names = [
        f"train/{'NORMAL' if e['label'] == 'healthy' else 'PNEUMONIA'}/{e['filename']}"
        for e in kaggle
    ]
    others = ["test/NORMAL/IM-0003-0001.jpeg", "test/PNEUMONIA/person2_virus_5.jpeg"]
    write_kaggle(root, [*names, *others])
    cohen = [e["filename"] for e in entries if e["source"] == "cohen"]
    tested = [e["filename"] for e in entries if e["source"] == "cohen" and e["split"] == "test"]
    # One patient in train and in test, as in the real table; everyone else has one image.
    torn = {tested[0], max(name for name in cohen if name not in tested)}
    write_cohen(root, [row(n, "13" if n in torn else f"p{i}") for i, n in enumerate(cohen)])
