"""What a run's manifest says: which files are its own and whether they are whole; its flags."""

import os
import pathlib

import pytest

from trainer.run import files, manifest
from trainer.run.errors import ConfigError, RunError
from trainer.run.manifest import NAME, Identity, Manifest

FLAGS = {"classes": 4, "dataset": "full", "epochs": 5, "seed": 1, "data_dir": "/a"}
ORIGIN = {"config": FLAGS}
OURS = ("history.csv", "model.keras", "plots/roc.png", "checkpoints/state", "checkpoints/fold_0-1",
        "tensorboard/events.out.tfevents.1.host.7.0.covid_tfds")  # fmt: skip
FOREIGN = ("thesis.svg", "plots/thesis.svg", "plots/roc.png.bak", "photos/roc.png", "roc.png",
           "tensorboard/events.out.tfevents.1.host.7.0.v2", "plots/history.csv",
           "checkpoints/deep/state", "notes.html")  # fmt: skip


@pytest.fixture
def begun(tmp_path) -> Manifest:
    """The manifest of a run in `tmp_path` that left files of its own beside others."""
    for name in (*OURS, *FOREIGN):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(name)
    there = Manifest("trainer.main", FLAGS, origin=ORIGIN)
    there.write(tmp_path)
    return there


@pytest.fixture
def finished(begun, tmp_path) -> Manifest:
    """The manifest of the same run when it ended."""
    there = begun.finished(tmp_path)
    there.write(tmp_path)
    return there


def relative(paths: list[pathlib.Path], folder: pathlib.Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in paths)


def test_it_comes_back_as_it_was_written(finished, tmp_path):
    assert Manifest.read(tmp_path) == finished
    assert Manifest.read(tmp_path / "plots") is None


def test_only_files_that_it_lists_are_the_runs_own(begun, tmp_path):
    assert relative(begun.files_of(tmp_path), tmp_path) == sorted((*OURS, NAME))


def test_files_that_killed_processes_were_writing_are_the_runs_own(begun, tmp_path):
    ours = [".7.0123abcd.history.csv", "plots/.7.0123abcd.roc.png"]
    for name in (*ours, ".7.0123abcd.thesis.svg", "plots/.7.0123abcd.history.csv"):
        (tmp_path / name).touch()
    assert relative(begun.unfinished_of(tmp_path), tmp_path) == ours


def test_links_are_not_followed_and_names_do_not_lead_out(begun, tmp_path):
    elsewhere = tmp_path / "deep" / "elsewhere"
    run = tmp_path / "deep" / "run"
    for folder in (elsewhere, run):
        folder.mkdir(parents=True)
    (elsewhere / "roc.png").touch()
    (tmp_path / "deep" / "history.csv").touch()
    (run / "plots").symlink_to(elsewhere)
    (run / "model.keras").symlink_to(elsewhere / "roc.png")
    wide = begun.with_contents(["../history.csv", "*/*", str(elsewhere / "roc.png")])
    assert wide.files_of(run) == [run / "model.keras"]  # the link itself
    (run / NAME).symlink_to(tmp_path / NAME)
    assert Manifest.read(run) is None


