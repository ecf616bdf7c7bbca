"""`trainer.explain`: pictures of where a run's network looks, at every door."""

import pathlib
import re
import shutil

import numpy as np
import pytest
from PIL import Image

import trainer
from tests.helpers import commands, images_of, trainings
from trainer.evaluation import heatmaps, predictions
from trainer.evaluation.metrics import NOTICE
from trainer.inference import file_explanations, gradcam, network
from trainer.inference.explanations import explained
from trainer.input_pipeline import resize
from trainer.run.errors import ConfigError, RunError

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("loaded_once")]


@pytest.fixture(scope="module")
def run(data_dir, tmp_path_factory) -> pathlib.Path:
    folder = tmp_path_factory.mktemp("run") / "run"
    trainings.run(trainings.quick(data_dir, epochs=1, align="chest", image_size=64), folder)
    return folder


@pytest.fixture(scope="module")
def opened(run) -> network.Network:
    return network.load(run)


@pytest.fixture(scope="module")
def images(tiny, tmp_path_factory) -> pathlib.Path:
    """Three images and a file that is none."""
    folder = tmp_path_factory.mktemp("images")
    for name, (_, data) in zip("abc", images_of.encoded(tiny, "test"), strict=False):
        (folder / f"{name}.png").write_bytes(data)
    (folder / "README.md").write_text("of mine")
    return folder


