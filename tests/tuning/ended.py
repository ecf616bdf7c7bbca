"""A search whose trials have ended as if they had been trained: real but for their metrics."""

import itertools
import pathlib
from collections.abc import Sequence

from tests.tuning import asking
from tuning import oracles, results
from tuning.folder import Folder
from tuning.results import Row
from tuning.roles import Search

_METRICS = {"seconds": 2.0, "val_images": 17.0, "val_patients": 12.0}


def searched(
    root: pathlib.Path,
    scores: Sequence[float | None],
    *argv: str,
    losses: Sequence[float] = (),
    images: str = "fingerprint",
) -> tuple[Search, list[Row]]:
    """Ends one trial with each score (and loss; None: it fails), writes what a search writes."""
    space, settings = asking.asked(*argv)
    folder = Folder(root)
    folder.begin(asking.identity(*argv), overwrite=False)
    config = space.config({})
    oracle = oracles.make(settings, space, config.seed, config.epochs)
    oracle.keep(folder.state, space, 10, lambda _: None)
    oracle.saw(images)
    for score, loss in itertools.zip_longest(scores, losses, fillvalue=1.0):
        trial = oracle.create_trial("alone")
        if score is None:
            trial.status, trial.message = oracles.FAILED, "Out of memory"
        else:
            metrics = {**_METRICS, "val_loss": loss, settings.objective: score}
            oracle.update_trial(trial.trial_id, metrics)
            trial.status = oracles.COMPLETED
        oracle.end_trial(trial)
    rows = results.write(folder, oracle, space, settings, results.facts(root))
    return Search(folder, space, settings, timeout=60.0, attempts=10), rows
