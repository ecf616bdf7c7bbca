"""What `trainer.features` prints of the cache: its list, its check, what was removed."""

import datetime
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from trainer.input_pipeline import cache_folders
from trainer.input_pipeline.cache_files import CacheError
from trainer.run.text import counted, table, wrapped


def listing(cache_dir: Path) -> str:
    """A line a stage, and the size of all.

    Args:
        cache_dir: The folder of all stages; it need not be there.

    Raises:
        CacheError: The machine does not let it be read.
    """
    entries = cache_folders.entries(cache_dir)
    rows = [["folder", "MiB", "last used", "rows", "stage"]]
    for each in entries:
        when = f"{datetime.datetime.fromtimestamp(each.used):%Y-%m-%d %H:%M}"
        size = f"{each.bytes / 2**20:,.1f}"
        name = stage(each.key) + (", in use" if each.in_use else "")
        rows.append([each.folder.name, size, when, f"{each.rows:,}", name])
    # A stage of augmented views, with its ranges, can be wider than the screen.
    shown = table(rows, align="<>>><").splitlines() if entries else []
    lines = [wrapped(line, indent=4) for line in shown]
    lines.append(f"{sum(each.bytes for each in entries) / 2**20:,.1f} MiB in {cache_dir}")
    return "\n".join(filter(None, [*lines, cache_folders.old_release(cache_dir)]))


def stage(key: Mapping[str, Any]) -> str:
    """What a folder holds, in words.

    Args:
        key: What its `key.json` holds; {} where that can't be read.
    """
    depends_on = key.get("depends_on", {})
    ranges = [name for name, reach in depends_on.get("augmentation", {}).items() if reach]
    views = f"views of seed {depends_on.get('seed')}: {', '.join(ranges)}" if ranges else ""
    side = depends_on.get("image_size")  # which a pose does not have
    aligned = "aligned" if side and depends_on.get("align") else ""
    parts = (key.get("name", "?"), side and f"{side} px", key.get("dtype", "?"), aligned, views)
    return ", ".join(filter(None, parts))


def verification(cache_dir: Path) -> tuple[str, bool]:
    """Checks every row of every folder.

    Args:
        cache_dir: The folder of all stages; it need not be there.

    Returns:
        What was wrong, with a last line of what was checked; and whether all is well.

    Raises:
        CacheError: The machine does not let the cache be read.
    """
    lines, checked, damaged = [], 0, 0
    for each in cache_folders.entries(cache_dir):
        try:
            rows, wrong = cache_folders.verify(each.folder)
        except CacheError as error:  # of this folder; the others are checked all the same
            lines.append(str(error))
            continue
        if wrong:
            lines.append(
                f"{each.folder}: {wrong:,} of {counted(rows, 'row')} damaged; computed again when "
                "they are needed"
            )
        checked, damaged = checked + rows, damaged + wrong
    well = not lines
    return "\n".join([*lines, f"{counted(checked, 'row')} checked, {damaged:,} damaged"]), well


def clearing(cache_dir: Path) -> str:
    """Removes all that no process has open; what was removed and what stayed.

    Args:
        cache_dir: The folder of all stages; it need not be there.

    Raises:
        CacheError: The machine does not let it.
    """
    freed, in_use = cache_folders.clear(cache_dir)
    stayed = [f"{folder} is in use" for folder in in_use]
    return "\n".join([f"removed {freed / 2**20:,.1f} MiB", *stayed])
