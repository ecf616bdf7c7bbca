"""What has to be known with every answer of a network: sentences, and its scores in short.

The summary prints these sentences, `model.keras` carries them, and whatever gives an answer of the
network gives them with it.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from trainer.evaluation.metrics import shown_split
from trainer.run.text import counted, estimate, listed, number

UNKNOWN = (
    "UNKNOWN: nothing is known of how well this network does: its file has no scores, and there is "
    "no run folder beside it."
)
_SYNTHETIC = (
    "SYNTHETIC: the network was trained on drawn images. What it makes of an X-ray means nothing."
)
_PLANTED = (
    "PLANTED SHORTCUT: in these synthetic images a marker in the corner goes with the class, "
    "which is all that a network has to see."
)
_SEES = {"lungs_masked": "cannot see", "full_image": "hardly sees"}


def notes_of(metrics: Mapping[str, Any]) -> tuple[str, ...]:
    """All sentences that go with an answer of a run's network.

    Args:
        metrics: Of `metrics.run_metrics`.
    """
    synthetic = [_SYNTHETIC] if metrics["dataset"]["synthetic"] else []
    return (*synthetic, *warnings_of(metrics))


def in_short(notes: Iterable[str]) -> str:
    """The first words of sentences of `notes_of`, for a cell of a table."""
    return "; ".join(note.partition(":")[0] for note in notes)


def warnings_of(metrics: Mapping[str, Any]) -> Iterator[str]:
    """Sentences on what makes the scores of a run less than they look.

    Args:
        metrics: Of `metrics.run_metrics`.
    """
    for split, each in metrics["splits"].items():
        yield from against_baseline(each["balanced_accuracy"], each["shortcut_baseline"], split)
    yield from warnings_of_images(metrics["dataset"], metrics["confounding"])
    if shared := leaking(metrics):
        torn = set().union(*shared.values())
        scored = listed([split for split in metrics["splits"] if split in torn])
        yield (
            f"LEAK: the dataset was published with {counted(len(shared), 'patient group')} of "
            f"{scored} in a split that the network was trained or chosen on, too. The scores are "
            "too high."
        )


def warnings_of_images(dataset: Mapping[str, Any], confounding: Mapping[str, Any]) -> Iterator[str]:
    """Sentences on what makes scores less than they look, whatever the network.

    Args:
        dataset: As in `metrics.run_metrics`: `planted_shortcut`, `images_without_patient`.
        confounding: Of the images that were trained on; see `confounding.confounding`.
    """
    if dataset["planted_shortcut"]:
        yield _PLANTED
    if confounding["confounded"]:
        yield (
            "CONFOUNDED: in train, class and source go together (Cramer's V "
            f"{confounding['cramers_v']:.2f}). A network may recognize the source "
            "instead of the disease: compare with the shortcut baselines."
        )
    if unknown := dataset.get("images_without_patient"):  # none in earlier runs
        yield (
            f"PATIENTS UNKNOWN: {counted(unknown, 'image')} of the dataset name no patient and "
            "count as one each. A person's images may be both in what is trained on and in what is "
            "scored, which makes scores too high, and intervals too narrow."
        )


def leaking(metrics: Mapping[str, Any]) -> dict[str, Sequence[str]]:
    """The splits of each patient group that makes a score of these too high, by its name.

    Args:
        metrics: Of `metrics.run_metrics`, or of folds, which no group is torn between.
    """
    shared = metrics["dataset"].get("groups_in_more_than_one_split", {})
    return {group: splits for group, splits in shared.items()
            if any(_chosen_on(splits, scored) for scored in metrics["splits"])}  # fmt: skip


def _chosen_on(splits: Sequence[str], scored: str) -> bool:
    """Whether a group of some splits is scored in one, and trained or chosen on in another."""
    return scored in splits and bool({"train", "validation"} & {*splits} - {scored})


def against_baseline(
    network: Mapping[str, Any], shortcuts: Mapping[str, Mapping[str, Any]], where: str = ""
) -> Iterator[str]:
    """A sentence if a network is not clearly above a shortcut baseline.

    A baseline that is reached goes before one that is within the interval alone, and that without
    lungs before the other.

    Args:
        network: Its balanced accuracy, an estimate with "value", and with its limits where they are
            known.
        shortcuts: By name, each with its `balanced_accuracy` on the same images.
        where: The images, for the sentence, if it does not stand below their name.
    """
    for limit, words in (("value", "NOT ABOVE"), ("low", "NOT CLEARLY ABOVE")):
        for key, sees in _SEES.items():
            baseline = shortcuts[key]["balanced_accuracy"]["value"]
            if network.get(limit, network["value"]) <= baseline:
                reached = number(network["value"])
                if limit == "low" and network.get("groups") != 1:
                    reached = estimate(network)
                yield (
                    f"{words} THE SHORTCUT BASELINE{where and f' on {where}'}: balanced accuracy "
                    f"{reached} against {number(baseline)} for a linear model that {sees} the "
                    "lungs."
                )
                return


def scores_of(metrics: Mapping[str, Any]) -> dict[str, Any]:
    """The scores that go with a network, of test where it was opened, else of validation.

    Args:
        metrics: Of `metrics.run_metrics`.

    Returns:
        `split`, `n` (images), `groups`, `balanced_accuracy` E, `shortcut_baseline` E (the higher
        one of the two) and `classes` {name: `sensitivity` E, `specificity` E}, E as in
        `metrics.score`.
    """
    split = shown_split(metrics)
    scores = metrics["splits"][split]
    baselines = [each["balanced_accuracy"] for each in scores["shortcut_baseline"].values()]
    return {
        "split": split,
        **{name: scores[name] for name in ("n", "groups", "balanced_accuracy")},
        "shortcut_baseline": max(baselines, key=lambda each: each["value"]),
        "classes": {
            name: {key: each[key] for key in ("sensitivity", "specificity")}
            for name, each in scores["classes"].items()
        },
    }
