"""Compares runs image by image: `python -m trainer.compare RUN RUN`."""

from absl import flags

from trainer.run import command, given
from trainer.run.definitions import define
from trainer.run.files import expanded
from trainer.run.progress import fitted, working

FLAGS = flags.FLAGS


def main(argv: list[str]) -> None:
    """Folders of runs -> a table, and a page if one is wanted."""
    given.require_written(FLAGS.output, "output")
    with working("comparing the runs"):
        from trainer.reporting import comparison, comparison_text, results  # takes a second

        runs = [results.finished(folder) for folder in argv[1:]]
        compared = comparison.compare(runs)
    print(comparison_text.text(compared))
    if FLAGS.output:
        with working("drawing the page"):
            from trainer.reporting import comparison_page

            comparison_page.write(compared, path := expanded(FLAGS.output))
        print(fitted(f"page: {path}"))


if __name__ == "__main__":
    define("output", "", "An HTML page of the comparison", "output", bounds="a file; none if empty")
    command.run(main)
