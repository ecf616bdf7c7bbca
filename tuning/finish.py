"""The end of a search: leaderboard, pictures, the closing comparison."""

import dataclasses
from collections.abc import Sequence

from keras_tuner.errors import FailedTrialError

from trainer import config as config_lib
from trainer.config import Config
from trainer.evaluation.metrics import NOTICE
from trainer.run import files
from trainer.run.errors import ConfigError, RunError
from tuning import final, plots, results, work
from tuning.bench import Bench
from tuning.hypermodel import failing
from tuning.oracles import COMPLETED
from tuning.roles import Search


def finish(spec: Search, bench: Bench | None, final_folds: int) -> bool:
    """Prints, draws and writes what was found.

    Args:
        spec: The search; all of its trials have ended.
        bench: Its images, where they are at hand.
        final_folds: Folds of the closing comparison; 0: none.

    Returns:
        Whether a trial finished.
    """
    folder, space, settings = spec.folder, spec.space, spec.settings
    oracle = work.reloaded(spec)
    found = results.write(folder, oracle, space, settings, results.facts(folder.root))
    print(results.leaderboard(found, space, settings))
    if found:
        _draw(spec, found)
    best = results.best_of(found, settings)
    if best is not None and final_folds:
        config = space.config(oracle.trials[best["trial"]].hyperparameters.values)
        print(_compared(spec, bench, found, (config, best.get("epoch")), final_folds))
    print(f"\nsearch folder: {folder.root}   (trials.csv, best_hparams.json, plots/)")
    if best is not None:
        print(f"train:  python -m trainer.main --hparams={folder.best}")
    print(f"watch:  tensorboard --logdir={folder.root / 'tensorboard'}\n{NOTICE}")
    return best is not None


def _draw(spec: Search, found: Sequence[results.Row]) -> None:
    """The pictures of plots/."""
    space, settings, config = spec.space, spec.settings, spec.space.config({})
    axes = [plots.Axis(p.name, p.log, tuple(map(str, p.choices))) for p in space.parameters]
    points = [
        plots.Point(
            number,
            {p.name: row[p.name] for p in space.parameters},
            row[settings.objective] if row["status"] == COMPLETED else None,
            row.get(f"{settings.objective}_sd"),
        )
        # By rank, so that of equal scores the pictures call the same one best as the ranking does.
        for number, row in sorted(enumerate(found), key=lambda each: each[1]["rank"] or len(found))
    ]
    scored = f"{settings.folds} folds" if settings.folds else "the validation split"
    common = {
        "objective": settings.objective,
        "direction": settings.direction,
        "title": f"{config.dataset}, {config.classes} classes, {settings.tuner}, on {scored}",
    }
    folder = spec.folder.root / "plots"
    folder.mkdir(exist_ok=True)
    plots.parallel_coordinates(points, axes, folder / "parallel_coordinates.png", **common)
    plots.objective_by_parameter(points, axes, folder / "objective_by_parameter.png", **common)
    plots.best_so_far(points, folder / "best_so_far.png", **common)


def _compared(
    spec: Search,
    bench: Bench | None,
    found: Sequence[results.Row],
    best: tuple[Config, float | None],
    count: int,
) -> str:
    """Makes the closing comparison and writes it; returns what to print, or why there is none."""
    (config, epoch), default = best, spec.space.unsearched()
    try:
        if bench is None:
            raise RunError(
                "a chief has no images. The same command without KerasTuner's variables, where the "
                "images are, makes it, and trains no trial again."
            )
        config_lib.check_folds(dataclasses.replace(config, early_stopping=0), count, 1)
        with failing():
            if epoch is not None:  # each ends where validation says, as trainer.main would
                config = final.at_epoch(config, epoch)
                if default.fine_tune_from == "none":  # else it has no such epoch
                    default = final.at_epoch(default, _epoch(found, bench, default))
            compared = final.compare(bench, config, default, count)
    except (ConfigError, RunError, FailedTrialError) as error:
        return f"\nNo closing comparison (--final_folds={count}): {error}"
    files.write_json(spec.folder.root / "final.json", compared)
    return final.text(compared)


def _epoch(found: Sequence[results.Row], bench: Bench, config: Config) -> float:
    """The epoch that validation chooses of a configuration, which may have been a trial."""
    values = config.to_json()
    for row in found:
        if row["status"] == COMPLETED and all(
            row[name] == values[name] for name in row.keys() & values.keys()
        ):
            return row["epoch"]
    return final.kept_epoch(bench, config)
