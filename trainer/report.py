"""Writes the report of a run: `python -m trainer.report --run=RUN`."""

from absl import flags

from trainer.run import command, run_dir
from trainer.run.definitions import define
from trainer.run.errors import ConfigError
from trainer.run.manifest import Manifest
from trainer.run.progress import fitted, working

FLAGS = flags.FLAGS


def main(argv: list[str]) -> None:
    """The folder of a run -> its report.html."""
    command.refuse_words(argv)
    if not FLAGS.run:
        raise ConfigError("--run is missing. Give the folder of a run.")
    with working("writing the report"):
        from trainer.reporting import results, run_report, several_report  # takes a second

        run = results.ended(FLAGS.run)
        with run_dir.use(run.path):
            path = (several_report if run.several else run_report).write(run)
            there = Manifest.read(run.path)
            assert there is not None  # of a run that has ended
            there.with_file(run.path, path.name).write(run.path)
    print(fitted(f"report: {path}"))


if __name__ == "__main__":
    define(
        "run", "", "Folder of what has ended", "data",
        more="That of a run, which has a report already, of several seeds, or of folds.",
    )  # fmt: skip
    command.run(main)
