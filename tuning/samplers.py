"""KerasTuner's oracles, so that proposals follow from seed and number and none comes twice."""

import functools
import itertools
import math
import warnings
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import keras_tuner
import numpy as np
from keras_tuner.engine.trial import Trial, TrialStatus
from threadpoolctl import threadpool_limits

from trainer.config import Config
from tuning.space import Space

_STOPPED = {"status": TrialStatus.STOPPED, "values": None}
_NEVER = 10**9  # failures in a row after which KerasTuner raises, and leaves its lock taken
_DRAWS = 1000  # until all combinations are gone through
_MOST_COMBINATIONS = 100_000  # more can't all be tried, so that draws are enough
_CANDIDATES = 4096  # untried combinations that bayesian chooses from at most
_OF_RANGE = 10  # values of a range without steps that grid takes, as KerasTuner of floats


if TYPE_CHECKING:  # what it is mixed into
    from keras_tuner.engine.oracle import Oracle as _Mixed
else:
    _Mixed = object


class Untried(_Mixed):
    """Goes in front of an oracle class: what it proposes was not tried, and is not saved.

    Configurations are compared, not values: a parameter may have no effect beside another's choice.

    Attributes:
        logged: While the log is replayed, the values of the trial that begins; else None.
        exhausted: Whether no further configuration could be drawn.
        starts_with_defaults: Whether the first trial has the space's defaults.
    """

    starts_with_defaults = True

    def __init__(self, space: Space, seed: int, **options: Any) -> None:
        """Declares the space.

        Args:
            space: What is searched.
            seed: Of the draws, from 0.
            options: Of KerasTuner's class.
        """
        hyperparameters = keras_tuner.HyperParameters()
        space.declare(hyperparameters)
        super().__init__(
            hyperparameters=hyperparameters,
            seed=seed + 1,  # KerasTuner takes 0 for none
            max_consecutive_failed_trials=_NEVER,
            **options,
        )
        self.verbose = 0
        self.logged: Mapping[str, Any] | None = None
        self.exhausted = False
        self._space = space
        self._tried: set[Config] = set()

    def populate_space(self, trial_id: str) -> dict[str, Any]:
        """The values of the next trial, as KerasTuner's classes give them."""
        if self.logged is not None:
            proposal = self._replayed(trial_id)
        elif self.starts_with_defaults and not self.trials:
            proposal = {"status": TrialStatus.RUNNING, "values": self._space.defaults()}
        else:
            proposal = self._proposed(trial_id)
        if proposal["status"] == TrialStatus.RUNNING:
            self._tried.add(self._config(proposal["values"]))
        return proposal

    def save(self) -> None:
        """Writes nothing: the log is the state."""

    def _save_trial(self, trial: Trial) -> None:
        """Writes nothing, too."""

    def _replayed(self, trial_id: str) -> dict[str, Any]:
        return {"status": TrialStatus.RUNNING, "values": dict(self.logged or {})}

    def _proposed(self, trial_id: str) -> dict[str, Any]:
        return super().populate_space(trial_id)

    def _random_values(self) -> dict[str, Any] | None:
        """In place of KerasTuner's, whose draws follow from all that was drawn before."""
        return self._first(self._untried())

    def _first(self, untried: Iterator[dict[str, Any]]) -> dict[str, Any] | None:
        values = None if self.exhausted else next(untried, None)
        self.exhausted = values is None
        return values

    def _untried(self) -> Iterator[dict[str, Any]]:
        """Random values of untried configurations; of a small space all of them in the end."""
        hps = self.hyperparameters.space
        generator = np.random.default_rng([self.seed, len(self.trials)])
        draws = (
            {hp.name: hp.random_sample(int(generator.integers(2**32))) for hp in hps}
            for _ in range(_DRAWS)
        )
        axes = [_all_values(hp) for hp in hps]
        count = math.prod(map(len, axes))  # 0: there is no end of values
        order = generator.permutation(count if count <= _MOST_COMBINATIONS else 0)
        return filter(self._is_untried, itertools.chain(draws, _combinations(hps, axes, order)))

    def _config(self, values: Mapping[str, Any]) -> Config:
        # Without KerasTuner's own: hyperband's epochs make no new configuration.
        return self._space.config({hp.name: values[hp.name] for hp in self.hyperparameters.space})

    def _is_untried(self, values: Mapping[str, Any]) -> bool:
        return self._config(values) not in self._tried


class Random(Untried, keras_tuner.oracles.RandomSearchOracle):
    """Draws every trial by itself."""


