"""A network's answers for images: `python -m trainer.predict --run=RUN PATH...`.

A PATH is a file of any format that the dataset reads, DICOM too, a folder, a zip, a pattern in
quotes, or `-` for a list on stdin.
"""

import sys

from absl import flags

from trainer import config_flags
from trainer.model import about
from trainer.run import command, given
from trainer.run.definitions import define
from trainer.run.errors import ConfigError

FLAGS = flags.FLAGS
_FORMATS = ("table", "csv", "json", "jsonl", "parquet")
_STDIN = "-"


def main(argv: list[str]) -> None:
    """Flags and paths -> one call; status 1 if a file can't be used."""
    run = config_flags.network_of(FLAGS)
    if len(argv) == 1:
        raise ConfigError("There is no PATH. Give files, folders, zips, or - for a list on stdin.")
    if FLAGS.format not in _FORMATS:
        raise ConfigError(f"--format is {FLAGS.format!r}. Choose one of: {', '.join(_FORMATS)}.")
    if FLAGS.format == "parquet" and not FLAGS.output:
        raise ConfigError("--format=parquet is no text for a screen. Give a file with --output.")
    about.require(run)
    given.require_written(FLAGS.output, "output")
    given.require_written(FLAGS.gallery, "gallery")
    with command.stopped("rows that are printed are right; files are not written"):
        paths = [
            path for word in argv[1:] for path in (given.on_stdin() if word == _STDIN else [word])
        ]
        given.require_something(paths)
        with command.heavy_imports():
            from trainer.inference import file_predictions
        well = file_predictions.predict(
            run, paths, kind=FLAGS.format, output=FLAGS.output, gallery=FLAGS.gallery
        )
    sys.exit(0 if well else 1)


if __name__ == "__main__":
    config_flags.define_network_flag()
    define(
        "format", "table", "How answers are written", "output", choices=_FORMATS,
        more="json is one object, jsonl one a line. parquet needs --output.",
    )  # fmt: skip
    define("output", "", "A file for them; else they are printed", "output", more="Written whole.")
    define("gallery", "", "A file for a page of thumbnails, .html", "output", more="Besides.")
    command.run(main)
