"""Trains and tests a classifier: `python -m trainer.main --classes=4`."""

import datetime
import pathlib
import sys

from absl import app, flags, logging

from trainer import config as config_lib
from trainer import errors, quiet, run_folder

FLAGS = flags.FLAGS


def main(argv: list[str]) -> None:
    """Flags -> Config -> one call."""
    try:
        if len(argv) > 1:
            raise config_lib.ConfigError(f"{argv[1:]} are no flags. Flags begin with --.")
        config = config_lib.from_flags(FLAGS)
        run_dir = pathlib.Path(FLAGS.run_dir or _default_run_dir(config))
        run_folder.prepare(run_dir, overwrite=FLAGS.overwrite)
    except config_lib.ConfigError as error:
        _stop(error, status=2)
    try:
        # TensorFlow takes seconds to import: a wrong flag is told before that.
        with quiet.no_greeting():
            from trainer import train
        if not FLAGS["verbosity"].present:
            logging.set_verbosity(logging.ERROR)  # TFDS tells of every file it opens
        train.train_and_evaluate(config, run_dir)
    except errors.RunError as error:
        _stop(error, status=1)
    except KeyboardInterrupt:
        _stop(f"\nstopped; history.csv and the best weights so far are in {run_dir}", status=130)


def _default_run_dir(config: config_lib.Config) -> str:
    time = datetime.datetime.now().strftime("%Y%m%d-%H%M%S")
    return f"runs/{config.dataset}-{config.classes}-{time}"


def _stop(error: Exception | str, status: int) -> None:
    print(f"{'wrong command line: ' if status == 2 else ''}{error}", file=sys.stderr)
    sys.exit(status)


def _parse(argv: list[str]) -> list[str]:
    try:
        return FLAGS(argv)
    except flags.Error as error:
        _stop(error, status=2)


if __name__ == "__main__":
    config_lib.define_flags()
    flags.adopt_module_key_flags(config_lib)
    app.run(main, flags_parser=_parse)