class Hyperband(Untried, keras_tuner.oracles.HyperbandOracle):
    """Gives many trials few epochs, and the better ones more."""

    starts_with_defaults = False  # its brackets have to know of every trial

    def _proposed(self, trial_id: str) -> dict[str, Any]:
        """KerasTuner's; once no configuration is left for an open round, those of the next one."""
        proposal = super()._proposed(trial_id)
        if self.exhausted and proposal["status"] != TrialStatus.RUNNING:
            proposal = super()._proposed(trial_id)
        return proposal

    def _get_size(self, bracket_num: int, round_num: int) -> int:
        """Trials of a round; of a bracket that the space is too small for, in proportion."""
        size = super()._get_size(bracket_num, round_num)
        if not self.exhausted:
            return size
        (begun,) = (
            len(each["rounds"][0]) for each in self._brackets if each["bracket_num"] == bracket_num
        )
        return min(size, math.ceil(begun / self.factor**round_num))

    def _replayed(self, trial_id: str) -> dict[str, Any]:
        """Proposes once more, since that fills the brackets; `Proposals` compares."""
        proposal = self._proposed(trial_id)
        if proposal["status"] == TrialStatus.RUNNING:
            # KerasTuner's number of the newest bracket, which may begin without a trial.
            proposal["values"]["tuner/bracket"] = (self.logged or {}).get("tuner/bracket")
        return proposal


class Bayesian(Untried, keras_tuner.oracles.BayesianOptimizationOracle):
    """Draws trials where a Gaussian process expects most."""

    @threadpool_limits.wrap(limits=1, user_api="blas")  # as of the shortcut baseline
    def _proposed(self, trial_id: str) -> dict[str, Any]:
        """KerasTuner's optimum; where that was tried, the best of what was not."""
        self._random_state = np.random.RandomState([self.seed, len(self.trials)])
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # scikit-learn's, on the length of its kernel
            proposal = super()._proposed(trial_id)
        if proposal["status"] != TrialStatus.RUNNING or self._is_untried(proposal["values"]):
            return proposal
        candidates = list(itertools.islice(self._untried(), _CANDIDATES))
        if self._first(iter(candidates)) is None:
            return _STOPPED
        vectors = [
            [hp.value_to_prob(values[hp.name]) for hp in self.hyperparameters.space]
            for values in candidates
        ]
        mean, sd = self.gpr.predict(np.array(vectors), return_std=True)
        return {
            "status": TrialStatus.RUNNING,
            "values": candidates[np.argmin(mean - self.beta * sd)],
        }


class Grid(Untried, keras_tuner.oracles.GridSearchOracle):
    """Goes through all combinations; of a range without steps its default and ten values.

    KerasTuner's own finds what follows a trial when that has ended, in a list that is not saved.
    """

    def _proposed(self, trial_id: str) -> dict[str, Any]:
        values = self._first(filter(self._is_untried, self._combinations))
        return _STOPPED if values is None else {"status": TrialStatus.RUNNING, "values": values}

    @functools.cached_property
    def _combinations(self) -> Iterator[dict[str, Any]]:
        """In KerasTuner's order: each default first, the last parameter fastest."""
        hps = self.hyperparameters.space
        names, axes = [hp.name for hp in hps], map(_of_grid, hps)
        return (dict(zip(names, values, strict=True)) for values in itertools.product(*axes))


def most_trials(tuner: str, space: Space) -> int:
    """How many trials `grid` or `hyperband` begins without a budget, at most.

    Args:
        tuner: One of the two.
        space: What is searched.
    """
    if tuner == "grid":
        hyperparameters = keras_tuner.HyperParameters()
        space.declare(hyperparameters)
        return math.prod(len(_of_grid(hp)) for hp in hyperparameters.space)
    oracle = keras_tuner.oracles.HyperbandOracle(
        objective=keras_tuner.Objective("score", "max"), max_epochs=space.config({}).epochs
    )
    brackets = range(oracle._get_num_brackets())
    return sum(oracle._get_size(each, number) for each in brackets for number in range(each + 1))


def _of_grid(hp: Any) -> tuple[Any, ...]:
    """The values of a parameter that grid takes, its default first."""
    values = tuple(hp.values)
    if isinstance(hp, keras_tuner.engine.hyperparameters.Int) and len(values) > _OF_RANGE:
        values = tuple(hp.prob_to_value((at + 0.5) / _OF_RANGE) for at in range(_OF_RANGE))
    return tuple(dict.fromkeys((hp.default, *values)))


def _all_values(hp: Any) -> tuple[Any, ...] | range:
    """All that can be drawn; () where there is no end of them."""
    if isinstance(hp, keras_tuner.engine.hyperparameters.Choice):
        return tuple(hp.values)
    if isinstance(hp, keras_tuner.engine.hyperparameters.Int):
        return range(hp.min_value, hp.max_value + 1)
    return ()


def _combinations(hps: list[Any], axes: list[Any], order: np.ndarray) -> Iterator[dict[str, Any]]:
    for number in order:
        places = np.unravel_index(number, [len(axis) for axis in axes])
        yield {hp.name: axis[at] for hp, axis, at in zip(hps, axes, places, strict=True)}


ORACLES = {"random": Random, "bayesian": Bayesian, "grid": Grid, "hyperband": Hyperband}
