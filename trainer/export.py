"""A network for other runtimes: `python -m trainer.export --run=RUN --format=savedmodel,onnx`.

Each holds all that the network does to an image and the class names, and is kept only if its own
runtime gives the probabilities that Keras gives.
"""

from absl import flags

from trainer import config_flags
from trainer.model import about
from trainer.run import command, given
from trainer.run.definitions import define
from trainer.run.errors import ConfigError

FLAGS = flags.FLAGS
_FORMATS = ("savedmodel", "onnx", "litert")


def main(argv: list[str]) -> None:
    """Flags -> one call."""
    command.refuse_words(argv)
    run = config_flags.network_of(FLAGS)
    if not FLAGS.output:
        raise ConfigError("--output is empty. Give a folder.")
    about.require(run)
    given.require_made(FLAGS.output, "output")
    formats = [each.strip() for each in FLAGS.format.split(",") if each.strip()]
    with command.stopped(f"what is in {FLAGS.output} is whole"):
        with command.heavy_imports():
            from trainer.inference import exports
        exports.show(exports.export(run, formats, FLAGS.output, FLAGS.quantize))


if __name__ == "__main__":
    config_flags.define_network_flag()
    define(
        "format", "savedmodel", "One format, or several with commas", "output", choices=_FORMATS,
        more="savedmodel: TensorFlow Serving; onnx: ONNX Runtime; litert: small devices.",
    )  # fmt: skip
    define(
        "quantize", "none", "How weights are stored", "output", choices=("none", "float16"),
        more="float16 halves onnx and litert; what that costs on validation is printed.",
    )  # fmt: skip
    define("output", "exported", "A folder for what is exported", "output")
    command.run(main)
