"""How searches are watched, scaled and compared, and that each part prints its line."""

import json
import pathlib
import types

import numpy as np
import pytest
from absl import flags
from PIL import Image

from benchmarks import (
    article_race,
    search,
    search_cached,
    search_overhead,
    search_peers,
    search_plain,
    search_watch,
)
from benchmarks.search_watch import Sample, Span, Watched
from trainer.input_pipeline import dataset
from trainer.run.libraries import keras_settings

ROWS = [
    {"trial": f"{number:04d}", "head_units": str(units), "learning_rate": "0.001", "seconds": "2",
     "images_per_second": "100"}
    for number, units in enumerate((1024, 64, 256, 64))
]  # fmt: skip


class Values(dict):
    """Parsed flags, as far as a part reads them."""

    def __getattr__(self, name):
        return self[name]


VALUES = Values(trials=4, epochs=5, rounds=2, dataset="tiny", data_dir="", classes=4,
                peer_epochs=2, tuner="random")  # fmt: skip


def watched(seconds=10.0) -> Watched:
    samples = [Sample(0.0, 0, 0, 9000)]
    samples += [Sample(ended + 1.0, 4, ended, 1000) for ended in range(5)]
    ends = {row["trial"]: 4.0 + 2 * number for number, row in enumerate(ROWS)}
    return Watched(seconds, ROWS, samples, ends)


@pytest.fixture
def folder(tmp_path) -> pathlib.Path:
    """Three images of each of three classes, in each split."""
    rng = np.random.default_rng(0)
    for split, label in np.ndindex(2, 3):
        images = tmp_path / ("train", "validation")[split] / "train" / str(label)
        images.mkdir(parents=True)
        for i in range(3):
            Image.fromarray(rng.integers(0, 255, (60, 70), np.uint8)).save(images / f"{i}.jpg")
    return tmp_path


def parsed(command, *argv: str) -> flags.FlagValues:
    values = flags.FlagValues()
    command.define_flags(values)
    values([command.__name__, *argv])
    return values


def test_speed_is_of_the_time_between_the_first_trial_and_the_last():
    assert watched().trained == 8.0
    assert watched().images_per_second == 4 * 200 / (10.0 - 2.0)


def test_speed_of_two_workers_leaves_out_the_time_in_which_one_has_no_trial():
    # One begins at 0, the other at 4, when it has loaded; the first has no trial left at 10.
    spans = [Span(0, 6, 60), Span(4, 8, 40), Span(6, 10, 40), Span(8, 14, 60)]
    assert search_watch.speed(spans, 2) == pytest.approx((20 + 40 + 40 + 20) / (10 - 4))
    assert search_watch.speed(spans, 1) == pytest.approx(200 / 14)


def test_smallest_median_and_largest_head_are_timed():
    assert [row["head_units"] for row in search_peers.three(ROWS)] == ["64", "256", "1024"]
    assert [row["head_units"] for row in search_peers.three(ROWS[:1])] == ["1024"]


def test_few_epochs_are_scaled_to_all_epochs_of_all_trials():
    timed = [{"head_units": 64, "seconds": [1.0, 3.0]}, {"head_units": 1024, "seconds": [12.0]}]
    # 256 units are a fifth of the way from 64 to 1024.
    expected = 5 * (12 + 2 + (2 + 10 / 5) + 2)
    assert search_peers.scaled(timed, ROWS, 5) == pytest.approx(expected)


def test_growth_is_of_the_process_that_ran_most_trials():
    samples = [Sample(0, 0, 0, 99)]  # before the first trial
    samples += [Sample(1, 1, ended, 1000 + 20 * ended) for ended in range(4)]
    samples += [Sample(2, 4, 3, 10)]  # the process was replaced
    samples += [Sample(3, 5, ended, 900 + 30 * ended) for ended in range(3, 12)]
    samples += [Sample(4, 12, 12, 1200), Sample(5, 12, 12, 0)]
    assert [len(life) for life in search.lives(samples)] == [5, 11]
    assert search.growth(samples, 1) == pytest.approx(30)


