"""Shows, checks or empties the cache: `python -m trainer.features --list`."""

import sys

from absl import flags

from trainer.config import CACHE_HELP, cache_folder
from trainer.input_pipeline import cache_report
from trainer.run import command
from trainer.run.errors import ConfigError

FLAGS = flags.FLAGS


def main(argv: list[str]) -> None:
    """`--list`, `--verify` or `--clear`; status 1 if something is damaged."""
    command.refuse_words(argv)
    chosen = [name for name in ("list", "verify", "clear") if FLAGS[name].value]
    if len(chosen) != 1:
        raise ConfigError("Give one of --list, --verify and --clear.")
    cache_dir = cache_folder(FLAGS.cache_dir)
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
    flags.DEFINE_string("cache_dir", "", CACHE_HELP)
    command.run(main)
