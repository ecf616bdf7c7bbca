"""A run that has ended: left alone, or made whole, and which of the two is said."""

import pytest

from tests.helpers.run_folders import contents, left, opened
from trainer.run import run_dir
from trainer.run.errors import RunError

ENDED = {
    (): (True, "{0} holds this run, and it has ended. --overwrite begins it again.\n"),
    ("history.csv", "metrics.json"): (
        False, "history.csv, metrics.json of {0} are missing or damaged: what follows the training "
        "is done again.\n",
    ),
    ("history.csv",): (
        False, "history.csv of {0} is missing or damaged: what follows the training is done "
        "again.\n",
    ),
    ("checkpoints/state", "report.html"): (
        True, "{0}/report.html is missing or damaged: python -m trainer.report --run={0} writes it "
        "again.\n{0}/checkpoints/state is damaged: the run can't be made longer.\n{0} holds this "
        "run, and it has ended. --overwrite begins it again.\n",
    ),
    ("checkpoints/state", "model.keras"): (
        False, "model.keras, checkpoints/state of {0} are missing or damaged: it is trained "
        "again.\n",
    ),
    ("checkpoints/state",): (
        True, "{0}/checkpoints/state is damaged: the run can't be made longer.\n{0} holds this "
        "run, and it has ended. --overwrite begins it again.\n",
    ),
}  # fmt: skip


@pytest.mark.parametrize("damaged", ENDED)
def test_a_run_that_has_ended_is_left_alone_unless_something_of_it_is_damaged(
    damaged, tmp_path, capsys
):
    left(tmp_path, finished=True)
    for name in damaged:
        (tmp_path / name).write_text("another")
    with opened(tmp_path) as folder:
        nothing = run_dir.nothing_left(folder)
    done, printed = ENDED[damaged]
    assert (nothing, capsys.readouterr().out) == (done, printed.format(tmp_path))


def test_a_run_whose_network_could_only_be_replaced_by_another_is_left_alone(tmp_path, capsys):
    left(tmp_path, finished=True)
    for name in ("history.csv", "checkpoints/state"):
        (tmp_path / name).unlink()
    before = contents(tmp_path)
    with (
        pytest.raises(RunError, match="another network than its"),
        opened(tmp_path) as folder,
    ):
        run_dir.nothing_left(folder)
    assert not capsys.readouterr().out
    assert contents(tmp_path) == before


def test_a_part_of_what_a_command_makes_gives_no_advice_to_overwrite_it(tmp_path, capsys):
    left(tmp_path, finished=True)
    with opened(tmp_path) as folder:
        assert run_dir.nothing_left(folder, within=True)
    assert capsys.readouterr().out == f"{tmp_path} holds this run, and it has ended.\n"
