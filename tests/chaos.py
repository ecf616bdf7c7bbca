"""Kills, signals, power cuts and flipped bits, and whether anything is lost.

    python -m tests.chaos --kills=200 --terms=50 --power_cuts=20 --bits=100

Commands end early at random moments of a build, of filling the cache, of the head's training, of
fine-tuning, of the evaluation and of a cross-validation: by `kill -9`, by SIGINT and SIGTERM, by a
power cut that takes what was not flushed to the disk (see `tests.helpers.power_cut` for what that
simulates and what not). Some do so several times. Then the same command runs to its end, and what
it leaves is compared byte by byte with what it leaves when nothing happens to it. A bit is flipped
in files of every kind that we write, and what reads them has to find it. Status 1 if anything was
lost.

A moment is drawn evenly over the time that its phase takes, from when the command has reached it.
Commands read their own file again when they start, so the sources must not change meanwhile.
"""

import argparse
import collections
import dataclasses
import functools
import multiprocessing.pool
import os
import pathlib
import random
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterable, Sequence

import numpy as np

from tests.helpers import chaos_bits, chaos_runs, zygote
from tests.helpers.chaos_bits import Flip
from tests.helpers.chaos_runs import BUILD, CROSSVAL, EVERY, PHASES, TRAIN, Case, Outcome, Place
from trainer.run.text import table, wrapped

