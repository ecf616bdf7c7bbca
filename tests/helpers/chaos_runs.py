"""Commands that end early, go on, and are compared with those that nothing happened to."""

import dataclasses
import functools
import pathlib
import random
import shutil
import signal
import time
from collections.abc import Callable, Iterator

from tests.helpers import zygote
from tests.helpers.power_cut import Disk, Reading
from tests.helpers.zygote import Child

BUILD, TRAIN, CROSSVAL = "build", "train", "crossval"
MODULES = {
    BUILD: "tensorflow_datasets.scripts.cli.main",
    TRAIN: "trainer.main",
    CROSSVAL: "trainer.crossval",
}
# Where a command is, as `log_work` notes it; the phases of each command in their order.
PHASES = {
    BUILD: ("build",),
    TRAIN: ("fill", "head", "fine_tune", "evaluation"),
    CROSSVAL: ("crossval",),
}
RESULTS = {
    TRAIN: ("model.keras", "history.csv", "metrics.json", "predictions.csv"),
    CROSSVAL: ("crossval.json", "predictions.csv"),
}
EVERY = (0.0, 0.3, 60.0)  # seconds between saved states
_LATEST = 0.7  # of a phase's length: it may be shorter another time
_SLACK = 2.0  # seconds that a step, a validation and the writing of a state take here at the most
_DATASET = '{"name": "tiny", "images": "phantom", "patients": 72}'
_TINY = (
    "--dataset=tiny", "--image_size=32", "--width=0.05", "--weights=none", "--batch_size=16",
    "--head_units=8", "--precision=float32", "--learning_rate=1e-3", "--augmentation=radiograph",
    "--views=24", "--deterministic",
)  # fmt: skip
# So many epochs that steps take as long as what comes before the first one.
_MORE = {
    TRAIN: ("--epochs=12", "--fine_tune_from=block5", "--fine_tune_epochs=8",
            "--fine_tune_learning_rate=1e-3"),
    CROSSVAL: ("--epochs=60", "--folds=3", "--repeats=1"),
}  # fmt: skip


@dataclasses.dataclass(frozen=True)
class Place:
    """Folders of a command.

    Attributes:
        root: Of all that is its own: the log of what it does, and what it prints.
        data: Of datasets.
        cache: Of cached rows.
        run: Of the run.
    """

    root: pathlib.Path
    data: pathlib.Path
    cache: pathlib.Path
    run: pathlib.Path


def command(kind: str, place: Place, every: float = 60.0) -> tuple[str, ...]:
    """Module and arguments of a command."""
    if kind == BUILD:
        flags = ("build", "--imports=covid_tfds", f"--config={_DATASET}", "covid_tfds")
        return MODULES[kind], *flags, f"--data_dir={place.data}"
    more = (f"--run_dir={place.run}", f"--checkpoint_every={every:g}")
    return MODULES[kind], *tiny(place), *_MORE[kind], *more


def tiny(place: Place) -> tuple[str, ...]:
    """Flags of a small training."""
    return *_TINY, f"--data_dir={place.data}", f"--cache_dir={place.cache}"


def start(
    kind: str, place: Place, every: float = 60.0, before: Callable[[], object] = lambda: None
) -> "Life":
    """Starts a command.

    Args:
        kind: Of the command.
        place: Its folders.
        every: Seconds between saved states.
        before: Called in its process first.
    """
    return run(kind, place.root, *command(kind, place, every), before=before)


def run(
    kind: str,
    root: pathlib.Path,
    module: str,
    *arguments: str,
    before: Callable[[], object] = lambda: None,
) -> "Life":
    """Starts `python -m MODULE ARGUMENTS`; its log and what it prints go to `root`."""
    root.mkdir(parents=True, exist_ok=True)
    number = len(list(root.glob("*.log")))
    log, out = root / f"{number}.log", root / f"{number}.out"
    log.touch()
    return Life(zygote.start(out, module, arguments, lambda: (log_work(log), before())), kind, log)


