"""The command that shows, checks, empties and fills the cache."""

import contextlib
import os
import re
import subprocess
import sys

import numpy as np
import pytest

from tests.helpers import commands, datasets, trainings
from trainer import train
from trainer.input_pipeline import fill
from trainer.input_pipeline.cache import CachedRows, Spec
from trainer.training.setup import set_up

IMAGES = datasets.made([0, 0, 0])
VIEWS = {"augmentation": {"rotation": 5.0, "zoom": 0.0}, "seed": 7, "image_size": 32}


def stage(cache_dir, name: str = "block5_pool", **depends_on) -> CachedRows:
    """An open folder of three rows."""
    rows = CachedRows(cache_dir, Spec(name, (2, 4), "float32", depends_on))
    with rows.filling():
        values = np.arange(24, dtype=np.float32).reshape(3, 2, 4)
        rows.append(IMAGES.digests, 0, values)
    return rows


def features(action: str, cache_dir) -> commands.Ended:
    return commands.run("trainer.features", f"--{action}", f"--cache_dir={cache_dir}")


def damage(rows: CachedRows) -> None:
    with (rows.folder / "rows.bin").open("r+b") as file:
        file.seek(-1, os.SEEK_END)
        last = file.read(1)
        file.seek(-1, os.SEEK_END)
        file.write(bytes([last[0] ^ 1]))


def test_the_list_says_what_each_folder_holds(tmp_path):
    opened, closed = stage(tmp_path, **VIEWS), stage(tmp_path, "square", image_size=40)
    closed.close()
    listed = features("list", tmp_path)
    assert (listed.status, listed.err) == (0, "")
    assert max(map(len, listed.out.removesuffix(f"{tmp_path}\n").splitlines())) <= 80
    flat = " ".join(listed.out.split())
    folders = {each[:16]: each for each in re.split(r"(?=\b[0-9a-f]{16} )", flat)}
    first, second = folders[opened.folder.name], folders[closed.folder.name]
    for words in ("block5_pool, 32 px, float32", "views of seed 7: rotation", "in use", " 3 "):
        assert words in first
    assert "zoom" not in first
    assert "square, 40 px" in second and "in use" not in second
    assert f"MiB in {tmp_path}" in listed.out
    opened.close()


def test_an_empty_cache_is_no_error(tmp_path):
    for action, words in (("list", "0.0 MiB in"), ("verify", "0 rows checked"),
                          ("clear", "removed 0.0 MiB")):  # fmt: skip
        ended = features(action, tmp_path / "none")
        assert ended.status == 0
        assert words in ended.out


def test_verify_finds_damage_once_and_ends_with_status_1(tmp_path):
    whole, broken = stage(tmp_path, "square"), stage(tmp_path)
    for each in (whole, broken):
        each.close()
    well = features("verify", tmp_path)
    assert (well.status, well.out) == (0, "6 rows checked, 0 damaged\n")
    damage(broken)
    ended = features("verify", tmp_path)
    assert ended.status == 1
    assert f"{broken.folder}: 1 of 3 rows damaged; computed again" in ended.out
    assert ended.out.endswith("6 rows checked, 1 damaged\n")
    # The damaged row is forgotten.
    assert features("verify", tmp_path).out == "5 rows checked, 0 damaged\n"


@pytest.mark.parametrize("content", ["{}", "no JSON", '{"format": 9}'])
def test_a_folder_that_can_not_be_checked_does_not_keep_the_others_from_it(tmp_path, content):
    first, other = stage(tmp_path, "square"), stage(tmp_path)
    for each in (first, other):
        each.close()
    (first.folder / "key.json").write_text(content)
    damage(other)
    ended = features("verify", tmp_path)
    assert ended.status == 1
    assert "key.json" in ended.out
    assert f"{other.folder}: 1 of 3 rows damaged" in ended.out
    assert "3 rows checked, 1 damaged" in ended.out
    assert "Traceback" not in ended.err
    assert features("verify", tmp_path).status == 1  # it still can't be checked


def test_clear_removes_all_but_what_is_in_use(tmp_path):
    opened, closed = stage(tmp_path, "square"), stage(tmp_path)
    closed.close()
    ended = features("clear", tmp_path)
    assert ended.status == 0
    assert f"{opened.folder} is in use" in ended.out
    assert opened.folder.exists() and not closed.folder.exists()
    opened.close()
    features("clear", tmp_path)
    assert not list((tmp_path / "stages").iterdir())


def test_clear_removes_what_release_1_left(tmp_path):
    old = tmp_path / "features" / "0123456789abcdef"
    old.mkdir(parents=True)
    (old / "0-0.shard").write_bytes(bytes(2**20))
    (old / "used").touch()
    (tmp_path / "vgg16.npz").write_bytes(b"weights")
    assert "1.0 MiB of release 1.0.0" in features("list", tmp_path).out
    assert "removed 1.0 MiB" in features("clear", tmp_path).out
    assert not (tmp_path / "features").exists()
    assert (tmp_path / "vgg16.npz").exists()
    assert "release 1.0.0" not in features("list", tmp_path).out


@pytest.mark.parametrize("wrong", [(), ("--list", "--clear"), ("--nolist",)])
def test_a_wrong_command_line_gets_status_2(wrong):
    ended = commands.run("trainer.features", *wrong)
    assert ended.status == 2
    assert "Give one of --list, --verify, --clear and --fill" in ended.err


@pytest.mark.parametrize("flag", ["--epochs=3", "--augmentation=article", "--workers=2"])
def test_flags_of_a_training_have_no_effect_on_other_actions(flag):
    ended = commands.run("trainer.features", "--list", flag)
    assert ended.status == 2
    name = flag.partition("=")[0]
    assert f"{name} has no effect without --fill" in ended.err


@pytest.mark.slow
@pytest.mark.parametrize("workers", [1, 2])
def test_a_filled_cache_leaves_nothing_to_compute(workers, data_dir, tmp_path, monkeypatch):
    config = trainings.quick(data_dir, tmp_path, augmentation="radiograph", views=2,
                             **trainings.TUNED)  # fmt: skip
    (tmp_path / "run.flags").write_text(config.to_flags())
    flags = ("--fill", f"--flagfile={tmp_path}/run.flags", f"--workers={workers}")
    with monkeypatch.context() as patch:
        if workers > 1:
            pytest.importorskip("ray")
            patch.setattr(fill, "_here", None)  # this process computes no row
        ended = commands.run("trainer.features", *flags)
    assert ended.status == 0, ended.err
    assert "computing block5_pool" in ended.err
    setup = set_up(config, stressed=True)
    with contextlib.closing(setup.opened):
        training = train.training_of(setup)
        assert training.plan.missing_bytes == 0
        rows = sum(len(views) * len(training.images[name]) for _, name, views in training.reads)
        assert f"\n{rows} rows, " in ended.out
        assert {views for stage, _, views in training.reads if stage.augmented} == {(0,), (0, 1)}
    again = commands.run("trainer.features", "--fill", f"--flagfile={tmp_path}/run.flags")
    assert "computing" not in again.err


def test_words_are_no_flags():
    ended = commands.run("trainer.features", "--list", "word")
    assert ended.status == 2
    assert "are no flags" in ended.err


def test_the_command_needs_no_tensorflow(tmp_path):
    """So that a list is there at once."""
    code = (
        "import sys; sys.modules['tensorflow'] = sys.modules['keras'] = None; import runpy; "
        f"sys.argv = ['features', '--list', '--cache_dir={tmp_path}']; "
        "runpy.run_module('trainer.features', run_name='__main__')"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=commands.ROOT, capture_output=True,
                          text=True, check=False)  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