def test_a_command_is_watched_to_its_end(tmp_path, monkeypatch):
    (tmp_path / "one.py").write_text(
        "import pathlib, sys, time\n"
        "while not pathlib.Path(sys.argv[2]).exists():\n"
        "    time.sleep(0.01)\n"
        "held = bytearray(100 * 2**20)\n"
        "with open(sys.argv[1], 'w') as log:\n"
        '    print(\'{"event": "begun", "trial": "0000"}\', file=log)\n'
        '    print(\'{"event": "begun", "trial": "0001"}\', file=log)\n'
        '    print(\'{"event": "ended", "trial": "0000"}\', file=log)\n'
        '    print(\'{"event": "ended", "tr\', end="", file=log, flush=True)\n'
        "    time.sleep(1)\n"
        '    print(\'ial": "0001"}\', file=log)\n'
    )
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    resident, looked = search_watch._resident, tmp_path / "looked"

    def look(pid: int) -> float:
        looked.touch()
        return resident(pid)

    monkeypatch.setattr(search_watch, "_resident", look)
    log = tmp_path / "log.jsonl"
    seconds, samples, ends = search_watch.watch(["one", str(log), str(looked)], log, 0.05)
    assert seconds >= 1 and samples[0][1:3] == (0, 0) and (2, 1) in {one[1:3] for one in samples}
    assert ends["0000"] < ends["0001"] <= seconds
    assert max(one.resident for one in samples) > 100 * 1024


def test_the_end_of_a_failed_command_s_output_is_shown(tmp_path, monkeypatch):
    (tmp_path / "broken.py").write_text("raise SystemExit('no such image')")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    with pytest.raises(SystemExit, match="no such image"):
        search_watch.watch(["broken"], tmp_path / "log.jsonl", 0.05)


@pytest.mark.slow
def test_the_plain_way_trains_on_a_folder_and_the_line_is_made_of_it(folder):
    values = parsed(search_plain, f"--folder={folder}", "--classes=3", "--epochs=2",
                    "--trials=4:1e-3,8:1e-4", "--weights=none", "--image_size=32")  # fmt: skip
    plain = search_plain.measure(values)
    assert [each["head_units"] for each in plain["timed"]] == [4, 8]
    assert all(len(each["seconds"]) == 2 for each in plain["timed"])
    assert plain["images"] == {"train": 9, "validation": 9}


@pytest.mark.slow
@pytest.mark.parametrize("views", [0, 2])
def test_the_peer_that_caches_runs_the_given_trials_in_their_order(folder, views):
    values = parsed(search_cached, f"--folder={folder}", "--classes=3", "--epochs=1",
                    "--trials=8:1e-3,4:1e-4", "--weights=none", "--image_size=32",
                    "--precision=float32", f"--views={views}")  # fmt: skip
    line = search_cached.measure(values)
    trials = [(each["head_units"], each["learning_rate"]) for each in line["trials"]]
    assert trials == [(8, 1e-3), (4, 1e-4)]
    assert all(0 <= each["score"] <= 1 for each in line["trials"])
    assert line["images"] == {"train": 9, "validation": 9}
    assert 0 < line["seconds"]["saving"] < line["seconds"]["search"]


def test_the_peer_s_epochs_take_the_views_in_turn_and_every_image_once():
    rows = np.arange(10).reshape(2, 5, 1)
    views = search_cached.Views(rows, np.arange(5), batch_size=2, seed=0)
    for epoch in range(3):
        seen, labels = (
            np.concatenate(each) for each in zip(*map(views.__getitem__, range(3)), strict=True)
        )
        assert sorted(labels) == list(range(5))
        assert (seen[:, 0] == labels + 5 * (epoch % 2)).all()
        views.on_epoch_end()


def test_each_way_is_compared_with_the_peers_of_its_own_augmentation(monkeypatch, capsys):
    splits = {name: types.SimpleNamespace(labels=[0]) for name in ("train", "validation")}
    opened = types.SimpleNamespace(splits=splits)
    line = {"seconds": {"saving": 3.0}, "policy": "float32"}
    monkeypatch.setattr(dataset, "open_dataset", lambda *_: opened)
    monkeypatch.setattr(article_race, "export", lambda *_: None)
    monkeypatch.setattr(search_peers, "cold", lambda values, *more: watched(20.0 if more else 10.0))
    monkeypatch.setattr(
        search_peers, "plain_seconds", lambda *_, augment: 4000.0 if augment else 1200.0
    )
    monkeypatch.setattr(
        search_peers, "run_cached", lambda *given: (30.0 if given[-1] == 8 else 11.0, line)
    )
    search.plain(VALUES)
    printed = json.loads(capsys.readouterr().out.splitlines()[-1])
    measured = {name: claim["measured"] for name, claim in printed["claims"].items()}
    assert measured == {
        "4 trials x 5 epochs: times as fast as the plain way": 200.0,
        "without augmentation, the default: times as fast as the plain way without": 120.0,
        "8 views: times as fast as Keras and KerasTuner on cached activations": 1.5,
        "without augmentation: times as fast as Keras and KerasTuner on cached activations": 1.1,
    }
    assert printed["ratios"]["plain, article over ours, none"]["median"] == 400.0
    assert printed["bound"].startswith("the trials' own training, 40% of our time with")
    assert printed["expected"].startswith("little above 1")


