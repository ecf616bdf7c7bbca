"""A worker without Ray: what it restores of a setup and a plain dictionary in place of the store.

    python -m tests.helpers.sharing FILE RESULT

restores what FILE holds and trains one fold; RESULT gets what it has then.
"""

import dataclasses
import pickle
import sys
from pathlib import Path


class Store:
    """References are numbers; counts what is fetched."""

    def __init__(self, values: dict | None = None) -> None:
        self.values, self.fetched = dict(values or {}), []

    def put(self, value) -> int:
        self.values[len(self.values)] = value
        return len(self.values) - 1

    def fetch(self, reference: int):
        self.fetched.append(reference)
        return self.values[reference]


def counting(setup):
    """The setup with a list of how many rows were computed, batch by batch."""
    computed = []

    def compute(config, stage, batches):
        for lower, draws in batches:
            computed.append(len(lower))
            yield stage.compute(lower, draws)

    return dataclasses.replace(setup, compute=compute), computed


def rows(training) -> list:
    """All rows that a training may read."""
    return [
        training.rows(stage, name, views).read(view, slice(None))
        for stage, name, views in training.reads
        for view in views
    ]


def main(given: str, result: str) -> None:
    """Restores, trains the first fold, and writes down what there is."""
    value, store, chunks, fold = pickle.loads(Path(given).read_bytes())
    assert "keras" not in sys.modules
    from trainer.run.libraries import heavy_imports

    with heavy_imports():
        import keras

        from trainer import cross_validation, fold_assignment
        from trainer.execution import sharing
    setup, computed = counting(sharing.unpacked(value, Store(store).fetch))
    sharing.add_chunks(setup, chunks)
    probabilities = cross_validation.train_fold(setup, setup.config, fold, 0, setup.config.seed)
    training = setup.kept["folds"][1].training
    got = {
        "rows": rows(training),
        "squares": setup.squares(training.images[fold_assignment.ALL], 32),
        "probabilities": probabilities,
        "computed": computed,
        "policy": keras.config.dtype_policy().name,
        "cache_dir": str(setup.opened.cache_dir),
    }
    Path(result).write_bytes(pickle.dumps(got))


if __name__ == "__main__":
    main(*sys.argv[1:])
