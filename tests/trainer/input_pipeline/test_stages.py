"""Stages: squares are decoded once, and folders are held while they are open."""

import os

import numpy as np
import pytest

from trainer.input_pipeline import alignment, cache_folders, cache_report, decode, resize
from trainer.input_pipeline.stages import OpenStages, fill_squares, pose_stage, square_stage

SIZES = (32, 40)
STAGES = [square_stage(size) for size in SIZES]
GOLDEN = "df1889a00eb80198"  # the folder of the first of them
ALIGNED = [square_stage(SIZES[0], "chest"), pose_stage()]


@pytest.fixture
def opened(tmp_path):
    stages = OpenStages(tmp_path)
    yield stages
    stages.close()


@pytest.fixture
def decoded(monkeypatch) -> list[str]:
    """Names of the images that are decoded from now on."""
    names, pixels = [], decode.pixels

    def noted(encoded, name):
        names.append(name)
        return pixels(encoded, name)

    monkeypatch.setattr(decode, "pixels", noted)
    return names


def test_squares_are_those_of_resizing_and_each_image_is_decoded_once(tiny, opened, decoded):
    images = tiny.splits["validation"]
    fill_squares(tiny, images, STAGES, opened)
    assert sorted(decoded) == sorted(images.image_ids)
    for index, encoded in tiny.encoded(images):
        image = decode.pixels(encoded, "")
        for stage, size in zip(STAGES, SIZES, strict=True):
            square = opened.rows(stage).read(images.digests[[index]], 0)[0]
            np.testing.assert_array_equal(square[..., 0], resize.square(image, size))


def test_only_what_is_missing_is_decoded(tiny, opened, decoded):
    images = tiny.splits["validation"]
    fill_squares(tiny, images.take([3, 0]), STAGES, opened)
    fill_squares(tiny, images, STAGES[:1], opened)
    assert len(decoded) == len(images)
    fill_squares(tiny, images, STAGES, opened)  # the other size lacks all but two
    assert len(decoded) == 2 * len(images) - 2
    fill_squares(tiny, images, STAGES, opened)
    assert len(decoded) == 2 * len(images) - 2
    assert [opened.missing(stage, images, (0,)) for stage in STAGES] == [0, 0]


def test_a_damaged_square_is_decoded_again(tiny, opened, decoded, tmp_path):
    images = tiny.splits["test"]
    fill_squares(tiny, images, STAGES, opened)
    path = opened.rows(STAGES[0]).folder / "rows.bin"
    with path.open("r+b") as file:
        file.seek(-1, os.SEEK_END)
        last = file.read(1)
        file.seek(-1, os.SEEK_END)
        file.write(bytes([last[0] ^ 1]))
    again = OpenStages(tmp_path)
    fill_squares(tiny, images, STAGES, again)
    assert len(decoded) == len(images) + 1
    np.testing.assert_array_equal(
        again.rows(STAGES[0]).read(images.digests, 0).shape, (len(images), 32, 32, 1)
    )
    again.close()


def test_the_names_of_folders_go_by_the_alignment_and_its_formula(monkeypatch):
    """Folders of squares as they are keep the names that they had before there was alignment."""
    before = [stage.spec.folder_name() for stage in (square_stage(32), *ALIGNED)]
    assert before[0] == GOLDEN
    assert len(set(before)) == 3
    monkeypatch.setattr(alignment, "FORMULA", "another")
    after = [square_stage(32), square_stage(32, "chest"), pose_stage()]
    same = [stage.spec.folder_name() == name for stage, name in zip(after, before, strict=True)]
    assert same == [True, False, False]


@pytest.mark.slow
def test_a_pose_that_is_missing_is_decoded_beside_the_squares_that_are_there(tiny, opened, decoded):
    images = tiny.splits["test"]
    fill_squares(tiny, images, ALIGNED[:1], opened)
    fill_squares(tiny, images.take([4, 1]), ALIGNED[1:], opened)
    assert len(decoded) == len(images) + 2
    fill_squares(tiny, images, [*STAGES[1:], *ALIGNED], opened)
    assert len(decoded) == 2 * len(images) + 2
    aligner = alignment.Aligner([32])
    squares, poses = (opened.rows(stage).read(images.digests, 0) for stage in ALIGNED)
    for index, encoded in tiny.encoded(images):
        aligned, pose = aligner(decode.pixels(encoded, ""))
        np.testing.assert_array_equal(squares[index, ..., 0], aligned[32])
        np.testing.assert_array_equal(poses[index], pose)


def test_an_image_is_known_by_its_id_and_its_pixels(tiny):
    images = tiny.splits["test"]
    digests = {digest.tobytes() for digest in images.digests}
    assert len(digests) == len(images)
    renamed = images.take(range(len(images)))
    renamed.image_ids[0] = "another"
    assert renamed.digests[0].tobytes() not in digests
    np.testing.assert_array_equal(renamed.digests[1:], images.digests[1:])
    changed = images.take(range(len(images)))
    changed.sha256[1, 0] ^= 1
    assert changed.digests[1].tobytes() not in digests


def test_missing_counts_rows_of_all_views(tiny, opened):
    images = tiny.splits["test"]
    assert opened.missing(STAGES[0], images, (0, 1, 2)) == 3 * len(images)
    fill_squares(tiny, images, STAGES[:1], opened)
    assert opened.missing(STAGES[0], images, (0, 1, 2)) == 2 * len(images)


def test_a_folder_is_opened_once_and_held_until_all_are_closed(tiny, opened, tmp_path):
    rows = opened.rows(STAGES[0])
    assert opened.rows(square_stage(SIZES[0])) is rows
    assert not cache_folders.remove(rows.folder)
    opened.close()
    assert cache_folders.remove(rows.folder)


def test_a_cache_that_can_not_be_written_is_a_sentence(tiny, tmp_path):
    from trainer.run.errors import RunError

    (tmp_path / "file").write_text("")
    opened = OpenStages(tmp_path / "file")
    with pytest.raises(RunError, match=r"can't be used .* give another --cache_dir"):
        fill_squares(tiny, tiny.splits["test"], STAGES, opened)


@pytest.mark.parametrize(
    ("stage", "words"),
    [
        (square_stage(32), "square, 32 px, uint8"),
        (square_stage(32, "chest"), "square, 32 px, uint8, aligned"),
        (pose_stage(), "pose, float32"),
    ],
)
def test_the_list_of_the_cache_names_what_is_aligned(stage, words):
    assert cache_report.stage(vars(stage.spec)) == words
