"""What all benchmarks share: the command, rounds in alternation, ratios, one line of JSON.

A machine's speed drifts, and a time is only worth something beside another time of the same
minutes: every round runs all sides once, in an order that turns, and ratios are taken round by
round.
"""

import contextlib
import datetime
import hashlib
import importlib.metadata
import json
import os
import pathlib
import platform
import re
import shlex
import statistics
import subprocess
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from trainer.run import command, run_dir

_ROOT = pathlib.Path(__file__).parents[1]
_PROGRAMS = ("benchmarks", "covid_tfds", "trainer", "tuning")
_ALWAYS = ("tensorflow", "keras", "numpy")


def run(main: Callable[[list[str]], None], *, words: bool = False) -> None:
    """Runs a benchmark's command as those of the trainer: a user's mistake is no traceback.

    Args:
        main: Takes the command line, as absl leaves it.
        words: Whether it may have more than flags.
    """

    def checked(argv: list[str]) -> None:
        if not words:
            command.refuse_words(argv)
        main(argv)

    command.run(checked)


def alternate(sides: Mapping[str, Callable[[], float]], rounds: int) -> dict[str, list[float]]:
    """Runs every side once a round.

    Args:
        sides: By name, what runs one round and returns its figure (images/s, seconds, ...).
        rounds: How many; the side that begins changes from round to round.

    Returns:
        By name, the figures of all rounds.
    """
    names, figures = list(sides), {name: [] for name in sides}
    for turn in range(rounds):
        first = turn % len(names)
        for name in names[first:] + names[:first]:
            figures[name].append(float(sides[name]()))
    return figures


def spread(values: Sequence[float]) -> dict[str, float]:
    """Median, minimum and maximum, and of how many rounds; four significant digits."""
    named = {"median": statistics.median(values), "min": min(values), "max": max(values)}
    return {name: rounded(value) for name, value in named.items()} | {"rounds": len(values)}


def ratios(ours: Sequence[float], peers: Sequence[float]) -> dict[str, float]:
    """`spread` of ours / peer's, round by round; for times, pass the peer's as ours."""
    return spread([one / other for one, other in zip(ours, peers, strict=True)])


def fastest(ways: Iterable[Sequence[float]]) -> list[float]:
    """The highest rate of each round.

    Args:
        ways: Rates of one peer's ways to do the same, of all rounds each.
    """
    return [max(each) for each in zip(*ways, strict=True)]


def rounded(value: float) -> float:
    """Four significant digits."""
    return float(f"{value:.4g}")


def report(
    name: str,
    *,
    figures: Mapping[str, Any],
    targets: Mapping[str, tuple[float, float]],
    bound: str,
    ratios: Mapping[str, Mapping[str, float]] | None = None,
    packages: Sequence[str] = (),
    **more: Any,
) -> dict[str, Any]:
    """Prints the benchmark's line and returns what it holds.

    Args:
        name: Of the benchmark, as in `python -m benchmarks.NAME`.
        figures: By side, its `spread`, unit in the side's name or in `more`.
        targets: By claim, (what is wanted at least, what was measured).
        bound: What limits the figure now, in one sentence.
        ratios: By name, the `spread` of every other ratio that was taken: without a target, but
            shown in the table as the claims are.
        packages: Peers whose versions belong into the line.
        more: Anything else that a reader needs: images, sizes. `spreads` by claim, where there
            are several rounds: a target is met when the low end of the spread meets it.

    Returns:
        `benchmark`, `figures`, `claims` (each `target`, `measured`, `met`), `met` (all of them),
        `bound`, `ratios`, `versions`, `cores`, `processor`, `load` (of the machine, over the last
        minute), `machine_start` (its identifier; "" where the system gives none), `revision`
        (`-dirty` where the programs are others), `code` (a digest of the programs: another one is
        another revision of them), `date`, `command` (PATH for what holds a slash, so that it is the
        same wherever files lie), and `more`.
    """
    spreads = more.get("spreads", {})
    claims = {
        claim: {
            "target": target,
            "measured": rounded(value),
            "met": bool(spreads.get(claim, {}).get("min", value) >= target),
        }
        for claim, (target, value) in targets.items()
    }
    line = {
        "benchmark": name,
        "figures": figures,
        "claims": claims,
        "met": all(claim["met"] for claim in claims.values()),
        "bound": bound,
        "ratios": ratios or {},
        "versions": _versions((*_ALWAYS, *packages)),
        "cores": len(os.sched_getaffinity(0)),
        "processor": _processor(),
        "load": rounded(os.getloadavg()[0]),
        "machine_start": _machine_start(),
        "revision": _revision(),
        "code": _code(),
        "date": datetime.datetime.now().astimezone().isoformat(timespec="seconds"),
        "command": shlex.join(
            re.sub("(^|=)[^=]*/.*", r"\1PATH", each) for each in sys.orig_argv[1:]
        ),
        **more,
    }
    print(json.dumps(line), flush=True)
    return line


def _versions(packages: Sequence[str]) -> dict[str, str]:
    """Of those that are installed: a machine may have JAX and no TensorFlow."""
    versions = {}
    for package in packages:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            versions[package] = importlib.metadata.version(package)
    return versions


def _machine_start() -> str:
    try:
        return pathlib.Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return ""


def _revision() -> str | None:
    """Of git; the lines that were recorded before, and documents, make no other one of it."""
    revision = run_dir.provenance()["git_revision"]
    changed = ["git", "diff", "--quiet", "HEAD", "--", *_PROGRAMS, ":!*.jsonl"]
    if revision and not subprocess.run(changed, cwd=_ROOT, check=False).returncode:
        return revision.removesuffix("-dirty")
    return revision


def _code() -> str:
    paths = sorted(path for name in _PROGRAMS for path in (_ROOT / name).rglob("*.py"))
    return hashlib.sha256(b"".join(path.read_bytes() for path in paths)).hexdigest()[:12]


def _processor() -> str:
    """The processor's name where Linux gives it, and whether it has bfloat16 instructions."""
    try:
        with open("/proc/cpuinfo") as file:
            lines = dict(map(str.strip, line.split(":", 1)) for line in file if ":" in line)
    except OSError:
        return platform.processor() or platform.machine()
    flags = lines.get("flags", "").split()
    bfloat16 = [flag for flag in ("amx_bf16", "avx512_bf16") if flag in flags]
    return " ".join([lines.get("model name", platform.machine()), *bfloat16])
