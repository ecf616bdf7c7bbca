"""Runs benchmarks one after the other and appends their lines to a file.

`python -m benchmarks.record [NAME...] --data_dir=DATA [--manual_dir=DIR]` runs each NAME in a
process of its own, and goes on after one that fails. A NAME stands for its rows in
docs/benchmarks.md, and for itself where it brings flags of its own, in quotes:
`"scale --rounds=9"`. Without NAME all run but `gpu`, which needs one, and `second_run`, whose flags
name its peer; those that read the original images only with `--manual_dir`. That takes some two and
a half hours. Datasets: `full`, `article` and `article_grouped`.
"""

import pathlib
import shlex
import subprocess
import sys
from collections.abc import Mapping, Sequence

from absl import flags

from benchmarks import harness
from trainer.run import files
from trainer.run.errors import ConfigError

# The argument that says where the images of a benchmark are; and what its bare name stands for.
_DATA, _MANUAL = "--data_dir={data_dir}", "--manual_dir={manual_dir}"
_NAMED = ("gpu", "second_run")  # run where they are named
READS = {
    "alignment": "", "article_race": _DATA, "augmentation": "", "build": _MANUAL,
    "build_memory": "", "checkpoint": _DATA, "coverage": "", "fine_tune": _DATA, "gpu": "",
    "head": "", "input_pipeline": _DATA, "memory": "", "optimizer": "", "step": _DATA,
    "predict": "{manual_dir}/chest_xray/train", "replicas": _DATA, "scale": "", "search": _DATA,
    "second_run": _DATA,
}  # fmt: skip
# What a NAME alone stands for: the rows of docs/benchmarks.md.
_ALONE = {
    "article_race": ["article_race --our_seeds=0"],
    "build": ["build", *(f"build --shorter_side={side} --every=5" for side in (640, 2000))],
    "build_memory": ["build_memory --images=1000,10000,100000"],
    "memory": ["memory --images=10000,40000 --rounds=1"],
    "scale": ["scale --rounds=2"],
    "search": ["search --part=plain --trials=6 --epochs=40",
               *(f"search --part={part}" for part in ("workers", "overhead", "memory"))],
    **{n: [f"{n} --dataset=article_grouped"]
       for n in ("checkpoint", "fine_tune", "replicas", "step")},
}  # fmt: skip


def record(names: Sequence[str], folders: Mapping[str, str], results: pathlib.Path) -> list[str]:
    """Runs benchmarks and appends the line of each as soon as it is there.

    Args:
        names: Of benchmarks, each with flags of its own or without.
        folders: By flag, where images are; "" where it is not given.
        results: The file of lines; it need not be there.

    Returns:
        The names of those that failed or printed no line.
    """
    failed = []
    for name in [row for given in names for row in rows(given)]:
        benchmark, *given = shlex.split(name)
        for flag, folder in folders.items():
            if folder and f"{{{flag}}}" in READS[benchmark]:
                given.append(READS[benchmark].format(**folders))
        print(f"{name} ...", file=sys.stderr, flush=True)
        command = [sys.executable, "-m", f"benchmarks.{benchmark}", *given]
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)
        last = (done.stdout.splitlines() or [""])[-1]
        if done.returncode or not last.startswith('{"benchmark": '):
            failed.append(name)
            continue
        with files.written_whole(results) as beside:
            beside.write_text((results.read_text() if results.exists() else "") + f"{last}\n")
    return failed


def rows(name: str) -> list[str]:
    """The names with flags that a name stands for; itself where it has some."""
    return _ALONE.get(name, [name])


def main(argv: list[str]) -> None:
    """Names and flags -> one call."""
    folders = {name: flags.FLAGS[name].value for name in ("data_dir", "manual_dir")}
    results = pathlib.Path(flags.FLAGS.results)
    if not results.parent.is_dir():
        raise ConfigError(f"--results={results}: there is no folder {results.parent}. Make it.")
    readable = [each for each in READS if folders["manual_dir"] or "manual_dir" not in READS[each]]
    names = argv[1:] or [each for each in readable if each not in _NAMED]
    for name in names:
        try:
            benchmark, *_ = shlex.split(name) or [""]
        except ValueError as error:
            raise ConfigError(f"{name!r}: {error}. Close what is opened.") from None
        if benchmark not in READS:
            raise ConfigError(f"{name!r} is no benchmark. Give one of {', '.join(READS)}.")
    if failed := record(names, folders, results):
        sys.exit(f"No line of {', '.join(failed)}: see above.")


if __name__ == "__main__":
    flags.DEFINE_string("data_dir", "", "Where datasets are. Default: TFDS' own.")
    flags.DEFINE_string("manual_dir", "", "Where the original images are, unpacked.")
    flags.DEFINE_string("results", "benchmarks/results.jsonl", "The file of lines.")
    harness.run(main, words=True)
