"""From sources to films with a split: one function a config."""

import collections
import concurrent.futures
import dataclasses
import hashlib
import os
import pathlib
from collections.abc import Callable, Iterable, Iterator, Sequence

import tqdm
from PIL import Image

from covid_tfds import article, cohen, grouping, kaggle, own_films, phantom, splits, storage
from covid_tfds.errors import DatasetError
from covid_tfds.films import Exclusion, Film, Picture, Reading, Unusable, encode, read_film
from covid_tfds.report import Report

_BATCH = 256  # films drawn and held at a time
FetchArchive = Callable[[str], pathlib.Path]  # url -> the downloaded zip


@dataclasses.dataclass(frozen=True)
class Collection:
    """The films of a build.

    Attributes:
        report: Films, groups and splits, in one order, and what was left out.
        pictures: Yields the picture of each of the report's films at the given places.
    """

    report: Report
    pictures: Callable[[Sequence[int]], Iterable[Picture]]

    def examples(self, split: str) -> Iterator[tuple[Film, str, Picture]]:
        """Yields (film, group, picture) of one split."""
        places = [i for i, own in enumerate(self.report.splits) if own == split]
        for i, picture in zip(places, self.pictures(places), strict=True):
            yield self.report.films[i], self.report.groups[i], picture


def collect_article(
    title: str, manual_dir: pathlib.Path, fetch: FetchArchive, *, grouped: bool, strict: bool
) -> Collection:
    """The article's films, split as published or with patients kept apart (`grouped`).

    Args:
        title: Names the build in its report.
        manual_dir: Where the downloads lie.
        fetch: Downloads one archive.
        grouped: Whether patients are kept apart.
        strict: Whether a Cohen film whose bytes changed since the article stops the build.

    Raises:
        DatasetError: A source or film is missing or unreadable, or has drifted under `strict`.
    """
    sources = {
        "kaggle": _kaggle(manual_dir),
        "cohen": _cohen(manual_dir, fetch, cohen.ARTICLE_COMMIT),
    }
    films = article.films(sources["kaggle"], sources["cohen"])
    films, readings, unusable = _read(films, lambda film: sources[film.source])
    if unusable:
        listed = "\n".join(f"  {e.file}: {e.reason}" for e in unusable)
        raise DatasetError(
            f"{len(unusable)} of the article's films can't be read:\n{listed}\nDownload them again."
        )
    notes = _drift(article.drifted(films, readings), strict)
    groups = grouping.group(films, readings)
    placed = article.published_splits()
    if grouped:
        placed = splits.nearest(films, groups, placed)
        splits.require_disjoint(groups, placed)
    else:
        notes += _leaks(films, placed)
    return _collection(title, films, readings, groups, placed, [], notes)


def collect_full(title: str, manual_dir: pathlib.Path, fetch: FetchArchive) -> Collection:
    """Every usable film of both sources.

    Raises:
        DatasetError: A source is missing or half there, or its table can't be used.
    """
    sources = {
        "kaggle": _kaggle(manual_dir),
        "cohen": _cohen(manual_dir, fetch, cohen.PINNED_COMMIT),
    }
    from_kaggle, left_out = kaggle.films(sources["kaggle"])
    from_cohen, left_out_cohen = cohen.films(sources["cohen"])
    films, readings, unusable = _read(
        [*from_kaggle, *from_cohen], lambda film: sources[film.source]
    )
    exclusions = [*left_out, *left_out_cohen, *unusable]
    groups = grouping.group(films, readings)
    placed, reasons = splits.full(films, groups)
    splits.require_disjoint(groups, placed)
    exclusions += [Exclusion(f.film_id, r) for f, r in zip(films, reasons, strict=True) if r]
    return _collection(title, films, readings, groups, placed, exclusions, [])


def collect_own(title: str, manual_dir: pathlib.Path) -> Collection:
    """A user's own films.

    Raises:
        DatasetError: Nothing usable is there, or the user's splits tear a group apart.
    """
    files, films, left_out = own_films.films(manual_dir)
    films, readings, unusable = _read(films, lambda _: files)
    groups = grouping.group(films, readings)
    placed = splits.by_group(films, groups)
    splits.require_disjoint(groups, placed)
    notes = []
    if all(film.patient == f"own/{film.name}" for film in films):
        notes.append(
            "No patients are given: each film counts as its own patient, so one person's films "
            "may be in train and in test. Give a films.csv with a patient column."
        )
    return _collection(title, films, readings, groups, placed, [*left_out, *unusable], notes)