def test_two_workers_are_compared_with_one(monkeypatch, capsys):
    flags_of_searches = []

    def faked(values, *more, every=0.1):
        flags_of_searches.append(more)
        return watched(seconds=20.0 if more == ("--workers=2",) else 10.0)

    monkeypatch.setattr(search, "search", faked)
    monkeypatch.setattr(search, "fill", lambda values: None)
    search.workers(VALUES)
    assert flags_of_searches == [(f"--workers={n}",) for n in (1, 2, 2, 1)]
    line = json.loads(capsys.readouterr().out.splitlines()[-1])
    measured = {name: claim["measured"] for name, claim in line["claims"].items()}
    assert measured == {
        "two workers' speed over one's": 1.0,
        "two workers' speed over one's, whole command": 0.5,
    }
    assert "a trial trains for 2 s in one process, and 16 s of the command" in line["bound"]


@pytest.mark.slow
def test_trials_that_train_nothing_are_counted_with_what_they_write(data_dir, capsys):
    values = parsed(search, "--part=overhead", f"--data_dir={data_dir}", "--dataset=tiny",
                    "--trials=12", "--epochs=2")  # fmt: skip
    with keras_settings():
        figures = search_overhead.measure(values, workers=1)
    assert figures["trials"] == 12
    assert figures["files"] > 12 and figures["written, MiB"] > figures["kept, MiB"] > 0
    driver = 1e-3 * figures["driver, ms a trial"] * 12
    assert 0 < driver < figures["wall, seconds"]
    assert figures["re-opened in, seconds"] > 0
    assert "trial 0000" not in capsys.readouterr().out


@pytest.mark.slow
def test_trials_that_train_nothing_run_on_workers_of_this_machine(data_dir):
    values = parsed(search, "--part=overhead", f"--data_dir={data_dir}", "--dataset=tiny",
                    "--trials=6", "--epochs=1")  # fmt: skip
    with keras_settings():
        assert search_overhead.measure(values, workers=2)["trials"] == 6


def test_the_overhead_s_line_holds_a_search_to_its_seconds(monkeypatch, capsys):
    figures = {
        "driver, processor's ms a trial of the first sixth": 4.0,
        "driver, processor's ms a trial of the last sixth": 5.0,
        "re-opened in, seconds": 2.0,
    }
    monkeypatch.setattr(search_overhead, "measure", lambda values: figures)
    search.overhead(VALUES)
    line = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert [claim["measured"] for claim in line["claims"].values()] == [2.5, 0.8]
    assert line["bound"].startswith("the driver, 5 ms of the processor a trial at the end")


def test_no_replacement_of_the_process_hides_what_trials_add(monkeypatch, capsys):
    def mib(ended):  # 8 MiB a trial, and a new process after every sixth of them
        return 100 + 8 * (ended % 6)

    samples = [Sample(0.0, 0, 0, 1)]
    for ended in range(18):
        if ended and ended % 6 == 0:
            samples.append(Sample(ended + 0.5, ended + 1, ended, 10))
        samples.append(Sample(ended + 1.0, ended + 1, ended, 1024 * mib(ended)))
    monkeypatch.setattr(search, "search", lambda values, every: Watched(9.0, ROWS, samples, {}))
    monkeypatch.setattr(search, "fill", lambda values: None)
    search.memory(Values({**VALUES, "trials": 18, "rounds": 1}))
    line = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert line["benchmark"] == "search --part=memory"
    assert line["claims"] == {
        "trials of one process that 4 MiB hold": {"target": 1.0, "measured": 0.5, "met": False}
    }
    assert line["figures"]["growth between two replacements, KiB a trial"]["median"] == 8192
    assert line["figures"]["replacements"]["median"] == 2
    assert line["figures"]["whole command, MiB"]["median"] == 140


@pytest.mark.slow
def test_a_search_is_watched_from_its_command_to_its_trials(data_dir, tmp_path):
    shared = {"dataset": "tiny", "data_dir": data_dir, "cache_dir": tmp_path, "classes": 4,
              "image_size": 32, "weights": "none", "seed": 1, "epochs": 1}  # fmt: skip
    values = Values({name: types.SimpleNamespace(value=value) for name, value in shared.items()})
    values["trials"] = 2
    one = search_watch.search(values, every=0.05)
    assert len(one.rows) == 2 and one.seconds > one.trained > 0
    assert one.images_per_second > 0
    assert list(one.ends) == [row["trial"] for row in one.rows]
    assert max(sample.resident for sample in one.samples) > 100 * 1024
