"""The search of settings: against its peers, over workers, without training, and in memory.

`python -m benchmarks.search --part=plain --data_dir=DIR` (config `article` built there) times the
whole command, from an empty cache, against two peers that run the same trials: Keras' own way,
which computes the frozen part in every epoch, and what a careful user of Keras and KerasTuner
writes, which computes it once; see `benchmarks.search_peers`. `--part=workers` runs the same search
in one process, without Ray, and with two workers. `--part=overhead` runs trials that train nothing
on eight workers, see `benchmarks.search_overhead`. `--part=memory` reads how much a search holds
while its trials end, within the life of one process: the command replaces its process when its
memory has climbed.
"""

import os
import statistics
from collections.abc import Sequence
from typing import Any

import numpy as np
from absl import flags

from benchmarks import harness, search_overhead, search_peers, search_watch
from benchmarks.search_watch import Sample, Watched, fill, search
from trainer.run.errors import ConfigError

# By part: trials, epochs, rounds.
_USUAL = {
    "plain": (20, 100, 1),
    "workers": (12, 40, 3),
    "overhead": (1000, 1, 1),
    "memory": (200, 2, 1),
}
_WORKERS = (1, 2)
_A_TRIAL = 4  # MiB that a trial may add: TensorFlow holds some 2 of each function, a trial traces 2
_REOPENED = 5.0  # seconds within which a search has to open again


def plain(values: flags.FlagValues) -> None:
    """Times the whole command and both peers, with augmentation and without."""
    from trainer.input_pipeline import dataset as dataset_lib

    dataset = dataset_lib.open_dataset(values.dataset, values.data_dir, values.classes)
    raced = search_peers.race(values, dataset)
    seconds = raced.seconds
    ratios = {
        f"{peer} over ours, {our}": harness.ratios(seconds[peer], seconds[f"ours, {our}"])
        for our, peer in (
            ("article", "plain, article"), ("none", "plain, none"), ("none", "plain, article"),
            ("article", "cached, article"), ("none", "cached, none"),
        )
    }  # fmt: skip
    augmented, without, _, cached_augmented, cached_without = ratios.values()
    size, views = f"{values.trials} trials x {values.epochs} epochs", search_peers.VIEWS["article"]
    claims = {
        f"{size}: times as fast as the plain way": (100.0, augmented),
        "without augmentation, the default: times as fast as the plain way without": (
            100.0, without),
        f"{views} views: times as fast as Keras and KerasTuner on cached activations": (
            1.0, cached_augmented),
        "without augmentation: times as fast as Keras and KerasTuner on cached activations": (
            1.0, cached_without),
    }  # fmt: skip
    harness.report(
        "search --part=plain",
        figures={f"{name}, seconds": harness.spread(each) for name, each in seconds.items()}
        | _saving(raced.cached),
        ratios=ratios,
        targets={claim: (target, each["median"]) for claim, (target, each) in claims.items()},
        spreads={claim: each for claim, (_, each) in claims.items()},
        bound=_plain_bound(raced.ours),
        packages=("keras-tuner", "scipy"),
        expected="little above 1 against cached activations: there both sides train the same heads "
        "on the same rows",
        peer=f"plain: {values.peer_epochs} epochs of"
        f" {len(search_peers.three(raced.ours['none'][0].rows))} heads, each behind a batch that"
        f" compiles, scaled to {values.trials} trials of {values.epochs} epochs; its start and"
        " compiling are not counted, those of ours are. cached: the whole command, all epochs of"
        " all trials, KerasTuner's file of each trial's best weights among them",
        policies={name: lines[0]["policy"] for name, lines in raced.cached.items()},
        images={split: len(dataset.splits[split].labels) for split in search_peers.SPLITS},
        trials=values.trials,
        epochs=values.epochs,
        dataset=values.dataset,
    )


def _saving(cached: dict[str, list[dict[str, Any]]]) -> dict[str, Any]:
    """Of the peer that caches, the seconds in files of weights, which our default does not keep."""
    return {
        f"cached, {name}, of them in files of weights": harness.spread(
            [line["seconds"]["saving"] for line in lines]
        )
        for name, lines in cached.items()
    }


