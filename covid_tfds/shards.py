"""The files in which a dataset's examples are stored."""

import itertools
from collections.abc import Sequence

import tensorflow_datasets as tfds

from covid_tfds.collection import Collection

# Share of the pixels' bytes that lossless PNG takes; radiographs of the two sources: .65 to .75.
_PNG_SHARE = 0.7
_MOST = 1000  # examples of a shard: TFDS holds what is known of them, not their bytes, in memory


def divided(
    found: Collection, places: Sequence[int], asked: tfds.download.DownloadConfig
) -> list[Sequence[int]]:
    """The places of one split, a list a shard.

    Args:
        found: The collection.
        places: n places in the order in which they are stored, one or more.
        asked: `num_shards`, `min_shard_size` and `max_shard_size` count; else TFDS' own rule: as
            many shards as leave each at 64 MiB or more.

    Returns:
        Runs of places, of nearly equal lengths.
    """
    table = found.readings.table
    pixels = sum(int(table["height"][i]) * int(table["width"][i]) for i in places)
    config = asked.get_shard_config()
    count = config.get_number_shards(int(pixels * _PNG_SHARE), len(places))
    if not config.num_shards:
        count = max(count, -(-len(places) // _MOST))
    count = max(1, min(count, len(places)))
    edges = [round(len(places) * i / count) for i in range(count + 1)]
    return [places[low:high] for low, high in itertools.pairwise(edges)]
