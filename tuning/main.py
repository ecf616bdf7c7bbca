"""Searches for better values of the trainer's settings: `python -m tuning.main --classes=4`."""

import os
import pathlib
import subprocess
import sys
import types

from absl import flags

from trainer import config as config_lib
from trainer.run import command
from trainer.run.errors import ConfigError
from trainer.run.files import expanded
from tuning import processes, space
from tuning import roles as roles_lib
from tuning import settings as settings_lib
from tuning.folder import Folder
from tuning.roles import Search

FLAGS = flags.FLAGS


def main(argv: list[str]) -> None:
    """Flags -> space and settings -> this process' part of the search."""
    command.refuse_words(argv)
    searched = space.from_flags(FLAGS)
    settings = settings_lib.from_flags(FLAGS, searched)
    role = roles_lib.role()
    _check(role)
    if role == "chief":  # TensorFlow would take all memory of the GPUs, and a chief trains nothing
        os.environ["CUDA_VISIBLE_DEVICES"] = ""
    config = searched.config({})
    search_dir = expanded(FLAGS.search_dir or f"searches/{config.dataset}-{config.classes}")
    folder = Folder(pathlib.Path(search_dir))
    spec = Search(folder, searched, settings, FLAGS.worker_timeout, FLAGS.trial_attempts)
    with command.stopped(f"trials that ended are in {folder.root}; the same command goes on"):
        if role == "worker":
            processes.end_with_parent()
            _heavy()[0].work(spec)
        elif processes.supervised():
            processes.end_with_parent()
            _heavy()[0].lead(spec, processes.worker_ids(FLAGS.workers))
        else:
            folder.begin(spec.identity, overwrite=FLAGS.overwrite)
            _search(spec, role)


def _heavy() -> tuple[types.ModuleType, types.ModuleType]:
    """The modules that need TensorFlow, `work` and `finish`: a wrong flag is refused before."""
    with command.heavy_imports():
        from tuning import finish, work
    return work, finish


def _search(spec: Search, role: str) -> None:
    """The whole search, from here."""
    if role == "chief":
        _heavy()[0].lead(spec, None)
        bench = None  # a chief has no images
    elif FLAGS.workers > 1:
        processes.run(
            processes.again("--noretrain_best"),
            spec.folder,
            FLAGS.workers,
            split_cores=not FLAGS.deterministic,
        )
        bench = _heavy()[0].bench(spec) if FLAGS.final_folds else None
    else:
        bench = _heavy()[0].bench(spec)
        _heavy()[0].alone(spec, bench)
    if not _heavy()[1].finish(spec, bench, FLAGS.final_folds):
        sys.exit(1)
    if FLAGS.retrain_best:
        _retrain(spec.folder)


def _retrain(folder: Folder) -> None:
    """Trains with the best values as a run of its own."""
    flags_ = [f"--hparams={folder.best}", f"--run_dir={folder.root / 'retrained'}", "--overwrite"]
    flags_ += [f"--{name}={FLAGS[name].value}" for name in ("data_dir", "cache_dir")]
    done = subprocess.run([sys.executable, "-m", "trainer.main", *flags_], check=False)
    sys.exit(done.returncode)


def _check(role: str) -> None:
    for name, least in (("workers", 1), ("worker_timeout", 5), ("trial_attempts", 1)):
        if FLAGS[name].value < least:
            raise ConfigError(f"--{name} is {FLAGS[name].value:g}. Give {least} or more.")
    if FLAGS.final_folds < 0 or FLAGS.final_folds == 1:
        raise ConfigError(
            f"--final_folds is {FLAGS.final_folds}. Give 2 or more, or 0 for no comparison."
        )
    if role == "alone" or processes.supervised():
        return
    if FLAGS.workers > 1:
        raise ConfigError(
            f"--workers={FLAGS.workers} starts workers here, and KERASTUNER_TUNER_ID says that "
            "this process is one of several already. Leave out one of them."
        )
    if FLAGS.retrain_best:
        raise ConfigError(
            "--retrain_best needs images, which a chief has not. Leave it out, and give "
            "best_hparams.json to trainer.main --hparams where they are."
        )
    if FLAGS.overwrite:
        raise ConfigError(
            "--overwrite would remove the search whenever its chief is started again. Leave it "
            "out, and remove the folder yourself."
        )


def _define_flags() -> None:
    space.define_flags()
    settings_lib.define_flags()
    flags.DEFINE_string(
        "search_dir", "", "Folder of the search. Default: searches/DATASET-CLASSES."
    )
    flags.DEFINE_boolean("overwrite", False, "Remove a search that is there and begin again.")
    flags.DEFINE_integer("workers", 1, "Processes on this machine that run trials.")
    flags.DEFINE_float(
        "worker_timeout",
        600.0,
        "Seconds without a step after which a worker is taken for dead or hung, and without a "
        "chief after which a worker gives up.",
    )
    flags.DEFINE_integer(
        "trial_attempts", 10, "A trial whose process was lost so often has failed."
    )
    flags.DEFINE_integer(
        "final_folds", 5, "Folds of the closing comparison of best and default; 0: none."
    )
    flags.DEFINE_boolean("retrain_best", False, "Then train and test with the best values.")


if __name__ == "__main__":
    _define_flags()
    for module in (config_lib, space, settings_lib):
        flags.adopt_module_key_flags(module)
    command.run(main)
