"""A run with several seeds: a run each, one table, and nothing trained twice."""

import contextlib
import json
import shutil

import keras
import numpy as np
import pytest

from tests.helpers import commands, run_folders, trainings
from trainer import seeds
from trainer.config import Config
from trainer.input_pipeline import stress
from trainer.run import run_dir, saved_state
from trainer.run.run_dir import Identity

pytestmark = pytest.mark.usefixtures("undrawn")

CHANGES = {"deterministic": True, "dropout": 0.3, "seed": 7, "checkpoint_every": 0.0}


class Killed(BaseException):
    """In place of SIGKILL: nothing is saved when it is raised."""


# The table


def test_seeds_are_the_configs_and_those_after_it():
    assert seeds.seeds_of(Config(seed=7), 3) == [7, 8, 9]


def test_mean_and_deviation_are_those_of_the_values():
    def balanced(value):
        return {"value": value, "low": value - 0.1, "high": value + 0.05}

    def run(validation, test, epoch):
        scored = {
            name: {"balanced_accuracy": balanced(value), "n": n, "groups": n // 2}
            for name, value, n in (("validation", validation, 54), ("test", test, 105))
        }
        again = {"balanced_accuracy": balanced(validation / 2), "n": 54, "groups": 27}
        scored["validation"]["stressed"] = again
        return {"splits": scored, "best_epoch": epoch, "dataset": {"name": "full", "synthetic": 0}}

    values = [0.81, 0.84, 0.9]
    table = seeds.table_of(
        [4, 5, 6], [run(value, 1 - value, e) for e, value in enumerate(values, 1)]
    )
    assert (table["seeds"], table["best_epochs"]) == ([4, 5, 6], [1, 2, 3])
    scores = {name: each["balanced_accuracy"] for name, each in table["splits"].items()}
    assert scores["validation"]["values"] == values
    assert scores["validation"]["low"] == pytest.approx(np.subtract(values, 0.1))
    assert scores["validation"]["high"] == pytest.approx(np.add(values, 0.05))
    assert scores["validation"]["mean"] == pytest.approx(0.85)
    assert scores["validation"]["sd"] == pytest.approx(np.sqrt((16 + 1 + 25) / 2) / 100)
    stressed = table["splits"]["validation"]["stressed"]
    assert stressed["balanced_accuracy"]["mean"] == pytest.approx(0.425)
    assert (stressed["n"], stressed["groups"]) == (54, 27)
    assert scores["test"]["mean"] == pytest.approx(0.15)
    assert scores["test"]["sd"] == pytest.approx(scores["validation"]["sd"])
    assert [table["splits"][name]["n"] for name in seeds.SPLITS] == [54, 105]
    assert [table["splits"][name]["groups"] for name in seeds.SPLITS] == [27, 52]


# What is there already, without a training


def left(folder, count: int = 0) -> None:
    """Leaves a finished run of so many seeds; 0: of a command without the flag."""
    several = {"seeds": count} if count else {}
    config = Config(dataset="phantom").to_json()
    identity = Identity("trainer.main", {**config, **several})
    with run_dir.create(folder, "", identity, overwrite=False) as opened:
        opened.begin({"config": config})
        (folder / "metrics.json").write_text("{}")
        opened.finish()


REFUSED = {
    "--seeds is 2, and was not given": (0, "--seeds=2"),
    "--seeds is not given, and was 3": (3, "--seeds=1"),
    "--seeds is 2, and was 3": (3, "--seeds=2"),
}


@pytest.mark.parametrize("message", REFUSED)
def test_other_numbers_of_seeds_are_refused_by_name(message, tmp_path):
    there, flag = REFUSED[message]
    left(tmp_path, there)
    before = run_folders.contents(tmp_path)
    ended = commands.run("trainer.main", flag, "--dataset=phantom", f"--run_dir={tmp_path}")
    assert ended.status == 2
    assert message in ended.err
    assert run_folders.contents(tmp_path) == before


@pytest.mark.parametrize("flags", [["--seeds=1"], []])
def test_one_seed_is_a_run_without_the_flag(flags, tmp_path):
    left(tmp_path)
    ended = commands.run("trainer.main", *flags, "--dataset=phantom", f"--run_dir={tmp_path}")
    assert ended.status == 0, ended.err
    assert ended.out.startswith(f"{tmp_path} holds this run, and it has ended.")


def test_one_training_is_traced_and_not_several(tmp_path):
    ended = commands.run("trainer.main", "--seeds=2", "--profile=5,8", f"--run_dir={tmp_path}/run")
    assert (ended.status, ended.out) == (2, "")
    assert "--profile=5,8 traces one training, and --seeds=2 are several" in " ".join(
        ended.err.split()
    )
    assert not (tmp_path / "run").exists()


def test_no_seed_is_a_wrong_command_line(tmp_path):
    ended = commands.run("trainer.main", "--seeds=0", f"--run_dir={tmp_path}/run")
    assert ended.status == 2
    assert "seeds" in ended.err


# Runs


@contextlib.contextmanager
def trained(kill: tuple[int, int] | None = None):
    """Collects the seed of each epoch that is trained.

    Args:
        kill: The seed, and the epoch from 0 behind which the process is killed.
    """
    epochs, original = [], seeds.train_and_evaluate

    def counted(config, folder, **origin):
        def end(epoch, logs):
            if (config.seed, epoch) == kill:
                raise Killed
            epochs.append(config.seed)

        counts = keras.callbacks.LambdaCallback(on_epoch_end=end)
        return original(config, folder, [counts], **origin)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(seeds, "train_and_evaluate", counted)
        yield epochs


@pytest.fixture(scope="module")
def command(data_dir, tmp_path_factory):
    """Runs `trainer.main --seeds=COUNT`."""
    flagfile = tmp_path_factory.mktemp("flags") / "run.flags"
    flagfile.write_text(trainings.quick(data_dir, **CHANGES).to_flags())

    def run(folder, count, *flags):
        return commands.run(
            "trainer.main", f"--flagfile={flagfile}", f"--seeds={count}", f"--run_dir={folder}",
            *flags,
        )  # fmt: skip

    return run


@pytest.fixture(scope="module")
def two(command, tmp_path_factory):
    """A run of two seeds without an end in between: its folder, and how it ended."""
    folder = tmp_path_factory.mktemp("two") / "run"
    with trained() as epochs:
        ended = command(folder, 2)
    assert epochs == [7, 7, 8, 8]
    return folder, ended


def result_of(folder) -> dict[str, bytes]:
    """What does not depend on where and when it was written."""
    names = ["seeds.json"] + [
        f"{path.name}/{name}"
        for path in sorted(folder.glob(saved_state.SEED))
        for name in ("history.csv", "metrics.json", "predictions.csv", "images_used.csv")
    ]
    return {name: (folder / name).read_bytes() for name in names}


@pytest.mark.slow
@pytest.mark.parametrize("lost", ["seed_7/predictions.csv", "seed_8/model.keras", "seed_8"])
def test_what_is_missing_of_a_seed_is_made_again(two, command, tmp_path, lost):
    folder = shutil.copytree(two[0], tmp_path / "run")
    whole = result_of(folder)
    assert command(folder, 2).out.startswith(f"{folder} holds this run, and it has ended.")
    if (folder / lost).is_dir():
        shutil.rmtree(folder / lost)
    else:
        (folder / lost).unlink()
    with trained() as epochs:
        ended = command(folder, 2)
    assert ended.status == 0, ended.err
    assert epochs == ([8, 8] if lost == "seed_8" else [])
    seed, _, name = lost.partition("/")
    said = " ".join(ended.out.split())
    assert f"{name or seed} of " in said
    assert f"{seed} of {folder} is missing or damaged: it is made again, and a seed" in said
    assert (folder / lost).exists()
    assert result_of(folder) == whole


@pytest.mark.slow
def test_every_seed_has_a_run_of_its_own_and_the_table_holds_them_all(two):
    folder, ended = two
    assert ended.status == 0, ended.err
    assert {path.name for path in folder.iterdir()} == {
        "manifest.json", "config.json", "flags.txt", "seeds.json", "seed_7", "seed_8"
    }  # fmt: skip
    runs = [json.loads((folder / f"seed_{n}" / "metrics.json").read_text()) for n in (7, 8)]
    assert [Config.read(folder / f"seed_{seed}").seed for seed in (7, 8)] == [7, 8]
    table = json.loads((folder / "seeds.json").read_text())
    for name in seeds.SPLITS:
        values = [run["splits"][name]["balanced_accuracy"]["value"] for run in runs]
        of_split = table["splits"][name]
        assert of_split["balanced_accuracy"]["values"] == values
        pooled = of_split["pooled"]["balanced_accuracy"]
        assert pooled["value"] == pytest.approx(np.mean(values))
        assert (pooled["n"], of_split["pooled"]["groups"]) == (of_split["n"], of_split["groups"])
    stressed = table["splits"]["validation"]["stressed"]
    assert stressed["pooled"]["draws"] == 2 * stress.DRAWS
    mean = stressed["balanced_accuracy"]["mean"]
    assert stressed["pooled"]["balanced_accuracy"]["value"] == pytest.approx(mean)
    printed = ended.out[ended.out.rindex("(synthetic images), 2 seeds") :]
    assert f"run folder: {folder}\n            seeds.json, seed_*/" in printed
    shown = [line.split()[0] for line in printed.splitlines() if line.startswith("  ")]
    shown = shown[: shown.index("sd") + 1]
    assert [*shown[:3], *shown[-3:]] == ["validation", "re-framed", "test", "7", "8", "sd"]


@pytest.mark.slow
def test_the_runs_share_their_cached_rows(two):
    _, ended = two
    second = ended.out[ended.out.index("Seed 8: ") :]
    assert "computing" not in second
    assert ended.err.count("activations: 100 %") <= 1


@pytest.mark.slow
def test_a_table_that_was_lost_is_written_again_without_a_step(command, two, tmp_path):
    folder = shutil.copytree(two[0], tmp_path / "run")
    for name in ("seeds.json", "config.json"):
        (folder / name).unlink()
    with trained() as epochs:
        ended = command(folder, 2)
    assert (ended.status, epochs) == (0, [])
    assert result_of(folder) == result_of(two[0])
    before, after = (json.loads((each / "config.json").read_text()) for each in (two[0], folder))
    assert after["dataset"] == before["dataset"]


@pytest.mark.slow
def test_killed_in_the_second_it_goes_on_there_and_more_may_be_added(command, two, tmp_path):
    folder = tmp_path / "run"
    with trained((8, 1)) as epochs, pytest.raises(Killed):
        command(folder, 2)
    assert epochs == [7, 7, 8]
    assert saved_state.where_it_goes_on(folder).startswith(
        f"1 of the seeds in {folder} have ended; {folder}/seed_8 is at epoch 2 of 2"
    )
    with trained() as epochs:
        ended = command(folder, 2)
    assert epochs == [8]
    assert f"{folder}/seed_7 holds this run, and it has ended." in ended.out
    assert result_of(folder) == result_of(two[0])

    before = result_of(folder)
    (folder / "report.html").write_text("of two seeds")
    with trained() as epochs:
        assert command(folder, 3).status == 0
    assert epochs == [9, 9]
    assert not (folder / "report.html").exists()
    after = result_of(folder)
    assert {name: after[name] for name in before if name != "seeds.json"} == {
        name: data for name, data in before.items() if name != "seeds.json"
    }
    assert json.loads(after["seeds.json"])["seeds"] == [7, 8, 9]
    assert {"--seed=7", "--seeds=3"} <= set((folder / "flags.txt").read_text().splitlines())

    with trained() as epochs:
        ended = command(folder, 3)
    assert (epochs, ended.status) == ([], 0)
    assert ended.out.startswith(f"{folder} holds this run, and it has ended.")
    assert command(folder, 2).status == 2


@pytest.mark.slow
def test_all_have_the_images_weights_and_precision_of_the_first(command, two, tmp_path):
    def began(folder, count) -> list:
        noted, original = [], seeds.set_up

        def set_up(config, *, began, **more):
            noted.append((config.seed, began and began["dataset"]["fingerprint"]))
            return original(config, began=began, **more)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(seeds, "set_up", set_up)
            assert command(folder, count).status == 0
        return noted

    of_first = json.loads((two[0] / "config.json").read_text())["dataset"]["fingerprint"]
    assert began(tmp_path / "run", 2) == [(7, None), (8, of_first)]
    assert began(tmp_path / "run", 3) == [(9, of_first)]  # in a later process


@pytest.mark.slow
def test_overwrite_removes_no_run_that_another_process_has(command, two, tmp_path):
    folder = shutil.copytree(two[0], tmp_path / "run")
    before = result_of(folder)
    with run_dir.held(folder / "seed_8", "run_dir"):
        ended = command(folder, 2, "--overwrite")
    assert ended.status == 1 and f"{folder}/seed_8 is" in " ".join(ended.err.split())
    assert result_of(folder) == before


@pytest.mark.slow
def test_killed_in_the_first_the_same_command_goes_on_there(command, tmp_path):
    with trained((7, 1)) as epochs, pytest.raises(Killed):
        command(tmp_path / "run", 2)
    with trained((7, 2)) as epochs:
        assert command(tmp_path / "run", 2).status == 0
    assert epochs == [7, 8, 8]


@pytest.mark.slow
def test_each_is_the_run_of_its_seed_alone(two, data_dir, tmp_path):
    config = trainings.quick(data_dir, **{**CHANGES, "seed": 8})
    trainings.run(config, tmp_path / "alone")
    for name in ("history.csv", "predictions.csv"):
        alone = (tmp_path / "alone" / name).read_bytes()
        assert alone == (two[0] / "seed_8" / name).read_bytes()


@pytest.mark.slow
def test_overwrite_begins_all_of_them_again(command, two, tmp_path):
    folder = tmp_path / "run"
    command(folder, 2)
    with trained() as epochs:
        assert command(folder, 2, "--overwrite").status == 0
    assert epochs == [7, 7, 8, 8]
    assert result_of(folder) == result_of(two[0])


@pytest.mark.slow
def test_other_seeds_may_replace_them_and_go_on_where_they_were_killed(command, two, tmp_path):
    folder = tmp_path / "run"
    command(folder, 3)
    with trained((7, 0)) as epochs, pytest.raises(Killed):
        command(folder, 2, "--overwrite")
    with trained() as epochs:
        assert command(folder, 2).status == 0
    assert epochs == [7, 7, 8, 8]
    assert not (folder / "seed_9").exists()  # it was of the run that was replaced
    assert json.loads((folder / "seeds.json").read_text())["seeds"] == [7, 8]
    assert result_of(folder)["seeds.json"] == result_of(two[0])["seeds.json"]
