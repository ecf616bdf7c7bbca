"""Which images of other data a network has seen."""

import pytest

from trainer.inference import overlap

COLUMNS = ("image_sha256", "source", "patient", "group", "image_id")
SPLITS = ("train", "train", "validation", "train", "train", "train", "train")
USED = {"split": SPLITS} | dict(
    zip(COLUMNS, zip(*[
        ("a", "kaggle", "kaggle/1", "kaggle/1", "k/1"),
        ("b", "kaggle", "kaggle/2", "kaggle/2", "k/2"),
        ("c", "cohen", "cohen/3", "cohen/3", "c/3"),
        ("e", "own", "own/x.png", "own/x.png", "own/x.png"),
        ("f", "Site One", "Site One/Anna B", "Site One/Anna B", "own/f.png"),
        ("g", "own", "own/study 7", "dicom-abc", "own/g.dcm"),
        ("h", "own", "dicom-def", "dicom-def", "own/h.dcm"),
    ], strict=True), strict=True)
)  # fmt: skip
CLOSED = dict(zip(COLUMNS, [["d"], ["cohen"], ["cohen/4"], ["cohen/4"], ["c/4"]], strict=True))


def reasons(*images, closed=None):
    """Of images with a digest, a source, a patient and a group each."""
    rows = [(*image, f"own/{number}.png") for number, image in enumerate(images)]
    given = dict(zip(COLUMNS, zip(*rows, strict=True), strict=True))
    return overlap.reasons(USED, given, closed).tolist()


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


def test_a_test_split_that_the_run_keeps_closed_stays_closed():
    given = [
        ("d", "own", "own/p", "g"),
        ("new", "cohen", "cohen/4", "h"),
        ("e", "own", "own/q", "i"),
    ]
    assert reasons(*given, closed=CLOSED) == ["unopened", "patient_unopened", "trained_on"]
    assert reasons(*given) == ["", "", "trained_on"]
    both = ("d", "cohen", "cohen/3", "g")  # of test, and said to be of a patient of validation
    assert reasons(both, closed=CLOSED) == ["patient_of_validation"]


@pytest.mark.parametrize("source,patient", [
    ("Site One", "Site One/ANNA  B"), ("site one", "site one/anna b"), ("SiteOne", "SiteOne/annab"),
    ("siteone", "Site One/Anna B"),  # the patient has the spelling of its first image
])  # fmt: skip
def test_a_patient_is_known_under_any_spelling(source, patient):
    assert reasons(("new", source, patient, "g")) == ["patient_trained_on"]


def test_a_patient_of_another_source_is_another_person():
    assert reasons(("new", "hospital", "hospital/2", "g")) == [""]
    assert reasons(("new", "hospital", "hospital/Anna B", "g")) == [""]
    assert reasons(("new", "hospital", "hospital/study 7", "g")) == [""]


def test_names_without_a_source_are_those_of_any_source_of_a_users_own():
    assert reasons(("new", "own", "own/anna b", "g")) == ["patient_trained_on"]
    assert reasons(("new", "own", "own/2", "g")) == [""]  # a number of a public source


def columns(split, *images):
    """Of images with a source and a patient each; other pixels in each call."""
    rows = [
        (split, f"{split} {name}", source, f"{source}/{name}", name, f"{source}/{name}.png")
        for source, name in images
    ]
    return dict(zip(("split", *COLUMNS), zip(*rows, strict=True), strict=True))


def test_a_copy_of_kaggles_archive_is_known_by_names_that_only_it_has():
    published = columns("train", ("kaggle", "person7_virus"), ("kaggle", "IM-0115"))
    copies = columns("images", ("own", "person7_virus"), ("own", "IM-0115"), ("own", "a"))
    known = ["patient_trained_on", "patient_trained_on"]
    assert overlap.reasons(published, copies).tolist() == [*known, ""]
    # The other way round: a network of copies, on the archive.
    assert overlap.reasons(columns("train", ("own", "person7_virus")), columns(
        "images", ("kaggle", "person7_virus"), ("kaggle", "person8_virus")
    )).tolist() == [known[0], ""]  # fmt: skip


def test_a_bare_name_of_kaggles_that_other_programs_export_too_is_no_copy():
    published = columns("train", ("kaggle", "IM-0115"))
    assert overlap.reasons(published, columns("images", ("own", "IM-0115"))).tolist() == [""]
    elsewhere = columns("images", ("hospital", "person7_virus"), ("hospital", "IM-0115"))
    assert overlap.reasons(published, elsewhere).tolist() == ["", ""]


@pytest.mark.parametrize("patient,group", [
    ("dicom-abc", "dicom-abc"), ("dicom-def", "dicom-def"), ("own/case 3", "dicom-abc"),
    ("own/case 4", "dicom-def"),
])  # fmt: skip
def test_a_person_of_a_dicom_header_is_known_whoever_else_is_named(patient, group):
    assert reasons(("new", "own", patient, group)) == ["patient_trained_on"]


def test_a_source_that_is_called_like_a_headers_key_is_a_source():
    assert reasons(("new", "dicom-abc", "dicom-abc/5", "g")) == [""]


def test_a_file_of_the_same_name_is_no_patient():
    given = [("new", "own", "own/x.png", "g")]
    assert reasons(*given) == [""]


def test_the_whole_group_of_a_known_image_goes():
    known, mate, other = (
        ("a", "own", "own/p", "g"), ("new", "own", "own/q", "g"), ("newer", "own", "own/r", "h"),
    )  # fmt: skip
    assert reasons(known, mate, other) == ["trained_on", "patient_trained_on", ""]


def test_train_goes_before_validation():
    both = ("c", "own", "own/p", "g"), ("a", "own", "own/p", "g")
    assert reasons(*both) == ["patient_trained_on", "trained_on"]