@pytest.mark.slow
def test_every_flipped_bit_of_it_is_found(finished, tmp_path):
    whole = (tmp_path / NAME).read_bytes()
    for bit in range(0, 8 * len(whole), 7):  # all bits of a byte in turn
        changed = bytearray(whole)
        changed[bit // 8] ^= 1 << bit % 8
        (tmp_path / NAME).write_bytes(changed)
        with pytest.raises(files.DamagedError, match=f"^{tmp_path / NAME} is damaged"):
            Manifest.read(tmp_path)


@pytest.mark.parametrize("text", ["", "{}", "[]", '{"sha256": "0"}', "half of"])
def test_what_is_no_manifest_is_damaged(text, tmp_path):
    (tmp_path / NAME).write_text(text)
    with pytest.raises(RunError, match=NAME):
        Manifest.read(tmp_path)


def test_folds_may_go_when_a_run_is_finished(finished, tmp_path):
    (tmp_path / "checkpoints" / "fold_0-1").unlink()
    assert finished.damaged(tmp_path) == []


@pytest.mark.parametrize("name", [name for name in OURS if "fold" not in name])
def test_a_file_of_a_finished_run_that_changed_is_named(name, finished, tmp_path):
    manifest.require_whole(tmp_path, name)
    assert finished.damaged(tmp_path) == []
    data = bytearray((tmp_path / name).read_bytes())
    data[2] ^= 1
    (tmp_path / name).write_bytes(data)
    for _ in ("changed", "missing"):
        assert finished.damaged(tmp_path) == [name]
        with pytest.raises(RunError, match=f"^{tmp_path / name} is damaged"):
            manifest.require_whole(tmp_path, name)
        (tmp_path / name).unlink(missing_ok=True)


def test_a_run_that_is_not_finished_has_nothing_to_be_compared_with(begun, tmp_path):
    (tmp_path / "history.csv").write_text("one more epoch")
    manifest.require_whole(tmp_path, "history.csv")
    manifest.require_whole(tmp_path / "photos", "roc.png")
    assert begun.damaged(tmp_path) == []


def test_what_a_finished_run_does_not_list_may_change(finished, tmp_path):
    for name in FOREIGN:
        os.remove(tmp_path / name)
        manifest.require_whole(tmp_path, name)
    assert finished.damaged(tmp_path) == []


def test_a_file_that_is_written_again_is_whole_and_the_others_are_as_they_were(finished, tmp_path):
    (tmp_path / "notes.html").write_text("not known before")
    (tmp_path / "history.csv").write_text("damaged")
    now = finished.with_file(tmp_path, "notes.html")
    assert now.damaged(tmp_path) == ["history.csv"]
    assert tmp_path / "notes.html" in now.files_of(tmp_path)


SAME = [{}, {"data_dir": "/b"}]


@pytest.mark.parametrize("changes", SAME)
def test_the_same_flags_go_on(changes, begun, tmp_path):
    now = Identity("trainer.main", {**FLAGS, **changes})
    assert manifest.grown(tmp_path, begun, now) == {}


def test_epochs_may_grow(begun, tmp_path):
    now = Identity("trainer.main", {**FLAGS, "epochs": 8}, ("epochs",))
    assert manifest.grown(tmp_path, begun, now) == {"epochs": (5, 8)}


OTHER = {
    "--seed is 2, and was 1. ": {"seed": 2},
    "--epochs is 4, and was 5. ": {"epochs": 4},
    "--dataset is article, and was full. ": {"dataset": "article"},
    "--classes is 2, and was 4; --seed is 2, and was 1. ": {"seed": 2, "classes": 2},
    "--seeds is 5, and was not given. ": {"seeds": 5},
    "--seed is not given, and was 1. ": {"seed": None},
}


@pytest.mark.parametrize("message", OTHER)
def test_other_flags_are_refused_by_name(message, begun, tmp_path):
    now = Identity("trainer.main", {**FLAGS, "data_dir": "/b", **OTHER[message]})
    with pytest.raises(ConfigError) as refused:
        manifest.grown(tmp_path, begun, now)
    assert str(refused.value) == (
        f"--run_dir {tmp_path} holds a run with other flags: {message}Give the same flags to go "
        "on, another --run_dir, or --overwrite to begin again."
    )


def test_a_run_of_a_release_with_fewer_flags_is_named_as_such(begun, tmp_path):
    """There, no command line gives the same flags."""
    now = Identity("trainer.main", {**FLAGS, "seed": 2, "later": 1, "align": "none"})
    with pytest.raises(ConfigError) as refused:
        manifest.grown(tmp_path, begun, now)
    assert str(refused.value) == (
        f"--run_dir {tmp_path} holds a run of an earlier release (it knows no --align, --later), "
        "which this one does not go on with. Give another --run_dir, or --overwrite to begin again."
    )


def test_a_run_of_another_command_is_refused(begun, tmp_path):
    with pytest.raises(ConfigError, match=r"a run of trainer\.main, and this is"):
        manifest.grown(tmp_path, begun, Identity("trainer.crossval", FLAGS))


def test_flags_are_compared_as_json_has_them():
    assert Identity("", {"sides": (1, 2)}) == Identity("", {"sides": [1, 2]})
