"""A search: propose, run, record; then the closing comparison and the run of the best values."""

import contextlib
import itertools
import shlex
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from trainer.config import Config
from trainer.evaluation.metrics import NOTICE
from trainer.execution.local import opened_executor
from trainer.execution.ray import Cluster
from trainer.execution.tasks import Executor, Task
from trainer.input_pipeline.decode import Kind
from trainer.run import command, files, saved_folds
from trainer.run.errors import ConfigError, DivergedError, RunError
from trainer.run.progress import fitted
from trainer.run.saved_folds import SavedFolds
from trainer.training.setup import Setup
from tuning import comparison, results, retraining, room, settings, space, trainings
from tuning import trial as trial_lib
from tuning.folder import read_result
from tuning.oracle import Proposals
from tuning.record import Record
from tuning.settings import Spec
from tuning.table import Table

_PLACES = ("data_dir", "cache_dir")  # of the machine, and no part of what is searched
_EXHAUSTED = "The search is exhausted: no configuration is left that was not tried."


@command.deferred()  # TensorFlow can crash where an exception strikes inside of it
def run(
    search: Spec,
    cluster: Cluster | None = None,
    *,
    overwrite: bool = False,
    retrain_best: bool = False,
    on_trial_end: Callable[[], None] = lambda: None,
) -> bool:
    """Searches, or goes on with a search; what is done is not done again.

    Args:
        search: What to search.
        cluster: Where tasks run; None: in this process.
        overwrite: Whether to remove a search that is there.
        retrain_best: Whether to train and test with the best values at the end.
        on_trial_end: Called when a trial was recorded.

    Returns:
        Whether a trial finished.

    Raises:
        ConfigError: A search with other flags is there.
        RunError: Another process has the folder, the images can't be opened or assigned to folds,
            or no trial can be trained.
    """
    identity = settings.identity(search.settings, search.space)
    with search.folder.held(identity, overwrite=overwrite) as new:
        if new:
            states = cluster.slots() if cluster is not None and cluster.shares_files else 1
            room.require_for_search(search, retrain_best=retrain_best, at_once=states)
        if not _run(search, cluster, identity if new else None, on_trial_end):
            return False
        if retrain_best:
            _retrain(search, cluster)
    _point_on(search, retrain_best)
    return True


def _run(
    search: Spec,
    cluster: Cluster | None,
    begin: Mapping[str, Any] | None,
    on_trial_end: Callable[[], None],
) -> bool:
    """The trials and the closing comparison, as far as they are missing.

    Args:
        search: As for `run`, like `cluster` and `on_trial_end`.
        cluster: Where tasks run.
        begin: What a new search is identified by; None: one goes on.
        on_trial_end: Called when a trial was recorded.
    """
    with contextlib.ExitStack() as opened:
        tasks = None
        if begin is not None:
            tasks = opened.enter_context(_tasks(search, cluster, None))
            search.folder.begin(begin)
        _write_flags(search)
        proposals = opened.enter_context(
            contextlib.closing(Proposals.open(search.settings, search.space, search.folder.log))
        )
        record = Record(search, proposals)
        unfinished = not proposals.finished(search.settings.max_trials)
        missing = record.lacks_baselines or _comparison_missing(search, record.best)
        if tasks is None and (unfinished or missing):
            tasks = opened.enter_context(_tasks(search, cluster, search.folder.origin()))
        if tasks is not None:
            search.folder.keep_origin(tasks.setup.origin)
            record.open(tasks.setup)
        if unfinished and tasks is not None:
            _run_trials(search, tasks, proposals, record, on_trial_end)
        elif proposals.exhausted and len(proposals.trials) < search.settings.max_trials:
            print(_EXHAUSTED)
        record.end()
        if record.best is None:
            return False
        if tasks is not None and _comparison_missing(search, record.best):
            _compare(search, record, tasks)
        elif search.settings.final_folds:
            _show_comparison(search, record.best)
    return True


def _write_flags(search: Spec) -> None:
    text = files.flag_lines(settings.flag_values(search.settings, search.space))
    with files.written_whole(search.folder.flags) as beside:
        beside.write_bytes(text.encode("utf-8", "surrogateescape"))


@contextlib.contextmanager
def _tasks(
    search: Spec, cluster: Cluster | None, began: Mapping[str, Any] | None
) -> Iterator[Executor]:
    """What runs trials, with the images opened; `began` is what they were opened with before."""
    stressed = search.settings.stressed
    with opened_executor(
        cluster, lambda: opened_images(search.space, stressed=stressed, began=began)
    ) as tasks:
        # Whether there are patient groups enough for the folds.
        trainings.assigned(tasks.setup, search.settings, tasks.setup.config)
        if count := search.settings.final_folds:  # known before trials take hours
            try:
                comparison.assigned(tasks.setup, search.space.unsearched(), count)
            except (ConfigError, RunError) as error:
                print(fitted(f"No closing comparison at the end (--final_folds={count}): {error}"))
        yield tasks


def opened_images(
    searched: space.Space, *, stressed: bool = False, began: Mapping[str, Any] | None = None
) -> Setup:
    """The images of all trials and of the defaults, with squares of every kind.

    Args:
        searched: What is searched.
        stressed: See `trainings.open_images`.
        began: See `set_up`.
    """
    values = {parameter.name: parameter.values for parameter in searched.parameters}
    first, default = searched.config({}), searched.unsearched()
    sizes = (*values.get("image_size", ()), first.image_size, default.image_size)
    aligns = (*values.get("align", ()), first.align, default.align)
    kinds = tuple(itertools.starmap(Kind, itertools.product(sizes, aligns)))
    return trainings.open_images(first, kinds, stressed=stressed, began=began)


