"""Cohen's findings of any era -> a class, or the reason why they belong to none."""

from collections.abc import Iterable

from covid_tfds.errors import DatasetError
from covid_tfds.sources.wording import listed

_LABEL_OF = {
    "covid19": ("covid-19", "sars-cov-2"),
    "viral": ("sars", "mers", "mers-cov", "influenza", "h1n1", "varicella", "herpes"),
    "bacterial": ("streptococcus", "klebsiella", "legionella", "e.coli", "mycoplasma",
                  "mycoplasma bacterial pneumonia", "chlamydophila", "nocardia", "staphylococcus",
                  "mrsa", "bacterial"),
}  # fmt: skip
# No class of ours, or not sure enough to be one.
_NO_CLASS = {
    "no finding": "no finding, but half of these patients have COVID images",
    "ards": "ARDS without a cause", "pneumonia": "pneumonia of no stated cause",
    "viral": "pneumonia of no stated cause", "fungal": "fungal pneumonia",
    "pneumocystis": "fungal pneumonia", "aspergillosis": "fungal pneumonia",
    "lipoid": "lipoid pneumonia", "aspiration": "aspiration pneumonia",
    "tuberculosis": "tuberculosis", "interstitial": "interstitial disease",
    "organizing": "organising pneumonia", "organising": "organising pneumonia",
    "chronic eosinophilic": "eosinophilic pneumonia", "eosinophilic": "eosinophilic pneumonia",
    "hypersensitivity": "hypersensitivity pneumonitis", "round": "pneumonia of no stated cause",
    "allergic bronchopulmonary": "fungal pneumonia",
    "covid-19 suspected": "COVID-19 suspected only",
    "suspected covid-19": "COVID-19 suspected only",
    "todo": "finding still to be done upstream",
    "unknown": "finding unknown", "": "finding not stated",
}  # fmt: skip


def label_of(finding: str) -> tuple[str | None, str]:
    """Maps a finding of any era to a label.

    Args:
        finding: E.g. `COVID-19, ARDS` or `Pneumonia/Viral/COVID-19`.

    Returns:
        (label, "") or (None, why it belongs to no class).

    Raises:
        KeyError: A part of it is in no vocabulary.
    """
    parts = [part.strip() for part in finding.casefold().replace(", ards", "").split("/")]
    names = {name: label for label, all_names in _LABEL_OF.items() for name in all_names}
    for part in parts:
        if part not in names and part not in _NO_CLASS:
            raise KeyError(finding)
    leaf = parts[-1]  # a hierarchical finding gets more exact to the right
    return (names[leaf], "") if leaf in names else (None, _NO_CLASS[leaf])


def refuse_unknown(findings: Iterable[str]) -> None:
    """Raises a DatasetError that lists the findings which are in no vocabulary, if any."""
    unknown = []
    for finding in sorted(findings):
        try:
            label_of(finding)
        except KeyError:
            unknown.append(finding)
    if unknown:
        raise DatasetError(
            "metadata.csv has findings that are in no vocabulary: "
            f"{listed(map(repr, unknown))}. Add each to "
            "_LABEL_OF or _NO_CLASS in covid_tfds/sources/findings.py; guessing would mislabel "
            "images."
        )
