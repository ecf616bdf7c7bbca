"""Every command looks at the paths that it was given before it loads a network."""

import zipfile

import pytest

from tests.helpers import commands
from trainer.run import command, progress

# Module, arguments, and how the sentence begins; {0} is a folder with a network and one image.
WRONG = [
    ("predict", ["{0}/imag.png"], "There is no file {0}/imag.png. Did you mean {0}/image.png?"),
    ("predict", ["{0}/*.dcm"], "There is no file {0}/*.dcm."),
    ("predict", [""], "One of the paths is empty: "),
    ("predict", ["{0}/image.png", "--output={0}/no/a.csv"], "--output {0}/no/a.csv can't be"),
    ("predict", ["{0}/image.png", "--gallery={0}"], "--gallery {0} is a folder. Give a file."),
    ("explain", ["{0}/imag.png"], "There is no file {0}/imag.png. Did you mean {0}/image.png?"),
    ("explain", ["{0}/image.png", "--output={0}/image.png"], "--output {0}/image.png can't be"),
    ("evaluate", ["--images={0}/imags"], "There is no file {0}/imags. Did you mean {0}/images?"),
    ("evaluate", ["--images={0}/images", "--output={0}/image.png/b"], "--output {0}/image.png/b "),
    ("export", ["--output={0}/image.png"], "--output {0}/image.png can't be made"),
    ("compare", ["{0}", "{0}", "--output={0}/no/a.html"], "--output {0}/no/a.html can't be"),
]  # fmt: skip


@pytest.mark.parametrize("module,arguments,sentence", WRONG)
def test_a_wrong_path_is_named_before_anything_is_loaded(
    module, arguments, sentence, tmp_path, monkeypatch
):
    def loaded(*_) -> None:
        raise AssertionError("it goes on to load what takes seconds")

    monkeypatch.setattr(command, "heavy_imports", loaded)
    monkeypatch.setattr(progress, "working", loaded)
    (tmp_path / "images").mkdir()
    (tmp_path / "image.png").touch()
    with zipfile.ZipFile(tmp_path / "network.keras", "w") as network:
        network.writestr("config.json", "{}")  # as far as is looked at so early
    run = [] if module == "compare" else [f"--run={tmp_path}/network.keras"]
    given = [each.format(tmp_path) for each in arguments]
    ended = commands.run(f"trainer.{module}", *run, *given)
    assert ended.status != 0 and not ended.out
    assert sentence.format(tmp_path) in " ".join(ended.err.split())
    assert {path.name for path in tmp_path.iterdir()} == {"images", "image.png", "network.keras"}
