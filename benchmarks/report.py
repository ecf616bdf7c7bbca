"""Rewrites the table of docs/benchmarks.md from their recorded lines.

`python -m benchmarks.report benchmarks/results.jsonl` takes the last line of each benchmark, so a
benchmark that ran again is appended to the file and replaces its earlier line. Earlier lines of the
same command and claims count beside it where they are of other starts of the machine, the last of
each: the lowest median is shown, and the ends of all of them. So what a later revision gained shows
only when it was measured on every start, and what it lost shows at once.
"""

import json
import pathlib
import re
from collections.abc import Mapping, Sequence
from typing import Any

from absl import flags

from benchmarks import harness
from trainer.run.errors import ConfigError, RunError

FLAGS = flags.FLAGS
_BEGIN, _END = "<!-- benchmarks -->", "<!-- /benchmarks -->"
_HEAD = ("benchmark", "claim", "target", "measured", "met", "what bounds it")
_NEEDED = ("benchmark", "claims", "bound", "versions", "cores", "processor")

# Lines of release 1.0.0 stay as they were recorded, and are shown in today's words.
_RENAMED = ((r"\ba film\b", "an image"), (r"\bfilm(s?)\b", r"image\1"))


class ReportError(RunError):
    """A file that can't be read or rewritten; the message says how to mend it."""


def read(paths: Sequence[pathlib.Path]) -> list[dict[str, Any]]:
    """The last line of each benchmark, with those of other starts of the machine in it.

    Args:
        paths: Files of JSON lines, as the benchmarks print them; later ones win.

    Returns:
        One line a benchmark, sorted by its name.

    Raises:
        ReportError: A file is missing or empty, or a line is not a benchmark's.
    """
    lines: dict[str, list[dict[str, Any]]] = {}
    for path in paths:
        try:
            texts = [text for text in path.read_text().splitlines() if text.strip()]
        except (OSError, UnicodeDecodeError) as error:
            raise ReportError(
                f"{path} can't be read ({error}). Give a file of benchmarks' lines."
            ) from None
        if not texts:
            raise ReportError(f"{path} is empty. Run a benchmark and append its line to it.")
        for number, text in enumerate(texts, 1):
            line = _parsed(text, f"{path}, line {number}")
            lines.setdefault(line["benchmark"], []).append(line)
    return [merged(lines[name]) for name in sorted(lines)]


