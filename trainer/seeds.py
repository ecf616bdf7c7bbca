"""A run several times, each with the next seed: how far its score depends on chance in training."""

import contextlib
import dataclasses
import json
import pathlib
from collections.abc import Mapping
from typing import Any

import keras

from trainer.config import Config
from trainer.evaluation import metrics, predictions, summary
from trainer.run import command, files, run_dir
from trainer.run.manifest import GROWING, REPORT, Identity
from trainer.run.run_folder import RunFolder
from trainer.run.saved_state import SEED, of_seed
from trainer.train import train_and_evaluate
from trainer.training import memory, room
from trainer.training.setup import set_up

SPLITS = ("validation", "test")


@command.deferred()
def train_seeds(
    config: Config, count: int, folder: RunFolder, *, overwrite: bool, **origin: Any
) -> dict[str, Any]:
    """Trains and evaluates with several seeds, each in a folder below, and prints one table.

    Runs that have ended are not trained again, and one that was under way goes on. Where they ended
    with `--notest`, all of them are scored on test when the config scores it.

    Args:
        config: Of the first seed; the others differ from it in the seed alone.
        count: Of seeds, from 2.
        folder: Of `run_dir.create`, for all of them.
        overwrite: Whether runs in the folders below are replaced.
        origin: What else their config.json is to hold.

    Returns:
        What seeds.json holds: `dataset` (`name`, `synthetic`), `seeds`, `best_epochs`, and in
        `splits` of each scored one of `SPLITS` the `balanced_accuracy` (`mean`, `sd` and by seed
        `values`, `low` and `high`), `n`, `groups` and `pooled`, the `metrics.score` of all seeds,
        whose values are means over them and whose intervals are over patient groups; of validation
        the same of its re-framed images, `stressed` (`pooled` is a `metrics.stressed_score`).

    Raises:
        RunError: As for `train.train_and_evaluate`.
    """
    paths = {seed: of_seed(folder.path, seed) for seed in seeds_of(config, count)}
    left = [path for path in paths.values() if overwrite or not (path / "metrics.json").exists()]
    there = [path for path in folder.path.glob(SEED) if path.is_dir()] if overwrite else []
    for path in there:  # which `begin` clears
        with run_dir.held(path, "run_dir"):
            pass
    memory.require_parameters(config)
    room.require_for_runs(config, folder.path, len(left), replaced=there)
    results, begun, first = [], False, folder.origin  # with which the others have to agree
    for seed, path in paths.items():
        each = dataclasses.replace(config, seed=seed)
        identity = Identity("trainer.main", each.to_json(), GROWING)
        with run_dir.create(path, "", identity, overwrite=overwrite) as run:
            print(f"\nSeed {seed}: {path}", flush=True)
            if not run_dir.nothing_left(run, within=True):
                setup = set_up(each, stressed=True, began=run.origin or first, **origin)
                first = first or setup.origin
                with contextlib.closing(setup.opened):
                    if not begun:
                        folder.begin(_of_all(setup.origin, config))
                        begun = True
                    train_and_evaluate(each, run, setup=setup)
                keras.utils.clear_session()
            results.append(json.loads((path / "metrics.json").read_text(encoding="utf-8")))
    if not begun:  # all runs had ended, and the table was not written
        origin = json.loads((path / "config.json").read_text(encoding="utf-8"))
        folder.begin(_of_all(origin, config))
    result = table_of(list(paths), results)
    _pool(result["splits"], list(paths.values()))
    (folder.path / REPORT).unlink(missing_ok=True)  # of fewer seeds, or without test
    files.write_json(folder.path / "seeds.json", result)
    folder.finish()
    print(summary.seeds_summary(result, metrics.of_seeds(result, results[0]), folder.path))
    return result


def _of_all(origin: Mapping[str, Any], config: Config) -> dict[str, Any]:
    """What config.json of all seeds holds: that of one of them, with the first one's seed."""
    return {**origin, "config": {**origin["config"], "seed": config.seed}}


def seeds_of(config: Config, count: int) -> list[int]:
    """The seeds, the config's and those after it."""
    return list(range(config.seed, config.seed + count))


def table_of(seeds: list[int], results: list[Mapping[str, Any]]) -> dict[str, Any]:
    """What seeds.json holds, but for `pooled`; see `train_seeds`.

    Args:
        seeds: Of the runs.
        results: The metrics.json of each.
    """
    splits = {}
    for name in [each for each in SPLITS if each in results[0]["splits"]]:
        splits[name] = _over_seeds([each["splits"][name] for each in results])
    stressed = [each["splits"]["validation"]["stressed"] for each in results]
    splits["validation"]["stressed"] = _over_seeds(stressed)
    data = {name: results[0]["dataset"][name] for name in ("name", "synthetic")}
    best = [each["best_epoch"] for each in results]
    return {"dataset": data, "seeds": seeds, "best_epochs": best, "splits": splits}


def _pool(splits: Mapping[str, dict[str, Any]], folders: list[pathlib.Path]) -> None:
    """Adds to each split of `table_of` the numbers of all seeds together, `pooled`."""
    tables = [predictions.read(folder / "predictions.csv") for folder in folders]
    for name, of_split in splits.items():
        together = predictions.repeated([table.of_split(name) for table in tables])
        of_split["pooled"] = metrics.score(together)
    stressed = predictions.repeated(
        [predictions.read(folder / "stressed.csv") for folder in folders]
    )
    splits["validation"]["stressed"]["pooled"] = metrics.stressed_score(stressed)


def _over_seeds(scores: list[Mapping[str, Any]]) -> dict[str, Any]:
    """The same images scored with each seed."""
    by_seed = metrics.in_columns([each["balanced_accuracy"] for each in scores])
    return {
        "balanced_accuracy": {**metrics.mean_and_sd(by_seed["values"]), **by_seed},
        "n": scores[0]["n"],
        "groups": scores[0]["groups"],
    }
