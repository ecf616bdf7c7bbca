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


def bench(spec: Search) -> Bench:
    """Opens what trials share.

    Raises:
        RunError: The dataset or the weights are missing, say.
    """
    return Bench.open(spec.space.config({}), bool(spec.settings.folds))


def alone(spec: Search, images: Bench) -> None:
    """Searches in this process.

    Raises:
        RunError, ConfigError: The images can't be assigned to folds, the objective is no metric,
            or no trial can be trained.
    """
    with spec.folder.owned(spec.identity):
        pulse, reporter = Pulse(), _Reporter(spec)
        model = _image_model(spec, images, pulse)
        oracle = _resumed(spec, reporter, ())  # what ran died with the process that ran it
        if not oracle.saw(images.fingerprint):
            raise RunError(
                f"The search in {spec.folder.root} has seen other images than {images.name} has "
                "now. Build what it saw, give another --search_dir, or --overwrite."
            )
        search.run(search.Tuner(oracle, model, spec.folder, pulse, reporter.check))


def lead(spec: Search, expected: Collection[str] | None) -> None:
    """Serves the search to workers, and returns when all trials have ended.

    Args:
        spec: The search.
        expected: The workers where no others are; None where they are on other machines.

    Raises:
        RunError: The address can't be had, or no trial can be trained.
    """
    with spec.folder.owned(spec.identity):
        reporter = _Reporter(spec)
        oracle = _resumed(spec, reporter, expected)
        chief.serve(
            oracle,
            address=roles.address(),
            search=settings_lib.digest(spec.identity),
            timeout=spec.timeout,
            stop=reporter.check,
        )


def work(spec: Search) -> None:
    """Takes trials from the chief until there are none.

    Raises:
        RunError, ConfigError: The images can't be assigned to folds, the objective is no metric,
            or there is no chief.
    """
    images = bench(spec)
    pulse, oracle = Pulse(), _oracle(spec, lambda _: None)
    model = _image_model(spec, images, pulse)
    tuner = search.Tuner(oracle, model, spec.folder, pulse, command.raise_if_interrupted)
    digest = settings_lib.digest(spec.identity)
    tuner.work_for(worker.Client(oracle, digest, images.fingerprint, spec.timeout))
    search.run(tuner)


def reloaded(spec: Search) -> oracles.Kept:
    """The oracle of a search that has ended, to read from."""
    oracle = _oracle(spec, lambda _: None)
    oracle.reload()
    return oracle


def _resumed(spec: Search, reporter: "_Reporter", expected: Collection[str] | None) -> oracles.Kept:
    """The oracle, where it was; all workers but the expected ones have lost their trials."""
    oracle = _oracle(spec, reporter.ended)
    reporter.oracle = oracle
    if spec.folder.state.exists():
        oracle.reload()
        if expected is not None:
            oracle.expect(set(expected))
        reporter.before = len(oracle.end_order)
        print(f"Going on in {spec.folder.root}: {reporter.before} trials have ended.", flush=True)
    return oracle


class _Reporter:
    """Writes and prints what is known whenever a trial ends.

    Attributes:
        oracle: Of the search.
        before: Trials that had ended before this process began.
    """

    def __init__(self, spec: Search) -> None:
        """Knows no oracle yet.

        Args:
            spec: The search.
        """
        self._search, self.oracle, self.before = spec, None, 0
        self._about, self._known = results.facts(spec.folder.root), {}

    def ended(self, trial: Any) -> None:
        s = self._search
        rows = results.write(s.folder, self.oracle, s.space, s.settings, self._about, self._known)
        best = results.best_of(rows, s.settings)
        row = next(row for row in rows if row["trial"] == trial.trial_id)
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
                "on with the other trials, and --overwrite begins again."
            )


def _oracle(spec: Search, ended: Callable[[Any], None]) -> oracles.Kept:
    config = spec.space.config({})
    made = oracles.make(spec.settings, spec.space, config.seed, config.epochs)
    made.keep(spec.folder.state, spec.space, spec.attempts, ended)
    return made


def _image_model(spec: Search, images: Bench, pulse: Pulse) -> hypermodel.ClassifierHyperModel:
    """What trials train, checked by one batch; then all rows of the first one are computed."""
    model = hypermodel.ClassifierHyperModel(spec.space, spec.settings, images, pulse)
    model.check_objective()
    images.training(spec.space.config({}))
    return model
