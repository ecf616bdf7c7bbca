"""The live table on a terminal of 80 columns, and the plain lines elsewhere."""

import io
import re
import sys

import pytest
import rich.console

from tests.helpers.ended_trials import FAILURE, SETTINGS, SPACE, WIDE, add_trial, table_of
from trainer.execution import tasks
from trainer.run.progress import progress
from tuning import results, table
from tuning.table import Table

INTERVAL = {"val_accuracy_low": 0.402, "val_accuracy_high": 0.872}
CLEAR, UP, HIDE, SHOW = "\x1b[2K", "\x1b[1A", "\x1b[?25l", "\x1b[?25h"


def terminal(width=80, height=40):
    return rich.console.Console(
        file=io.StringIO(), force_terminal=True, width=width, height=height, legacy_windows=False
    )


def rows_of(scores, space=SPACE):
    """Rows of trials with these scores; None: it failed."""
    trials = {}
    for score in scores:
        scored = None if score is None else (score, 0.9)
        add_trial(trials, space, scored, None if scored else FAILURE, **INTERVAL)
    return table_of(trials, space)


def shown(drawn: Table, width=80, height=40):
    """The lines of the table as they are now."""
    console = rich.console.Console(
        file=io.StringIO(), force_terminal=True, color_system=None, width=width, height=height
    )
    console.print(drawn._drawn())
    return [line.rstrip() for line in console.file.getvalue().splitlines()]


def live(rows=(), budget=20, space=SPACE, slots=lambda: 2, height=40):
    return Table(terminal(height=height), budget, space, SETTINGS, slots, rows)


@pytest.fixture
def clock(monkeypatch):
    """Seconds on the table's clock, to be set."""
    now = [100.0]
    monkeypatch.setattr(table.time, "monotonic", lambda: now[0])
    return now


def test_long_work_is_shown_within_the_table_and_gone_when_it_ends():
    with live() as drawn:
        with progress(200, "computing block5_pool") as bar:
            bar.update(50)
            assert "computing block5_pool: 25 %, 50 of 200 images" in shown(drawn)
        assert not [line for line in shown(drawn) if "computing" in line]


def test_the_table_has_running_trials_then_the_last_ended_ones(clock):
    rows = rows_of([0.5, 0.838, None])
    drawn = live()
    for row in rows:
        drawn.begun(row["trial"], row)
        drawn.ended(row, results.best_of(rows[:2], SETTINGS))
    drawn.begun("0003", {"head_units": 64, "learning_rate": 0.00123})
    clock[0] += 65
    count, best, _, heads, *lines = shown(drawn)
    assert count == "3 of 20 trials ended, 1 failed; 1 running; time left 00:12"
    interval = "0.838 [0.402, 0.872]"
    assert best == f"best: trial 0001, {interval}, n = 54 images of 43 patient groups"
    assert heads.split() == ["trial", "val", "accuracy", "time", "units", "rate"]
    assert [line.split()[:2] for line in lines] == [
        ["0003", "running"], ["0002", "FAILED"], ["0001", "0.838"], ["0000", "0.500"]
    ]  # fmt: skip
    assert lines[0].split() == ["0003", "running", "01:05", "64", "0.0012"]
    assert interval in lines[2]


def test_a_value_without_effect_is_a_dash():
    drawn = live()
    drawn.begun("0000", {"head_units": 64, "learning_rate": None})
    assert shown(drawn)[-1].split()[-2:] == ["64", "-"]


def test_no_line_is_wider_than_80_columns_and_hidden_parameters_are_counted():
    rows = rows_of([0.5, None, *[0.838] * 20], WIDE)
    drawn = live(rows, budget=1000, space=WIDE)
    lines = shown(drawn, width=200)  # where nothing is cut
    assert max(map(len, lines)) <= 80
    assert lines[-1] == "(1 more parameter in trials.csv)"
    named = [p.name for p in WIDE.parameters if p.name.split("_")[-1] in lines[3].split()]
    assert named == [p.name for p in WIDE.parameters[:5]]
    assert "…" not in "\n".join(lines[4:])


def test_at_most_twelve_trials_are_shown_and_fewer_on_a_low_terminal():
    rows = rows_of([0.5] * 30)
    drawn = live(rows, slots=lambda: 40)
    for number in range(30, 70):
        drawn.begun(f"{number:04d}", rows[0])
    body = [line for line in shown(drawn) if re.match(r"\d{4} ", line)]
    assert len(body) == 12
    assert sum("running" in line for line in body) == 6
    assert [line[:4] for line in body[6:]] == ["0029", "0028", "0027", "0026", "0025", "0024"]
    assert "40 running" in shown(drawn)[0]
    low = live(rows, height=12)
    assert len(shown(low)) < 12


def test_the_time_left_follows_from_the_mean_the_slots_and_what_runs(clock):
    slots = [2]
    drawn = live(rows_of([0.5] * 4), budget=24, slots=lambda: slots[0])  # 1.5 s each
    assert drawn._time_left() == "00:15"
    slots[0] = 1  # a node is lost
    drawn.begun("0004", {})
    assert drawn._time_left() == "00:30"
    clock[0] += 1.4
    assert drawn._time_left() == "00:28"
    slots[0] = 0
    drawn.begun("0005", {})
    assert drawn._time_left() == "?"


def test_the_time_left_is_open_without_a_budget_or_an_ended_trial():
    assert "0 of 20 trials ended, 0 failed; 0 running; time left ?" in shown(live())
    endless = shown(live(rows_of([0.5, 0.6]), budget=0))
    assert endless[0] == "2 of ? trials ended, 0 failed; 0 running; time left ?"


def written(console):
    return console.file.getvalue()


