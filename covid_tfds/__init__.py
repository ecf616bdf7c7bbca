"""The dataset: chest radiographs as TFRecords. Importing it makes `covid_tfds` known to TFDS.

In order of reading: `records` (what is known of an image), `sources/` (what lies in a folder),
`reading/` (any file to grey pixels), `first_pass`, `copies`, `groups`, `splits`, `collect` (from
sources to splits), `report`, `building` (how a dataset comes to stand in its folder), and the
builder itself. `disk_space`, `progress` and `tfds_command` are for who types `tfds build`.
`phantom/` draws synthetic radiographs, `verify` checks a dataset that is built, `streaming` has
the settings by which tf.data reads one.
"""

from covid_tfds.api import build
from covid_tfds.covid_tfds_dataset_builder import Builder
from covid_tfds.records import LABELS

__all__ = ["LABELS", "Builder", "build"]
