"""The search of settings: against the plain way, over workers, and in memory.

`python -m benchmarks.search --part=plain --data_dir=DIR` (config `article` built there) times the
whole command, from an empty cache, against Keras' own way of the same trials, see
`benchmarks.search_plain`; the peer runs a few epochs of three heads, scaled to all epochs of all
trials, as the line says. `--part=workers` runs the same search with one process and with a chief
and two workers, and measures the chief alone, see `benchmarks.search_chief`. `--part=memory` reads
how much a search holds while its trials end.
"""

import json
import os
import pathlib
import statistics
import tempfile
from collections.abc import Sequence
from typing import Any

import numpy as np
from absl import app, flags

from benchmarks import article_race, harness
from benchmarks.search_watch import Row, Sample, Watched, cold, fill, search

# By part: trials, epochs, rounds.
_USUAL = {"plain": (20, 100, 1), "workers": (12, 40, 3), "memory": (200, 2, 1)}
_SPLITS = ("train", "validation")
_AUGMENTATIONS = {"article": ("--augmentation=article", "--views=8"), "none": ()}


def plain(values: flags.FlagValues) -> None:
    """Times the whole command and the plain way, with augmentation and without."""
    from trainer.input_pipeline import dataset as dataset_lib

    dataset = dataset_lib.open_dataset(values.dataset, values.data_dir, values.classes)
    ours, seconds = _raced(values, dataset)
    ratios = {
        f"plain, {peer}, over ours, {our}": harness.ratios(
            seconds[f"plain, {peer}"], seconds[f"ours, {our}"]
        )
        for our, peer in (("article", "article"), ("none", "none"), ("none", "article"))
    }
    augmented, without, _ = ratios.values()
    size = f"{values.trials} trials x {values.epochs} epochs"
    spreads = {
        f"{size}: times as fast as the plain way": augmented,
        "without augmentation, the default: times as fast as the plain way without": without,
    }
    harness.report(
        "search --part=plain",
        figures={f"{name}, seconds": harness.spread(each) for name, each in seconds.items()},
        ratios=ratios,
        targets={claim: (100.0, each["median"]) for claim, each in spreads.items()},
        spreads=spreads,
        bound=_plain_bound(ours),
        packages=("keras-tuner", "scipy"),
        peer=f"{values.peer_epochs} epochs of {len(three(ours['none'][0].rows))} heads, each behind"
        f" a batch that compiles, scaled to {values.trials} trials of {values.epochs} epochs; start"
        " and compiling of the peer are not counted, those of ours are",
        images={split: len(dataset.splits[split].labels) for split in _SPLITS},
        trials=values.trials,
        epochs=values.epochs,
        dataset=values.dataset,
    )


def _raced(
    values: flags.FlagValues,
    dataset: "Dataset",  # noqa: F821
) -> tuple[dict[str, list[Watched]], dict[str, list[float]]]:
    """Our searches by augmentation, and the seconds of all sides."""
    ours: dict[str, list[Watched]] = {name: [] for name in _AUGMENTATIONS}

    def our_seconds(name: str) -> float:
        ours[name].append(cold(values, *_AUGMENTATIONS[name]))
        return ours[name][-1].seconds

    def peer_seconds(name: str) -> float:  # never the first: the trials are known by then
        return plain_seconds(values, folder, ours["article"][0].rows, name == "article")

    with tempfile.TemporaryDirectory() as folder:
        for split in _SPLITS:
            article_race.export(dataset, dataset.splits[split], pathlib.Path(folder) / split)
        sides = {f"ours, {name}": lambda name=name: our_seconds(name) for name in ours}
        sides |= {f"plain, {name}": lambda name=name: peer_seconds(name) for name in ours}
        return ours, harness.alternate(sides, values.rounds)


def plain_seconds(
    values: flags.FlagValues, folder: str, rows: Sequence[Row], augment: bool
) -> float:
    """Seconds of the plain way for the trials of these rows, scaled from a few epochs."""
    timed = ",".join(f"{row['head_units']}:{row['learning_rate']}" for row in three(rows))
    shared = {name: values[name].value for name in ("classes", "image_size", "weights", "seed")}
    given = {"folder": folder, "trials": timed, "epochs": values.peer_epochs, **shared}
    done = article_race.run(["benchmarks.search_plain", f"--augment={str(augment).lower()}",
                             *(f"--{name}={value}" for name, value in given.items())])  # fmt: skip
    return scaled(json.loads(done.stdout.splitlines()[-1])["timed"], rows, values.epochs)


