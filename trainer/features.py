"""Shows, checks, empties or fills the cache: `python -m trainer.features --list`."""

import dataclasses
import sys

from absl import flags

from trainer import config as config_lib
from trainer import config_flags, inputs
from trainer.execution import options as options_lib
from trainer.execution import ray
from trainer.input_pipeline import cache_report
from trainer.run import command
from trainer.run.definitions import define
from trainer.run.errors import ConfigError
from trainer.run.progress import fitted, working

FLAGS = flags.FLAGS
_ACTIONS = ("list", "verify", "clear", "fill")
_OF_TRAININGS = (*dataclasses.fields(config_lib.Config), *dataclasses.fields(options_lib.Options))


def main(argv: list[str]) -> None:
    """One of the actions; status 1 if something is damaged."""
    command.refuse_words(argv)
    if sum(bool(FLAGS[name].value) for name in _ACTIONS) != 1:
        raise ConfigError("Give one of --list, --verify, --clear and --fill.")
    if FLAGS.fill:
        options = options_lib.from_flags(FLAGS)
        config = inputs.for_run(config_flags.from_flags(FLAGS), "", overwrite=False)
        with command.stopped("what was computed is cached"), ray.connected(options) as cluster:
            with command.heavy_imports():
                from trainer.execution import caching
            print(fitted(caching.fill_cache(config, cluster)))
        return
    for name in {field.name for field in _OF_TRAININGS} - {"cache_dir"}:
        if FLAGS[name].present:
            raise ConfigError(f"--{name} has no effect without --fill. Add it, or leave this out.")
    inputs.require_cache_folder(FLAGS.cache_dir)
    cache_dir = config_lib.cache_folder(FLAGS.cache_dir)
    if FLAGS.list:
        text, well = cache_report.listing(cache_dir), True
    elif FLAGS.clear:
        with working("removing what is cached"):
            text, well = cache_report.clearing(cache_dir), True
    else:
        with working("checking every row"):
            text, well = cache_report.verification(cache_dir)
    print(text)
    sys.exit(0 if well else 1)


if __name__ == "__main__":
    define("list", False, "Show what is cached", "actions")
    define("verify", False, "Check every row", "actions", more="Status 1 if one is damaged.")
    define("clear", False, "Remove all rows that no process has open", "actions")
    define("fill", False, "Compute what a training would read", "actions")
    config_flags.define_flags()
    options_lib.define_flags(FLAGS)
    command.run(main)
