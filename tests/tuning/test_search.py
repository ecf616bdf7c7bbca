"""The search loop: what ends a trial, and what ends the search."""

import keras_tuner
import pytest

from tests.helpers.interrupts import interrupted_within_tensorflow
from tests.helpers.searches import open_oracle
from trainer.run import command
from tuning import search
from tuning.folder import Folder
from tuning.pulse import Pulse


class Interrupted(keras_tuner.HyperModel):
    def build(self, hp):
        interrupted_within_tensorflow()


def test_a_trial_that_the_user_stops_has_not_failed(tmp_path):
    oracle = open_oracle("random", tmp_path)
    tuner = search.Tuner(oracle, Interrupted(), Folder(tmp_path), Pulse(), lambda: None)
    with pytest.raises(SystemExit) as ended, command.stopped("all is kept"):
        search.run(tuner)
    assert ended.value.code == 130
    assert len(oracle.trials) == 1
    went_on = open_oracle("random", tmp_path)
    assert went_on.create_trial("again").trial_id == next(iter(oracle.trials))
