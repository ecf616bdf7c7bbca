"""Folds that are gone on from: what counts, what does not, and what is left at the end."""

import numpy as np
import pytest

from trainer.run.saved_folds import FOLDER, SavedFolds, where_it_goes_on

SHARES = np.array([[0.25, 0.75], [1 / 3, 2 / 3]], np.float32)


@pytest.fixture
def saved(tmp_path) -> SavedFolds:
    return SavedFolds(tmp_path / FOLDER)


def names(folder) -> set[str]:
    return {path.name for path in (folder / FOLDER).iterdir()}


def test_a_fold_that_ended_is_read_bit_for_bit_by_its_key_alone(saved, tmp_path):
    saved.write("a1", SHARES)
    probabilities = SavedFolds(tmp_path / FOLDER).read("a1")
    assert probabilities.dtype == np.float32
    assert probabilities.tobytes() == SHARES.tobytes()
    assert saved.read("a2") is None


def test_nothing_is_made_where_nothing_is_written(saved, tmp_path):
    assert saved.read("a1") is None
    saved.remove()
    assert list(tmp_path.iterdir()) == []


def test_the_state_of_a_fold_goes_when_the_fold_has_ended(saved, tmp_path):
    for key in ("a1", "a2"):
        saved.state(key).write_bytes(b"under way")
    saved.write("a1", SHARES)
    assert names(tmp_path) == {"fold_a1", "fold_a2.state"}


@pytest.mark.parametrize("at", [0, 40, -1])
def test_a_damaged_fold_counts_as_none_and_is_written_again(at, saved, tmp_path):
    saved.write("a1", SHARES)
    path = tmp_path / FOLDER / "fold_a1"
    data = bytearray(path.read_bytes())
    data[at] ^= 1
    path.write_bytes(data)
    assert saved.read("a1") is None
    saved.write("a1", SHARES)
    assert saved.read("a1").tobytes() == SHARES.tobytes()


@pytest.mark.parametrize("other", [(), ("thesis.txt",)])
def test_all_folds_go_at_the_end_and_nothing_else(other, saved, tmp_path):
    saved.write("a1", SHARES)
    saved.state("a2").touch()
    for name in other:
        (tmp_path / FOLDER / name).touch()
    saved.remove()
    assert (tmp_path / FOLDER).exists() == bool(other)
    assert not other or names(tmp_path) == set(other)


LINES = {
    "0 folds that ended are in {0}: the same command with --run_dir={0} goes on there.": (0, 0),
    "1 fold that ended is in {0}: the same command with --run_dir={0} goes on there.": (1, 0),
    "7 folds that ended are in {0}, and the state of one that was under way: "
    "the same command with --run_dir={0} goes on there.": (7, 1),
}


@pytest.mark.parametrize("line", LINES)
def test_an_interrupted_command_counts_the_folds(line, saved, tmp_path):
    ended, under_way = LINES[line]
    for number in range(ended):
        saved.write(f"{number}", SHARES)
    for number in range(under_way):
        saved.state(f"state{number}").touch()
    assert where_it_goes_on(tmp_path) == line.format(tmp_path)


def test_the_state_of_a_fold_that_has_ended_is_of_none_under_way(saved, tmp_path):
    saved.write("ended", SHARES)
    saved.state("ended").touch()  # as where the process was killed before it was removed
    (line,) = (line for line, numbers in LINES.items() if numbers == (1, 0))
    assert where_it_goes_on(tmp_path) == line.format(tmp_path)
