"""The command that trains: wrong command lines, interrupts, and what the recipes hold."""

import signal
import time

import pytest
from absl import flags

import trainer
from tests.helpers import commands, trainings
from tests.helpers.commands import ROOT
from trainer import config as config_lib
from trainer import config_flags
from trainer.run import saved_state

RECIPES = sorted((ROOT / "trainer" / "recipes").glob("*.flags"))
WRONG = {
    "Unknown command line flag 'clases'": ["--clases=4"],
    "--classes=four can't be read. Give a whole number": ["--classes=four"],
    "--learning_rate=fast can't be read. Give a number": ["--learning_rate=fast"],
    "--classes is 1. Give 2 or more": ["--classes=1"],
    "are no flags": ["train"],
    "unable to open flagfile": ["--flagfile=nowhere.flags"],
    "--views=3 has no effect without --augmentation": ["--views=3"],
}


@pytest.mark.parametrize("message", WRONG)
def test_a_wrong_command_line_exits_with_2_and_a_sentence(message):
    ended = commands.run("trainer.main", *WRONG[message])
    assert ended.status == 2
    assert ended.err.startswith("wrong command line: ")
    assert message.casefold() in " ".join(ended.err.split()).casefold()
    assert ended.out == ""


def test_a_wrong_command_line_shows_no_traceback():
    ended = commands.process("trainer.main", "--classes=1")
    assert ended.status == 2
    assert ended.err == "wrong command line: --classes is 1. Give 2 or more.\n"


def test_a_run_writes_its_folder_and_ends_with_what_it_measured(data_dir, tmp_path):
    config = trainings.quick(data_dir, tmp_path / "cache", epochs=1)
    (tmp_path / "run.flags").write_text(config.to_flags())
    ended = commands.run(
        "trainer.main", f"--flagfile={tmp_path}/run.flags", f"--run_dir={tmp_path}/run"
    )
    assert (ended.status, "\r" in ended.err) == (0, False)
    assert f"run folder: {tmp_path}/run" in ended.out
    assert "Research use, not for diagnosis." in ended.out
    assert config_lib.Config.read(tmp_path / "run") == config
    assert "head: epoch 1, loss " in ended.err  # plain lines where there is no terminal


def test_a_run_folder_is_not_overwritten_by_chance(tmp_path):
    (tmp_path / "config.json").write_text("{}")
    ended = commands.run("trainer.main", f"--run_dir={tmp_path}")
    assert ended.status == 2
    assert "--overwrite" in ended.err


def test_a_run_that_never_began_does_not_block_its_folder(tmp_path):
    for _ in range(2):
        ended = commands.run(
            "trainer.main", f"--run_dir={tmp_path}/run", "--dataset=full", f"--data_dir={tmp_path}"
        )
        assert ended.status == 1
        assert not (tmp_path / "run").exists()


def test_overwrite_removes_runs_only(tmp_path):
    (tmp_path / "thesis.doc").write_text("years of work")
    ended = commands.run("trainer.main", f"--run_dir={tmp_path}", "--overwrite")
    assert ended.status == 2
    assert "thesis.doc" in ended.err
    assert (tmp_path / "thesis.doc").exists()


def test_a_run_folder_that_can_not_be_made_is_a_sentence(tmp_path):
    (tmp_path / "file").write_text("x")
    ended = commands.run("trainer.main", f"--run_dir={tmp_path}/file/run")
    assert ended.status == 2
    assert "can't be written" in " ".join(ended.err.split())


MISSING = {
    "--dataset=full is not built in": ["--dataset=full"],
    "or one of full, article, article_grouped, phantom, folder": ["--dataset=nonsense"],
    "There is no file": ["--dataset=tiny", "--weights=nowhere.h5"],
    "mixed_float16 needs a GPU": ["--dataset=tiny", "--precision=mixed_float16"],
}


