"""Where a network looks: `python -m trainer.explain --run=RUN PATH...`.

A PATH is a file of any format that the dataset reads, DICOM too, a folder, a zip, or a pattern in
quotes. Of each image a picture is drawn: as it is stored, as the network gets it, with its Grad-CAM
map, and with its occlusion map.
"""

import sys

from absl import flags

from trainer import config_flags
from trainer.model import about
from trainer.run import command, given
from trainer.run.definitions import define
from trainer.run.errors import ConfigError

FLAGS = flags.FLAGS


def main(argv: list[str]) -> None:
    """Flags and paths -> one call; status 1 if a file can't be used."""
    run = config_flags.network_of(FLAGS)
    if len(argv) == 1:
        raise ConfigError("There is no PATH. Give files, folders or zips of images.")
    if not FLAGS.output:
        raise ConfigError("--output is empty. Give a folder for the pictures.")
    about.require(run, class_name=FLAGS["class"].value or "")
    given.require_something(argv[1:])
    given.require_made(FLAGS.output, "output")
    with command.stopped(f"pictures that are in {FLAGS.output} are whole"):
        with command.heavy_imports():
            from trainer.inference import file_explanations
        result = file_explanations.explain(
            run, argv[1:],
            class_name=FLAGS["class"].value or "", masks=FLAGS.masks, output=FLAGS.output,
        )  # fmt: skip
        file_explanations.show(result)
    sys.exit(1 if result.errors else 0)


if __name__ == "__main__":
    config_flags.define_network_flag()
    define(
        "class", "", "The class that maps are of, by its name", "network",
        more="Unless given, of each image the most probable one.",
    )  # fmt: skip
    define(
        "masks", "", "A folder of masks of the lungs", "data",
        more="Of an image a.png, a.png or a_mask.png: of the same shape, black outside the lungs.",
    )  # fmt: skip
    define("output", "explained", "A folder for the pictures", "output")
    command.run(main)
