"""The feature store: nothing computed twice, nothing lost, nothing wrong read back."""

import dataclasses
import fcntl
import os
import pathlib
import signal
import subprocess
import sys
import time

import keras
import ml_dtypes
import numpy as np
import pytest

from trainer import features, feeds, frozen
from trainer.augmentation import layer, random
from trainer.base import Base
from trainer.config import Config
from trainer.input_pipeline import batches, dataset
from trainer.model import vgg16
from trainer.model import weights as weights_lib
from trainer.run.errors import RunError

ROOT = pathlib.Path(__file__).parents[2]
KEY = features.Key(
    network="0" * 64, cut="block5_pool", image_size=64, augmentation={}, seed=0,
    precision="float32",
)  # fmt: skip
ROWS = np.arange(3 * 2 * 2 * 4, dtype=np.float32).reshape(3, 2, 2, 4)


def store(cache: pathlib.Path, key: features.Key = KEY, views: int = 4) -> features.Store:
    return features.Store(cache, key, views)


@pytest.mark.parametrize("dtype", [np.float32, np.float16, ml_dtypes.bfloat16])
def test_rows_come_back_bit_equal(tmp_path, dtype):
    rows = ROWS.astype(dtype)
    store(tmp_path).add(1, ["a", "b", "c"], rows)
    again = store(tmp_path)
    found = np.stack(again.locate(["c", "a"], 1))
    assert found.dtype == dtype
    assert found.tobytes() == rows[[2, 0]].tobytes()
    assert again.missing(["a", "d", "c"], 1) == [1]
    assert again.missing(["a", "b"], 0) == [0, 1]


@pytest.mark.parametrize("field", [field.name for field in dataclasses.fields(features.Key)])
def test_whatever_the_rows_depend_on_has_a_folder_of_its_own(field):
    value = getattr(KEY, field)
    other = {"rotation": 5.0} if isinstance(value, dict) else value * 2 + type(value)(1)
    assert dataclasses.replace(KEY, **{field: other}).name() != KEY.name()


def test_a_image_is_known_by_its_id_and_its_bytes():
    assert len(set(features.image_keys(["a", "a", "b"], [b"1", b"2", b"1"]))) == 3
    assert features.image_keys(["a"], [b"1"]) == features.image_keys(["a"], [b"1"])


def shard_of(cache: pathlib.Path) -> pathlib.Path:
    return next(cache.glob("features/*/*.shard"))


@pytest.mark.parametrize("at", [0, 25, 37, 60, 200, -1])
def test_a_changed_byte_is_noticed_wherever_it_is(tmp_path, at):
    store(tmp_path).add(0, ["a", "b", "c"], ROWS)
    path = shard_of(tmp_path)
    data = bytearray(path.read_bytes())
    data[at] ^= 1
    path.write_bytes(data)
    again = store(tmp_path)
    assert len(again.damaged) == 1
    assert again.missing(["a", "b", "c"], 0) == [0, 1, 2]
    assert not path.exists()


@pytest.mark.parametrize("length", [0, 10, 100, 300])
def test_a_shard_cut_short_is_noticed(tmp_path, length):
    store(tmp_path).add(0, ["a", "b", "c"], ROWS)
    os.truncate(shard_of(tmp_path), length)
    again = store(tmp_path)
    assert len(again.damaged) == 1
    assert again.missing(["a"], 0) == [0]


def test_views_that_are_not_asked_for_are_not_read(tmp_path):
    first = store(tmp_path)
    for view in range(3):
        first.add(view, ["a", "b", "c"], ROWS)
    assert store(tmp_path, views=2).missing(["a"], 2) == [0]


def keys(number: int) -> features.Key:
    return dataclasses.replace(KEY, seed=number)


def test_the_least_recently_used_is_evicted_and_never_what_is_open(tmp_path):
    opened = []
    for number in (1, 2, 3):
        each = store(tmp_path, keys(number))
        each.add(0, ["a", "b", "c"], ROWS)
        os.utime(each.folder / "used", (number, number))
        opened.append(each)
    size = features.kept(tmp_path)[0].size
    opened[1].close()
    opened[2].close()
    assert features.make_room(tmp_path, size, 3 * size)
    left = {each.folder.name for each in features.kept(tmp_path)}
    assert left == {keys(1).name(), keys(3).name()}  # 1 is older, but open
    assert not features.make_room(tmp_path, 3 * size, 3 * size)
    assert {each.folder.name for each in features.kept(tmp_path)} == {keys(1).name()}


