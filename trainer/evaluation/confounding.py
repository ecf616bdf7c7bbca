"""Whether the source of an image gives its class away: Cramer's V of class and source."""

import math
from collections.abc import Sequence

import numpy as np
from scipy.stats.contingency import association, crosstab

# Cramer's V from which class and source count as confounded. In the plainest case (two classes, two
# sources, all four margins equal) guessing the class from the source alone is right in (1 + V) / 2
# of the images: at .3 that is 65 % without a look at the image, 15 points above chance, and more
# than what separates the published systems. It is also the customary border of a "medium"
# association (Cohen 1988, w = .3).
CONFOUNDED_FROM = 0.3


def confounding(
    labels: Sequence[int] | np.ndarray, sources: Sequence[str], class_names: Sequence[str]
) -> dict:
    """Measures how far the source gives the class away, ready for JSON.

    Args:
        labels: int [n], 0..classes-1.
        sources: n names of where the images come from.
        class_names: One name per class.

    Returns:
        `table` {class: {source: images}}; `cramers_v`, 0..1: towards 1 where the class determines
        the source, 0 where they are independent and where there is one class or one source only;
        corrected for the bias that few images and many sources bring (W. Bergsma, "A
        bias-correction for Cramer's V and Tschuprow's T", 2013), images taken as independent;
        `confounded`, True where V reaches `CONFOUNDED_FROM` or a whole class shares none of its
        sources with another class.

    Raises:
        ValueError: There is no label, lengths differ, or a label has no name.
    """
    if len(labels) != len(sources) or len(labels) == 0:
        raise ValueError(
            f"{len(labels)} labels and {len(sources)} sources. Pass one source per label, not none."
        )
    (classes, names), table = crosstab(np.asarray(labels), np.asarray(sources, dtype=str))
    if classes[0] < 0 or classes[-1] >= len(class_names):
        raise ValueError(
            f"Labels {classes.tolist()} do not fit the class names {list(class_names)}. "
            "Pass one name per label, in the labels' order."
        )
    defined = min(table.shape) > 1  # a table of one row or one column has no V
    v = _corrected(table) if defined else 0.0
    # One class with a source to itself makes V at least 1 / sqrt(min(classes, sources) - 1), which
    # is under .3 from 13 classes and sources on, however surely that class is given away.
    shared = table[:, (table > 0).sum(axis=0) > 1].sum(axis=1)
    alone = defined and bool((shared == 0).any())
    rows = dict(zip(classes.tolist(), table.tolist(), strict=True))
    return {
        "table": {
            name: dict(zip(names.tolist(), rows.get(c, [0] * len(names)), strict=True))
            for c, name in enumerate(class_names)
        },
        "cramers_v": v,
        "confounded": v >= CONFOUNDED_FROM or alone,
    }


def _corrected(table: np.ndarray) -> float:
    """Cramer's V of a table of counts, int [2 or more, 2 or more], corrected for bias."""
    free = table.sum() - 1
    rows, columns = table.shape
    squared = (min(rows, columns) - 1) * float(association(table, method="cramer")) ** 2
    squared = max(0.0, squared - (rows - 1) * (columns - 1) / free)
    largest = min(each - 1 - (each - 1) ** 2 / free for each in (rows, columns))
    return min(1.0, math.sqrt(squared / largest)) if squared else 0.0
