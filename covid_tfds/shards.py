"""The files in which a dataset's examples are stored."""

import itertools
from collections.abc import Iterable, Sequence
from typing import Any

import tensorflow_datasets as tfds
from etils import epath
from tensorflow_datasets.core import writer
from tensorflow_datasets.proto import tf_example_pb2

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
            many shards as leave each at 64 MiB or more. But for `num_shards`, no shard has more
            than 1000 examples.

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


class Writer(writer.ExampleWriter):
    """Writes examples with their features in the order of names.

    TFDS leaves it to protobuf, which orders them by another hash in each process: the same sources
    would give other bytes, and no digest of a file could be compared with another build's.
    """

    def write(
        self, path: epath.PathLike, examples: Iterable[tuple[Any, bytes]]
    ) -> list[Any] | None:
        """Writes one shard; see `tfds.core.writer.ExampleWriter`."""
        return super().write(path, ((key, _ordered(data)) for key, data in examples))


def _ordered(example: bytes) -> bytes:
    parsed = tf_example_pb2.Example.FromString(example)
    return parsed.SerializeToString(deterministic=True)