def test_an_evicted_folder_is_made_anew(tmp_path):
    first = store(tmp_path)
    first.add(0, ["a", "b", "c"], ROWS)
    first.close()
    assert features.remove(first.folder)
    assert store(tmp_path).missing(["a"], 0) == [0]


def command(*arguments: str) -> subprocess.CompletedProcess:
    return subprocess.run([sys.executable, "-m", "trainer.features", *arguments], cwd=ROOT,
                          capture_output=True, text=True, timeout=60, check=False)  # fmt: skip


def test_the_command_lists_verifies_and_clears(tmp_path):
    first = store(tmp_path, dataclasses.replace(KEY, augmentation={"rotation": 5.0, "zoom": 0.0}))
    first.add(0, ["a", "b", "c"], ROWS)
    listed = command("--list", f"--cache_dir={tmp_path}")
    assert listed.returncode == 0
    for words in (first.folder.name, "block5_pool", "views 1", "rotation", "in use"):
        assert words in listed.stdout
    assert "zoom" not in listed.stdout
    assert command("--verify", f"--cache_dir={tmp_path}").returncode == 0
    assert "the others are in use" in command("--clear", f"--cache_dir={tmp_path}").stdout
    first.close()
    with shard_of(tmp_path).open("r+b") as file:
        file.seek(-1, os.SEEK_END)
        file.write(b"\xff")
    verified = command("--verify", f"--cache_dir={tmp_path}")
    assert verified.returncode == 1
    assert "1 damaged" in verified.stdout
    assert "removed 1 of 1" in command("--clear", f"--cache_dir={tmp_path}").stdout
    assert not features.kept(tmp_path)


@pytest.mark.parametrize("wrong", [(), ("--list", "--clear"), ("--list", "word")])
def test_a_wrong_command_line_is_told(wrong):
    done = command(*wrong)
    assert done.returncode == 2
    assert "Give one of --list, --verify and --clear" in done.stderr
    assert "Traceback" not in done.stderr


# On images

CONFIG = Config(dataset="tiny", image_size=32, weights="none", precision="float32", epochs=3,
                augmentation="radiograph", views=2)  # fmt: skip


@pytest.fixture(scope="module")
def images(data_dir) -> dataset.Dataset:
    keras.config.set_dtype_policy("float32")
    return dataset.open_dataset("tiny", str(data_dir), 4)


def network(seed: int = 3) -> keras.Model:
    keras.utils.set_random_seed(seed)
    nothing = weights_lib.vgg16_weights("none", pathlib.Path())
    return vgg16.build_model(classes=4, image_size=32, head_units=8, dropout=0.0,
                                pooling="flatten", weights=nothing)  # fmt: skip


def fill(cache: pathlib.Path, images: dataset.Dataset, capsys, **changes) -> tuple[int, int]:
    """Rows that a run found kept, and those it computed."""
    config = dataclasses.replace(CONFIG, cache_dir=str(cache), **changes)
    base = Base(config, network())
    feeds.Feeds(base, images.splits).feed(None, range(config.epochs))
    base.close()
    said = next(line for line in capsys.readouterr().out.splitlines() if "rows kept" in line)
    words = said.replace(",", "").split()
    return int(words[words.index("of") - 1]), int(words[words.index("to", 5) - 1])


def test_more_views_compute_the_new_ones_only(tmp_path, images, capsys):
    train, held_out = (len(images.splits[name].labels) for name in ("train", "validation"))
    assert fill(tmp_path, images, capsys) == (0, 2 * train + held_out)
    assert fill(tmp_path, images, capsys) == (2 * train + held_out, 0)
    assert fill(tmp_path, images, capsys, views=3) == (2 * train + held_out, train)
    assert fill(tmp_path, images, capsys, views=1) == (train + held_out, 0)


