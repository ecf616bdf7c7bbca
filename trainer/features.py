"""The feature store: what the frozen part computed of each image and view, kept on disk.

`python -m trainer.features --list` shows what is kept, `--verify` checks every byte, `--clear`
empties it. A folder holds what depends on one `Key`: shards of rows, each shard written whole, of
one view of some images, each image under the hash of its name and bytes. So raising the number of
views computes the new ones only, a new image itself only, and a killed fill goes on behind its last
shard. This file knows neither TensorFlow nor Keras.
"""

import contextlib
import dataclasses
import datetime
import fcntl
import hashlib
import json
import os
import pathlib
import shutil
import sys
import time
import zlib
from collections.abc import Callable, Iterator, Sequence
from typing import IO

import ml_dtypes
import numpy as np
from absl import flags

from trainer.config import CACHE_HELP, ConfigError, cache_folder
from trainer.run import command, files

FORMAT = 1  # raise it when the pixels, the draws or the shards change their meaning
FOLDER = "features"  # under --cache_dir
_MAGIC = b"covid_tfds features"
_FIRST = len(_MAGIC) + 19  # bytes of a shard's first line: checksum and length of its head follow
_DTYPES = {"bfloat16": ml_dtypes.bfloat16, "float16": np.float16, "float32": np.float32}
_SUFFIX = ".shard"
_EVICTED = ".evicted-"
_POLL = 0.2  # seconds between looks at a lock


@dataclasses.dataclass(frozen=True)
class Key:
    """Everything that the rows of one folder depend on, besides the image and the view.

    Attributes:
        network: sha256 of the frozen layers, their settings and weights (see `frozen.digest`).
        cut: Name of the last frozen layer.
        image_size: Pixels of a side.
        augmentation: Ranges of the augmentation by name; {} without.
        seed: Of the views; 0 without augmentation.
        precision: The policy that computed the rows; they are kept in its compute dtype, so that
            nothing is rounded that the network does not round.
        format: `FORMAT`.
    """

    network: str
    cut: str
    image_size: int
    augmentation: dict[str, float]
    seed: int
    precision: str
    format: int = FORMAT

    def name(self) -> str:
        """16 hexadecimal digits of the sha256 of all fields."""
        text = json.dumps(dataclasses.asdict(self), sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:16]


def image_keys(image_ids: Sequence[str], images: Sequence[bytes]) -> list[str]:
    """Names of images in a store: 32 hexadecimal digits of each image's id and encoded bytes."""
    return [
        hashlib.blake2b(f"{image_id}\n".encode() + image, digest_size=16).hexdigest()
        for image_id, image in zip(image_ids, images, strict=True)
    ]


class Damaged(Exception):
    """A shard is not what was written."""


@dataclasses.dataclass(frozen=True)
class Shard:
    """Rows of one view of some images.

    Attributes:
        path: The file.
        view: Number of the view.
        images: Keys of the images, one a row.
        rows: [n, height, width, channels], mapped, not read.
    """

    path: pathlib.Path
    view: int
    images: list[str]
    rows: np.ndarray


def write_shard(
    folder: pathlib.Path, view: int, images: Sequence[str], rows: np.ndarray
) -> pathlib.Path:
    """Adds a shard to a folder, whole, and returns its path.

    Args:
        folder: Of a `Key`.
        view: Number of the view.
        images: Keys of the images, one a row.
        rows: bfloat16, float16 or float32 [n, height, width, channels].
    """
    rows = np.ascontiguousarray(rows)
    facts = {"view": view, "shape": rows.shape, "dtype": rows.dtype.name, "images": list(images)}
    head, body = json.dumps(facts).encode(), rows.view(np.uint8).data
    head += b" " * (-(len(head) + _FIRST) % 64)  # rows begin at a multiple of 64 bytes
    first = b"%s %08x %8d\n" % (_MAGIC, zlib.crc32(body, zlib.crc32(head)), len(head))
    name = f"{view:05d}-{hashlib.sha256(head).hexdigest()[:16]}{_SUFFIX}"
    beside = folder / f".{os.getpid()}.{name}"
    try:
        with beside.open("wb") as file:
            file.write(first + head)
            file.write(body)
        return beside.replace(folder / name)
    finally:
        beside.unlink(missing_ok=True)


