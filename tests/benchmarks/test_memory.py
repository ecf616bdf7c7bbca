"""Peaks are those of each part, and the line says how they grow; no figure is judged."""

import mmap

import pytest

from benchmarks import memory, memory_run, scale
from trainer.config import Config
from trainer.input_pipeline import batches
from trainer.run.libraries import keras_settings


def test_a_peak_is_of_what_follows_its_beginning():
    memory_run.reset_peak()
    before = memory_run.peak()
    # Not by malloc, which may take it from what earlier tests left, and keep it.
    with mmap.mmap(-1, 100 * 2**20) as large:
        for page in range(0, len(large), mmap.PAGESIZE):
            large[page] = 1
        with_large = memory_run.peak()
    memory_run.reset_peak()
    assert with_large > before + 90
    assert memory_run.peak() < with_large - 50


@pytest.mark.slow
def test_a_run_has_a_peak_of_its_training_and_of_its_evaluation(data_dir, tmp_path, monkeypatch):
    monkeypatch.setattr(batches, "MEMORY", batches.MEMORY)
    config = Config(dataset="tiny", data_dir=data_dir, cache_dir=tmp_path, image_size=32,
                    weights="none", width=0.05, epochs=1)  # fmt: skip
    with keras_settings():
        opened = memory_run.peaks_of("open", config, held=True)
        filled = memory_run.peaks_of("fill", config, held=False)
        run = memory_run.peaks_of("run", config, held=False)
    assert set(opened) == {"open", "swapped"} and set(filled) == {"fill", "swapped"}
    assert set(run) == {"train", "evaluate", "swapped"}
    assert batches.MEMORY == 0 and min(run["train"], run["evaluate"]) > 50


def test_growth_is_kib_an_image_and_its_worst_round_is_judged(tmp_path, monkeypatch):
    made = {100: [1.0, 1.1], 1124: [2.0, 3.1]}  # MiB a round; 1 and 2 KiB an image

    def run(data_dir, network):
        mib = made[int(data_dir.name)].pop(0)
        names = (*memory.PARTS, *(f"{part}, rows held" for part in memory.HELD))
        return dict.fromkeys(names, mib) | {"swapped": 0.0}

    monkeypatch.setattr(memory, "_run", run)
    monkeypatch.setattr(scale, "build", lambda data_dir, count: None)
    line = memory.measure([100, 1124], rounds=2, image_size=32, width=0.05, folder=tmp_path)
    growth = line["growth_kib_an_image"]["evaluate, rows held"]["from 100 to 1124"]
    assert (growth["min"], growth["max"]) == (1.0, 2.0)
    assert len(line["claims"]) == len(memory.PARTS)
    assert line["claims"]["open, from 100 to 1124: images a KiB holds"]["measured"] == 0.5


@pytest.mark.slow
def test_it_runs_every_part_in_processes(tmp_path):
    line = memory.measure([100, 200], rounds=1, image_size=32, width=0.05, folder=tmp_path)
    assert all(figure["median"] > 50 for figure in line["figures"].values())
