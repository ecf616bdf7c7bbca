"""What callbacks know is saved and restored, users' own too."""

import json

import keras
import numpy as np

from trainer.training import callback_state


class Own(keras.callbacks.Callback):
    """A user's."""

    def __init__(self, **known):
        super().__init__()
        vars(self).update(known)


def copied(callback):
    """What another process has of it."""
    states, arrays = callback_state.of([callback], [{}])
    other = type(callback)() if not isinstance(callback, Own) else Own()
    callback_state.restore([other], json.loads(json.dumps(states)), arrays, [{}])
    return other


KNOWN = {
    "nothing": None, "flag": True, "count": 3, "loss": 0.1, "worst": np.inf, "name": "a",
    "best": np.float32(0.1), "steps": np.int64(7), "weights": [np.ones((2, 3)), np.zeros(2)],
    "pair": (1, [2, "b"]), "table": {"epoch": [1, 2], 3: {"nested": 0.5}},
}  # fmt: skip


def test_plain_values_and_arrays_come_back_as_they_were():
    known = {name: value for name, value in vars(copied(Own(**KNOWN))).items() if name in KNOWN}
    assert known.keys() == KNOWN.keys()
    for name, value in KNOWN.items():
        assert type(known[name]) is type(value), name
        np.testing.assert_equal(known[name], value)


def test_what_can_not_be_saved_stays_as_the_constructor_made_it():
    states, _ = callback_state.of([Own(function=len, objects=np.array([object()]), count=1)], [{}])
    assert list(states[0][1]) == ["count"]


def test_patience_and_best_weights_of_keras_own_are_restored():
    early = keras.callbacks.EarlyStopping(patience=5)
    early.wait, early.best, early.best_weights = 3, 0.25, [np.arange(3.0)]
    other = copied(early)
    assert (other.wait, other.best) == (3, 0.25)
    np.testing.assert_array_equal(other.best_weights[0], np.arange(3.0))


def test_callbacks_are_matched_by_class_in_their_order():
    states, arrays = callback_state.of([Own(a=1), Own(a=2)], [{}, {}])
    first, between, second = Own(), keras.callbacks.EarlyStopping(), Own()
    callback_state.restore([first, between, second], states, arrays, [{}, {}, {}])
    assert (first.a, second.a) == (1, 2)


def test_one_that_was_not_there_stays_as_it_is():
    states, arrays = callback_state.of([Own(a=1)], [{}])
    early = keras.callbacks.EarlyStopping(patience=4)
    callback_state.restore([early], states, arrays, [{}])
    assert early.patience == 4


def test_settings_that_training_did_not_change_are_those_of_the_process_that_goes_on():
    early = keras.callbacks.EarlyStopping(patience=5)
    table = Own(pairs={"a": (1, 2)}, rows=[], start=np.arange(2))
    settings = callback_state.settings_of([early, table])
    early.wait, early.best = 3, 0.25
    table.rows.append(1)
    states, arrays = callback_state.of([early, table], settings)
    other = keras.callbacks.EarlyStopping(patience=2)
    again = Own(pairs={"a": (3, 4)}, rows=[])
    callback_state.restore([other, again], json.loads(json.dumps(states)), arrays, [{}, {}])
    assert (other.patience, other.wait, other.best) == (2, 3, 0.25)
    assert (again.pairs, again.rows) == ({"a": (3, 4)}, [1])


def test_what_training_changed_once_is_saved_whatever_it_comes_to_be():
    early = keras.callbacks.EarlyStopping(patience=5)
    early.wait = 3  # of a training before this one
    settings = callback_state.settings_of([early])
    early.wait = 0
    callback_state.of([early], settings)
    early.wait = 3
    states, _ = callback_state.of([early], settings)
    assert states[0][1]["wait"] == 3


def test_what_is_restored_is_saved_again_where_the_callback_itself_knew_it():
    """As in a notebook: interrupted, and gone on with by the same object."""
    early = keras.callbacks.EarlyStopping(patience=5)
    settings = callback_state.settings_of([early])
    early.wait, early.best = 3, 0.25
    states, arrays = callback_state.of([early], settings)
    settings = callback_state.settings_of([early])
    callback_state.restore([early], states, arrays, settings)
    again, _ = callback_state.of([early], settings)
    assert again == states
