"""Trains and evaluates a classifier: `python -m trainer.main --classes=4`."""

from absl import flags

from trainer import config_flags, inputs
from trainer.run import command, run_dir, saved_state
from trainer.run.definitions import define
from trainer.run.errors import ConfigError
from trainer.run.manifest import GROWING, Identity
from trainer.run.progress import fitted

FLAGS = flags.FLAGS


def main(argv: list[str]) -> None:
    """Flags -> Config -> one call."""
    command.refuse_words(argv)
    config, searched = config_flags.from_flags_and_hparams(FLAGS)
    profile = config_flags.steps_of(FLAGS.profile)
    if profile and FLAGS.seeds > 1:
        raise ConfigError(
            f"--profile={FLAGS.profile} traces one training, and --seeds={FLAGS.seeds} are "
            "several. Give one of the two."
        )
    for name, values in (searched or {}).get("changed", {}).items():
        line = f"--{name}={values['flag']} takes the place of the search's {values['search']}."
        print(fitted(line))
    config = inputs.for_run(config, FLAGS.run_dir, overwrite=FLAGS.overwrite)
    default = f"{config.dataset}-{config.classes}"
    several = {"seeds": FLAGS.seeds} if FLAGS.seeds > 1 else {}
    identity = Identity("trainer.main", config.to_json() | several, GROWING)
    with (
        run_dir.create(FLAGS.run_dir, default, identity, overwrite=FLAGS.overwrite) as folder,
        command.stopped(
            lambda: saved_state.where_it_goes_on(
                folder.path, overwrite=FLAGS.overwrite and folder.begun
            )
        ),
    ):
        if run_dir.nothing_left(folder):
            return
        with command.heavy_imports():
            from trainer import seeds, train
        if several:
            again = FLAGS.overwrite
            seeds.train_seeds(config, FLAGS.seeds, folder, overwrite=again, hparams=searched)
        else:
            train.train_and_evaluate(config, folder, profile=profile, hparams=searched)


if __name__ == "__main__":
    config_flags.define_flags()
    config_flags.define_run_flags()
    config_flags.define_hparams_flag()
    define(
        "seeds", 1, "Trainings, with --seed and those after it", "training",
        bounds="1 to 1000", lower_bound=1, upper_bound=1000,
    )  # fmt: skip
    config_flags.define_profile_flag()
    command.run(main)
