"""Rounds of kill -9 at random moments: `python -m tests.tuning.kill_rounds --rounds=50`.

Every round kills one process of a search, drawn by chance: the single process, the parent of a
chief and workers, the chief, a worker. A search whose command was killed is started again by the
same command. At the end of each search: no trial lost, none counted twice, none hung, and the
ranking of an undisturbed search with the same seed. Prints a line of JSON; exits with 1 if not so.
"""

import json
import os
import pathlib
import random
import signal
import subprocess
import sys
import tempfile
import time

from absl import app, flags

from tests.helpers.searches import processes_of, ranking

ROOT = pathlib.Path(__file__).parents[2]
_ROUNDS = flags.DEFINE_integer("rounds", 50, "Kills.")
_SEED = flags.DEFINE_integer("seed", 1, "Of moments and victims.")
_DATASET = flags.DEFINE_string("dataset", "auto", "As in trainer.main.")
_DATA_DIR = flags.DEFINE_string("data_dir", "", "As in trainer.main.")
_CACHE_DIR = flags.DEFINE_string("cache_dir", "", "As in trainer.main.")
_TRIALS = flags.DEFINE_integer("trials", 10, "Of each search.")
_EPOCHS = flags.DEFINE_integer("epochs", 30, "Of each trial.")
_SIZE = flags.DEFINE_integer("image_size", 150, "Pixels of a side.")
_WEIGHTS = flags.DEFINE_string("weights", "imagenet", "As in trainer.main.")
_LONGEST = 900.0  # seconds that a search may take between two kills before it counts as hung
_PER_SEARCH = 5  # kills before a search is let go to its end


def command(folder: pathlib.Path, tuner: str, workers: int) -> list[str]:
    """A search in deterministic mode."""
    return [
        sys.executable, "-m", "tuning.main", f"--dataset={_DATASET.value}",
        f"--data_dir={_DATA_DIR.value}", f"--cache_dir={_CACHE_DIR.value}", "--deterministic",
        f"--max_trials={_TRIALS.value}", f"--epochs={_EPOCHS.value}", f"--tuner={tuner}",
        f"--image_size={_SIZE.value}", f"--weights={_WEIGHTS.value}", f"--workers={workers}",
        "--final_folds=0", "--head_units=32:128:log", "--trial_attempts=1000",
        f"--search_dir={folder}",
    ]  # fmt: skip


def start(folder: pathlib.Path, tuner: str, workers: int) -> subprocess.Popen:
    """Starts or goes on."""
    with open(folder.with_suffix(".log"), "ab") as log:
        return subprocess.Popen(
            command(folder, tuner, workers), cwd=ROOT, stdout=log, stderr=subprocess.STDOUT
        )


def search(folder: pathlib.Path, tuner: str, workers: int, kills: int, rng: random.Random) -> dict:
    """One search, killed so many times, to its end."""
    begin, done, killed = time.monotonic(), False, {}
    process = start(folder, tuner, workers)
    for _ in range(kills):
        time.sleep(rng.uniform(0.5, 25))
        if process.poll() is not None:
            break
        there = processes_of(process.pid)
        part = rng.choice(sorted(there))
        try:
            os.kill(there[part], signal.SIGKILL)
        except ProcessLookupError:
            continue
        killed[part] = killed.get(part, 0) + 1
        if part == "parent":
            process.wait()
            process = start(folder, tuner, workers)
    try:
        done = process.wait(_LONGEST) == 0
    except subprocess.TimeoutExpired:
        process.kill()
    return {"done": done, "killed": killed, "seconds": time.monotonic() - begin}


def main(argv: list[str]) -> None:
    """Searches until enough kills were made."""
    rng, kills, problems = random.Random(_SEED.value), {}, []
    with tempfile.TemporaryDirectory() as name:
        root, truth, number = pathlib.Path(name), {}, 0
        kinds = [("random", 1), ("random", 2), ("bayesian", 1), ("grid", 1), ("grid", 2)]
        while sum(kills.values()) < _ROUNDS.value:
            tuner, workers = kinds[number % len(kinds)]
            if tuner not in truth:
                search(root / f"undisturbed-{tuner}", tuner, 1, 0, rng)
                truth[tuner] = ranking(root / f"undisturbed-{tuner}")
            folder = root / f"{number:03d}-{tuner}-{workers}"
            left = min(_PER_SEARCH, _ROUNDS.value - sum(kills.values()))
            ended = search(folder, tuner, workers, left, rng)
            for part, count in ended["killed"].items():
                key = "single process" if workers == 1 else part.rstrip("0123456789")
                kills[key] = kills.get(key, 0) + count
            if not ended["done"]:
                problems.append(f"{folder.name}: hung or failed")
                print(folder.with_suffix(".log").read_text()[-3000:], flush=True)
            elif ranking(folder) != truth[tuner]:
                problems.append(f"{folder.name}: {ranking(folder)} is not {truth[tuner]}")
            number += 1
            print(folder.name, ended, problems or "as undisturbed", flush=True)
    print(json.dumps({"kills": kills, "searches": number, "problems": problems}))
    sys.exit(bool(problems))


if __name__ == "__main__":
    app.run(main)