def read_shard(path: pathlib.Path) -> Shard:
    """Opens a shard and checks all of it.

    Raises:
        Damaged: A byte is missing or changed.
    """
    try:
        mapped = np.memmap(path, np.uint8, "r")
        first = bytes(mapped[:_FIRST])
        magic, checksum, length = first[: len(_MAGIC)], *first[len(_MAGIC) :].split()
        if magic != _MAGIC or not first.endswith(b"\n"):
            raise Damaged(f"{path} does not begin as a shard does")
        start = _FIRST + int(length)
        head, body = bytes(mapped[_FIRST:start]), np.asarray(mapped)[start:]
        if zlib.crc32(body, zlib.crc32(head)) != int(checksum, 16):
            raise Damaged(f"{path} has another checksum than when it was written")
        facts = json.loads(head)
        rows = body.view(_DTYPES[facts["dtype"]]).reshape(facts["shape"])
    except (ValueError, KeyError, OSError) as error:
        raise Damaged(f"{path} cannot be read ({error})") from None
    return Shard(path, facts["view"], facts["images"], rows)


class Store:
    """The rows of one `Key`. While it is open no other process may evict it.

    Attributes:
        folder: Where the shards are.
        key: What they depend on.
    """

    def __init__(self, cache_dir: pathlib.Path, key: Key, views: int) -> None:
        """Opens the folder of a key, made if it is not there, and the shards of its first views."""
        self.key, self._views = key, views
        self.folder = cache_dir / FOLDER / key.name()
        self._shards: dict[str, Shard] = {}
        self._where: dict[tuple[int, str], tuple[Shard, int]] = {}
        self._use = _open_for_use(self.folder)
        _write_key(self.folder, key)
        self.damaged = self.refresh()

    def close(self) -> None:
        """Lets other processes evict the store."""
        self._use.close()

    def refresh(self) -> list[str]:
        """Takes in what other processes have written; removes and names damaged shards."""
        damaged = []
        for path in _shards_in(self.folder):
            if path.name in self._shards or int(path.name.partition("-")[0]) >= self._views:
                continue
            try:
                self._take(read_shard(path))
            except Damaged as error:
                path.unlink(missing_ok=True)
                damaged.append(str(error))
        return damaged

    def _take(self, shard: Shard) -> None:
        self._shards[shard.path.name] = shard
        for row, image in enumerate(shard.images):
            self._where[shard.view, image] = (shard, row)

    def missing(self, images: Sequence[str], view: int) -> list[int]:
        """Indices of the images whose row of a view is not kept."""
        return [i for i, image in enumerate(images) if (view, image) not in self._where]

    def add(self, view: int, images: Sequence[str], rows: np.ndarray) -> None:
        """Keeps rows, [n, height, width, channels], as one shard, and reads it back."""
        self._take(read_shard(write_shard(self.folder, view, images, rows)))

    @contextlib.contextmanager
    def filling(self, say: str, tell: Callable[[], None]) -> Iterator[None]:
        """Keeps other processes from computing the same.

        The lock falls with the process that holds it, however that ends.

        Args:
            say: Printed where another process holds the lock.
            tell: Called again and again while it does.
        """
        with (self.folder / "filling").open("a") as lock:
            if not files.locked(lock):
                print(say, flush=True)
                while not files.locked(lock):
                    tell()
                    time.sleep(_POLL)
            for left in self.folder.glob(f".*{_SUFFIX}"):  # of a process killed while writing
                left.unlink()
            self.damaged += self.refresh()
            yield

    def locate(self, images: Sequence[str], view: int) -> list[np.ndarray]:
        """The kept row of each image, [height, width, channels], mapped from the disk.

        Raises:
            KeyError: A row is not kept.
        """
        found = [self._where[view, image] for image in images]
        return [shard.rows[row] for shard, row in found]


def _open_for_use(folder: pathlib.Path) -> IO[str]:
    """Opens a folder's lock for sharing and notes the time; the folder is made where it is not."""
    used = folder / "used"
    while True:  # until no other process evicted it between the lines
        with contextlib.suppress(FileNotFoundError):
            folder.mkdir(parents=True, exist_ok=True)
            lock = used.open("a")
            fcntl.flock(lock, fcntl.LOCK_SH)
            if os.path.samestat(os.fstat(lock.fileno()), used.stat()):
                os.utime(used)
                return lock
            lock.close()


def _shards_in(folder: pathlib.Path) -> list[pathlib.Path]:
    return sorted(folder.glob(f"[0-9]*{_SUFFIX}"))


def _write_key(folder: pathlib.Path, key: Key) -> None:
    path, beside = folder / "key.json", folder / f".{os.getpid()}.key.json"
    if not path.exists():
        beside.write_text(json.dumps(dataclasses.asdict(key), indent=1) + "\n")
        beside.replace(path)


@dataclasses.dataclass(frozen=True)
class Kept:
    """One folder of a cache, as `--list` shows it.

    Attributes:
        folder: Where it is.
        key: The fields of its `Key`; {} where key.json cannot be read.
        size: Bytes.
        used: Seconds since the epoch of its last use.
        in_use: Whether a process has it open.
    """

    folder: pathlib.Path
    key: dict
    size: int
    used: float
    in_use: bool