def test_epochs_that_take_fewer_views_compute_fewer(tmp_path, images, capsys):
    train, held_out = (len(images.splits[name].labels) for name in ("train", "validation"))
    assert fill(tmp_path, images, capsys, views=8, epochs=2) == (0, 2 * train + held_out)


def test_a_new_image_computes_itself_only(tmp_path, images, capsys):
    splits = dict(images.splits)
    everyone = splits["train"]
    splits["train"] = everyone.take(range(1, len(everyone.labels)))
    fewer = dataclasses.replace(images, splits=splits)
    fill(tmp_path, fewer, capsys)
    assert fill(tmp_path, images, capsys)[1] == 2


def test_damage_is_mended(tmp_path, images, capsys):
    fill(tmp_path, images, capsys)
    with sorted(tmp_path.glob("features/*/*.shard"))[0].open("r+b") as file:
        file.seek(-1, os.SEEK_END)
        file.write(b"\xff")
    assert 0 < fill(tmp_path, images, capsys)[1] <= 64
    assert fill(tmp_path, images, capsys)[1] == 0


def test_rows_are_what_the_network_computes_in_any_batch_and_order(tmp_path, images):
    config = dataclasses.replace(CONFIG, cache_dir=str(tmp_path))
    model, train = network(), images.splits["train"]
    source = feeds.Feeds(Base(config, model), images.splits)
    source.feed(None, range(2))
    some = [7, 3, 11]
    pixels = batches.pixels(train.take(some), 32)
    ids = [train.image_ids[i] for i in some]
    augment = layer.augmentation("radiograph")
    views = augment(pixels, random.uniform_draws(ids, 1, config.seed))
    part = frozen.part(model, None, "block5_pool")
    wanted = np.asarray(part.predict_on_batch(views))
    rows = source._rows("block5_pool", "train", [1], augmented=True)
    np.testing.assert_allclose(rows.read(1, some), wanted, atol=1e-5)


@pytest.mark.parametrize("views", [1, 3])
def test_rows_from_memory_and_from_the_disk_make_the_same_batches(
    tmp_path, images, monkeypatch, views
):
    found = []
    for memory in (frozen.MEMORY, 0):
        monkeypatch.setattr(frozen, "MEMORY", memory)
        config = dataclasses.replace(CONFIG, cache_dir=str(tmp_path), views=views, epochs=4)
        base = Base(config, network())
        feed = feeds.Feeds(base, images.splits).feed(None, range(1, 4))
        found.append(
            [(rows.tobytes(), truth.tolist()) for rows, truth in feed.train.as_numpy_iterator()]
        )
        found[-1] += [rows.tobytes() for rows in feed.split("validation").as_numpy_iterator()]
        base.close()
    assert found[0] == found[1]


def test_a_later_cut_goes_on_from_the_earlier_one(tmp_path, images):
    ends = []
    for lowest in ("none", "block4"):
        folder = tmp_path / lowest
        config = dataclasses.replace(CONFIG, cache_dir=str(folder), fine_tune_from=lowest)
        source = feeds.Feeds(Base(config, network()), images.splits)
        source.feed(None, range(2))
        ends.append(source._rows("block5_pool", "train", [1], augmented=True).read(1, range(9)))
        cuts = {each.key["cut"] for each in features.kept(folder)}
        assert cuts == {"block5_pool"} | ({"block3_pool"} if lowest == "block4" else set())
    np.testing.assert_allclose(*ends, atol=1e-5)


def test_the_digest_sees_weights_and_settings_and_no_trainable_flag():
    def digest(model: keras.Model) -> str:
        return frozen.digest(frozen.part(model, None, "block4_pool"))

    model = network()
    before = digest(model)
    assert digest(network()) == before != digest(network(seed=4))
    vgg16.set_trainable(model, "block3")
    assert digest(model) == before
    layer = model.get_layer("block4_conv3")
    kernel, bias = layer.get_weights()
    layer.set_weights([kernel, bias + 1e-6])
    assert digest(model) != before


def test_no_room_is_told_and_the_images_pass_the_whole_network(tmp_path, images, capsys):
    config = dataclasses.replace(CONFIG, cache_dir=str(tmp_path), cache_gib=1e-6)
    model = network()
    feed = feeds.Feeds(Base(config, model), images.splits).feed(None, range(2))
    assert feed.scored is model
    assert "--cache_gib=1e-06" in capsys.readouterr().out


