"""What a search costs beside its training: many trials that train nothing, on a cluster.

A part of `benchmarks.search`. All is the search's own (what it proposes, its log and its other
files, Ray with its workers on this machine) but for the trial: a task that returns at once what a
trial would have measured. Workers have no images, and do not import TensorFlow.
"""

import contextlib
import dataclasses
import io
import math
import pathlib
import resource
import tempfile
import time
import types
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple
from unittest import mock

import numpy as np
from absl import flags

WORKERS = 8


class Mark(NamedTuple):
    """What the driver has used up by the end of a trial.

    Attributes:
        wall: Seconds.
        own: Of them, those in which it did not wait for a task to end.
        processor: Seconds of the processor, of all its threads.
        written: Bytes that it passed to files, rewritten ones counted again.
    """

    wall: float
    own: float
    processor: float
    written: int


def trivial(
    setup: None, space: Any, settings: Any, values: Mapping[str, Any], shape: tuple[int, int]
) -> types.SimpleNamespace:
    """A task in place of `tuning.trial.run`.

    Args:
        setup: None.
        space: What is searched.
        settings: How.
        values: By parameter.
        shape: Images that a trial is scored on, and classes.

    Returns:
        The attributes of a `TrialResult`, which itself would import TensorFlow.
    """
    score = 1 / (1 + abs(math.log10(values["learning_rate"]) + 4))  # best at 1e-4
    scores = dict.fromkeys(("loss", "accuracy", "val_loss", "val_accuracy"), 0.5)
    scores["val_balanced_accuracy"] = score
    logs = {**scores, "learning_rate": values["learning_rate"]}
    epochs = space.config(values).epochs
    ends = [f"val_{name}_{end}" for name in ("accuracy", "balanced_accuracy", "loss")
            for end in ("low", "high")]  # fmt: skip
    load = {"seconds": 1e-3, "images_per_second": 1e3, "parameters": 1e6}
    counts = {"epoch": epochs, "val_images": shape[0], "val_groups": shape[0]}
    return types.SimpleNamespace(
        metrics={**scores, **dict.fromkeys(ends, score), **load, **counts},
        curves=[[{"epoch": epoch, **logs} for epoch in range(1, epochs + 1)]],
        probabilities=np.full((1, *shape), 1 / shape[1], np.float32),
        weights=None,
    )


def described(values: flags.FlagValues, folder: pathlib.Path) -> "settings.Spec":  # noqa: F821
    """A search over the usual space in a folder.

    Args:
        values: Of `benchmarks.search`.
        folder: For the search and for a cache of its own.
    """
    from tuning import folder as folder_lib
    from tuning import settings, space

    shared = ("data_dir", "dataset", "classes", "seed", "epochs", "tuner")
    given = [f"--{name}={values[name].value}" for name in shared]
    parsed = flags.FlagValues()
    space.define_flags(parsed)
    settings.define_flags(parsed)
    parsed(["search", *given, f"--max_trials={values.trials}", "--final_folds=0",
            f"--cache_dir={folder / 'cache'}", "--weights=none", "--image_size=32"])  # fmt: skip
    searched = space.from_flags(parsed)
    root = folder_lib.Folder(folder / "search")
    return settings.Spec(root, searched, settings.from_flags(parsed, searched))


def run(search: "settings.Spec", workers: int) -> list[Mark]:  # noqa: F821
    """Runs all trials of a search.

    Args:
        search: Of `described`.
        workers: Tasks at the same time; 1: in this process, without Ray.

    Returns:
        A mark before the first trial, at each trial's end, and when the search has ended.
    """
    import psutil

    from trainer.execution import local, ray
    from trainer.execution.options import Options
    from tuning import search as search_lib
    from tuning import trainings
    from tuning import trial as trial_lib

    setup, waited, marks = search_lib.opened_images(search.space), 0.0, []
    process = psutil.Process()
    shape = (len(trainings.scored_images(setup, 0)), setup.config.classes)
    search = dataclasses.replace(search, callbacks=shape)  # how it comes to the task

    def mark() -> None:
        now, used = time.perf_counter(), resource.getrusage(resource.RUSAGE_SELF)
        processor, written = used.ru_utime + used.ru_stime, process.io_counters().write_chars
        marks.append(Mark(now, now - waited, processor, written))

    @contextlib.contextmanager
    def tasks(_: Any, cluster: Any, began: None) -> Iterator[Any]:
        with local.executor(cluster, None) as made:
            made.setup, wait = setup, made.next  # of the driver alone

            def timed() -> Any:
                nonlocal waited
                begin = time.perf_counter()
                ended = wait()
                waited += time.perf_counter() - begin
                return ended

            made.next = timed
            yield made

    options = Options(workers=workers, task_cpus=1) if workers > 1 else Options()
    with (
        ray.connected(options) as cluster,
        contextlib.closing(setup.opened),
        contextlib.redirect_stdout(io.StringIO()),
        mock.patch.object(search_lib, "_tasks", tasks),
        mock.patch.object(trial_lib, "run", trivial),
    ):
        mark()
        search_lib.run(search, cluster, on_trial_end=mark)
        mark()
    return marks


def reopened(search: "settings.Spec") -> float:  # noqa: F821
    """Seconds to open a search that is there, with its trials and the table of them."""
    from tuning import oracle, record

    begin = time.perf_counter()
    with contextlib.redirect_stdout(io.StringIO()):
        proposals = oracle.Proposals.open(search.settings, search.space, search.folder.log)
        with contextlib.closing(proposals):
            record.Record(search, proposals)
    return time.perf_counter() - begin


def measure(values: flags.FlagValues, workers: int = WORKERS) -> dict[str, float]:
    """Runs a search and opens it again.

    Args:
        values: Of `benchmarks.search`.
        workers: See `run`.

    Returns:
        The figures by their names, units in these.
    """
    with tempfile.TemporaryDirectory() as folder:
        search = described(values, pathlib.Path(folder))
        marks = run(search, workers)
        files = [path for path in search.folder.root.rglob("*") if path.is_file()]
        kept = sum(path.stat().st_size for path in files)
        seconds = reopened(search)
    ended = len(marks) - 2
    first, last = marks[0], marks[-1]
    sixth = max(1, ended // 6)
    # Behind the first trial, so that the search's opening is in neither.
    parts = {"first": marks[1 : sixth + 2], "last": marks[-sixth - 2 : -1]}
    return {
        "trials": ended,
        "wall, seconds": last.wall - first.wall,
        "driver, ms a trial": 1e3 * (last.own - first.own) / ended,
        "driver, processor's ms a trial": 1e3 * (last.processor - first.processor) / ended,
        **{
            f"driver, processor's ms a trial of the {name} sixth": 1e3
            * (part[-1].processor - part[0].processor)
            / sixth
            for name, part in parts.items()
        },
        "driver's processor, seconds": last.processor - first.processor,
        "written, MiB": (last.written - first.written) / 2**20,
        "kept, MiB": kept / 2**20,
        "files": len(files),
        "re-opened in, seconds": seconds,
    }
