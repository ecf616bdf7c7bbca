"""A head's training step: Adam in one pass over the weights, against Keras' Adam.

`python -m benchmarks.optimizer` trains heads of three sizes on made-up rows of what block 5 gives
at 150 pixels; nothing of a dataset is read. Both sides are the trainer's own steps of its own head,
and differ in the optimizer alone.
"""

import time
from collections.abc import Callable, Sequence
from typing import Any

import keras
import tensorflow as tf
from absl import flags

from benchmarks import harness
from benchmarks.head import BATCH, CLASSES, RATE, build_head, made_up
from trainer.model import precision
from trainer.run.errors import ConfigError
from trainer.training.steps import Steps

_PER_CALL = 16  # steps
_CLAIM = "steps/s of a head of 256 units, times Keras' Adam"


def measure(*, units: Sequence[int], steps: int, rounds: int) -> dict[str, Any]:
    """Times both sides of each size, and prints the line.

    Args:
        units: Sizes of the hidden layer; the claim is of 256, or of the first one.
        steps: Of a round; rounded up to whole calls of 16.
        rounds: Rounds, in alternation.

    Returns:
        The line, as `harness.report` returns it.
    """
    policy, _ = precision.choose_precision("auto")
    keras.config.set_dtype_policy(policy)
    batches = tf.data.Dataset.from_tensors(made_up(_PER_CALL * BATCH)).repeat().prefetch(4)
    figures, against = {}, {}
    for each in units:
        sides = {name: _side(each, name == "ours", batches, steps) for name in ("ours", "keras")}
        speeds = harness.alternate(sides, rounds)
        figures |= {f"{name}, {each} units, steps/s": v for name, v in speeds.items()}
        against[each] = harness.ratios(speeds["ours"], speeds["keras"])
    claimed = against.get(256) or next(iter(against.values()))
    return harness.report(
        "optimizer",
        figures={name: harness.spread(values) for name, values in figures.items()},
        ratios={f"{each} units": ratio for each, ratio in against.items()},
        targets={_CLAIM: (1.5, claimed["median"])},
        spreads={_CLAIM: claimed},
        bound="memory: a step reads and writes all weights and both moments of Adam once",
        precision=policy,
        batch=BATCH,
    )


def _side(units: int, ours: bool, batches: tf.data.Dataset, count: int) -> Callable[[], float]:
    """What trains some steps and returns steps/s; compiled and warm."""
    head = build_head(units)
    steps = Steps(head, RATE, classes=CLASSES)
    if not ours:
        steps.optimizer = keras.optimizers.Adam(RATE)
        steps.optimizer.build(head.trainable_variables)
    calls = -(-count // _PER_CALL)

    def run() -> float:
        iterator = iter(batches)
        steps.start_epoch()
        begin = time.perf_counter()
        for _ in range(calls):
            steps.run(iterator, BATCH)
        steps.means()  # which waits for the device
        return calls * _PER_CALL / (time.perf_counter() - begin)

    run()
    return run


def main(argv: list[str]) -> None:
    """Flags -> one call."""
    values = flags.FLAGS
    given = values.head_units
    if not given or not all(each.isdecimal() and int(each) for each in given):
        raise ConfigError(f"--head_units={','.join(given)}: give whole numbers of 1 or more.")
    measure(units=[*map(int, given)], steps=values.steps, rounds=values.rounds)


if __name__ == "__main__":
    tf.get_logger().setLevel("ERROR")
    flags.DEFINE_list("head_units", "64,256,1024", "Sizes of the hidden layer.")
    flags.DEFINE_integer("steps", 96, "Steps a round.", lower_bound=1)
    flags.DEFINE_integer("rounds", 7, "Rounds in alternation.", lower_bound=1)
    harness.run(main)
