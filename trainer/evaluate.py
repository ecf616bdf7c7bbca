"""A network on other images: `python -m trainer.evaluate --run=RUN [--dataset=NAME|--images=DIR]`.

The images are those of a prepared dataset, or of a folder with a folder for each class. Those that
the network has seen are left out.
"""

from absl import flags

from trainer import config_flags
from trainer.model import about
from trainer.run import command, given
from trainer.run.definitions import define
from trainer.run.errors import ConfigError

FLAGS = flags.FLAGS


def main(argv: list[str]) -> None:
    """Flags -> one call."""
    command.refuse_words(argv)
    run = config_flags.network_of(FLAGS)
    if FLAGS.images and (FLAGS.dataset or FLAGS["split"].present):
        raise ConfigError(
            "--images is given with --dataset or --split, which are of datasets. Give one kind."
        )
    about.require(run)
    if FLAGS.images:
        given.require_something([FLAGS.images])
    given.require_made(FLAGS.output or "evaluations", "output")
    with command.stopped("nothing of it is used until metrics.json is there"):
        with command.heavy_imports():
            from trainer.inference import external_validation
        external_validation.show(
            external_validation.evaluate(
                run, dataset=FLAGS.dataset, split="" if FLAGS.images else FLAGS.split,
                images=FLAGS.images, data_dir=FLAGS.data_dir, output=FLAGS.output,
            )
        )  # fmt: skip


if __name__ == "__main__":
    config_flags.define_network_flag()
    define(
        "dataset", "", "Name of a prepared dataset", "data",
        more="Unless given, that of the run.",
    )  # fmt: skip
    define("split", "test", "One of its splits, or all", "data")
    define(
        "images", "", "A folder of images, in place of a dataset", "data",
        more="With a folder for each class, named as the network's classes, or an images.csv.",
    )  # fmt: skip
    define(
        "data_dir", "", "Where datasets are", "data",
        more="Unless given, where that of the run was, or TFDS' own folder.",
    )  # fmt: skip
    define(
        "output", "", "A folder for the tables and numbers", "output",
        more="Unless given, evaluations/RUN-DATASET-SPLIT, or RUN-FOLDER of --images.",
    )  # fmt: skip
    command.run(main)
