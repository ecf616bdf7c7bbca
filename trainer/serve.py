"""A page on this machine to drop images on: `python -m trainer.serve --run=RUN`.

It answers with the class, the probabilities and what they are worth, and shows where the network
looked. Nothing that is dropped is written, and nothing leaves the machine.
"""

from absl import flags

from trainer import config_flags
from trainer.inference import page_door
from trainer.model import about
from trainer.run import command
from trainer.run.definitions import define

FLAGS = flags.FLAGS


def main(argv: list[str]) -> None:
    """Flags -> one call, which ends with a signal."""
    command.refuse_words(argv)
    run = config_flags.network_of(FLAGS)
    about.require(run)
    page_door.require_gradio()
    left = "the page is closed, and nothing that was dropped is kept"
    with page_door.listening(FLAGS.port) as listener, command.stopped(left):
        with command.heavy_imports():
            from trainer.inference import page_server
        page_server.serve(run, listener)


if __name__ == "__main__":
    config_flags.define_network_flag()
    define(
        "port", 7860, "Where the page is: http://127.0.0.1:PORT/", "output",
        bounds="0 to 65535", lower_bound=0, upper_bound=65535,
        more="0 is any port that is free.",
    )  # fmt: skip
    command.run(main)
