"""Cross-validates a configuration: `python -m trainer.crossval --folds=5 --repeats=3`.

The images of train and validation are dealt into folds, stratified by class, no patient group in
two; each fold is predicted by a network trained on the others. The test split is not opened. No
epoch is chosen: what is scored is the last one, so that no fold judges what it chose. The frozen
part is computed once for all folds and repeats.
"""

import pathlib
from typing import TYPE_CHECKING, Any

from absl import flags

from trainer import config as config_lib
from trainer.run import command
from trainer.run.run_dir import named, prepare

if TYPE_CHECKING:
    from trainer.cross_validation import CrossValidation

FLAGS = flags.FLAGS


def main(argv: list[str]) -> None:
    """Flags -> Config -> folds -> the screen and the files."""
    command.refuse_words(argv)
    config = config_lib.from_flags(FLAGS)
    folds, repeats = FLAGS.folds, FLAGS.repeats
    check(folds, repeats)
    check_config(config)
    run_dir = named(FLAGS.run_dir, f"crossval-{config.dataset}-{config.classes}")
    prepare(run_dir, overwrite=FLAGS.overwrite)
    with command.stopped("the activations computed so far are kept"):
        with command.no_greeting():
            from trainer import cross_validation as folds_lib
        result = folds_lib.cross_validate(config, folds, repeats, run_dir)
    print(screen(result, run_dir))


def check(folds: int, repeats: int) -> None:
    """Refuses too few folds or repeats.

    Raises:
        ConfigError: It says which.
    """
    for name, value, least in (("folds", folds, 2), ("repeats", repeats, 1)):
        if value < least:
            raise config_lib.ConfigError(f"--{name} is {value}. Give {least} or more.")


def check_config(config: config_lib.Config) -> None:
    """Refuses settings that need a held-out split, or one set of images that is trained on.

    Raises:
        ConfigError: It says which.
    """
    for name, why in (
        ("early_stopping", "a fold would choose the epoch that it judges"),
        ("as_published", "the article had no folds"),
    ):
        if getattr(config, name):
            raise config_lib.ConfigError(f"--{name} has no place with folds: {why}. Leave it out.")
    if config.normalization != "imagenet":
        raise config_lib.ConfigError(
            f"--normalization={config.normalization} is fitted to the images that are trained on, "
            "which differ from fold to fold. Use --normalization=imagenet."
        )


def screen(result: "CrossValidation", run_dir: pathlib.Path) -> str:
    """The last screen: the mean with its interval, the folds' spread, the floors."""
    scores: dict[str, Any] = result.scores
    pooled, folds = scores["pooled"]["balanced_accuracy"], scores["folds"]
    lines = [
        f"\n{scores['dataset']}, {scores['folds_n']} folds x {scores['repeats']} repeats; "
        f"n = {scores['n']} images of {scores['patients']} patients",
        f"balanced accuracy, out of fold  {pooled['value']:.3f} "
        f"[{pooled['low']:.3f}, {pooled['high']:.3f}] (95 % over patients)",
        f"  over folds and repeats        mean {folds['mean']:.3f}, sd {folds['sd']:.3f}, "
        f"min {folds['min']:.3f}",
    ]
    for view, label in (
        ("whole_image", "floor, whole image"),
        ("lungs_removed", "floor, no lungs"),
    ):
        floor = scores["floor"][view]
        lines.append(f"{label:30s}  mean {floor['mean']:.3f}, sd {floor['sd']:.3f}")
    lines += [
        "(floor: a linear model of 32 x 32 pixels on the first repeat's folds)",
        f"\nrun folder: {run_dir}   (crossval.json, predictions.csv)",
        "Research use, not for diagnosis.",
    ]
    return "\n".join(lines)


if __name__ == "__main__":
    config_lib.define_flags()
    config_lib.define_run_flags()
    flags.DEFINE_integer("folds", 5, "Parts that the images are dealt into.")
    flags.DEFINE_integer("repeats", 3, "Times they are dealt anew, each with another seed.")
    flags.adopt_module_key_flags(config_lib)
    command.run(main)