def _run_trials(
    search: Spec,
    tasks: Executor,
    proposals: Proposals,
    record: Record,
    on_trial_end: Callable[[], None],
) -> None:
    """The loop: as many trials as there is room for, until none is left.

    Where there is room for none, a cluster has lost its last node, and another is waited for.
    """
    budget, waiting = search.settings.max_trials, proposals.running()
    with Table.make(
        budget, search.space, search.settings, lambda: tasks.slots, record.rows
    ) as table:
        record.begin(table)
        left = True
        while True:
            while tasks.pending < tasks.slots:
                trial = waiting.pop(0) if waiting else proposals.propose(budget)
                left = trial is not None
                if trial is None:
                    break
                values = trial.hyperparameters.values
                trainings.provide(tasks, search.space.config(values), bool(search.settings.folds))
                arguments = (search.space, search.settings, values, search.callbacks)
                tasks.submit(Task(trial.trial_id, trial_lib.run, arguments))
                table.begun(trial.trial_id, values)
            if not (left or tasks.pending):
                break
            ended = tasks.next()
            if ended is not None:
                record.ended(ended)
                on_trial_end()
        if proposals.exhausted:
            table.note(_EXHAUSTED)


def _comparison_missing(search: Spec, best: results.Row | None) -> bool:
    """Whether the closing comparison is still to be made, of the trial that is best now."""
    folds = search.settings.final_folds
    if not folds or best is None or _refused(search, best):
        return False
    made = read_result(search.folder.comparison)
    if "discordant" not in made.get("difference", {}) or "align" not in made.get("best", {}):
        return True  # none, or one of an earlier release, which was made otherwise
    return (made.get("trial"), made.get("folds")) != (best["trial"], folds)


def _refused(search: Spec, best: results.Row) -> str:
    """Why there can be no closing comparison of the best trial, as `_compare` found; "" if not."""
    refused = read_result(search.folder.comparison).get("refused", {})
    asked = {"trial": best["trial"], "folds": search.settings.final_folds}
    return refused["reason"] if asked.items() <= refused.items() else ""


def _show_comparison(search: Spec, best: results.Row) -> None:
    """Prints the closing comparison that was made before, or why there is none."""
    if reason := _refused(search, best):
        print(_no_comparison(search, reason))
    else:
        print(comparison.text(read_result(search.folder.comparison)))


def _no_comparison(search: Spec, reason: Exception | str) -> str:
    count = search.settings.final_folds
    return fitted(f"\nNo closing comparison (--final_folds={count}): {reason}")


def _compare(search: Spec, record: Record, tasks: Executor) -> None:
    """Makes the closing comparison, writes and prints it, or prints why there is none."""
    best, count, path = record.best, search.settings.final_folds, search.folder.comparison
    assert best is not None  # else there is nothing to compare
    config, default = record.config(best["trial"]), search.space.unsearched()
    try:
        comparison.assigned(tasks.setup, config, count)
    except (ConfigError, RunError) as error:
        _refuse(search, best, error)
        return
    saved = SavedFolds(search.folder.root / saved_folds.FOLDER)
    try:
        if best.get("epoch") is not None:  # else it was scored in folds, at its last epoch
            config = comparison.at_kept_epoch(tasks, config, best["epoch"])
            chosen = record.epoch(default)
            default = comparison.at_kept_epoch(tasks, default, chosen, saved)
        tasks.setup.kept.pop("trainings", None)  # rows of trials, which no fold reads
        compared = comparison.compare(tasks, config, default, count, saved)
    except DivergedError as error:
        _refuse(search, best, error)
        saved.remove()
        return
    except (ConfigError, RunError) as error:
        files.require_held(path)
        print(_no_comparison(search, error))
        return
    files.write_json(path, {"trial": best["trial"], **compared})
    saved.remove()
    print(comparison.text(compared))


def _refuse(search: Spec, best: results.Row, error: Exception) -> None:
    """Keeps and prints why there is no closing comparison.

    It stays so: no images are opened, and nothing is trained, to find it again.
    """
    path = search.folder.comparison
    refused = {
        "trial": best["trial"], "folds": search.settings.final_folds, "reason": str(error),
    }  # fmt: skip
    files.write_json(path, {"trial": best["trial"], **read_result(path), "refused": refused})
    print(_no_comparison(search, error))


def _retrain(search: Spec, cluster: Cluster | None) -> None:
    """Trains and tests with the best values, in a folder of the search."""
    best = read_result(search.folder.best)
    here = {name: search.space.fixed[name] for name in _PLACES}
    config = Config.from_json({**best.pop("config"), **here})
    origin = {"file": str(search.folder.best), **best}
    retraining.retrain(config, search.folder.retrained, origin, cluster)


def _point_on(search: Spec, retrained: bool) -> None:
    """Prints what can be done with a search that has ended."""
    folder = search.folder
    print(f"\nsearch folder: {folder.root}\n               trials.csv, best_hparams.json")
    if not retrained:
        fixed = search.space.fixed
        places = (f" --{name}={shlex.quote(fixed[name])}" for name in _PLACES if fixed[name])
        hparams = shlex.quote(str(folder.best))
        print(f"train:  python -m trainer.main --hparams={hparams}{''.join(places)}")
    print(f"watch:  tensorboard --logdir={shlex.quote(str(folder.tensorboard))}\n{NOTICE}")
