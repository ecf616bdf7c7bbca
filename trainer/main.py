"""Trains and tests a classifier: `python -m trainer.main --classes=4`."""

import dataclasses
import pathlib
from typing import Any

from absl import flags

from trainer import config as config_lib
from trainer import hparams
from trainer.run import command
from trainer.run.run_dir import named, prepare

FLAGS = flags.FLAGS


def main(argv: list[str]) -> None:
    """Flags -> Config -> one call."""
    command.refuse_words(argv)
    config, facts = _asked()
    run_dir = named(FLAGS.run_dir, f"{config.dataset}-{config.classes}")
    prepare(run_dir, overwrite=FLAGS.overwrite)
    with command.stopped(f"history.csv and the best weights so far are in {run_dir}"):
        # TensorFlow takes seconds to import: a wrong flag is told before that.
        with command.no_greeting():
            from trainer import train
        train.train_and_evaluate(config, run_dir, **facts)


def _asked() -> tuple[config_lib.Config, dict[str, Any]]:
    """The config of flags and --hparams, and what config.json says of the latter."""
    if not FLAGS.hparams:
        return config_lib.from_flags(FLAGS), {}
    found = hparams.read(pathlib.Path(FLAGS.hparams))
    names = [field.name for field in dataclasses.fields(config_lib.Config)]
    given = {name: FLAGS[name].value for name in names if FLAGS[name].present}
    config, origin = hparams.applied(found, given)
    for name, values in origin["changed"].items():
        print(f"--{name}={values['flag']} takes the place of the search's {values['search']}.")
    return config, {"hparams": origin}


if __name__ == "__main__":
    config_lib.define_flags()
    config_lib.define_run_flags()
    hparams.define_flag()
    flags.adopt_module_key_flags(config_lib)
    flags.adopt_module_key_flags(hparams)
    command.run(main)