def kept(cache_dir: pathlib.Path) -> list[Kept]:
    """All folders of a cache, the most recently used first."""
    found = []
    for folder in (cache_dir / FOLDER).glob("[0-9a-f]*"):
        with contextlib.suppress(FileNotFoundError):
            try:
                key = json.loads((folder / "key.json").read_text())
            except (FileNotFoundError, ValueError):
                key = {}
            sizes = [path.stat().st_size for path in folder.iterdir()]
            used = folder / "used"
            with _claimed(folder) as free:
                found.append(Kept(folder, key, sum(sizes), used.stat().st_mtime, not free))
    return sorted(found, key=lambda each: -each.used)


@contextlib.contextmanager
def _claimed(folder: pathlib.Path) -> Iterator[bool]:
    """Whether no process has the folder open; none can open it meanwhile."""
    with (folder / "used").open() as lock:
        yield files.locked(lock)


def remove(folder: pathlib.Path) -> bool:
    """Removes a folder of a cache unless a process has it open; returns whether it did."""
    with contextlib.suppress(FileNotFoundError), _claimed(folder) as free:
        if not free:
            return False
        # Renamed first: a process that opens the key meanwhile makes a folder of its own.
        shutil.rmtree(folder.rename(folder.with_name(f"{_EVICTED}{os.getpid()}{folder.name}")))
    return True


def make_room(cache_dir: pathlib.Path, needed: int, limit: int) -> bool:
    """Evicts what was used least recently until `needed` more bytes fit into `limit`.

    Returns:
        Whether they fit, into the limit and onto the disk.
    """
    cache_dir.mkdir(parents=True, exist_ok=True)
    for left in (cache_dir / FOLDER).glob(f"{_EVICTED}*"):  # of a process killed meanwhile
        shutil.rmtree(left, ignore_errors=True)
    held = kept(cache_dir)
    total = sum(each.size for each in held)
    for each in reversed(held):
        if total + needed <= limit:
            break
        if not each.in_use and remove(each.folder):
            total -= each.size
    return total + needed <= limit and needed < shutil.disk_usage(cache_dir).free


def _list(cache_dir: pathlib.Path) -> None:
    held = kept(cache_dir)
    for each in held:
        key = each.key
        ranges = [name for name, reach in key.get("augmentation", {}).items() if reach]
        shards = [path.name for path in _shards_in(each.folder)]
        print(
            f"{each.folder.name}  {each.size / 2**20:8.1f} MiB  "
            f"{datetime.datetime.fromtimestamp(each.used):%Y-%m-%d %H:%M}  "
            f"{key.get('cut')}  {key.get('image_size')} px  {key.get('precision')}  "
            f"views {len({name[:5] for name in shards})}, shards {len(shards)}  "
            f"{'seed ' + str(key['seed']) + ': ' + ', '.join(ranges) if ranges else 'as stored'}"
            f"{'  in use' if each.in_use else ''}"
        )
    print(f"{sum(each.size for each in held) / 2**20:.1f} MiB in {cache_dir / FOLDER}")


def _verify(cache_dir: pathlib.Path) -> int:
    """Checks every shard and removes the damaged; returns how many those were."""
    checked, damaged = 0, 0
    for each in kept(cache_dir):
        for path in _shards_in(each.folder):
            checked += 1
            try:
                read_shard(path)
            except Damaged as error:
                damaged += 1
                path.unlink(missing_ok=True)
                print(f"{error}; removed, the next run computes it again")
    print(f"{checked} shards checked, {damaged} damaged")
    return damaged


def _clear(cache_dir: pathlib.Path) -> None:
    held = kept(cache_dir)
    removed = [each for each in held if remove(each.folder)]
    freed = sum(each.size for each in removed) / 2**20
    print(f"removed {len(removed)} of {len(held)} folders, {freed:.1f} MiB")
    if len(removed) < len(held):
        print("the others are in use")


def main(argv: list[str]) -> None:
    """`--list`, `--verify` or `--clear`."""
    asked = [name for name in ("list", "verify", "clear") if flags.FLAGS[name].value]
    if len(argv) > 1 or len(asked) != 1:
        raise ConfigError("Give one of --list, --verify and --clear, and no word besides.")
    cache_dir = cache_folder(flags.FLAGS.cache_dir)
    if asked == ["list"]:
        _list(cache_dir)
    elif asked == ["verify"]:
        sys.exit(1 if _verify(cache_dir) else 0)
    else:
        _clear(cache_dir)


if __name__ == "__main__":
    flags.DEFINE_bool("list", False, "Show what is kept.")
    flags.DEFINE_bool("verify", False, "Check every byte; remove what is damaged (status 1).")
    flags.DEFINE_bool("clear", False, "Remove everything that no process has open.")
    flags.DEFINE_string("cache_dir", "", CACHE_HELP)
    command.run(main)