def _plain_bound(ours: dict[str, list[Watched]]) -> str:
    shares = {
        name: statistics.median(one.trained / one.seconds for one in each)
        for name, each in ours.items()
    }
    return (
        f"the trials' own training, {shares['article']:.0%} of our time with augmentation and "
        f"{shares['none']:.0%} without; the rest is start-up and one pass of the frozen part a "
        "view. Cached activations leave a peer nothing but that training, so that little above 1 "
        "is what can be expected there"
    )


def workers(values: flags.FlagValues) -> None:
    """Runs the same search in one process and by two workers."""
    fill(values)
    seen: dict[int, list[Watched]] = {count: [] for count in _WORKERS}

    def seconds(count: int) -> float:
        seen[count].append(search(values, f"--workers={count}", every=0.05))
        return seen[count][-1].seconds

    sides = {str(count): lambda count=count: seconds(count) for count in _WORKERS}
    whole = harness.alternate(sides, values.rounds)
    steady = {n: [one.images_per_second for one in each] for n, each in seen.items()}
    busy = {n: [search_watch.speed(one.spans, n) for one in each] for n, each in seen.items()}
    one, two = _WORKERS
    claims = {
        "two workers' speed over one's": harness.ratios(steady[two], steady[one]),
        "two workers' speed over one's, whole command": harness.ratios(whole["1"], whole["2"]),
    }
    trial = statistics.median(each.trained / len(each.rows) for each in seen[one])
    start = [run.seconds - run.trained / n for n, each in seen.items() for run in each if n == two]
    harness.report(
        "search --part=workers",
        figures={
            **{f"--workers={n}, seconds": harness.spread(each) for n, each in whole.items()},
            **{f"--workers={n}, images/s": harness.spread(each) for n, each in steady.items()},
            **{f"--workers={n}, images/s while all of them train": harness.spread(each)
               for n, each in busy.items()},
        },
        ratios={"while all of them train": harness.ratios(busy[two], busy[one])},
        targets={claim: (1.0, gained["median"]) for claim, gained in claims.items()},
        spreads=claims,
        bound=f"the cores, which one process' arithmetic has to itself; a trial trains for "
        f"{trial:.3g} s in one process, and {statistics.median(start):.3g} s of the command are no "
        "training of two workers: start-up, theirs too, and what one of them waits for at the end",
        packages=("keras-tuner", "ray"),
        trials=values.trials,
        epochs=values.epochs,
        dataset=values.dataset,
    )  # fmt: skip


def overhead(values: flags.FlagValues) -> None:
    """Runs trials that train nothing, and opens the search again."""
    rounds = [search_overhead.measure(values) for _ in range(values.rounds)]
    figures = {name: [each[name] for each in rounds] for name in rounds[0]}
    reopened = f"{_REOPENED:g} seconds over those in which a started process opens the search again"
    grown = "the driver's processor time for a trial of the first sixth over that of the last"
    spreads = {
        reopened: harness.spread([_REOPENED / each for each in figures["re-opened in, seconds"]]),
        grown: harness.ratios(
            figures["driver, processor's ms a trial of the first sixth"],
            figures["driver, processor's ms a trial of the last sixth"],
        ),
    }
    shown = {name: harness.spread(each) for name, each in figures.items()}
    late = shown["driver, processor's ms a trial of the last sixth"]["median"]
    harness.report(
        "search --part=overhead",
        figures=shown,
        targets={
            reopened: (1.0, spreads[reopened]["median"]),
            grown: (0.5, spreads[grown]["median"]),
        },
        spreads=spreads,
        bound=f"the driver, {late:.3g} ms of the processor a trial at the end: it proposes, writes "
        "the log to the disk and the trial's files, and sends the next task; the rest of the time "
        "goes to the disk, to Ray and to its workers, which share the cores",
        packages=("keras-tuner", "ray"),
        trials=values.trials,
        workers=search_overhead.WORKERS,
        tuner=values.tuner,
        dataset=values.dataset,
    )


