"""Trains and evaluates a classifier: `python -m trainer.main --classes=4`."""

from absl import flags

from trainer import config_flags
from trainer.run import command, run_dir, saved_state
from trainer.run.manifest import GROWING, Identity

FLAGS = flags.FLAGS


def main(argv: list[str]) -> None:
    """Flags -> Config -> one call."""
    command.refuse_words(argv)
    config, searched = config_flags.from_flags_and_hparams(FLAGS)
    for name, values in (searched or {}).get("changed", {}).items():
        print(f"--{name}={values['flag']} takes the place of the search's {values['search']}.")
    default = f"{config.dataset}-{config.classes}"
    several = {"seeds": FLAGS.seeds} if FLAGS.seeds > 1 else {}
    identity = Identity("trainer.main", config.to_json() | several, GROWING)
    with (
        run_dir.create(FLAGS.run_dir, default, identity, overwrite=FLAGS.overwrite) as folder,
        command.stopped(lambda: saved_state.where_it_goes_on(folder.path)),
    ):
        if run_dir.nothing_left(folder):
            return
        with command.heavy_imports():
            from trainer import seeds, train
        if several:
            again = FLAGS.overwrite
            seeds.train_seeds(config, FLAGS.seeds, folder, overwrite=again, hparams=searched)
        else:
            train.train_and_evaluate(config, folder, hparams=searched)


if __name__ == "__main__":
    config_flags.define_flags()
    config_flags.define_run_flags()
    config_flags.define_hparams_flag()
    flags.DEFINE_integer(
        "seeds", 1, "Train so many times, with --seed and those after it.", lower_bound=1
    )
    flags.adopt_module_key_flags(config_flags)
    command.run(main)
