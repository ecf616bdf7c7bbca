"""The two sources in miniature, with made-up pictures."""

import csv
import pathlib

from covid_tfds import article
from tests.covid_tfds.pictures import encoded, film

HEADER = ("patientid", "offset", "sex", "age", "finding", "view", "modality", "folder", "filename",
          "doi", "url", "license")  # fmt: skip


def write(path: pathlib.Path, data: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)


def write_kaggle(root: pathlib.Path, names: list[str], first_seed: int = 0) -> None:
    """Writes `split/KIND/file` names, each with a picture of its own."""
    for seed, name in enumerate(names, start=first_seed):
        write(root / "chest_xray" / name, encoded(film(seed), "JPEG"))


def row(filename: str, patient: str, **values: str) -> dict[str, str]:
    """A row of metadata.csv: a COVID PA film unless said otherwise."""
    usual = {"finding": "COVID-19", "view": "PA", "modality": "X-ray", "folder": "images",
             "sex": "M", "age": "60", "license": "CC BY 4.0"}  # fmt: skip
    return {"filename": filename, "patientid": patient} | usual | values


def write_cohen(root: pathlib.Path, rows: list[dict[str, str]], first_seed: int = 5000) -> None:
    """Writes metadata.csv and a picture for every file it names."""
    folder = root / "covid-chestxray-dataset"
    for seed, name in enumerate(dict.fromkeys(r["filename"] for r in rows), start=first_seed):
        write(folder / "images" / name, encoded(film(seed)))
    with open(folder / "metadata.csv", "w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, HEADER, restval="")
        writer.writeheader()
        writer.writerows(rows)


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
    """All 306 films of the article under their real names, with made-up pictures and patients."""
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
    # One patient in train and in test, as in the real table; everyone else has one film.
    torn = {tested[0], max(name for name in cohen if name not in tested)}
    write_cohen(root, [row(n, "13" if n in torn else f"p{i}") for i, n in enumerate(cohen)])