def collect_phantom(title: str, seed: int, patients: int, shortcut: bool) -> Collection:
    """Synthetic films, drawn only when their pictures are asked for, so any number of them.

    Args:
        title: Names the build in its report.
        seed: Of the population.
        patients: How many.
        shortcut: Whether a corner marker goes with the class.
    """
    population = [phantom.patient(seed, number) for number in range(patients)]
    films = [_phantom_film(who, visit) for who in population for visit in range(who.films)]
    numbers = [(who.number, visit) for who in population for visit in range(who.films)]
    groups = [film.patient for film in films]
    placed = [splits.hashed_split(name, test_share=splits.TEST_SHARE) for name in groups]
    splits.require_disjoint(groups, placed)

    def draw(place: int) -> Picture:
        number, visit = numbers[place]
        pixels = phantom.draw_film(seed, number, visit, shortcut=shortcut)
        image = encode(Image.fromarray(pixels))
        height, width = pixels.shape
        return Picture(image, width, height, "L", "JPEG", hashlib.sha256(image).hexdigest())

    def pictures(places: Sequence[int]) -> Iterator[Picture]:
        with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
            for start in range(0, len(places), _BATCH):  # a batch at a time is held, not all
                yield from pool.map(draw, places[start : start + _BATCH])

    notes = ["These films are synthetic: nothing measured on them says anything of patients."]
    if shortcut:
        notes.append("A corner marker goes with the class: a planted shortcut.")
    return Collection(Report(title, films, groups, placed, (), notes=notes), pictures)


def _phantom_film(who: phantom.Patient, visit: int) -> Film:
    return Film(
        film_id=f"{who.key}-{visit + 1}",
        label=who.label,
        source="phantom",
        patient=who.key,
        name="",
        view="PA",
        sex=who.sex,
        age=who.age,
        licence="synthetic",
    )


def _kaggle(manual_dir: pathlib.Path) -> storage.Storage:
    found = kaggle.find(manual_dir)
    if not found:
        raise DatasetError(
            f"The Kaggle films are not in {manual_dir}. Expected there (--manual_dir):\n"
            f"{kaggle.TREE}\n{cohen.TREE}"
        )
    return found


def _cohen(manual_dir: pathlib.Path, fetch: FetchArchive, commit: str) -> storage.Storage:
    if found := cohen.find(manual_dir):
        return found
    try:
        path = fetch(cohen.url(commit))
    except Exception as error:  # whatever the network answers, the remedy is the same
        raise DatasetError(
            f"The Cohen films are not in {manual_dir} and {cohen.url(commit)} could not be "
            f"fetched ({type(error).__name__}). Put them there (--manual_dir):\n{cohen.TREE}"
        ) from None
    found = storage.archive(path, ("covid-chestxray-dataset-*",), "metadata.csv")
    if not found:
        raise DatasetError(f"{path} holds no metadata.csv. Delete it and build again.")
    return found


def _read(
    films: Sequence[Film], storage_of: Callable[[Film], storage.Storage]
) -> tuple[list[Film], list[Reading], list[Exclusion]]:
    """Reads all films on all cores; what can't be used is left out with its reason."""

    def read(film: Film) -> Reading | Exclusion:
        try:
            return read_film(storage_of(film).read(film.name))
        except (Unusable, OSError) as error:
            reason = str(error) if isinstance(error, Unusable) else "file can't be opened"
            return Exclusion(f"{film.source}/{film.name}", reason)

    # Threads, not processes: Pillow and hashlib let go of the interpreter while they work.
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        results = list(tqdm.tqdm(pool.map(read, films), "reading", len(films), unit=" films"))
    good = [(f, r) for f, r in zip(films, results, strict=True) if isinstance(r, Reading)]
    unusable = [r for r in results if isinstance(r, Exclusion)]
    return [f for f, _ in good], [r for _, r in good], unusable


def _drift(names: Sequence[str], strict: bool) -> list[str]:
    if not names:
        return []
    what = f"{len(names)} Cohen films are not the bytes of the article's day: {', '.join(names)}"
    if strict:
        raise DatasetError(
            f"{what}. Use the archive of commit {cohen.ARTICLE_COMMIT}, or build without strict."
        )
    return [f"{what} (used all the same)."]


def _leaks(films: Sequence[Film], placed: Sequence[str]) -> list[str]:
    """The article's own mistake, said aloud: patients whose films are in more than one split."""
    shared = splits.shared_between([film.patient for film in films], placed)
    by_places = collections.defaultdict(list)
    for patient, where in shared.items():
        by_places[" and ".join(where)].append(patient)
    return [
        f"Patients in {where}, as published: {', '.join(patients)}."
        for where, patients in sorted(by_places.items())
    ]


def _collection(
    title: str,
    films: Sequence[Film],
    readings: Sequence[Reading],
    groups: Sequence[str],
    placed: Sequence[str],
    exclusions: Sequence[Exclusion],
    notes: Sequence[str],
) -> Collection:
    """Keeps what got a split."""
    kept = [i for i, split in enumerate(placed) if split]

    def pick(values: Sequence) -> list:
        return [values[i] for i in kept]

    report = Report(
        title=title,
        films=pick(films),
        groups=pick(groups),
        splits=pick(placed),
        exclusions=exclusions,
        largest_groups=grouping.largest(pick(films), pick(groups)),
        notes=notes,
    )
    kept_readings = pick(readings)
    return Collection(report, lambda places: (kept_readings[i] for i in places))
