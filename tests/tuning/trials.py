"""Trials of a search that is opened and not run: one call trains the network of some values."""

import dataclasses

import keras_tuner

from tests.tuning import asking
from tuning.bench import Bench
from tuning.hypermodel import ClassifierHyperModel
from tuning.pulse import Pulse
from tuning.settings import Settings
from tuning.space import Space

_MOODS = ("seconds", "images_per_second")  # of the machine


@dataclasses.dataclass(frozen=True)
class Trials:
    argv: tuple[str, ...]
    space: Space
    settings: Settings
    bench: Bench
    model: ClassifierHyperModel

    def __call__(self, **values) -> dict[str, float]:
        """What a trial measures, the parameters' defaults but for some values."""
        hp = keras_tuner.HyperParameters()
        self.space.declare(hp)
        assert values.keys() <= hp.values.keys()
        hp.values |= values
        found = self.model.fit(hp, self.model.build(hp))
        assert all(found[mood] > 0 for mood in _MOODS)
        return {name: value for name, value in found.items() if name not in _MOODS}


def opened(*argv: str, bench: Bench | None = None) -> Trials:
    """Trials on images that are opened now, or on those of a bench."""
    space, settings = asking.asked(*argv)
    bench = bench or Bench.open(space.config({}), bool(settings.folds))
    return Trials(
        argv, space, settings, bench, ClassifierHyperModel(space, settings, bench, Pulse())
    )
