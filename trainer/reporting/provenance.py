"""What a run was made of, in words: data, network, time, command, versions, model card."""

import collections
import os
import shlex
import statistics
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from trainer.config import Config
from trainer.evaluation.drawing import title_of
from trainer.evaluation.metrics import shown_split
from trainer.reporting.results import Results
from trainer.run.text import counted, listed, number, score

_REASONS = 12  # that are listed; the rest is one line
_PARTS = {
    "opening": "opening the dataset, decoding and aligning images that were not cached",
    "frozen_part": "computing what is frozen, where it was not cached",
    "training": "training",
    "scoring": "scoring the images",
    "numbers": "shortcut baselines, scores, intervals",
    "pictures": "plots and heatmaps",
}


class Row(NamedTuple):
    """A line of the flow of images."""

    name: str
    n: int | str
    total: bool = False


class Used(NamedTuple):
    """A split as the run read it."""

    name: str
    images: int
    patients: int
    groups: int
    by_class: Sequence[int]


def of(run: Results) -> dict[str, Any]:
    """What the report's template shows of it.

    Args:
        run: A finished one, or one that is about to be.
    """
    names = run.origin["dataset"]["class_names"]
    used = list(_used(run.used, names))
    return repeating(run.origin) | {
        "facts": list(_facts(run)),
        "class_names": names,
        "flow": list(_flow(run.origin["dataset"].get("images"), used)),
        "used": used,
        "times": list(_times(run.times)),
        "throughput": list(_throughput(run.history)),
        "card": list(_card(run)),
    }


def repeating(origin: Mapping[str, Any]) -> dict[str, Any]:
    """What is needed to repeat a run, for the templates.

    Args:
        origin: What config.json holds.
    """
    return {
        "command": _command(origin["command"]),
        "program": "trainer.main",
        "settings": origin["config"].items(),
        "versions": list(_versions(origin)),
    }


def _used(columns: Mapping[str, Sequence[str]], names: Sequence[str]) -> Iterator[Used]:
    for split in dict.fromkeys(("train", "validation", "test", *columns["split"])):
        rows = [i for i, each in enumerate(columns["split"]) if each == split]
        labels = collections.Counter(columns["label"][i] for i in rows)
        patients, groups = (len({columns[key][i] for i in rows}) for key in ("patient", "group"))
        if rows:
            yield Used(split, len(rows), patients, groups, [labels[name] for name in names])


def _flow(images: Mapping[str, Any] | None, used: Sequence[Used]) -> Iterator[Row]:
    """From what the build of the dataset found to what the run read.

    Args:
        images: Of `Dataset.counts`; None of a run of an earlier revision, which did not keep it.
        used: What the run read.
    """
    read = {each.name: each.images for each in used}
    if images is not None:
        stored = images["stored"]
        if images["left_out"] is not None:
            yield from _left_out(images["left_out"], sum(stored.values()))
        yield Row("in the dataset", sum(stored.values()), total=True)
        for split, n in stored.items():
            if split not in read:
                yield Row(f"not opened: {split}", n)
        if other := sum(stored[split] - n for split, n in read.items()):
            yield Row("of classes that the run does not have", other)
    else:
        yield Row("found, and left out: not in this run's folder", "-")
    yield Row("read by the run", sum(read.values()), total=True)


def _left_out(reasons: Mapping[str, int], stored: int) -> Iterator[Row]:
    """What the build found, and what it did not store."""
    out = sum(reasons.values())
    yield Row("found by the build of the dataset", stored + out, total=True)
    listed_first = collections.Counter(reasons).most_common()
    for reason, n in listed_first[:_REASONS]:
        yield Row(f"left out: {reason}", n)
    if rest := listed_first[_REASONS:]:
        yield Row(f"left out: {counted(len(rest), 'other reason')}", sum(n for _, n in rest))


def _facts(run: Results) -> Iterator[tuple[str, str]]:
    config, origin, metrics = Config.from_json(run.origin["config"]), run.origin, run.metrics
    data = metrics["dataset"]
    yield "dataset", f"{title_of(data)}, fingerprint {data['fingerprint'][:12]}"
    counts = ", ".join(f"{name} {n}" for name, n in data["train_classes"].items())
    images, groups = data["train_images"], data["train_groups"]
    yield (
        "trained on",
        f"{counted(images, 'image')} of {counted(groups, 'patient group')}: {counts}",
    )
    yield "network", f"VGG16 of width {config.width:g}, {_head(config)}"
    yield "starts from", origin["weights"]["source"]
    yield "images", f"squares of {config.image_size} pixels, {_alignment(config, metrics)}"
    views = (
        f"{counted(config.views, 'view')} an image" if config.views else "new views in each epoch"
    )
    drawn = config.augmentation != "none"
    yield "augmentation", f"{config.augmentation}, {views}" if drawn else "none"
    yield "phases", "; ".join(_phases(config))
    best = f"{metrics['best_epoch']} of {metrics['epochs']}, chosen on validation"
    yield "best epoch", best
    yield "precision", f"{origin['precision']} while training; the saved network is float32"