@dataclasses.dataclass
class Life:
    """One process of a command.

    Attributes:
        child: The process.
        kind: Of the command.
        log: File of what it does.
    """

    child: Child
    kind: str
    log: pathlib.Path

    def work(self) -> list[tuple[float, str, int]]:
        """When it did what, and how much of it."""
        lines = self.log.read_text().rpartition("\n")[0].splitlines()
        parts = (line.split() for line in lines)
        return [(float(when), what, int(count)) for when, what, count in parts]

    def count(self, what: str) -> int:
        """How many "steps" or "rows" it did."""
        return sum(count for _, each, count in self.work() if each == what)

    def began(self) -> dict[str, float]:
        """When the phases of the command began that have begun."""
        times = {}
        for when, what, _ in self.work():
            if what in PHASES[self.kind]:
                times.setdefault(what, when)
        return times

    def lengths(self) -> dict[str, float]:
        """Seconds of each phase of a command that has ended."""
        began = self.began()
        times = [*began.values(), self.child.ended]
        return dict(zip(began, (b - a for a, b in zip(times, times[1:])), strict=True))  # noqa: B905, RUF007

    def phase(self) -> str:
        """The phase that began last; "" before the first."""
        return next(reversed(self.began()), "")

    def reached(self, phase: str) -> bool:
        """Whether a phase, or one after it, has begun."""
        phases = PHASES[self.kind]
        return self.phase() in phases[phases.index(phase) :]


def log_work(path: pathlib.Path) -> None:
    """Has this process write down what it does: a line with the time for each piece of work."""
    import trainer.model.saved
    from covid_tfds import building
    from trainer.input_pipeline.cache import CachedRows
    from trainer.training.loop import _Loop
    from trainer.training.steps import Steps
    from trainer.training.training import Training

    file = path.open("ab", buffering=0)  # a kill loses no line

    def note(what: str, count: int = 0) -> None:
        file.write(f"{time.monotonic():.6f} {what} {count}\n".encode())

    def noted(owner, name: str, *, before=None, after=None) -> None:
        function = getattr(owner, name)

        @functools.wraps(function)
        def wrapped(*args, **kwargs):
            if before:
                before(*args)
            result = function(*args, **kwargs)
            if after:
                after(*args)
            return result

        setattr(owner, name, wrapped)

    noted(building, "prepare", before=lambda *_: note("build"))

    def phase_begins(loop: _Loop, index: int) -> None:
        note("crossval")
        note(loop.training.plan.phases[index].phase.name)

    noted(Training, "__init__", before=lambda *_: note("fill"))
    noted(_Loop, "_phase", before=phase_begins)
    noted(trainer.model.saved, "save", before=lambda *_: note("evaluation"))
    noted(Steps, "run", after=lambda _, batches, count: note("steps", count))
    noted(CachedRows, "append", after=lambda _, digests, *more: note("rows", len(digests)))


def result(kind: str, place: Place) -> dict[str, bytes | None]:
    """What has to be bit-equal of a command that has ended; None in place of TensorBoard's files,
    whose names have a time."""
    if kind == BUILD:
        files = [path for path in place.data.rglob("*") if path.is_file() and path.name != ".lock"]
        return {path.relative_to(place.data).as_posix(): path.read_bytes() for path in files}
    names = {path.relative_to(place.run).as_posix(): None for path in place.run.rglob("*")
             if path.is_file() and path.parent.name != "tensorboard"}  # fmt: skip
    return names | {name: (place.run / name).read_bytes() for name in RESULTS[kind]}


@dataclasses.dataclass(frozen=True)
class Whole:
    """A command that nothing happened to.

    Attributes:
        result: Of it.
        lengths: Seconds of each phase.
        seconds: Of all.
        steps, rows: Of training, of the cache.
    """

    result: dict[str, bytes | None]
    lengths: dict[str, float]
    seconds: float
    steps: int
    rows: int


def whole(kind: str, place: Place) -> Whole:
    """Runs a command that nothing happens to.

    Raises:
        RuntimeError: It failed.
    """
    life = start(kind, place)
    life.child.wait()
    if life.child.status:
        raise RuntimeError(f"{kind} failed: {life.child.printed()}")
    seconds = life.child.ended - life.child.began
    return Whole(
        result(kind, place), life.lengths(), seconds, life.count("steps"), life.count("rows")
    )


@dataclasses.dataclass(frozen=True)
class Case:
    """A command that ends early some times, and then goes on to its end.

    Attributes:
        how: "kills", "terms" or "power_cuts".
        kind: Of the command.
        phase: In which it ends early.
        ends: How often.
        every: Seconds between saved states.
        seed: Of the moments, and of what a power cut leaves.
    """

    how: str
    kind: str
    phase: str
    ends: int
    every: float
    seed: int


@dataclasses.dataclass
class Outcome:
    """What came of a case.

    Attributes:
        case: The case.
        phases: In which it ended early.
        faults: What was lost, or wrong; empty where all is well.
        steps, rows: Done more than once.
        seconds: More than without an early end, for all of the case.
        interval: Seconds from the first step that was done again to the early end, where there was
            one.
        leaving: Seconds that signals took.
    """

    case: Case
    phases: list[str] = dataclasses.field(default_factory=list)
    faults: list[str] = dataclasses.field(default_factory=list)
    steps: int = 0
    rows: int = 0
    seconds: float = 0.0
    interval: float = 0.0
    leaving: list[float] = dataclasses.field(default_factory=list)


