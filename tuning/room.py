"""What a search takes on the disk of its folder, known from its space before a trial begins."""

import itertools

from trainer.config import Config
from trainer.run import machine
from trainer.run.text import counted
from trainer.training import memory, room
from tuning import samplers
from tuning.settings import Spec
from tuning.space import Space

# What a network's size follows from.
_OF_NETWORK = ("head_units", "image_size", "pooling", "fine_tune_from")
_TRIAL = 64 * 2**10  # curves and its line in the log
_REST = 5 * 2**20  # tables, and the predictions of trials that were the best


def require_for_search(search: Spec, *, retrain_best: bool, at_once: int = 1) -> None:
    """Refuses a search that its disk or the memory has no room for.

    Args:
        search: A new one; what is in its folder will be removed.
        retrain_best: Whether a run of the best values follows, in its folder.
        at_once: How many folds of the closing comparison are trained at a time.

    Raises:
        RunError: The message has the numbers.
    """
    root, settings = search.folder.root, search.settings
    config = _largest(search.space)
    memory.require_parameters(config)
    networks = settings.keep_best and settings.keep_best + 1  # one more before the worst goes
    folds = min(at_once, settings.final_folds)
    later = {  # one after the other: the states of the comparison are removed at its end
        f"the closing comparison, {counted(folds, 'fold')} at a time": (
            folds * room.fold_bytes(config)
        ),
        "the run of the best values": room.run_bytes(config) if retrain_best else 0,
    }
    largest = max(later, key=later.__getitem__)
    trials = settings.max_trials or samplers.most_trials(settings.tuner, search.space)
    needs = {
        counted(trials, "trial"): trials * _TRIAL + _REST,
        counted(settings.keep_best, "kept network"): networks * room.network_bytes(config),
        largest: later[largest],
    }
    there = sum(path.lstat().st_size for path in root.rglob("*") if path.is_file())
    what = ", ".join(f"{name} ({machine.size(count)})" for name, count in needs.items() if count)
    machine.require_room(root, sum(needs.values()) - there, what)


def _largest(space: Space) -> Config:
    """Of the configs of a space, the one whose run takes most."""
    names = [each.name for each in space.parameters if each.name in _OF_NETWORK]
    ends = [each.ends for each in space.parameters if each.name in _OF_NETWORK]
    configs = (
        space.config(dict(zip(names, values, strict=True))) for values in itertools.product(*ends)
    )
    return max(configs, key=room.run_bytes)