def test_a_cache_that_can_not_be_written_is_told(tmp_path, images):
    (tmp_path / "file").write_text("")
    config = dataclasses.replace(CONFIG, cache_dir=str(tmp_path / "file"))
    with pytest.raises(RunError, match=r"can't be used .* Give another --cache_dir"):
        feeds.Feeds(Base(config, network()), images.splits).feed(None, range(2))


def test_a_full_disk_is_told_and_what_was_computed_stays(tmp_path, images, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    config = dataclasses.replace(CONFIG, cache_dir=str(tmp_path))
    write = features.write_shard
    written = []
    monkeypatch.setattr(
        features, "write_shard", lambda *a: full() if written else written.append(1) or write(*a)
    )
    with pytest.raises(RunError, match=r"No space left on device\)\. Make room"):
        feeds.Feeds(Base(config, network()), images.splits).feed(None, range(2))
    assert len(list(tmp_path.glob("features/*/*.shard"))) == 1


# Processes

RUN = ("-m", "trainer.main", "--dataset=tiny", "--image_size=32", "--weights=none", "--epochs=16",
       "--augmentation=radiograph", "--views=16", "--precision=float32", "--overwrite")  # fmt: skip


def start(data_dir: pathlib.Path, folder: pathlib.Path, name: str) -> subprocess.Popen:
    places = (f"--data_dir={data_dir}", f"--cache_dir={folder}", f"--run_dir={folder}/{name}")
    return subprocess.Popen([sys.executable, *RUN, *places], cwd=ROOT, text=True,
                            stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)  # fmt: skip


def shards(folder: pathlib.Path) -> dict[pathlib.Path, int]:
    return {path: path.stat().st_mtime_ns for path in folder.glob("features/*/[0-9]*.shard")}


def test_a_killed_fill_goes_on_and_two_processes_compute_nothing_twice(data_dir, tmp_path):
    first = start(data_dir, tmp_path, "killed")
    while len(shards(tmp_path)) < 3 and first.poll() is None:
        time.sleep(0.005)
    first.send_signal(signal.SIGKILL)
    first.wait()
    before = shards(tmp_path)
    assert len(before) >= 3
    both = [start(data_dir, tmp_path, name) for name in ("one", "two")]
    printed = [process.communicate(timeout=300)[0] for process in both]
    assert [process.returncode for process in both] == [0, 0]
    after = shards(tmp_path)
    assert before.items() <= after.items()  # none was written again
    names = [shard.images for shard in map(features.read_shard, after)]
    images = dataset.open_dataset("tiny", str(data_dir), 4).splits
    counts = {split: len(images[split].labels) for split in ("train", "validation", "test")}
    wanted = 16 * counts["train"] + counts["validation"] + counts["test"]
    assert sum(map(len, names)) == wanted
    assert not list(tmp_path.glob("features/*/.*.shard"))
    scores = [(tmp_path / name / "predictions.csv").read_text() for name in ("one", "two")]
    assert scores[0] == scores[1], printed


def test_a_process_that_waits_for_another_says_so(tmp_path, capsys):
    mine = store(tmp_path)
    with (mine.folder / "filling").open("a") as theirs:
        fcntl.flock(theirs, fcntl.LOCK_EX)
        waiting = subprocess.Popen(
            [sys.executable, "-c", f"""
import pathlib
from trainer import features
key = features.Key(**{dataclasses.asdict(KEY)!r})
store = features.Store(pathlib.Path({str(tmp_path)!r}), key, 4)
with store.filling("waiting ...", lambda: print("told", flush=True)):
    print(store.missing(["a"], 0))
"""], cwd=ROOT, stdout=subprocess.PIPE, text=True)  # fmt: skip
        assert [waiting.stdout.readline() for _ in range(3)] == ["waiting ...\n", *["told\n"] * 2]
        mine.add(0, ["a", "b", "c"], ROWS)
    assert waiting.communicate(timeout=60)[0].splitlines()[-1] == "[]"
