"""Which images of other data a network has seen."""

import pytest

from trainer.evaluation import overlap

USED = {
    "split": ["train", "train", "validation", "test", "train"],
    "image_sha256": ["a", "b", "c", "d", "e"],
    "source": ["kaggle", "kaggle", "cohen", "cohen", "own"],
    "patient": ["kaggle/1", "kaggle/2", "cohen/3", "cohen/4", "own/x.png"],
    "image_id": ["k/1", "k/2", "c/3", "c/4", "own/x.png"],
}


def reasons(*images):
    """Of images with a digest, a source, a patient and a group each."""
    digests, sources, patients, groups = zip(*images, strict=True)
    persons = list(zip(sources, patients, strict=True))
    return overlap.reasons(USED, digests, persons, groups).tolist()


@pytest.mark.parametrize(
    "image,reason",
    [(("b", "own", "own/p", "g"), "trained_on"),
     (("new", "kaggle", "kaggle/2", "g"), "patient_trained_on"),
     (("c", "own", "own/p", "g"), "validation"),
     (("new", "cohen", "cohen/3", "g"), "patient_of_validation"),
     (("d", "cohen", "cohen/4", "g"), ""),
     (("new", "own", "own/p", "g"), "")],
)  # fmt: skip
def test_an_image_is_known_by_its_pixels_or_its_patient(image, reason):
    assert reasons(image) == [reason]
    assert reason in ("", *overlap.REASONS)


def test_a_patient_of_another_source_is_another_person():
    assert reasons(("new", "hospital", "kaggle/2", "g")) == [""]


def test_a_file_of_the_same_name_is_no_patient():
    assert reasons(("new", "own", "own/x.png", "g")) == [""]


def test_the_whole_group_of_a_known_image_goes():
    known, mate, other = (
        ("a", "own", "own/p", "g"), ("new", "own", "own/q", "g"), ("newer", "own", "own/r", "h"),
    )  # fmt: skip
    assert reasons(known, mate, other) == ["trained_on", "patient_trained_on", ""]


def test_train_goes_before_validation():
    both = ("c", "own", "own/p", "g"), ("a", "own", "own/p", "g")
    assert reasons(*both) == ["patient_trained_on", "trained_on"]