def memory(values: flags.FlagValues) -> None:
    """Reads the memory of a search of many tiny trials."""
    fill(values)
    seen = [search(values, every=0.2) for _ in range(values.rounds)]
    growths = [growth(one.samples, 3 * values.trials // 20) for one in seen]
    claim = f"trials of one process that {_A_TRIAL} MiB hold"
    held = harness.spread([1024 * _A_TRIAL / max(each, 1.0) for each in growths])
    harness.report(
        "search --part=memory",
        figures={
            "whole command, MiB": harness.spread(
                [max(sample.resident for sample in one.samples) / 1024 for one in seen]
            ),
            "growth between two replacements, KiB a trial": harness.spread(growths),
            "replacements": harness.spread([len(lives(one.samples)) - 1 for one in seen]),
            "seconds": harness.spread([one.seconds for one in seen]),
        },
        targets={claim: (1.0, held["median"])},
        spreads={claim: held},
        bound=f"what TensorFlow takes: a further trial adds {statistics.median(growths):.3g} KiB "
        "to its process, which the command replaces before its memory has climbed too high. The "
        "growth is that within the life of one process, so that no replacement hides it",
        packages=("keras-tuner",),
        trials=values.trials,
        epochs=values.epochs,
        dataset=values.dataset,
    )


def lives(samples: Sequence[Sample]) -> list[list[Sample]]:
    """The samples of each process that the command was: a new one holds less than half at first."""
    split: list[list[Sample]] = []
    for sample in samples:
        if not split or (sample.begun and sample.resident < split[-1][-1].resident / 2):
            split.append([])
        split[-1].append(sample)
    if len(split) > 1 and not max(sample.resident for sample in split[-1]):
        split.pop()  # the command's end, as it was seen
    return split


def growth(samples: Sequence[Sample], after: int) -> float:
    """KiB that a trial adds, by least squares over the trials of the process that ran most.

    Args:
        samples: Of the whole command.
        after: Trials of that process at first that do not count.
    """
    life = max(lives(samples), key=lambda each: each[-1].ended - each[0].ended)
    seen = [(one.ended, one.resident) for one in life
            if after <= one.ended - life[0].ended and one.ended < life[-1].ended]  # fmt: skip
    return float(np.polyfit(*zip(*seen, strict=True), 1)[0])


def main(argv: list[str]) -> None:
    """Flags -> one part."""
    values = flags.FLAGS
    for name, usual in zip(("trials", "epochs", "rounds"), _USUAL[values.part], strict=True):
        if values[name].value is None:
            values[name].value = usual
    if values.part == "memory" and values.trials < 10:
        raise ConfigError(f"--trials={values.trials} says nothing of memory. Give 10 or more.")
    parts = {"plain": plain, "workers": workers, "overhead": overhead, "memory": memory}
    parts[values.part](values)


def define_flags(values: flags.FlagValues = flags.FLAGS) -> None:
    """Defines this command's flags."""
    given = {"flag_values": values}
    flags.DEFINE_enum("part", None, list(_USUAL), "What is measured.", required=True, **given)
    flags.DEFINE_string("data_dir", "", "As in trainer.main.", **given)
    flags.DEFINE_string("cache_dir", "", "As in trainer.main.", **given)
    flags.DEFINE_string("dataset", "article", "As in trainer.main.", **given)
    flags.DEFINE_integer("classes", 4, "2, 3 or 4.", **given)
    flags.DEFINE_integer("image_size", 150, "Pixels of a side.", **given)
    flags.DEFINE_string("weights", "imagenet", "As in trainer.main.", **given)
    flags.DEFINE_integer("seed", 1, "Of the trials and their training.", **given)
    for number, name in enumerate(("trials", "epochs", "rounds")):
        text = ", ".join(f"{each[number]} in {part}" for part, each in _USUAL.items())
        flags.DEFINE_integer(name, None, f"Default: {text}.", lower_bound=1, **given)
    flags.DEFINE_integer(
        "peer_epochs", 2, "Epochs of the plain way that are timed.", lower_bound=1, **given
    )
    flags.DEFINE_enum(
        "tuner", "random", ("random", "bayesian"), "What proposes in overhead.", **given
    )


if __name__ == "__main__":
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    define_flags()
    harness.run(main)