def played(case: Case, root: pathlib.Path, shared: Place, expected: Whole) -> Outcome:
    """Plays a case; its folder is kept if something was lost.

    Args:
        case: The case.
        root: A folder that is made for it.
        shared: With the dataset and the cache, for all but those who are to make them.
        expected: The command that nothing happened to.
    """
    place = _place(case, root, shared)
    draw, out = random.Random(case.seed), Outcome(case)
    lives = list(_ended_early(case, place, expected, draw, out))
    last = start(case.kind, place, case.every)
    last.child.wait()
    if last.child.status:
        out.faults.append(f"the command ended with {last.child.status}: {_tail(last)}")
    else:
        now = result(case.kind, place)
        names = now.keys() | expected.result.keys()
        other = [each for each in sorted(names) if _differs(each, now, expected.result)]
        if other:
            out.faults.append(f"not what it is without an end: {', '.join(other)}")
    _measure([*lives, last], expected, out)
    if not out.faults:
        shutil.rmtree(root)
    return out


def _differs(name: str, now: dict, before: dict) -> bool:
    return name not in now or name not in before or now[name] != before[name]


def _place(case: Case, root: pathlib.Path, shared: Place) -> Place:
    own = root / "own"  # what a power cut strikes
    (own / "run").mkdir(parents=True)
    data = own / "data" if case.kind == BUILD else shared.data
    cache = own / "cache" if case.phase == "fill" else shared.cache
    return Place(root, data, cache, own / "run" / "a")


def _ended_early(
    case: Case, place: Place, expected: Whole, draw: random.Random, out: Outcome
) -> Iterator[Life]:
    """Starts the command and ends it early, until it was as often as it is to be, or has ended."""
    for number in range(case.ends):
        disk = Disk(place.root / "own", place.root / f"store{number}")
        before = disk.watch if case.how == "power_cuts" else lambda: None
        life = start(case.kind, place, case.every, before)
        yield life
        if not life.child.wait(lambda life=life: life.reached(case.phase)):
            if life.child.status:
                out.faults.append(f"the command ended with {life.child.status}: {_tail(life)}")
            return
        until = time.monotonic() + draw.uniform(0, _LATEST * expected.lengths[life.phase()])
        life.child.wait(lambda until=until: time.monotonic() >= until)
        if life.child.status is not None:
            return
        out.phases.append(life.phase())
        if case.how == "terms":
            _signal(life, place, draw, out)
        else:
            life.child.kill()
        if case.how == "power_cuts":
            disk.cut(draw.choice(list(Reading)), draw)


def _signal(life: Life, place: Place, draw: random.Random, out: Outcome) -> None:
    """Has a command leave by a signal: its status, its time and its message."""
    from trainer.run import saved_folds, saved_state

    number = draw.choice([signal.SIGINT, signal.SIGTERM])
    begin = time.monotonic()
    life.child.send(number)
    life.child.wait(seconds=60)
    out.leaving.append(life.child.ended - begin)
    if life.child.status == 0:  # it had ended by itself when the signal came
        out.phases.pop(), out.leaving.pop()
        return
    if life.child.status != 128 + number:
        out.faults.append(f"{number.name} gave status {life.child.status}: {_tail(life)}")
    if out.leaving[-1] >= 10:
        out.faults.append(f"{number.name} took {out.leaving[-1]:.1f} s")
    where = saved_state if life.kind == TRAIN else saved_folds
    if where.where_it_goes_on(place.run) not in text(life):
        out.faults.append(f"{number.name} gave another message than what is there: {_tail(life)}")


def _measure(lives: list[Life], expected: Whole, out: Outcome) -> None:
    out.steps = sum(life.count("steps") for life in lives) - expected.steps
    if out.case.phase == "fill":
        out.rows = sum(life.count("rows") for life in lives) - expected.rows
    out.seconds = sum(life.child.ended - life.child.began for life in lives) - expected.seconds
    if out.case.kind == TRAIN and len(lives) == 2 and out.steps > 0:
        left, when = out.steps, lives[0].child.ended
        for at, what, count in reversed(lives[0].work()):
            if what == "steps" and left > 0:
                left, when = left - count, at
        out.interval = lives[0].child.ended - when
        if out.interval > out.case.every + _SLACK:
            out.faults.append(f"{out.interval:.1f} s of training were lost")


def text(life: Life) -> str:
    """What a command printed, in one line: the commands wrap their sentences."""
    return " ".join(life.child.printed().split())


def _tail(life: Life) -> str:
    return text(life)[-400:]
