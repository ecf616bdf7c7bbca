"""The claims of history.csv: numbers come back as numbers, and one epoch is the best."""

import pytest

from trainer.evaluation import history
from trainer.run.files import DamagedError, write_csv


def test_numbers_come_back_as_they_were(tmp_path):
    rows = [
        {"epoch": 1, "phase": "head", "loss": 1 / 3, "val_loss": 1e-30, "best": False},
        {"epoch": 2, "phase": "fine_tune", "loss": 2.0, "val_loss": None, "best": True},
    ]
    write_csv(tmp_path / "history.csv", rows)
    assert history.read(tmp_path / "history.csv") == rows
    assert history.best_epoch(rows) == 2


@pytest.mark.parametrize(
    "content", [b"epoch\nx\n", b"epoch,\xff\n1,2\n", b"epoch\n1,2,3\n", b"epoch,loss\n1,0.5.5\n"]
)
def test_a_damaged_file_is_a_sentence(tmp_path, content):
    (tmp_path / "history.csv").write_bytes(content)
    with pytest.raises(DamagedError, match=r"history\.csv is damaged"):
        history.read(tmp_path / "history.csv")


def test_a_run_that_did_not_end_has_no_best_epoch(tmp_path):
    write_csv(tmp_path / "history.csv", [{"epoch": 1, "loss": 0.5}])
    rows = history.read(tmp_path / "history.csv")
    assert rows == [{"epoch": 1, "loss": 0.5}]
    with pytest.raises(ValueError, match="did not end"):
        history.best_epoch(rows)
