"""Files of every kind that we write, a bit of each flipped, and what reads them."""

import csv
import dataclasses
import io
import pathlib
import shutil
from collections.abc import Callable

import numpy as np

from tests.helpers import chaos_runs
from tests.helpers.chaos_runs import CROSSVAL, RESULTS, TRAIN, Place, Whole
from tests.helpers.flips import one_bit
from trainer.run.manifest import REPORT, Manifest

# Templates: a folder of each, which flips have a copy of.
DATASET, CACHE, FINISHED, BEGUN, FOLDS_FINISHED, FOLDS_BEGUN, WEIGHTS, SEARCH = (
    "dataset", "cache", "finished", "begun", "folds finished", "folds begun", "weights", "search",
)  # fmt: skip
_EVENTS = "tensorboard/*"


@dataclasses.dataclass(frozen=True)
class Templates:
    """What commands left.

    Attributes:
        shared: The dataset and the cache.
        folders: By name of the template.
        whole: Commands that nothing happened to, by kind.
        steps_left: That the cross-validation which was begun has still to do.
    """

    shared: Place
    folders: dict[str, pathlib.Path]
    whole: dict[str, Whole]
    steps_left: int


@dataclasses.dataclass
class Flip:
    """A flipped bit.

    Attributes:
        kind: Of the file, a key of `KINDS`.
        seed: Of the file and the bit.
        file: Which it was.
        miss: What is wrong with how it was found; "" where nothing is.
    """

    kind: str
    seed: int
    file: str = ""
    miss: str = ""


def prepared(root: pathlib.Path, shared: Place, whole: dict[str, Whole]) -> Templates:
    """Makes what is not there yet of the templates.

    Args:
        root: A folder that is made for them.
        shared: With a dataset, a filled cache and, below its root, what `whole` left.
        whole: Of all kinds.
    """
    from trainer.model import weights

    begun, folds = _place(root / "begun", shared), _place(root / "folds", shared)
    life = chaos_runs.start(TRAIN, begun, 0.0)
    life.child.wait(lambda: life.reached("fine_tune") and _fine_tuned(life))
    life.child.kill()
    life = chaos_runs.start(CROSSVAL, folds, 0.0)
    life.child.wait(lambda: _between_folds(folds.run))
    life.child.kill()
    again = _place(root / "again", shared)
    shutil.copytree(folds.run, again.run)
    left = _ended(chaos_runs.start(CROSSVAL, again)).count("steps")
    searched = root / "search"
    _ended(_search(searched, root / "of search", shared))
    folders = {
        SEARCH: searched,
        DATASET: shared.data,
        CACHE: shared.cache,
        FINISHED: shared.root / TRAIN,
        BEGUN: begun.run,
        FOLDS_FINISHED: shared.root / CROSSVAL,
        FOLDS_BEGUN: folds.run,
    }
    try:
        weights.vgg16_weights("imagenet", root / "weights")
    except weights.WeightsError:
        return Templates(shared, folders, whole, left)
    if (root / "weights" / weights.CONVERTED_FILE).exists():
        folders[WEIGHTS] = root / "weights"
    return Templates(shared, folders, whole, left)


def _between_folds(run: pathlib.Path) -> bool:
    """Whether one fold has ended and another one has a state."""
    names = {path.name for path in run.glob("checkpoints/fold_*")}
    ended = {name for name in names if "." not in name}
    return bool(ended) and bool({name.partition(".")[0] for name in names} - ended)


def _search(folder: pathlib.Path, root: pathlib.Path, shared: Place) -> chaos_runs.Life:
    """Starts a search of two trials, or goes on with it."""
    flags = (
        "--epochs=2",
        "--head_units=8:64:log2",
        "--max_trials=2",
        "--final_folds=0",
        f"--search_dir={folder}",
    )
    return chaos_runs.run(TRAIN, root, "tuning.main", *chaos_runs.tiny(shared), *flags)


def _fine_tuned(life: chaos_runs.Life) -> bool:
    since = life.began()["fine_tune"]
    return sum(when > since and what == "steps" for when, what, _ in life.work()) > 1


def flipped(flip: Flip, root: pathlib.Path, templates: Templates) -> Flip:
    """Flips a bit in a copy of a template and runs what reads it.

    Args:
        flip: Which.
        root: A folder that is made for it, and removed if nothing was missed.
        templates: Of `prepared`.
    """
    template, pattern, check = KINDS[flip.kind]
    random, copy = np.random.default_rng(flip.seed), root / "copy"
    shutil.copytree(templates.folders[template], copy)
    every = [path for path in sorted(copy.glob(pattern)) if path.is_file() and path.stat().st_size]
    path = every[random.integers(len(every))]
    flip.file = path.relative_to(copy).as_posix()
    with one_bit(path, random):
        flip.miss = check(path, copy, root, templates)
        path.parent.mkdir(exist_ok=True)  # where folds were, which have ended
    if not flip.miss:
        shutil.rmtree(root)
    return flip


