"""Shows, checks, empties or fills the cache: `python -m trainer.features --list`."""

import dataclasses
import sys

from absl import flags

from trainer import config as config_lib
from trainer import config_flags
from trainer.execution import options as options_lib
from trainer.execution import ray
from trainer.input_pipeline import cache_report
from trainer.run import command
from trainer.run.errors import ConfigError

FLAGS = flags.FLAGS
_ACTIONS = ("list", "verify", "clear", "fill")
_OF_TRAININGS = (*dataclasses.fields(config_lib.Config), *dataclasses.fields(options_lib.Options))


def main(argv: list[str]) -> None:
    """One of the actions; status 1 if something is damaged."""
    command.refuse_words(argv)
    if sum(FLAGS[name].value for name in _ACTIONS) != 1:
        raise ConfigError("Give one of --list, --verify, --clear and --fill.")
    if FLAGS.fill:
        config, options = config_flags.from_flags(FLAGS), options_lib.from_flags(FLAGS)
        with command.stopped("what was computed is cached"), ray.connected(options) as cluster:
            with command.heavy_imports():
                from trainer.execution import caching
            print(caching.fill_cache(config, cluster))
        return
    for name in {field.name for field in _OF_TRAININGS} - {"cache_dir"}:
        if FLAGS[name].present:
            raise ConfigError(f"--{name} has no effect without --fill. Add it, or leave this out.")
    cache_dir = config_lib.cache_folder(FLAGS.cache_dir)
    if FLAGS.list:
        print(cache_report.listing(cache_dir))
    elif FLAGS.clear:
        print(cache_report.clearing(cache_dir))
    else:
        text, well = cache_report.verification(cache_dir)
        print(text)
        sys.exit(0 if well else 1)


if __name__ == "__main__":
    flags.DEFINE_bool("list", False, "Show what is cached.")
    flags.DEFINE_bool("verify", False, "Check every row (status 1 if one is damaged).")
    flags.DEFINE_bool("clear", False, "Remove everything that no process has open.")
    flags.DEFINE_bool("fill", False, "Compute all that a training with the other flags reads.")
    config_flags.define_flags()
    options_lib.define_flags(FLAGS)
    flags.adopt_module_key_flags(config_flags)
    flags.adopt_module_key_flags(options_lib)
    command.run(main)
