"""Trains and tests a classifier: `python -m trainer.main --classes=4`."""

from absl import flags

from trainer import command, run_folder
from trainer import config as config_lib

FLAGS = flags.FLAGS


def main(argv: list[str]) -> None:
    """Flags -> Config -> one call."""
    command.refuse_words(argv)
    config = config_lib.from_flags(FLAGS)
    run_dir = run_folder.named(FLAGS.run_dir, f"{config.dataset}-{config.classes}")
    run_folder.prepare(run_dir, overwrite=FLAGS.overwrite)
    with command.stopped(f"history.csv and the best weights so far are in {run_dir}"):
        # TensorFlow takes seconds to import: a wrong flag is told before that.
        with command.no_greeting():
            from trainer import train
        train.train_and_evaluate(config, run_dir)


if __name__ == "__main__":
    config_lib.define_flags()
    flags.adopt_module_key_flags(config_lib)
    command.run(main)