@pytest.fixture(scope="module")
def masks(images, tmp_path_factory) -> pathlib.Path:
    """Of two of the images, the left half."""
    folder = tmp_path_factory.mktemp("masks")
    for name in "ab":
        with Image.open(images / f"{name}.png") as image:
            mask = np.zeros(image.size[::-1], np.uint8)
        mask[:, : mask.shape[1] // 2] = 255
        Image.fromarray(mask).save(folder / f"{name}_mask.png")
    return folder


def explain(run, *words) -> commands.Ended:
    return commands.run("trainer.explain", f"--run={run}", *map(str, words))


def test_a_folder_becomes_a_picture_each_and_a_table(run, images, masks, tmp_path):
    ended = explain(run, images, f"--masks={masks}", f"--output={tmp_path / 'out'}")
    assert ended.status == 0
    pictures = sorted(path.name for path in (tmp_path / "out").iterdir())
    assert pictures == [f"{name}.png.explained.png" for name in "abc"]
    for name in pictures:
        with Image.open(tmp_path / "out" / name) as picture:
            picture.load()
            assert picture.width > 1000
    rows = [line.split() for line in ended.out.splitlines() if ".png" in line]
    assert len(rows) == 3 and rows[2][-2:] == ["-", "-"]
    assert "1 image had no mask" in ended.out.replace("\n", " ")
    assert "rank correlation of" in ended.out and "SYNTHETIC" in ended.out
    assert ended.out.rstrip().endswith(NOTICE)


def test_from_python_it_gives_what_the_maps_are(run, opened, images, masks, capsys):
    result = trainer.load(run).explain([images], masks=masks)
    assert result.errors == {} and result.pictures == [None] * 3
    for each in result.explanations:
        with Image.open(each.name) as image:
            pixels = np.asarray(image)
        np.testing.assert_array_equal(each.pixels, pixels)
        np.testing.assert_array_equal(each.square, opened.square(pixels)[..., 0])
        np.testing.assert_array_equal(each.square, resize.square(pixels, 64, each.frame))
        assert each.label == each.probabilities.argmax()
        maps = gradcam.heatmaps(opened.model, each.square[None, ..., None], each.label)
        np.testing.assert_allclose(each.gradcam, maps[0], atol=1e-4)
    assert [bool(each.lungs) for each in result.explanations] == [True, True, False]
    assert "Balanced accuracy" not in capsys.readouterr().out


def test_a_class_by_its_name_has_maps_of_its_own(opened, images):
    with Image.open(images / "a.png") as image:
        pixels = np.asarray(image)
    made = [explained(opened, [("a", pixels)], name)[0][0] for name in ("healthy", "covid19")]
    assert [each.label for each in made] == [0, 1]
    assert not np.array_equal(made[0].occlusion, made[1].occlusion)
    with pytest.raises(ConfigError, match="is no class of this network"):
        explained(opened, [("a", pixels)], "flu")


def test_a_file_that_can_not_be_used_is_named_and_the_status_is_1(run, images, tmp_path):
    torn = tmp_path / "torn.png"
    torn.write_bytes((images / "a.png").read_bytes()[:500])
    output = tmp_path / "out"
    ended = explain(run, torn, images / "a.png", tmp_path / "gone.png", f"--output={output}")
    assert ended.status == 1
    assert re.search(r"torn\.png: \w+", ended.err) and "gone.png: no such file" in ended.err
    assert "2 of 3 files can't be used" in ended.err
    assert len(list(output.iterdir())) == 1


def test_nothing_that_can_be_used_draws_nothing(run, tmp_path):
    ended = explain(run, tmp_path / "gone.png", f"--output={tmp_path / 'out'}")
    assert ended.status == 1 and not (tmp_path / "out").exists()
    (tmp_path / "empty").mkdir()
    with pytest.raises(RunError, match="There is no image in"):
        trainer.load(run).explain(tmp_path / "empty")


def test_a_picture_takes_no_image_s_place_and_no_other_s(run, images, tmp_path):
    for folder in ("one", "two"):
        (tmp_path / folder).mkdir()
        shutil.copy(images / "a.png", tmp_path / folder)
    before = (tmp_path / "one" / "a.png").read_bytes()
    paths = tmp_path / "one", tmp_path / "two"
    for _ in range(2):  # the second time, pictures lie in what is given
        assert explain(run, *paths, f"--output={tmp_path / 'one'}").status == 0
    there = sorted(path.name for path in (tmp_path / "one").iterdir())
    assert there == ["a.png", "one-a.png.explained.png", "two-a.png.explained.png"]
    assert (tmp_path / "one" / "a.png").read_bytes() == before


def test_a_name_of_any_length_has_its_picture(run, images, tmp_path):
    name = "\N{CJK UNIFIED IDEOGRAPH-80F8}" * 80 + ".png"
    shutil.copy(images / "a.png", tmp_path / name)
    ended = explain(run, tmp_path / name, images / "a.png", f"--output={tmp_path / 'out'}")
    assert ended.status == 0, ended.err
    assert len(list((tmp_path / "out").glob("*.explained.png"))) == 2


def test_a_bare_network_without_alignment_explains_too(data_dir, images, tmp_path):
    config = trainings.quick(data_dir, epochs=1, classes=2, align="none")
    trainings.run(config, tmp_path / "run")
    bare = shutil.copy(tmp_path / "run" / "model.keras", tmp_path / "mine.keras")
    (each,) = trainer.load(bare).explain(images / "a.png").explanations
    assert each.frame == resize.WHOLE and each.gradcam.shape == (2, 2)


@pytest.mark.parametrize(
    "words,message",
    [([], "--run is missing"), (["--run=x"], "There is no PATH"),
     (["--run=x", "a.png", "--output="], "--output is empty"),
     (["--run=x.keras", "a.png"], "There is no file x.keras")],
)  # fmt: skip
def test_what_makes_no_sense_is_refused_before_tensorflow(words, message):
    ended = commands.run("trainer.explain", *words)
    assert ended.status in (1, 2) and message in ended.err


def test_the_heatmaps_of_a_run_are_those_of_its_network(run, opened, tiny):
    there = heatmaps.read(run / "heatmaps.npz")
    table = predictions.read(run / "predictions.csv").of_split("test")
    assert there.split == "test" and set(there.kinds) <= set(heatmaps.KINDS)
    rows = [table.image_ids.index(name) for name in there.image_ids]
    chosen = np.concatenate(list(heatmaps.select(table).values()))
    assert rows == chosen.tolist()
    pixels = dict(images_of.decoded(tiny, "test"))
    squares = opened.squares([pixels[name] for name in there.image_ids])
    np.testing.assert_array_equal(there.squares, squares[..., 0])
    maps = gradcam.heatmaps(opened.model, squares, table.predicted[rows])
    np.testing.assert_allclose(there.maps, maps, atol=1e-4)


def test_without_a_folder_for_pictures_the_screen_names_none(run, images, capsys):
    result = trainer.load(run).explain(images / "a.png")
    assert result.pictures == [None]
    file_explanations.show(result)
    out = capsys.readouterr().out
    assert "a.png" in out and result.check.split(":")[0] in " ".join(out.split())
    assert "picture" not in out


def test_images_without_a_mask_are_counted(run, images, tmp_path, capsys):
    result = trainer.load(run).explain([images / "a.png"], masks=tmp_path)
    file_explanations.show(result)
    said = f"--masks {tmp_path} has no mask of 1 of 1 image, first {images / 'a.png'}."
    assert said in " ".join(capsys.readouterr().err.split())
