"""What a chief costs a search: the calls of a worker that trains nothing.

`python -m benchmarks.search_chief --trials=300` serves a random search from a thread, has a worker
in its own process ask for each trial, report and end it, and prints a line of JSON: milliseconds a
trial over the first and the last sixth of the trials, in all and by call. The chief is the
search's own, with the files that it writes whenever a trial ends.
"""

import json
import os
import pathlib
import statistics
import tempfile
import threading
import time
from collections.abc import Callable
from typing import Any

from absl import app, flags

from benchmarks import harness

_CALLS = ("create_trial", "get_trial", "update_trial", "end_trial")
# What a trial reports.
_METRICS = {
    **dict.fromkeys(("loss", "accuracy", "val_loss", "val_accuracy", "val_balanced_accuracy"), 0.5),
    **{"epoch": 3.0, "seconds": 1.0, "images_per_second": 1e3, "parameters": 1e6},
    **{"val_images": 54.0, "val_patients": 43.0},
}


def described(folder: pathlib.Path, trials: int) -> "roles.Search":  # noqa: F821
    """A random search with the usual space, begun in a folder."""
    from tuning import folder as folder_lib
    from tuning import roles, settings, space

    values = flags.FlagValues()
    space.define_flags(values)
    settings.define_flags(values)
    values(["search_chief", f"--max_trials={trials}", "--dataset=article"])
    searched = space.from_flags(values)
    root = folder_lib.Folder(folder)
    search = roles.Search(root, searched, settings.from_flags(values, searched), 60.0, 10)
    root.begin(search.identity, overwrite=False)
    return search


def client(search: "roles.Search") -> "worker.Client":  # noqa: F821
    """A worker's line to the chief of this process."""
    from tuning import processes, worker
    from tuning import settings as settings_lib

    os.environ |= {
        "KERASTUNER_TUNER_ID": "worker0",
        "KERASTUNER_ORACLE_IP": "127.0.0.1",
        "KERASTUNER_ORACLE_PORT": str(processes.free_port()),
    }
    return worker.Client(None, settings_lib.digest(search.identity), "images", search.timeout)


def run(line: "worker.Client") -> list[dict[str, float]]:  # noqa: F821
    """Runs all trials with the calls of KerasTuner's loop; seconds of each call, trial by trial."""
    trials = []
    while True:
        seconds: dict[str, float] = {}
        trial = _timed(seconds, "create_trial", line.create_trial, line.tuner_id)
        if trial.status == "STOPPED":
            return trials
        if trial.status != "RUNNING":
            continue
        _timed(seconds, "get_trial", line.get_trial, trial.trial_id)
        _timed(seconds, "update_trial", line.update_trial, trial.trial_id, _METRICS)
        trial.status = "COMPLETED"
        _timed(seconds, "end_trial", line.end_trial, trial)
        trials.append(seconds)


def _timed(seconds: dict[str, float], name: str, call: Callable, *arguments: Any) -> Any:
    begin = time.perf_counter()
    answer = call(*arguments)
    seconds[name] = time.perf_counter() - begin
    return answer


def milliseconds(trials: list[dict[str, float]]) -> dict[str, float]:
    """Medians over some trials: of a trial's calls together, and of each call."""
    medians = {name: 1e3 * statistics.median(each[name] for each in trials) for name in _CALLS}
    whole = 1e3 * statistics.median(sum(each.values()) for each in trials)
    return {name: harness.rounded(value) for name, value in {"trial": whole, **medians}.items()}


def measure(trials: int) -> dict[str, dict[str, float]]:
    """Serves a search, runs all its trials, and gives `milliseconds` of the first and last ones."""
    from tuning import work

    with tempfile.TemporaryDirectory() as folder:
        search = described(pathlib.Path(folder) / "search", trials)
        line = client(search)
        chief = threading.Thread(target=work.lead, args=(search, None), daemon=True)
        chief.start()
        timed = run(line)
        chief.join()
    window = max(1, len(timed) // 6)
    return {
        f"trials 1 to {window}": milliseconds(timed[:window]),
        f"trials {len(timed) - window + 1} to {len(timed)}": milliseconds(timed[-window:]),
    }


def main(argv: list[str]) -> None:
    """Flags -> one call."""
    print(json.dumps({"milliseconds": measure(flags.FLAGS.trials)}))


if __name__ == "__main__":
    flags.DEFINE_integer("trials", 300, "Trials.", lower_bound=1)
    app.run(main)
