"""How searches are watched, scaled and compared, and that each part prints its line."""

import json
import types

import numpy as np
import pytest
from absl import flags
from PIL import Image

from benchmarks import article_race, harness, search, search_chief, search_plain, search_watch
from benchmarks.search_watch import Sample, Watched
from trainer.input_pipeline import dataset

ROWS = [
    {"head_units": str(units), "learning_rate": "0.001", "seconds": "2", "images_per_second": "100"}
    for units in (1024, 64, 256, 64)
]


class Values(dict):
    """Parsed flags, as far as a part reads them."""

    def __getattr__(self, name):
        return self[name]


VALUES = Values(trials=4, epochs=5, rounds=2, dataset="tiny", data_dir="", classes=4,
                peer_epochs=2, chief_trials=6)  # fmt: skip


def watched(seconds=10.0, resident=lambda ended: 1000) -> Watched:
    samples = [Sample(0.0, 0, 0, 9000)]
    samples += [Sample(ended + 1.0, 4, ended, resident(ended)) for ended in range(5)]
    return Watched(seconds, ROWS, samples)


def test_speed_is_of_the_time_between_the_first_trial_and_the_last():
    assert watched().trained == 8.0
    assert watched().images_per_second == 4 * 200 / (5.0 - 1.0)


def test_smallest_median_and_largest_head_are_timed():
    assert [row["head_units"] for row in search.three(ROWS)] == ["64", "256", "1024"]
    assert [row["head_units"] for row in search.three(ROWS[:1])] == ["1024"]


def test_few_epochs_are_scaled_to_all_epochs_of_all_trials():
    timed = [{"head_units": 64, "seconds": [1.0, 3.0]}, {"head_units": 1024, "seconds": [12.0]}]
    # 256 units are a fifth of the way from 64 to 1024.
    assert search.scaled(timed, ROWS, 5) == pytest.approx(5 * (12 + 2 + (2 + 10 / 5) + 2))


def test_memory_is_read_while_the_named_trials_run():
    assert search.phases(200) == [(1, 20), (21, 100), (101, 200)]
    samples = [Sample(0, 0, 0, 99)]  # before the first trial
    samples += [Sample(1, 1, ended, 10 + 2 * ended) for ended in range(9)]
    assert search.peak(samples, 1, 3) == 10 + 2 * 2  # the third runs while two have ended
    assert search.peak(samples, 4, 8) == 10 + 2 * 7
    assert search.growth(samples, 1, 8) == pytest.approx(2.0)


def test_a_command_is_watched_to_its_end(tmp_path, monkeypatch):
    (tmp_path / "one.py").write_text(
        "import json, os, pathlib, sys, time\n"
        "held = bytearray(100 * 2**20)\n"
        "trials = {'0': {'status': 'COMPLETED'}, '1': {'status': 'RUNNING'}}\n"
        "beside = pathlib.Path(sys.argv[1] + '.part')\n"
        "beside.write_text(json.dumps({'trials': trials}))\n"
        "os.replace(beside, sys.argv[1])\n"
        "time.sleep(1)\n"
    )
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    state = tmp_path / "state.json"
    seconds, samples = search_watch.watch(["one", str(state)], state, 0.05)
    assert seconds >= 1 and samples[0][1:3] == (0, 0) and samples[-1][1:3] == (2, 1)
    assert max(one.resident for one in samples) > 100 * 1024


def test_the_end_of_a_failed_command_s_output_is_shown(tmp_path, monkeypatch):
    (tmp_path / "broken.py").write_text("raise SystemExit('no such image')")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    with pytest.raises(SystemExit, match="no such image"):
        search_watch.watch(["broken"], tmp_path / "state.json", 0.05)


def test_the_plain_way_trains_on_a_folder_and_the_line_is_made_of_it(tmp_path):
    rng = np.random.default_rng(0)
    for split, label in np.ndindex(2, 3):
        folder = tmp_path / ("train", "validation")[split] / "train" / str(label)
        folder.mkdir(parents=True)
        for i in range(3):
            Image.fromarray(rng.integers(0, 255, (60, 70), np.uint8)).save(folder / f"{i}.jpg")
    values = flags.FlagValues()
    search_plain.define_flags(values)
    values(["search_plain", f"--folder={tmp_path}", "--classes=3", "--epochs=2",
            "--trials=4:1e-3,8:1e-4", "--weights=none", "--image_size=32"])  # fmt: skip
    plain = search_plain.measure(values)
    assert [each["head_units"] for each in plain["timed"]] == [4, 8]
    assert all(len(each["seconds"]) == 2 for each in plain["timed"])
    assert plain["images"] == {"train": 9, "validation": 9}