def three(rows: Sequence[Row]) -> list[Row]:
    """The trials with the smallest, the median and the largest head, each size once."""
    order = sorted(rows, key=lambda row: int(row["head_units"]))
    chosen = (order[0], order[len(order) // 2], order[-1])
    return list({row["head_units"]: row for row in chosen}.values())


def scaled(timed: Sequence[dict[str, Any]], rows: Sequence[Row], epochs: int) -> float:
    """Seconds of all trials from those of a few heads' epochs, between which it interpolates."""
    units = [each["head_units"] for each in timed]
    epoch = [statistics.fmean(each["seconds"]) for each in timed]
    return epochs * float(sum(np.interp(int(row["head_units"]), units, epoch) for row in rows))


def _plain_bound(ours: dict[str, list[Watched]]) -> str:
    shares = {
        name: statistics.median(one.trained / one.seconds for one in each)
        for name, each in ours.items()
    }
    return (
        f"the trials' own training, {shares['article']:.0%} of our time with augmentation and "
        f"{shares['none']:.0%} without; the rest is start-up and one pass of the frozen part a view"
    )


def workers(values: flags.FlagValues) -> None:
    """Runs the same search in one process and by two workers, and the chief alone."""
    fill(values)
    seen: dict[int, list[Watched]] = {1: [], 2: []}

    def speed(count: int) -> float:
        seen[count].append(search(values, f"--workers={count}", every=0.05))
        return seen[count][-1].images_per_second

    speeds = harness.alternate({str(n): lambda n=n: speed(n) for n in seen}, values.rounds)
    done = article_race.run(["benchmarks.search_chief", f"--trials={values.chief_trials}"])
    chief = json.loads(done.stdout.splitlines()[-1])["milliseconds"]
    seconds = {count: [one.seconds for one in each] for count, each in seen.items()}
    gained = harness.ratios(speeds["2"], speeds["1"])
    claim = "two workers' speed over one's"
    trial = statistics.median(one.trained / len(one.rows) for one in seen[1])
    late = list(chief)[-1]
    harness.report(
        "search --part=workers",
        figures={
            **{f"--workers={n}, images/s": harness.spread(speeds[str(n)]) for n in seen},
            **{f"--workers={n}, seconds": harness.spread(each) for n, each in seconds.items()},
            "chief's milliseconds a trial": chief,
        },
        ratios={"whole command": harness.ratios(seconds[1], seconds[2])},
        targets={claim: (1.0, gained["median"])},
        spreads={claim: gained},
        bound=f"the cores, which one process' arithmetic has to itself; a trial trains for "
        f"{trial:.3g} s in one process, and costs {chief[late]['trial']:.3g} ms at the chief "
        f"({late})",
        packages=("keras-tuner", "grpcio"),
        trials=values.trials,
        epochs=values.epochs,
        dataset=values.dataset,
    )


def memory(values: flags.FlagValues) -> None:
    """Reads the memory of a search of many tiny trials."""
    fill(values)
    seen = [search(values, every=0.2) for _ in range(values.rounds)]
    parts = phases(values.trials)
    peaks = {part: [peak(one.samples, *part) / 1024 for one in seen] for part in parts}
    growths = [growth(one.samples, parts[0][1], values.trials) for one in seen]
    early, late = parts[1:]
    held = harness.ratios(peaks[early], peaks[late])
    claim = (
        f"memory of trials {late[0]} to {late[1]} over that of {early[0]} to {early[1]}, reciprocal"
    )
    harness.report(
        "search --part=memory",
        figures={
            **{f"trials {a} to {b}, MiB": harness.spread(each) for (a, b), each in peaks.items()},
            "whole command, MiB": harness.spread(
                [max(sample.resident for sample in one.samples) / 1024 for one in seen]
            ),
            "growth, KiB a trial": harness.spread(growths),
            "seconds": harness.spread([one.seconds for one in seen]),
        },
        targets={claim: (0.95, held["median"])},
        spreads={claim: held},
        bound=f"what TensorFlow takes; a further trial adds {statistics.median(growths):.3g} KiB",
        packages=("keras-tuner",),
        trials=values.trials,
        epochs=values.epochs,
        dataset=values.dataset,
    )


def phases(trials: int) -> list[tuple[int, int]]:
    """First and last trial of the first tenth, what follows up to the half, and the other half."""
    tenth, half = trials // 10, trials // 2
    return [(1, tenth), (tenth + 1, half), (half + 1, trials)]


def peak(samples: Sequence[Sample], first: int, last: int) -> int:
    """KiB held at most while trials `first` to `last`, counted from 1, were under way."""
    return max(one.resident for one in samples if one.begun and first - 1 <= one.ended < last)


def growth(samples: Sequence[Sample], after: int, trials: int) -> float:
    """KiB that a trial adds, by least squares over the trials behind the first few."""
    seen = [(one.ended, one.resident) for one in samples if after <= one.ended < trials]
    return float(np.polyfit(*zip(*seen, strict=True), 1)[0])


def main(argv: list[str]) -> None:
    """Flags -> one part."""
    values = flags.FLAGS
    for name, usual in zip(("trials", "epochs", "rounds"), _USUAL[values.part], strict=True):
        if values[name].value is None:
            values[name].value = usual
    if values.part == "memory" and values.trials < 10:
        raise app.UsageError(f"--trials={values.trials} says nothing of memory. Give 10 or more.")
    {"plain": plain, "workers": workers, "memory": memory}[values.part](values)


if __name__ == "__main__":
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    flags.DEFINE_enum("part", None, list(_USUAL), "What is measured.", required=True)
    flags.DEFINE_string("data_dir", "", "As in trainer.main.")
    flags.DEFINE_string("cache_dir", "", "As in trainer.main.")
    flags.DEFINE_string("dataset", "article", "As in trainer.main.")
    flags.DEFINE_integer("classes", 4, "2, 3 or 4.")
    flags.DEFINE_integer("image_size", 150, "Pixels of a side.")
    flags.DEFINE_string("weights", "imagenet", "As in trainer.main.")
    flags.DEFINE_integer("seed", 1, "Of the trials and their training.")
    for number, name in enumerate(("trials", "epochs", "rounds")):
        text = ", ".join(f"{each[number]} in {part}" for part, each in _USUAL.items())
        flags.DEFINE_integer(name, None, f"Default: {text}.", lower_bound=1)
    flags.DEFINE_integer("peer_epochs", 2, "Epochs of the plain way that are timed.", lower_bound=1)
    flags.DEFINE_integer("chief_trials", 300, "Trials that the chief alone serves.", lower_bound=1)
    app.run(main)