_NUMBERS = {"kills": 200, "terms": 50, "power_cuts": 20, "bits": 100}
_MOST_ENDS = 3  # of one command
_ROUNDS = 8  # in which cases are drawn again that had ended before their moment
_TITLES = {"kills": "kill -9", "terms": "SIGINT, SIGTERM", "power_cuts": "power cuts"}
_NOT_LOOKED_AT = (
    "Not looked at: bits of TensorBoard's files of a run under way, which nothing reads but "
    "TensorBoard; those of a run that has ended are named, and not made again. Bits of rows of the "
    "cache that count no more. What a search writes from its log."
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs what is wanted, prints a line for each and a table at the end."""
    wanted = _parsed(arguments)
    zygote.prepare()
    root = pathlib.Path(tempfile.mkdtemp(prefix="chaos.", dir=wanted.scratch or None))
    print(f"seed {wanted.seed}, in {root}", flush=True)
    # Before there is any thread; workers start the commands.
    with multiprocessing.get_context("fork").Pool(wanted.workers) as pool:
        runs = Runs(pool, root, wanted.seed)
        ends = {how: runs.ends(how, getattr(wanted, how)) for how in _TITLES}
        flips = runs.flips(wanted.bits)
    lost = [each for outcomes in ends.values() for each in outcomes if each.faults]
    print("\n" + _summary(ends, flips))
    if lost or any(flip.miss for flip in flips):
        print(f"what is left of those that lost something is in {root}")
        return 1
    shutil.rmtree(root)
    return 0


def _parsed(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    for name, count in _NUMBERS.items():
        parser.add_argument(f"--{name}", type=int, default=count, help=f"how many ({count})")
    parser.add_argument("--only", choices=_NUMBERS, action="append", help="may be given again")
    parser.add_argument("--seed", type=int, default=1, help="of all that is drawn")
    parser.add_argument("--workers", type=int, default=os.cpu_count(), help="commands at a time")
    parser.add_argument("--scratch", default="", help="folder for what is written")
    wanted = parser.parse_args(arguments)
    for name in _NUMBERS:
        if wanted.only and name not in wanted.only:
            setattr(wanted, name, 0)
    return wanted


@dataclasses.dataclass
class Runs:
    """All that is run.

    Attributes:
        pool: Of workers that have imported TensorFlow.
        root: Folder of all.
        seed: Of all that is drawn.
    """

    pool: multiprocessing.pool.Pool
    root: pathlib.Path
    seed: int

    def __post_init__(self) -> None:
        """Nothing is run yet."""
        shared = self.root / "shared"
        self.shared = Place(shared, shared / "data", shared / "cache", shared / "run")
        self.whole: dict[str, chaos_runs.Whole] = {}
        self._number = 0

    def _expected(self, kind: str) -> chaos_runs.Whole:
        """The command that nothing happens to; it is run when it is first needed."""
        if kind not in self.whole:
            if kind != BUILD:
                self._expected(BUILD if kind == TRAIN else TRAIN)  # the dataset, and its cache
            root = self.shared.root
            place = dataclasses.replace(self.shared, root=root / f"of {kind}", run=root / kind)
            self.whole[kind] = self.pool.apply(chaos_runs.whole, (kind, place))
        return self.whole[kind]

    def ends(self, how: str, count: int) -> list[Outcome]:
        """Commands that end early so many times in all; those that did not are drawn again."""
        outcomes: list[Outcome] = []
        for turn in range(_ROUNDS):
            missing = count - sum(len(each.phases) or bool(each.faults) for each in outcomes)
            if missing <= 0:
                break
            cases = _cases(how, missing, random.Random(f"{self.seed} {how} {turn}"))
            for case in cases:
                self._expected(case.kind)
            play = functools.partial(_play, self.root, self.shared, self.whole)
            outcomes += self._each(play, cases, _of_outcome)
        return outcomes

    def flips(self, count: int) -> list[Flip]:
        """Flips so many bits, in turn over the kinds of files."""
        if not count:
            return []
        self._expected(CROSSVAL)
        arguments = (self.root / "templates", self.shared, self.whole)
        templates = self.pool.apply(chaos_bits.prepared, arguments)
        kinds = [kind for kind, (template, *_) in chaos_bits.KINDS.items()
                 if template in templates.folders]  # fmt: skip
        draw = random.Random(f"{self.seed} bits")
        flips = [Flip(kinds[i % len(kinds)], draw.getrandbits(32)) for i in range(count)]
        return self._each(functools.partial(_flip, self.root, templates), flips, _of_flip)

    def _each(self, function: Callable, given: Iterable, line: Callable[[object], str]) -> list:
        """Calls a function in the workers, and prints a line for each result."""
        results = []
        numbered = [(self._number + i, each) for i, each in enumerate(given)]
        self._number += len(numbered)
        for result in self.pool.imap_unordered(function, numbered):
            results.append(result)
            print(line(result), flush=True)
        return results


def _cases(how: str, count: int, draw: random.Random) -> list[Case]:
    """Cases that end early `count` times, in turn over the phases."""
    phases = [(kind, phase) for kind, names in PHASES.items() for phase in names
              if how != "terms" or kind != BUILD]  # fmt: skip
    draw.shuffle(phases)
    ends = dict.fromkeys(phases, 0)
    for i in range(count):
        ends[phases[i % len(phases)]] += 1
    cases = []
    for (kind, phase), left in ends.items():
        while left > 0:
            several = min(left, draw.randint(1, _MOST_ENDS)) if how == "kills" else 1
            seed = draw.getrandbits(32)
            cases.append(Case(how, kind, phase, several, draw.choice(EVERY), seed))
            left -= several
    draw.shuffle(cases)
    return cases


def _play(root: pathlib.Path, shared: Place, whole: dict, numbered: tuple[int, Case]) -> Outcome:
    number, case = numbered
    try:
        return chaos_runs.played(case, root / f"{number}", shared, whole[case.kind])
    except Exception as error:
        return Outcome(case, faults=[f"{type(error).__name__}: {error}"])


def _flip(root: pathlib.Path, templates: object, numbered: tuple[int, Flip]) -> Flip:
    number, flip = numbered
    try:
        return chaos_bits.flipped(flip, root / f"{number}", templates)
    except Exception as error:
        return dataclasses.replace(flip, miss=f"{type(error).__name__}: {error}")


def _of_outcome(outcome: Outcome) -> str:
    """One line of a case."""
    case, phases = outcome.case, ", ".join(outcome.phases) or "none before its end"
    left = f", left in {max(outcome.leaving):.1f} s" if outcome.leaving else ""
    again = f"{outcome.steps} steps, {outcome.rows} rows, {outcome.seconds:.1f} s again" + left
    said = "LOST: " + "; ".join(outcome.faults) if outcome.faults else f"bit-equal, {again}"
    return f"{_TITLES[case.how]} in {phases}, a state every {case.every:g} s: {said}"


def _of_flip(flip: Flip) -> str:
    return f"bit of {flip.kind}, {flip.file}: {'MISSED: ' + flip.miss if flip.miss else 'found'}"


def _summary(ends: dict[str, list[Outcome]], flips: list[Flip]) -> str:
    """The tables."""
    parts = [_of_ends(_TITLES[how], outcomes) for how, outcomes in ends.items() if outcomes]
    parts += _of_intervals([each for outcomes in ends.values() for each in outcomes])
    if leaving := [seconds for each in ends["terms"] for seconds in each.leaving]:
        parts.append(f"The slowest to leave at a signal took {max(leaving):.1f} s.")
    if flips:
        rows = [["bits flipped in", "n", "found"]]
        by_kind = collections.defaultdict(list)
        for flip in flips:
            by_kind[flip.kind].append(not flip.miss)
        rows += [[kind, str(len(each)), str(sum(each))] for kind, each in by_kind.items()]
        rows.append(["all", str(len(flips)), str(sum(not flip.miss for flip in flips))])
        parts += [table(rows), wrapped(_NOT_LOOKED_AT)]
    return "\n\n".join(parts)


def _of_intervals(outcomes: list[Outcome]) -> list[str]:
    """How long before the end of a process that began once the first step was that it lost."""
    longest = collections.defaultdict(float)
    for each in outcomes:
        if each.interval:
            longest[each.case.every] = max(longest[each.case.every], each.interval)
    parts = [f"{longest[every]:.2f} s at --checkpoint_every={every:g}" for every in sorted(longest)]
    return [wrapped(f"The longest time of training done again: {', '.join(parts)}.")] * bool(parts)


def _of_ends(title: str, outcomes: list[Outcome]) -> str:
    """A row for each phase that ended early; what a case did again is shared by its ends."""
    grouped = collections.defaultdict(list)
    for each in outcomes:
        count = max(len(each.phases), 1)
        again = [value / count for value in (each.steps, each.rows, each.seconds)]
        for phase in each.phases or ["none"] * bool(each.faults):
            grouped[phase].append((not each.faults, *again))
    order = [phase for names in PHASES.values() for phase in names] + ["none"]
    rows = [[title, "n", "bit-equal", "steps again", "most", "rows again", "s again"]]
    every = [one for phase in order for one in grouped[phase]]
    for name, several in [*((phase, grouped[phase]) for phase in order), ("all", every)]:
        if several:
            equal, steps, computed, seconds = (
                np.array(each) for each in zip(*several, strict=True)
            )
            cells = [f"{steps.mean():.1f}", f"{steps.max():.0f}", f"{computed.mean():.1f}"]
            cells.append(f"{seconds.mean():.1f}")
            rows.append([name.replace("_", "-"), str(len(several)), str(equal.sum()), *cells])
    return table(rows)


if __name__ == "__main__":
    sys.exit(main())
