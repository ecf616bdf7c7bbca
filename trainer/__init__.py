"""From a prepared dataset to a trained, judged, usable model."""
