"""What the processes of a search do: one alone, the chief, a worker."""

from collections.abc import Callable, Collection
from typing import Any

from trainer.run import command
from trainer.run.errors import RunError
from tuning import chief, hypermodel, oracles, results, roles, search, worker
from tuning import settings as settings_lib
from tuning.bench import Bench
from tuning.pulse import Pulse
from tuning.roles import Search

_HOPELESS = 5  # failures, since a process began, of a search that has no finished trial


def bench(asked: Search) -> Bench:
    """Opens what trials share.

    Raises:
        RunError: The dataset or the weights are missing, say.
    """
    return Bench.open(asked.space.config({}), bool(asked.settings.folds))


def alone(asked: Search, images: Bench) -> None:
    """Searches in this process.

    Raises:
        RunError, ConfigError: The images can't be dealt, the objective is no metric, or no trial
            can be trained.
    """
    with asked.folder.owned(asked.identity):
        pulse, told = Pulse(), _Told(asked)
        model = _image_model(asked, images, pulse)
        oracle = _resumed(asked, told, ())  # what ran died with the process that ran it
        if not oracle.saw(images.fingerprint):
            raise RunError(
                f"The search in {asked.folder.root} has seen other images than {images.name} has "
                "now. Build what it saw, give another --search_dir, or --overwrite."
            )
        search.run(search.Tuner(oracle, model, asked.folder, pulse, told.check))


def lead(asked: Search, expected: Collection[str] | None) -> None:
    """Serves the search to workers, and returns when all trials have ended.

    Args:
        asked: The search.
        expected: The workers where no others are; None where they are on other machines.

    Raises:
        RunError: The address can't be had, or no trial can be trained.
    """
    with asked.folder.owned(asked.identity):
        told = _Told(asked)
        oracle = _resumed(asked, told, expected)
        chief.serve(
            oracle,
            address=roles.address(),
            search=settings_lib.digest(asked.identity),
            timeout=asked.timeout,
            stop=told.check,
        )


def work(asked: Search) -> None:
    """Takes trials from the chief until there are none.

    Raises:
        RunError, ConfigError: The images can't be dealt, the objective is no metric, or there is no
            chief.
    """
    images = bench(asked)
    pulse, oracle = Pulse(), _oracle(asked, lambda _: None)
    model = _image_model(asked, images, pulse)
    tuner = search.Tuner(oracle, model, asked.folder, pulse, command.raise_if_interrupted)
    digest = settings_lib.digest(asked.identity)
    tuner.work_for(worker.Client(oracle, digest, images.fingerprint, asked.timeout))
    search.run(tuner)


def reloaded(asked: Search) -> oracles.Kept:
    """The oracle of a search that has ended, to read from."""
    oracle = _oracle(asked, lambda _: None)
    oracle.reload()
    return oracle


def _resumed(asked: Search, told: "_Told", expected: Collection[str] | None) -> oracles.Kept:
    """The oracle, where it was; all workers but the expected ones have lost their trials."""
    oracle = _oracle(asked, told.ended)
    told.oracle = oracle
    if asked.folder.state.exists():
        oracle.reload()
        if expected is not None:
            oracle.expect(set(expected))
        told.before = len(oracle.end_order)
        print(f"Going on in {asked.folder.root}: {told.before} trials have ended.", flush=True)
    return oracle


class _Told:
    """Writes and prints what is known whenever a trial ends.

    Attributes:
        oracle: Of the search.
        before: Trials that had ended before this process began.
    """

    def __init__(self, asked: Search) -> None:
        self._search, self.oracle, self.before = asked, None, 0
        self._about, self._known = results.facts(asked.folder.root), {}

    def ended(self, trial: Any) -> None:
        s = self._search
        found = results.write(s.folder, self.oracle, s.space, s.settings, self._about, self._known)
        best = results.best_of(found, s.settings)
        row = next(row for row in found if row["trial"] == trial.trial_id)
        print(results.line(row, best, s.space, s.settings), flush=True)

    def check(self) -> None:
        """Raises RunError where trial after trial fails and none is done."""
        command.raise_if_interrupted()
        ended = [self.oracle.trials[each] for each in self.oracle.end_order]
        failed = all(trial.status == oracles.FAILED for trial in ended)
        if failed and len(ended) - self.before >= _HOPELESS:
            raise RunError(
                f"All of the {len(ended)} trials so far failed; the last: "
                f"{(ended[-1].message or '').strip()} When that is mended, the same command goes "
                "on with the other trials, and --overwrite begins anew."
            )


def _oracle(asked: Search, ended: Callable[[Any], None]) -> oracles.Kept:
    config = asked.space.config({})
    made = oracles.make(asked.settings, asked.space, config.seed, config.epochs)
    made.keep(asked.folder.state, asked.space, asked.attempts, ended)
    return made


def _image_model(asked: Search, images: Bench, pulse: Pulse) -> hypermodel.ClassifierHyperModel:
    """What trials train, checked by one batch; then all rows of the first one are computed."""
    model = hypermodel.ClassifierHyperModel(asked.space, asked.settings, images, pulse)
    model.check_objective()
    images.done(images.base(asked.space.config({})))
    return model