def test_each_way_is_compared_with_the_plain_way_of_its_own_augmentation(monkeypatch, capsys):
    splits = {name: types.SimpleNamespace(labels=[0]) for name in ("train", "validation")}
    opened = types.SimpleNamespace(splits=splits)
    monkeypatch.setattr(dataset, "open_dataset", lambda *_: opened)
    monkeypatch.setattr(article_race, "export", lambda *_: None)
    monkeypatch.setattr(search, "cold", lambda values, *more: watched(20.0 if more else 10.0))
    monkeypatch.setattr(
        search, "plain_seconds", lambda *given: 4000.0 if given[-1] is True else 1200.0
    )
    search.plain(VALUES)
    printed = json.loads(capsys.readouterr().out.splitlines()[-1])
    measured = {name: claim["measured"] for name, claim in printed["claims"].items()}
    assert measured == {
        "4 trials x 5 epochs: times as fast as the plain way": 200.0,
        "without augmentation, the default: times as fast as the plain way without": 120.0,
    }
    assert printed["ratios"]["plain, article, over ours, none"]["median"] == 400.0
    assert printed["bound"].startswith("the trials' own training, 40% of our time with")


def test_two_workers_are_compared_with_one_and_the_chief_stands_beside(monkeypatch, capsys):
    flags_of_searches = []

    def faked(values, *more, every=0.1):
        flags_of_searches.append(more)
        return watched(seconds=20.0 if more == ("--workers=2",) else 10.0)

    chief = {"trials 1 to 1": {"trial": 8.0}, "trials 6 to 6": {"trial": 9.0}}
    printed = types.SimpleNamespace(stdout=json.dumps({"milliseconds": chief}))
    monkeypatch.setattr(search, "search", faked)
    monkeypatch.setattr(search, "fill", lambda values: None)
    monkeypatch.setattr(article_race, "run", lambda command: printed)
    search.workers(VALUES)
    assert flags_of_searches == [(f"--workers={n}",) for n in (1, 2, 2, 1)]
    line = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert line["claims"]["two workers' speed over one's"]["measured"] == 1.0
    assert line["ratios"]["whole command"]["median"] == 0.5
    assert line["figures"]["chief's milliseconds a trial"] == chief
    assert "costs 9 ms at the chief (trials 6 to 6)" in line["bound"]


def test_the_chief_serves_a_worker_that_trains_nothing(monkeypatch):
    for name in ("KERASTUNER_TUNER_ID", "KERASTUNER_ORACLE_IP", "KERASTUNER_ORACLE_PORT"):
        monkeypatch.setenv(name, "")  # `client` sets them; what they were comes back afterwards
    timed = search_chief.measure(6)
    assert list(timed) == ["trials 1 to 1", "trials 6 to 6"]
    assert all(each["trial"] >= each["end_trial"] > 0 for each in timed.values())


def test_memory_is_compared_between_the_later_half_and_the_one_before(monkeypatch, capsys):
    samples = [Sample(0.0, 0, 0, 1)]
    samples += [Sample(ended + 1.0, 1, ended, 1024 * (100 + ended)) for ended in range(10)]
    monkeypatch.setattr(search, "search", lambda values, every: Watched(9.0, ROWS, samples))
    monkeypatch.setattr(search, "fill", lambda values: None)
    search.memory(Values({**VALUES, "trials": 10, "rounds": 1}))
    line = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert line["benchmark"] == "search --part=memory"
    (claim,) = line["claims"].values()
    assert claim["measured"] == harness.rounded(104 / 109)
    assert line["figures"]["growth, KiB a trial"]["median"] == 1024
    assert line["figures"]["whole command, MiB"]["median"] == 109


def test_a_search_is_watched_from_its_command_to_its_trials(data_dir, tmp_path):
    shared = {"dataset": "tiny", "data_dir": data_dir, "cache_dir": tmp_path, "classes": 4,
              "image_size": 32, "weights": "none", "seed": 1, "epochs": 1}  # fmt: skip
    values = Values({name: types.SimpleNamespace(value=value) for name, value in shared.items()})
    values["trials"] = 2
    one = search_watch.search(values, every=0.05)
    assert len(one.rows) == 2 and one.seconds > one.trained > 0
    assert one.images_per_second > 0
    assert max(sample.resident for sample in one.samples) > 100 * 1024
