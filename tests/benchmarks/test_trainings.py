"""What benchmarks train on: whole batches of the images that were named, with their rows cached."""

import pytest
from absl import flags

from benchmarks import trainings
from trainer.config import Config
from trainer.run.libraries import keras_settings


def test_flags_become_a_config():
    values = flags.FlagValues()
    trainings.define_flags(values)
    values(["step", "--dataset=full", "--image_size=64", "--rounds=2"])
    assert trainings.from_flags(values, epochs=3) == Config(dataset="full", image_size=64, epochs=3)
    assert values.rounds == 2


@pytest.mark.slow
def test_a_training_is_cut_to_whole_batches_and_has_all_rows(data_dir, tmp_path):
    config = Config(dataset="tiny", data_dir=data_dir, cache_dir=tmp_path, image_size=32,
                    weights="none", width=0.05, batch_size=8, epochs=1)  # fmt: skip
    with (
        keras_settings(),
        trainings.ready(config, most=21, score=["validation"]) as (setup, training),
    ):
        assert len(training.labels) == 16
        plan = training.plan.phases[0]
        assert setup.opened.missing(plan.train, training.images["train"], (0,)) == 0
        assert len(training.probabilities(plan, "validation")) > 0
