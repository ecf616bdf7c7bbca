"""The dataset: chest X-ray films as TFRecords. Importing it makes `covid_tfds` known to TFDS."""

from covid_tfds.covid_tfds_dataset_builder import Builder

__all__ = ["Builder"]