def _place(root: pathlib.Path, shared: Place, **changes: pathlib.Path) -> Place:
    return dataclasses.replace(shared, root=root, run=root / "run", **changes)


def _ended(life: chaos_runs.Life) -> chaos_runs.Life:
    life.child.wait()
    return life


def _in_dataset(path: pathlib.Path, copy: pathlib.Path, root: pathlib.Path, _: Templates) -> str:
    """`covid_tfds.verify` names the file; of digests.json it may be one that has another digest."""
    life = _ended(chaos_runs.run(TRAIN, root, "covid_tfds.verify", str(path.parent)))
    names = ("damaged",) if path.name == "digests.json" else (f"{path.name} is damaged",)
    return _unless(life, 1, *names)


def _in_cache(path: pathlib.Path, copy: pathlib.Path, root: pathlib.Path, of: Templates) -> str:
    """The check names the stage, and the next training computes what is missing.

    Its rows are those of before but for rounding, since they come from a smaller batch.
    """
    flags = ("--verify", f"--cache_dir={copy}")
    life = _ended(chaos_runs.run(TRAIN, root, "trainer.features", *flags))
    miss = _unless(life, 1, str(path if path.name == "key.json" else path.parent))
    place = _place(root, of.shared, cache=copy)
    miss = miss or _unless(_ended(chaos_runs.start(TRAIN, place)), 0)
    return miss or _unless_near(place.run / "predictions.csv", of.whole[TRAIN])


def _unless_near(path: pathlib.Path, whole: Whole) -> str:
    """Compares probabilities."""
    tables = []
    for text in (path.read_text(), whole.result["predictions.csv"].decode()):
        rows = list(csv.DictReader(io.StringIO(text)))
        tables.append([[float(v) for k, v in row.items() if k.startswith("p_")] for row in rows])
    return "" if np.allclose(*tables, atol=1e-3) else "other predictions.csv"


def _named(path: pathlib.Path, copy: pathlib.Path, root: pathlib.Path, of: Templates) -> str:
    """The same command names the file, which nothing else depends on."""
    place = dataclasses.replace(_place(root, of.shared), run=copy)
    return _unless(_ended(chaos_runs.start(TRAIN, place)), 0, f"{path} is damaged")


def _refused(kind: str) -> Callable[..., str]:
    def check(path: pathlib.Path, copy: pathlib.Path, root: pathlib.Path, of: Templates) -> str:
        """The same command names the file, and does nothing."""
        place = dataclasses.replace(_place(root, of.shared), run=copy)
        return _unless(_ended(chaos_runs.start(kind, place)), 1, f"{path} is damaged")

    return check


def _made_again(kind: str, template: str, *, named: bool) -> Callable[..., str]:
    def check(path: pathlib.Path, copy: pathlib.Path, root: pathlib.Path, of: Templates) -> str:
        """The same command makes the file again; of a run that had ended, it names it."""
        place = dataclasses.replace(_place(root, of.shared), run=copy)
        name = path.relative_to(copy).as_posix()
        miss = _unless_loading_names(copy, name) if named else ""
        life = _ended(chaos_runs.start(kind, place))
        if named:
            miss = miss or _unless(life, 0, f"{name} of {copy} is missing or damaged")
        miss = miss or _unless_equal(kind, place, life, of)
        if miss or path.match(_EVENTS):  # these are not made again
            return miss
        if name == REPORT:  # it has the folder's name in it
            damaged = Manifest.read(copy).damaged(copy)
            return f"{', '.join(damaged)} stay damaged" if damaged else ""
        before = of.whole[kind].result.get(name) or (of.folders[template] / name).read_bytes()
        return "" if path.read_bytes() == before else f"{name} is not what it was"

    return check


def _unless_loading_names(folder: pathlib.Path, name: str) -> str:
    """What `trainer.load` does with a file of a finished run that is read through it."""
    import trainer
    from trainer.run.errors import RunError

    read = {"metrics.json": "metrics", "crossval.json": "metrics", "history.csv": "history",
            "predictions.csv": "predictions", "config.json": "config"}  # fmt: skip
    if name not in read:
        return ""
    try:
        getattr(trainer.load(folder), read[name])
    except RunError as error:
        return "" if str(folder / name) in str(error) else f"trainer.load: {error}"
    return "trainer.load reads it"