@pytest.mark.parametrize("error", [None, KeyboardInterrupt, ValueError])
def test_the_table_leaves_a_clean_screen_whatever_ends_it(error):
    console = terminal()
    drawn = Table(console, 20, SPACE, SETTINGS, lambda: 1)
    try:
        with drawn:
            drawn.begun("0000", {"head_units": 64, "learning_rate": 0.001})
            if error is not None:
                raise error
    except (KeyboardInterrupt, ValueError):
        pass
    drawn.close()  # a second time does nothing
    text = written(console)
    assert HIDE in text
    end = text[text.rindex(SHOW) :]
    height = len(shown(drawn))
    assert end == SHOW + "\r" + f"{UP}{CLEAR}" * height


def test_notes_and_failures_stay_above_the_table_as_they_are():
    console, rows = terminal(), rows_of([0.5, None])
    note = "12 [bold] %s trials: " + "a long line " * 10
    with Table(console, 20, SPACE, SETTINGS, lambda: 1) as drawn:
        drawn.note(note)
        print("printed by others")
        for row in rows:
            drawn.ended(row, rows[0])
    text = written(console)
    assert note + "\n" in text
    assert "printed by others\n" in text
    assert "trial 0001  FAILED: Out of memory: 9 GiB" in text
    assert "(best: trial" not in text  # no line of a trial that went well


def test_plain_lines_are_those_of_the_results_and_nothing_is_redrawn(capsys):
    rows = rows_of([0.5, None])
    with Table.make(20, SPACE, SETTINGS, lambda: 1) as drawn:
        drawn.note("Two trials:")
        for row in rows:
            drawn.begun(row["trial"], row)
            drawn.ended(row, rows[0])
    printed = capsys.readouterr().out
    assert "\r" not in printed and "\x1b" not in printed and "\u00a0" not in printed
    note, *lines = printed.splitlines()
    assert note == "Two trials:"
    assert [re.match(r"00:0\d  trial (\d{4}  \S+) ", line)[1] for line in lines] == [
        "0000  begins", "0000  val_accuracy", "0001  begins", "0001  FAILED:"
    ]  # fmt: skip
    assert "begins  head_units 32  learning_rate 0.0001" in lines[0]
    ended = results.line(rows[0], rows[0], SPACE, SETTINGS).replace("\u00a0", " ")
    assert lines[1].endswith(ended)


def test_a_long_trial_has_a_plain_line_on_its_epoch_now_and_then(capsys, clock):
    with Table.make(20, SPACE, SETTINGS, lambda: 1) as drawn:
        drawn.begun("0000", rows_of([0.5])[0])
        for epoch in range(1, 26):
            clock[0] += 1
            tasks.report("0000", f"epoch {epoch} of 25")
    _, *lines = capsys.readouterr().out.splitlines()
    assert lines == ["00:11  trial 0000  epoch 11 of 25", "00:22  trial 0000  epoch 22 of 25"]


def test_a_running_trial_shows_its_epoch_in_the_table(clock):
    with live() as drawn:
        drawn.begun("0000", rows_of([0.5])[0])
        tasks.report("0000", "epoch 12 of 100")
        tasks.report("rows of block5_pool", "is no trial")
        assert "0000  epoch 12 of 100 00:00 32 " in shown(drawn)[-1]
        assert not [line for line in shown(drawn) if "no trial" in line]


@pytest.mark.parametrize(("width", "parameters"), [(60, 3), (80, 5), (120, 6)])
def test_the_table_has_the_columns_that_the_terminal_has_now(width, parameters):
    rows = rows_of([0.838] * 3, WIDE)
    console = terminal()
    drawn = Table(console, 20, WIDE, SETTINGS, lambda: 1, rows)
    console.size = (width, 40)  # resized since it was made
    lines = shown(drawn, width=200)  # where nothing is cut
    heads = next(line for line in lines if line.startswith("trial"))
    assert len(heads.split()) == 4 + parameters  # trial, val accuracy, time
    assert max(map(len, [line for line in lines[1:] if not line.startswith("best:")])) <= width
    assert all("0.838 [0.402, 0.872]" in line for line in lines[-4:-1] if line.startswith("0"))
    assert max(map(len, shown(drawn, width=width))) <= width


def test_a_terminal_that_nothing_can_be_drawn_on_has_wrapped_lines(monkeypatch):
    monkeypatch.setenv("TERM", "dumb")
    monkeypatch.setattr(sys, "stdout", Terminal())
    with Table.make(20, WIDE, SETTINGS, lambda: 1) as drawn:
        for row in rows_of([0.5, None], WIDE):
            drawn.begun(row["trial"], row)
            drawn.ended(row, None)
    lines = sys.stdout.getvalue().splitlines()
    assert len(lines) > 4 and max(map(len, lines)) <= 80


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_terminal_has_the_live_table_and_a_dumb_one_or_a_forced_file_has_lines(monkeypatch):
    arguments = 20, SPACE, SETTINGS, lambda: 1
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setattr(sys, "stdout", Terminal())
    with Table.make(*arguments):
        pass
    assert HIDE in sys.stdout.getvalue()
    monkeypatch.setenv("TERM", "dumb")
    monkeypatch.setattr(sys, "stdout", Terminal())
    with Table.make(*arguments):
        pass
    assert sys.stdout.getvalue() == ""
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setattr(sys, "stdout", io.StringIO())
    with Table.make(*arguments):
        pass
    assert sys.stdout.getvalue() == ""


def test_messages_of_errors_stay_in_their_file(monkeypatch):
    console = terminal()
    monkeypatch.setattr(sys, "stderr", io.StringIO())
    with Table(console, 20, SPACE, SETTINGS, lambda: 1):
        print("a warning", file=sys.stderr)
    assert sys.stderr.getvalue() == "a warning\n"
    assert "a warning" not in written(console)