@pytest.mark.parametrize("message", MISSING)
def test_what_is_missing_exits_with_1_and_says_how_to_get_it(tmp_path, data_dir, message):
    if "GPU" in message:
        from trainer.model import precision

        if precision.gpu_capability() is not None:
            pytest.skip("there is a GPU")
    ended = commands.run(
        "trainer.main", f"--data_dir={data_dir}", f"--run_dir={tmp_path}/run",
        f"--cache_dir={tmp_path}/cache", *MISSING[message],
    )  # fmt: skip
    assert ended.status == 1
    assert message in " ".join(ended.err.split())


@pytest.mark.slow
@pytest.mark.usefixtures("undrawn_here")
def test_a_run_that_diverges_exits_with_1_and_says_how_to_mend_it(tmp_path, data_dir):
    config = trainings.quick(data_dir, tmp_path / "cache", learning_rate=1e-30)
    (tmp_path / "run.flags").write_text(config.to_flags())
    ended = commands.run(
        "trainer.main", f"--flagfile={tmp_path}/run.flags", f"--run_dir={tmp_path}/run"
    )
    assert ended.status == 1
    words = " ".join(ended.err.split())
    assert "The phase head left" in words and "Raise its learning rate" in words


@pytest.mark.slow
def test_control_c_ends_without_a_traceback_and_says_what_is_left(tmp_path, data_dir):
    config = trainings.quick(data_dir, tmp_path / "cache", epochs=100_000)
    (tmp_path / "run.flags").write_text(config.to_flags())
    with commands.started(
        "trainer.main", f"--flagfile={tmp_path}/run.flags", f"--run_dir={tmp_path}/run"
    ) as process:
        while not (tmp_path / "run" / "history.csv").exists():
            assert process.poll() is None, process.communicate()
            time.sleep(0.05)
        process.send_signal(signal.SIGINT)
        printed = process.communicate(timeout=120)[1]
    assert process.returncode == 130
    words = " ".join(printed.split())
    assert f"{tmp_path}/run is at epoch " in words
    again = f": the same command with --run_dir={tmp_path}/run goes on there. Best so far: epoch "
    assert again in words
    assert "Traceback" not in printed
    state = saved_state.read(tmp_path / "run" / saved_state.FILE)
    run = trainer.load(tmp_path / "run")
    assert (run.finished, run.best_epoch) == (False, state.best_epoch)


@pytest.mark.slow
@pytest.mark.usefixtures("undrawn_here")
def test_the_flags_of_a_search_are_replaced_by_those_of_the_command(tmp_path, data_dir):
    import json

    best = trainings.quick(data_dir, tmp_path / "cache", epochs=3, head_units=4)
    found = {"config": best.to_json(), "values": {"head_units": 4}, "score": 0.5}
    (tmp_path / "best_hparams.json").write_text(json.dumps(found))
    ended = commands.run(
        "trainer.main", f"--hparams={tmp_path}/best_hparams.json", "--head_units=6", "--epochs=1",
        f"--run_dir={tmp_path}/run",
    )  # fmt: skip
    assert ended.status == 0, ended.err
    assert "--head_units=6 takes the place of the search's 4." in ended.out
    written = json.loads((tmp_path / "run" / "config.json").read_text())
    assert (written["config"]["head_units"], written["config"]["epochs"]) == (6, 1)
    assert written["hparams"]["changed"] == {"head_units": {"search": 4, "flag": 6}}


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_every_recipe_is_a_valid_command_line(path):
    values = flags.FlagValues()
    config_flags.define_flags(values)
    values(["main", f"--flagfile={path}"])
    config = config_flags.from_flags(values)
    assert config.classes == int(path.stem.split("_")[1])
    assert f"python -m trainer.main --flagfile=trainer/recipes/{path.name}" in path.read_text()


def test_the_recipes_of_the_article_stay_unaligned_with_an_aligned_one_beside():
    lines = {path.stem: set(path.read_text().splitlines()) for path in RECIPES}
    aligned = {name for name, flags in lines.items() if "--align=chest" in flags}
    assert aligned == {"article_4_aligned", "full_4", "full_4_frozen"}
    assert lines.keys() - aligned == {"article_2", "article_3", "article_4"}
    plain, beside = lines["article_4"], lines["article_4_aligned"]
    assert {line for line in plain ^ beside if line.startswith("--")} == {
        "--align=none",
        "--align=chest",
    }
