"""Mutants: one operator, constant or number of the code changed, and whether a test notices.

    python -m pip install cosmic-ray
    python -m tests.mutants trainer/evaluation --count=100 --seed=1

Cosmic-ray lists all mutants of the files and folders; of those a seed draws some, which are made
one after the other in a clone of the last commit. First run the tests of the changed file's own
name, then the quick ones of its folder. What survives is printed with its change. Left out are
operators that would stop nearly any line with an error (shifts and bits of floats, for instance),
which say nothing of the tests. Some survivors change nothing that can be noticed: read each.
"""

import argparse
import contextlib
import os
import pathlib
import random
import re
import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import Sequence

from tests.helpers.commands import ROOT

_TRIVIAL = re.compile("Shift|Bit|Mod|Invert|USub_Not|FloorDiv|Pow|MatMul")
_CONFIG = """[cosmic-ray]
module-path = {paths}
timeout = {timeout}
excluded-modules = []
test-command = "{python} -m tests.mutants --judge"

[cosmic-ray.distributor]
name = "local"
"""
_SURVIVED = """
SELECT module_path, start_pos_row, diff FROM work_results JOIN mutation_specs USING (job_id)
WHERE test_outcome = 'SURVIVED' ORDER BY module_path, start_pos_row
"""


def survivors(paths: Sequence[str], count: int, seed: int, timeout: float) -> tuple[list[str], int]:
    """Makes mutants and runs the tests on each.

    Args:
        paths: Files and folders of the checkout.
        count: How many mutants, at most.
        seed: Draws them.
        timeout: Seconds that the tests of one may take; then it counts as noticed.

    Returns:
        The place and the change of each that no test noticed, and how many were made.
    """
    with tempfile.TemporaryDirectory() as folder:
        clone, config, session = (pathlib.Path(folder, name) for name in ("clone", "c", "s"))
        subprocess.run(["git", "clone", "--quiet", ROOT, clone], check=True)
        listed = str(list(paths)).replace("'", '"')
        config.write_text(_CONFIG.format(paths=listed, timeout=timeout, python=sys.executable))
        cosmic_ray = [sys.executable, "-m", "cosmic_ray.cli"]
        subprocess.run([*cosmic_ray, "baseline", config], cwd=clone, check=True)
        subprocess.run([*cosmic_ray, "init", config, session], cwd=clone, check=True)
        drawn = _draw(session, count, seed)
        subprocess.run([*cosmic_ray, "exec", config, session], cwd=clone, check=True)
        with contextlib.closing(sqlite3.connect(session)) as made:
            return [_shown(*row) for row in made.execute(_SURVIVED)], drawn


def _draw(session: pathlib.Path, count: int, seed: int) -> int:
    """Leaves some of the listed mutants; how many."""
    order = "module_path, start_pos_row, start_pos_col, operator_name, operator_args, occurrence"
    with contextlib.closing(sqlite3.connect(session)) as made, made:
        rows = made.execute(f"SELECT job_id, operator_name FROM mutation_specs ORDER BY {order}")
        jobs = [job for job, operator in rows if not _TRIVIAL.search(operator)]
        drawn = random.Random(seed).sample(jobs, min(count, len(jobs)))
        marks = ",".join("?" * len(drawn))
        for name in ("mutation_specs", "work_items"):
            made.execute(f"DELETE FROM {name} WHERE job_id NOT IN ({marks})", drawn)
    return len(drawn)


def _shown(path: str, row: int, diff: str) -> str:
    lines = [line for line in diff.splitlines() if re.match(r"[+-](?![+-]{2} )", line)]
    return "\n".join([f"{path}:{row}", *lines])


def judge() -> int:
    """Runs the tests of the one file that is changed here; 0 if none notices, or none is."""
    names = subprocess.run(
        ["git", "diff", "--name-only"], capture_output=True, text=True, check=True
    )
    if not names.stdout:
        return 0
    changed = pathlib.Path(names.stdout.split()[0])
    room = pathlib.Path("tests") / changed.parent
    own = sorted({*room.glob(f"test_{changed.stem}.py"), *room.glob(f"test_{changed.stem}_*.py")})
    pytest = [sys.executable, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider"]
    kept = os.environ | {"PYTHONDONTWRITEBYTECODE": "1"}  # of a file that changes within a second
    for tests in filter(None, (own, [room])):
        if subprocess.run([*pytest, *map(str, tests)], env=kept, check=False).returncode:
            return 1
    return 0


def main() -> int:
    """Arguments -> the survivors, and status 0."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("paths", nargs="*")
    parser.add_argument("--count", type=int, default=100)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--timeout", type=float, default=300.0, help="Seconds a mutant.")
    parser.add_argument("--judge", action="store_true", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.judge:
        return judge()
    found, count = survivors(given.paths, given.count, given.seed, given.timeout)
    print(*found, f"{len(found)} of {count} mutants survive", sep="\n\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
