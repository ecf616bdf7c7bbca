"""The dataset's description in Croissant, the format of dataset search engines.

`croissant.json` lies beside the TFRecords: licenses, homepages, the shards with their digests, and
the table of all images (ATTRIBUTION.csv), which any reader of Croissant can load.
Specification: https://docs.mlcommons.org/croissant/docs/croissant-spec.html, version 1.1.
"""

import hashlib
import json
from collections.abc import Mapping

import mlcroissant as mlc
import tensorflow_datasets as tfds
from etils import epath

FILE = "croissant.json"
_TABLE = "ATTRIBUTION.csv"


def write(folder: epath.Path, info: tfds.core.DatasetInfo, shards: Mapping[str, str]) -> None:
    """Writes croissant.json.

    Args:
        folder: The dataset's, with its shards and ATTRIBUTION.csv.
        info: Of the dataset.
        shards: Hexadecimal sha256 of each shard, by name.
    """
    text = (folder / _TABLE).read_text()
    homepage, *others = info.as_proto.location.urls
    described = mlc.Metadata(
        name=info.full_name.replace("/", "_"),
        description=info.description,
        cite_as=info.citation,
        license=[info.redistribution_info.license],
        url=homepage,
        same_as=others,
        version=str(info.version),
        date_created=None,
        distribution=[*_shards(shards), _table_file(text)],
        record_sets=[_table_records(text.partition("\n")[0].split(","))],
    )
    (folder / FILE).write_text(json.dumps(described.to_json(), indent=2, default=str) + "\n")


def _shards(shards: Mapping[str, str]) -> list[mlc.FileObject]:
    return [
        mlc.FileObject(
            id=name, name=name, content_url=name, sha256=digest,
            encoding_formats=["application/octet-stream"],
        )
        for name, digest in shards.items()
    ]  # fmt: skip


def _table_file(text: str) -> mlc.FileObject:
    return mlc.FileObject(
        id=_TABLE, name=_TABLE, content_url=_TABLE, encoding_formats=["text/csv"],
        description="Every image that is stored, with its source, patient, split and license.",
        sha256=hashlib.sha256(text.encode()).hexdigest(),
    )  # fmt: skip


def _table_records(columns: list[str]) -> mlc.RecordSet:
    fields = [
        mlc.Field(
            id=f"images/{column}", name=column, data_types=[mlc.DataType.TEXT],
            source=mlc.Source(file_object=_TABLE, extract=mlc.Extract(column=column)),
        )
        for column in columns
    ]  # fmt: skip
    return mlc.RecordSet(id="images", name="images", fields=fields)