def _fold(path: pathlib.Path, copy: pathlib.Path, root: pathlib.Path, of: Templates) -> str:
    """The fold is trained again."""
    place = dataclasses.replace(_place(root, of.shared), run=copy)
    life = _ended(chaos_runs.start(CROSSVAL, place))
    miss = _unless_equal(CROSSVAL, place, life, of)
    return miss or ("" if life.count("steps") > of.steps_left else "it was gone on with")


def _weights(path: pathlib.Path, copy: pathlib.Path, root: pathlib.Path, of: Templates) -> str:
    """They are converted again."""
    from trainer.model import weights

    whole = (of.folders[WEIGHTS] / path.name).read_bytes()
    got = weights.vgg16_weights("imagenet", copy)
    if got.sha256 != weights.CONVERTED_SHA256:
        return "they were used"
    same = path.read_bytes() == whole
    return "" if same else "the file stays as it is, and what is read of it is right"


def _in_search(path: pathlib.Path, copy: pathlib.Path, root: pathlib.Path, of: Templates) -> str:
    """The same command names the file, and does nothing."""
    return _unless(_ended(_search(copy, root, of.shared)), 1, str(path))


def _unless(life: chaos_runs.Life, status: int, *words: str) -> str:
    """ "", unless a command ended otherwise than it should."""
    text = chaos_runs.text(life)
    absent = [each for each in words if each not in text]
    if life.child.status == status and not absent:
        return ""
    return f"status {life.child.status}, not {status}, or without {absent}: {text[-300:]}"


def _unless_equal(kind: str, place: Place, life: chaos_runs.Life, of: Templates) -> str:
    if life.child.status:
        return _unless(life, 0)
    before = of.whole[kind].result
    other = [each for each in RESULTS[kind] if (place.run / each).read_bytes() != before[each]]
    return f"other {', '.join(other)}" if other else ""


_ENDED = _made_again(TRAIN, FINISHED, named=True)
_ENDED_FOLDS = _made_again(CROSSVAL, FOLDS_FINISHED, named=True)
_UNDER_WAY = _made_again(TRAIN, BEGUN, named=False)
# Kind: a template, which of its files, what has to happen.
KINDS: dict[str, tuple[str, str, Callable[..., str]]] = {
    "TFRecord": (DATASET, "covid_tfds/*/*/*.tfrecord*", _in_dataset),
    "dataset, other files": (DATASET, "covid_tfds/*/*/*[!0-9]", _in_dataset),
    "cache, rows.bin": (CACHE, "stages/*/rows.bin", _in_cache),
    "cache, index.bin": (CACHE, "stages/*/index.bin", _in_cache),
    "cache, key.json": (CACHE, "stages/*/key.json", _in_cache),
    "converted weights": (WEIGHTS, "*.npz", _weights),
    "saved state": (BEGUN, "checkpoints/state", _refused(TRAIN)),
    "manifest.json": (BEGUN, "manifest.json", _refused(TRAIN)),
    "run under way, others": (BEGUN, "[chfi]*.*", _UNDER_WAY),
    "fold that ended": (FOLDS_BEGUN, "checkpoints/fold_" + 16 * "?", _fold),
    "state of a fold": (FOLDS_BEGUN, "checkpoints/fold_*.state", _fold),
    "crossval, its results": (FOLDS_FINISHED, "*[!t].[cj]*", _ENDED_FOLDS),
    "ended, manifest.json": (FINISHED, "manifest.json", _refused(TRAIN)),
    "ended, saved state": (FINISHED, "checkpoints/state", _named),
    "model.keras": (FINISHED, "model.keras", _ENDED),
    "metrics.json": (FINISHED, "metrics.json", _ENDED),
    "predictions.csv": (FINISHED, "predictions.csv", _ENDED),
    "stressed.csv": (FINISHED, "stressed.csv", _ENDED),
    "history.csv": (FINISHED, "history.csv", _ENDED),
    "config.json": (FINISHED, "config.json", _ENDED),
    "flags.txt": (FINISHED, "flags.txt", _ENDED),
    "images_used.csv": (FINISHED, "images_used.csv", _ENDED),
    "plots": (FINISHED, "plots/*", _ENDED),
    "report.html": (FINISHED, "report.html", _ENDED),
    "search, log.jsonl": (SEARCH, "log.jsonl", _in_search),
    "TensorBoard": (FINISHED, _EVENTS, _ENDED),
}
