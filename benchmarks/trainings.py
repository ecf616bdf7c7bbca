"""A training that is ready to begin: the flags that describe it, and its epochs, to be timed."""

import contextlib
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from absl import flags

from trainer import config_flags
from trainer.config import Config

_SHARED = ("dataset", "data_dir", "cache_dir", "image_size", "weights", "width", "seed")
_OTHERS = Config.__dataclass_fields__.keys() - set(_SHARED)


def define_flags(values: flags.FlagValues = flags.FLAGS) -> None:
    """Defines `--rounds`, and the flags of `trainer.main` that say which images and network."""
    config_flags.define_flags(values, without=_OTHERS)
    flags.DEFINE_integer("rounds", 5, "Rounds in alternation.", lower_bound=1, flag_values=values)


def from_flags(values: flags.FlagValues, **more: Any) -> Config:
    """The config of the flags of `define_flags`, and of some more fields.

    Raises:
        ConfigError: As for `Config`.
    """
    return Config(**{name: values[name].value for name in _SHARED}, **more)


@contextlib.contextmanager
def ready(
    config: Config, *, most: int | None = None, score: Sequence[str] = ()
) -> Iterator[tuple["Setup", "Training"]]:  # noqa: F821
    """Opens the dataset and computes all rows that a training reads; closes the cache afterwards.

    Args:
        config: Of the training.
        most: Images that are trained on, cut to whole batches, since a part of one costs nearly as
            much and would blur a rate; all of the train split unless given.
        score: Splits whose rows are cached, too.

    Yields:
        What was opened, and the training.
    """
    from trainer.training.setup import set_up
    from trainer.training.training import Training

    setup = set_up(config, splits=("train", *score))
    with contextlib.closing(setup.opened):
        config, images = setup.config, dict(setup.dataset.splits)
        if most is not None:
            whole = min(most, len(images["train"])) // config.batch_size * config.batch_size
            images["train"] = images["train"].take(range(whole))
        yield setup, Training(setup, config, images, train="train", score=score)


def epochs(training: "Training", count: int = 1) -> Callable[[], float]:  # noqa: F821
    """What trains the next epochs of the last phase, as the trainer's loop does, and times them.

    Args:
        training: Whose last phase has the epochs of all calls.
        count: Epochs of a call.

    Returns:
        A function that trains so many epochs, and returns the images/s.
    """
    plan = training.plan.phases[-1]
    steps, each = training.steps(plan), training.steps_per_call(plan)
    steps.reset(training.class_weights)
    batches = iter(training.batches(plan, plan.phase.epochs, training.config.seed))

    def run() -> float:
        begin = time.perf_counter()
        for _ in range(count):
            steps.start_epoch()
            for _ in range(0, training.steps_per_epoch, each):
                steps.run(batches, training.config.batch_size)
            steps.means()  # which waits for the device
        return count * len(training.labels) / (time.perf_counter() - begin)

    return run
