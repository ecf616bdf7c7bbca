"""Trains and evaluates a classifier: `python -m trainer.main --classes=4`."""

from absl import flags

from trainer.run import command, config_flags, run_dir

FLAGS = flags.FLAGS


def main(argv: list[str]) -> None:
    """Flags -> Config -> one call."""
    command.refuse_words(argv)
    config, searched = config_flags.from_flags_and_hparams(FLAGS)
    for name, values in (searched or {}).get("changed", {}).items():
        print(f"--{name}={values['flag']} takes the place of the search's {values['search']}.")
    default = f"{config.dataset}-{config.classes}"
    with (
        run_dir.create(FLAGS.run_dir, default, overwrite=FLAGS.overwrite) as folder,
        command.stopped(f"history.csv and the best weights so far are in {folder}"),
    ):
        with command.heavy_imports():
            from trainer import train
        train.train_and_evaluate(config, folder, hparams=searched)


if __name__ == "__main__":
    config_flags.define_flags()
    config_flags.define_run_flags()
    config_flags.define_hparams_flag()
    flags.adopt_module_key_flags(config_flags)
    command.run(main)
