"""Building from Python, in one call."""

import os

import tensorflow_datasets as tfds

from covid_tfds.config import CovidConfig
from covid_tfds.covid_tfds_dataset_builder import Builder


def build(
    config: str | CovidConfig = "full",
    *,
    manual_dir: str | os.PathLike | None = None,
    data_dir: str | os.PathLike | None = None,
    overwrite: bool = False,
) -> Builder:
    """Builds a dataset, or finds it built, and prints its summary.

    Args:
        config: Name of a config, or a `CovidConfig`.
        manual_dir: Folder of the sources; none is needed for `phantom`.
        data_dir: Folder of the datasets; None: `$TFDS_DATA_DIR`, or TFDS' own.
        overwrite: Build again what is there. The old dataset lives until the new one is whole.

    Returns:
        The builder; `.as_dataset()` reads what was built.

    Raises:
        DatasetError: The sources can't be used as they are; says what to do.

    Example:
        >>> import covid_tfds
        >>> builder = covid_tfds.build("phantom", data_dir="data")
        >>> dataset = builder.as_dataset(split="train")
    """
    mode = tfds.download.GenerateMode
    asked = tfds.download.DownloadConfig(
        manual_dir=manual_dir,
        download_mode=mode.REUSE_CACHE_IF_EXISTS if overwrite else mode.REUSE_DATASET_IF_EXISTS,
    )
    builder = Builder(config=config, data_dir=data_dir)
    builder.always_summary = True
    builder.download_and_prepare(download_config=asked)
    return builder