def merged(lines: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """One line of those of a benchmark that have the last one's command, claims and versions.

    Args:
        lines: In the order in which they were recorded. Of one start of the machine the last
            counts; those of earlier releases, which have no `code` or `machine_start`, stand alone.

    Returns:
        The last line, with its targets and what bounds it, and `starts`, the lines that were taken
        together: claims and ratios have the lowest median of these, and the ends of all.
    """
    last = lines[-1]
    same = [each for each in lines if _series(each) == _series(last) and "code" in each]
    series = [*{each["machine_start"]: each for each in same}.values()] or [last]
    if len(series) < 2:
        return {**last, "starts": series}
    claims, spreads = {}, {}
    for claim, result in last["claims"].items():
        spreads[claim] = _together([_of_claim(each, claim) for each in series])
        lowest = min(each["claims"][claim]["measured"] for each in series)
        met = spreads[claim]["min"] >= result["target"]
        claims[claim] = {**result, "measured": lowest, "met": met}
    ratios = {name: _together([each["ratios"][name] for each in series]) for name in last["ratios"]}
    more = {"claims": claims, "spreads": spreads, "ratios": ratios}
    return {**last, **more, "starts": series}


def _series(line: Mapping[str, Any]) -> tuple[Any, ...]:
    command = line.get("command", "").split()  # whose flags may stand in any order
    return {*command}, {*line["claims"]}, {*line.get("ratios", {})}, line["versions"]


def _of_claim(line: Mapping[str, Any], claim: str) -> Mapping[str, float]:
    measured = line["claims"][claim]["measured"]
    alone = {"median": measured, "min": measured, "max": measured, "rounds": 1}
    return line.get("spreads", {}).get(claim, alone)


def _together(spreads: Sequence[Mapping[str, float]]) -> dict[str, Any]:
    return {
        "median": min(each["median"] for each in spreads),
        "min": min(each["min"] for each in spreads),
        "max": max(each["max"] for each in spreads),
        "rounds": " + ".join(str(each["rounds"]) for each in spreads),
    }


def _parsed(text: str, where: str) -> dict[str, Any]:
    try:
        line = json.loads(text)
    except json.JSONDecodeError as error:
        raise ReportError(
            f"{where} is no JSON ({error.msg}). Keep the lines that benchmarks print, whole."
        ) from None
    if not isinstance(line, dict) or not set(_NEEDED) <= line.keys():
        raise ReportError(
            f"{where} is not a benchmark's line: it needs {', '.join(_NEEDED)}. Remove it."
        )
    return line


def table(lines: Sequence[Mapping[str, Any]]) -> str:
    """Markdown: a row for each claim and each other ratio, and under it the machines and versions.

    Args:
        lines: As `read` returns them.
    """
    rows = [_HEAD, ("---",) * len(_HEAD)]
    for line in lines:
        measured = [
            (claim, f"{result['target']:g}", _measured(line, claim), _met(line, claim))
            for claim, result in line["claims"].items()
        ] + [(name, "", _spread(ratio), "") for name, ratio in _others(line).items()]
        for number, (what, *cells) in enumerate(measured):
            name = "" if number else _name(line)
            bound = "" if number else _in_todays_words(line["bound"])
            rows.append((name, _in_todays_words(what), *cells, bound))
    drawn = ["| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |" for row in rows]
    return "\n".join([*drawn, "", *_machines(lines)])


def _name(line: Mapping[str, Any]) -> str:
    starts = _starts(line)
    kinds = {
        "starts": len(starts),
        "revisions": len({each.get("code") for each in starts}),
        "processors": len({each["processor"] for each in starts}),
    }
    more = [f", {count} {what}" for what, count in kinds.items() if count > 1]
    return "".join([f"`{line['benchmark']}`", *more])


def _starts(line: Mapping[str, Any]) -> Sequence[Mapping[str, Any]]:
    return line.get("starts", [line])


def _in_todays_words(text: str) -> str:
    for pattern, word in _RENAMED:
        text = re.sub(pattern, word, text)
    return text


def _met(line: Mapping[str, Any], claim: str) -> str:
    """Whether the low end of the spread meets the target; earlier lines went by the median."""
    result, spread = line["claims"][claim], line.get("spreads", {}).get(claim, {})
    met = result["met"] and spread.get("min", result["measured"]) >= result["target"]
    return "yes" if met else "**no**"


def _measured(line: Mapping[str, Any], claim: str) -> str:
    """What was measured, with its rounds where the benchmark gave their `spreads` by claim."""
    measured = line["claims"][claim]["measured"]
    spread = line.get("spreads", {}).get(claim)
    return _spread({"median": measured} | spread) if spread else f"{measured:g}"


def _others(line: Mapping[str, Any]) -> dict[str, Mapping[str, float]]:
    """The ratios that were taken beside those of the claims, which a line may hold twice."""
    of_claims = line.get("spreads", {}).values()
    return {name: ratio for name, ratio in line.get("ratios", {}).items() if ratio not in of_claims}


def _spread(ratio: Mapping[str, Any]) -> str:
    rounds = ratio["rounds"]
    of = f"{rounds} round{'s' if rounds != 1 else ''}"
    return f"{ratio['median']:g} [{ratio['min']:g}, {ratio['max']:g}], {of}"


def _machines(lines: Sequence[Mapping[str, Any]]) -> list[str]:
    """One sentence for each machine and stack that lines come from."""
    named: dict[str, list[str]] = {}
    recorded = [each for line in lines for each in _starts(line)]
    for line in recorded:
        machine = f"{line['processor']}, {line['cores']} cores"
        names = named.setdefault(machine, [])
        if line["benchmark"] not in names:
            names.append(line["benchmark"])
    versions = sorted({item for line in recorded for item in line["versions"].items()})
    stack = ", ".join(f"{package} {version}" for package, version in versions)
    return [
        "; ".join(f"{machine} ({', '.join(names)})" for machine, names in named.items())
        + f"; {stack}."
    ]


def rewrite(page: str, section: str) -> str:
    """Puts a section between the two markers.

    Args:
        page: The text that holds both markers, once each.
        section: What goes between them.

    Returns:
        The new text.

    Raises:
        ReportError: A marker is missing, there twice, or they are in the wrong order.
    """
    for marker in (_BEGIN, _END):
        if page.count(marker) != 1:
            raise ReportError(
                f"The page has {page.count(marker)} lines {marker}. "
                f"It needs {_BEGIN} once, and {_END} once below it."
            )
    head, rest = page.split(_BEGIN)
    if _END not in rest:
        raise ReportError(f"{_END} stands above {_BEGIN}. Exchange them.")
    return f"{head}{_BEGIN}\n{section}\n{_END}{rest.split(_END)[1]}"


def main(argv: list[str]) -> None:
    """Files -> one table."""
    if len(argv) < 2:
        raise ConfigError("Name the files of lines, e.g. benchmarks/results.jsonl.")
    page = pathlib.Path(FLAGS.page)
    section = table(read([pathlib.Path(path) for path in argv[1:]]))
    try:
        text = page.read_text()
    except OSError as error:
        raise ReportError(
            f"--page {page} can't be read ({error.strerror}). Run this from the repository's root."
        ) from None
    page.write_text(rewrite(text, section))


if __name__ == "__main__":
    flags.DEFINE_string("page", "docs/benchmarks.md", "The file whose table is rewritten.")
    harness.run(main, words=True)
