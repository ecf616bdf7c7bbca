"""How scale counts images and asks for memory; no time is judged."""

import os
import pathlib
import subprocess
import sys

import pytest

from benchmarks import scale
from covid_tfds import phantom

ROOT = pathlib.Path(__file__).parents[2]


def test_what_every_process_takes_is_in_no_claim(monkeypatch, capsys):
    made = {100: [800.0, 801.0], 1124: [804.0, 817.0]}  # MiB a round; 4 and 16 KiB an image

    def run(count, image_size):
        return {"fill: images/s": 1.0, "fill: MiB": made[count].pop(0), "train: MiB": 800.0}

    monkeypatch.setattr(scale, "_run", run)
    line = scale.measure([100, 1124], rounds=2, image_size=64)
    assert line["growth_kib_an_image"]["fill"] == {"median": 10, "min": 4, "max": 16, "rounds": 2}
    filled, trained = line["claims"].values()
    assert line["spreads"]["fill: images that 8 KiB hold"]["min"] == 0.5
    assert not filled["met"] and trained["met"]


def test_one_number_of_images_claims_nothing(monkeypatch, capsys):
    monkeypatch.setattr(scale, "_run", lambda *_: {"fill: images/s": 1.0, "fill: MiB": 800.0})
    line = scale.measure([100], rounds=1, image_size=64)
    assert line["claims"] == {} and line["figures"]["100 images, fill: MiB"]["median"] == 800


def test_as_few_patients_as_have_the_images():
    patients, drawn = scale.patients_of(100)
    images = [phantom.patient(0, number).images for number in range(patients)]
    assert sum(images) == drawn and sum(images[:-1]) < 100 <= drawn


@pytest.mark.slow
def test_the_peak_is_of_the_stage_alone(tmp_path):
    (tmp_path / "large.py").write_text("held = bytearray(400 * 2**20)")
    (tmp_path / "small.py").write_text("")
    # In a process as small as the benchmark's own: a child counts from its parent's size.
    program = (
        "from benchmarks import scale\n"
        "for name in ('large', 'small'): print(scale.stage(name, []).mebibytes)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
        check=True,
    )
    large, small = map(float, done.stdout.split())
    assert large > 400 > small


def test_the_end_of_a_failed_stage_s_output_is_in_the_error(tmp_path, monkeypatch):
    (tmp_path / "broken.py").write_text("raise SystemExit('no such image')")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    with pytest.raises(scale.StageError, match="no such image"):
        scale.stage("broken", [])
