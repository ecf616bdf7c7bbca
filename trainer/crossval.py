"""Cross-validates a configuration: `python -m trainer.crossval --folds=5 --repeats=3`.

Patient-grouped folds of train and validation; the test split is not opened. See `cross_validation`.
"""

import contextlib

from absl import flags

from trainer import config as config_lib
from trainer import config_flags, inputs
from trainer.execution import options as options_lib
from trainer.execution import ray
from trainer.run import command, run_dir, saved_folds
from trainer.run.definitions import define
from trainer.run.run_dir import Identity

FLAGS = flags.FLAGS


def main(argv: list[str]) -> None:
    """Flags -> Config -> one call."""
    command.refuse_words(argv)
    config, options = config_flags.from_flags(FLAGS), options_lib.from_flags(FLAGS)
    config_lib.check_folds(config, FLAGS.folds, FLAGS.repeats)
    config = inputs.for_run(config, FLAGS.run_dir, overwrite=FLAGS.overwrite)
    default = f"crossval-{config.dataset}-{config.classes}"
    numbers = {"folds": FLAGS.folds, "repeats": FLAGS.repeats}
    identity = Identity("trainer.crossval", config.to_json() | numbers)
    with (
        run_dir.create(FLAGS.run_dir, default, identity, overwrite=FLAGS.overwrite) as folder,
        command.stopped(
            lambda: saved_folds.where_it_goes_on(
                folder.path, overwrite=FLAGS.overwrite and folder.begun
            )
        ),
        contextlib.ExitStack() as connected,
    ):
        if run_dir.nothing_left(folder):
            return
        cluster = connected.enter_context(ray.connected(options))
        with command.heavy_imports():
            from trainer import cross_validation
        cross_validation.cross_validate(config, FLAGS.folds, FLAGS.repeats, folder, cluster)


if __name__ == "__main__":
    config_flags.define_flags(without=config_flags.OF_RUNS)
    config_flags.define_run_flags()
    options_lib.define_flags(FLAGS)
    define("folds", 5, "Parts that the images are divided into", "training", bounds="2 to 1000")
    define("repeats", 3, "Times that they are, with other seeds", "training", bounds="1 to 1000")
    command.run(main)