def _head(config: Config) -> str:
    several = f", ensemble of {config.ensemble}" if config.ensemble > 1 else ""
    units = counted(config.head_units, "unit")
    return f"{config.pooling} and a head of {units}, dropout {config.dropout:g}{several}"


def _alignment(config: Config, metrics: Mapping[str, Any]) -> str:
    if "alignment" not in metrics:
        return "not aligned"
    of_images = metrics["alignment"]
    return (
        f"aligned by the {config.align} ({of_images['at_bounds']:,} of {of_images['images']:,} at "
        f"the bounds of the pose, {of_images['weak']:,} with a weak correlation)"
    )


def _phases(config: Config) -> Iterator[str]:
    for phase in config.phases:
        what = f"from {phase.first_block} on" if phase.first_block else "the head"
        epochs = counted(len(phase.epochs), "epoch")
        rate = f"learning rate {phase.learning_rate:g}"
        if phase.head_factor != 1:
            rate += f", of the head {phase.head_factor * phase.learning_rate:g}"
        if phase.warmup is not None:
            rate += f", warm-up of {counted(phase.warmup, 'step')} and half a cosine"
        yield f"{what}, {epochs}, {config.optimizer}, {rate}"


def _times(seconds: Mapping[str, float] | None) -> Iterator[tuple[str, float, float]]:
    """Parts of a run, their seconds and shares."""
    total = sum((seconds or {}).values()) or 1
    for key, value in (seconds or {}).items():
        yield _PARTS[key], value, value / total


def _throughput(history: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    phases = dict.fromkeys(row["phase"] for row in history)
    for phase in phases:
        rows = [row for row in history if row["phase"] == phase]
        rates = [row["images_per_second"] for row in rows if row.get("images_per_second")]
        waits = [row["input_wait"] for row in rows if row.get("input_wait") is not None]
        if rates and waits:
            yield (
                f"{phase}: {statistics.median(rates):,.0f} images/s, the median of "
                f"{counted(len(rates), 'epoch')}; the device waited for input "
                f"{statistics.median(waits):.0%} of the time."
            )
            continue
        yield f"{phase}: no clock was read (--deterministic)."


def _command(words: Sequence[str]) -> str:
    """What was typed; of a command of this package, as one types it."""
    path, *rest = words
    folder, name = os.path.split(path)
    package = os.path.basename(folder)
    if package in ("trainer", "tuning") and name.endswith(".py"):
        path = f"python -m {package}.{name.removesuffix('.py')}"
        return " ".join([path, *map(shlex.quote, rest)])
    return shlex.join(words)


def _versions(origin: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    for name, version in origin["packages"].items():
        yield name, version or "unknown"
    yield "git revision", origin["git_revision"] or "unknown"
    yield "digest of the weights (SHA-256)", origin["weights"]["sha256"] or "none"
    yield "fingerprint of the images and labels that were read", origin["dataset"]["fingerprint"]


def _card(run: Results) -> Iterator[tuple[str, str]]:
    metrics = run.metrics
    data, names = metrics["dataset"], run.origin["dataset"]["class_names"]
    shown = shown_split(metrics)
    scores = metrics["splits"][shown]
    yield "model", "model.keras: images of any size, 0 to 255, to the probabilities of classes"
    yield "classes", listed(names)
    yield (
        "intended use",
        "Research on methods: comparing networks, finding out what they go by, teaching.",
    )
    yield (
        "not for",
        "Diagnosis, triage, or any decision about a patient. It gives one of its classes to "
        "whatever image it gets, and knows no other disease and no other kind of image.",
    )
    yield "data", f"{title_of(data)}; the license of each image is in its ATTRIBUTION.csv"
    measured = score(scores["balanced_accuracy"], scores["n"], scores["groups"])
    yield "measured", f"balanced accuracy on {shown} {measured}"
    yield (
        "not measured",
        "Images of other hospitals, other devices and other times; children and adults apart; "
        "any group of patients by itself.",
    )
    yield (
        "probabilities",
        f"Not calibrated: expected calibration error {number(scores['calibration']['ece'])} on "
        f"{shown}, n = {counted(scores['n'], 'image')}, without an interval. They "
        + (
            "hold for classes that are equally frequent, since --class_weights=balanced."
            if run.origin["config"]["class_weights"] == "balanced"
            else "hold for the shares of classes in the train images."
        ),
    )
    if data["synthetic"]:
        yield "limits", "Trained on drawn images: its answers to X-rays mean nothing."
    elif metrics["confounding"]["confounded"]:
        yield (
            "limits",
            "Class and source go together in train, so that it may recognize the source of an "
            "image and not the disease. See the control and the shortcut baselines above.",
        )
