"""DICOM: which objects are read, what is said of the person, and that nothing else gets out."""

import logging
import math
import pathlib
import warnings

import numpy as np
import pydicom
import pytest
from pydicom.uid import (
    MPEG2MPML,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
)

from covid_tfds import reading
from tests.covid_tfds.reading.made_files import (
    GREY,
    TWELVE,
    assert_alike,
    dataset,
    dicom,
    pixels,
    written,
)


def reason(data: bytes) -> str:
    with pytest.raises(reading.Unusable) as refused:
        reading.read_image(data)
    assert refused.value.__context__ is None and refused.value.__cause__ is None
    return str(refused.value)


def header(**elements) -> reading.Header:
    return reading.read_image(dicom(GREY, **elements)).header


def test_a_radiograph_is_read_and_described():
    read = reading.read_image(dicom(TWELVE, 12))
    assert_alike(read.pixels, GREY)
    assert (read.width, read.height, read.mode, read.format) == (100, 120, "I;12", "DICOM")


def test_what_the_header_says_of_the_person():
    said = header(PatientID=" P7 ", PatientSex="F", PatientAge="045Y", ViewPosition="pa")
    assert said == reading.Header("P7", "F", 45.0, "PA", "DX")
    assert header(PatientID=None).patient_id == header(PatientID="").patient_id == ""


@pytest.mark.parametrize("view", ["PA SMITH JOHN", "PA\nx", "1", ""])
def test_free_text_in_the_place_of_a_projection_is_not_kept(view):
    assert header(ViewPosition=view).projection == ""


@pytest.mark.parametrize(
    "age,years",
    [
        ("045Y", 45),
        ("081", 81),
        ("7", 7),
        ("006M", 0.5),
        ("003W", 21 / 365.25),
        ("010D", 10 / 365.25),
        ("45Y", 45),
    ],
)
def test_ages_are_in_years(age, years):
    assert header(PatientAge=age).age == pytest.approx(years)


@pytest.mark.parametrize("age", ["", "121", "130Y", "Y", "abcY", "-45Y", "045Y045Y", "4 5Y"])
def test_a_malformed_age_is_unknown(age):
    assert math.isnan(header(PatientAge=age).age)


@pytest.mark.parametrize("sex,kept", [("M", "M"), ("f", "F"), ("O", ""), ("", ""), ("MALE", "")])
def test_sexes_are_m_f_or_unknown(sex, kept):
    assert header(PatientSex=sex).sex == kept


@pytest.mark.parametrize(
    "patient",
    ["", "0", "0000", "Anonymous", "ANON", "anonymized", "Anonymous 0", "unknown", "None", "N/A",
     "na", "test", "TEST_00", "---", "00-00.0", "null", "anon^0"],
)  # fmt: skip
def test_a_placeholder_is_no_patient(patient):
    assert header(PatientID=patient).patient_id == ""


@pytest.mark.parametrize(
    "patient",
    ["P7", "007", "testament", "NA12878", "Nona", "anon7", "10", "ANON3F9C", "ANON3F92",
     "Anonym_12_B", "TEST01", "test_0012"],
)  # fmt: skip
def test_other_ids_are_kept(patient):
    assert header(PatientID=patient).patient_id == patient


def test_ids_that_are_not_ascii_stay_apart():
    ids = set()
    for name in ("Müller 1", "Möller 1"):
        for charset in ("ISO_IR 100", "ISO_IR 192"):
            said = header(SpecificCharacterSet=charset, PatientID=name).patient_id
            said.encode()
            ids.add(said)
    assert len(ids) == 2


def coded(meaning: str) -> list[pydicom.Dataset]:
    item = pydicom.Dataset()
    item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = "R-10236", "SRT", meaning
    return [item]


REFUSED = {
    "DICOM: modality CT, not a radiograph": {"Modality": "CT"},
    "DICOM: modality MG, not a radiograph": {"Modality": "mg"},
    "DICOM: modality without a code, not a radiograph": {"Modality": "Nobody^Nowhere, 1.1.1970"},
    "DICOM: body part HAND, not the chest": {"BodyPartExamined": "hand"},
    "DICOM: body part without a code, not the chest": {"BodyPartExamined": "of Nobody^Nowhere"},
    "DICOM: view LL, not a frontal one": {"ViewPosition": "LL"},
    "DICOM: view LATERAL, not a frontal one": {"ViewPosition": "lateral"},
    "DICOM: view RAO, not a frontal one": {"ViewPosition": "RAO"},
    "DICOM: view LAT ERECT, not a frontal one": {"ViewPosition": "Lat erect"},
    "DICOM: view LLAT, not a frontal one": {"ViewPosition": "LLAT"},
    "DICOM: view LEFT LATERAL, not a frontal one": {
        "ViewPosition": "",
        "ViewCodeSequence": coded("left lateral"),
    },
    "DICOM: for processing, not for presentation": {
        "PresentationIntentType": "FOR PROCESSING",
    },
    "DICOM: several frames": {"NumberOfFrames": 2},
    "DICOM without an image": {"Rows": None},
    "truncated or damaged": {"PixelData": None},
    "decompression bomb": {"Rows": 60_000, "Columns": 60_000},
    "DICOM directory, not an image": {"DirectoryRecordSequence": []},
}


@pytest.mark.parametrize("wanted", REFUSED)
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_what_is_no_chest_radiograph_is_refused_by_name(wanted):
    assert reason(dicom(GREY, **REFUSED[wanted])) == wanted


@pytest.mark.parametrize("modality", ["CR", "DX", "DR", "RG", "", None, "cr"])
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_radiographs_are_read(modality):
    np.testing.assert_array_equal(pixels(dicom(GREY, Modality=modality)), GREY)


def test_raw_data_are_known_by_their_class_where_no_intent_is_stated():
    raw = "1.2.840.10008.5.1.4.1.1.1.1.1"
    assert reason(dicom(GREY, SOPClassUID=raw)) == "DICOM: for processing, not for presentation"
    given = dicom(GREY, SOPClassUID=raw, PresentationIntentType="FOR PRESENTATION")
    np.testing.assert_array_equal(pixels(given), GREY)


@pytest.mark.parametrize("codes", [[], coded("postero-anterior"), coded("")])
def test_a_coded_view_that_is_frontal_or_none_is_read(codes):
    np.testing.assert_array_equal(
        pixels(dicom(GREY, ViewPosition="", ViewCodeSequence=codes)), GREY
    )


@pytest.mark.parametrize(
    "view",
    [
        "PA",
        "AP",
        "ap",
        "LLD",
        "AP SUPINE",
        "",
        "PA SMITH JOHN",
        "LEFT LATERAL DECUBITUS",
        "PA AND LATERAL",
    ],
)
def test_frontal_views_and_those_that_are_not_known_are_read(view):
    np.testing.assert_array_equal(pixels(dicom(GREY, ViewPosition=view)), GREY)


@pytest.mark.parametrize(
    "part",
    ["CHEST", "Thorax", "TÓRAX", "UNKNOWN", "", "LUNG", "RIBS", "PORT CHEST", "CHEST_ABDOMEN",
     "thoracic"],
)  # fmt: skip
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_chests_are_read(part):
    made = dataset(GREY, SpecificCharacterSet="ISO_IR 192", BodyPartExamined=part)
    np.testing.assert_array_equal(pixels(written(made)), GREY)


def test_a_transfer_syntax_that_nothing_decodes_is_named():
    made = dataset(GREY)
    made.file_meta.TransferSyntaxUID = MPEG2MPML
    made.PixelData = pydicom.encaps.encapsulate([GREY.tobytes()])
    made["PixelData"].is_undefined_length = True
    name = "MPEG2 Main Profile / Main Level"
    assert reason(written(made)) == f"DICOM: transfer syntax {name} can't be decoded"
    made.file_meta.TransferSyntaxUID = "1.2.3.4.5"
    assert "transfer syntax of a private kind" in reason(written(made))


@pytest.mark.parametrize("syntax", [ImplicitVRLittleEndian, ExplicitVRLittleEndian])
def test_files_without_preamble_are_read(syntax):
    data = written(dataset(TWELVE, 12), syntax)
    assert_alike(pixels(data[132:]), GREY)
    assert_alike(pixels(data[data.index(b"\x08\0") :]), GREY)  # nor file meta information


def test_big_endian_files_without_preamble_are_read():
    data = written(dataset(TWELVE.byteswap(), 12), ExplicitVRBigEndian)
    assert_alike(pixels(data[132:]), GREY)
    assert_alike(pixels(data[data.index(b"\0\x08\0") :]), GREY)


@pytest.mark.slow
def test_a_deflated_file_is_inflated_within_its_header_s_limit():
    assert_alike(pixels(written(dataset(TWELVE, 12), DeflatedExplicitVRLittleEndian)), GREY)
    made = dataset(GREY)
    made.PixelData = bytes(60_000_000)  # behind 12,000 pixels
    bomb = written(made, DeflatedExplicitVRLittleEndian)
    assert len(bomb) < 100_000
    assert reason(bomb) == "decompression bomb"
    assert reason(bomb[132:]) == "decompression bomb"
    data = written(dataset(TWELVE, 12), DeflatedExplicitVRLittleEndian)
    assert_alike(pixels(data[:132] + data[144:]), GREY)  # without the length of its first group
    assert reason(data[: len(data) // 2]) == "truncated or damaged"


def test_pixels_that_are_cut_off_are_refused():
    data = dicom(TWELVE, 12)
    for share in (0.5, 0.9, 0.99):
        assert reason(data[: int(len(data) * share)]) == "truncated or damaged"


LEAKY = {  # malformed, so that pydicom would warn and quote them
    "PatientID": "Secret" * 20,
    "PatientBirthDate": "Secret",
    "PatientAge": "Secret",
    "PatientSex": "secret, too",
    "StudyDate": "Secret",
    "ViewPosition": "secret",
    "WindowWidth": "0.12345678901234567890",
    "WindowCenter": "0.5",
    "NumberOfFrames": "1 Secret",
}


def test_nothing_of_the_header_is_printed_logged_or_raised(capfd, caplog):
    caplog.set_level(logging.DEBUG)
    made = dataset(GREY)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        made.PatientName = "Secret^" * 12
        for keyword, value in LEAKY.items():
            element = pydicom.DataElement(keyword, pydicom.datadict.dictionary_VR(keyword), "")
            element._value = value
            made[keyword] = element
        data = written(made)
    caplog.clear()
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        assert reading.read_image(data).header.patient_id == LEAKY["PatientID"]
        refusals = [reason(data[:-5000]), reason(data.replace(b"DX", b"MR"))]
    seen = [*map(str, warned), caplog.text, *capfd.readouterr(), *refusals]
    assert "secret" not in "".join(map(str, seen)).lower()
    assert not caplog.records


PYDICOM = pathlib.Path(pydicom.__file__).parent / "data"


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_pydicom_s_own_files_are_images_or_refused_for_a_reason():
    """All that the wheel holds; none is a chest radiograph."""
    files = [path for path in sorted(PYDICOM.rglob("*")) if path.is_file()]
    refused = {path.name: reason(path.read_bytes()) for path in files if path.suffix != ".py"}
    assert len(refused) > 150
    assert refused["CT_small.dcm"] == "DICOM: modality CT, not a radiograph"
    assert refused["DICOMDIR"] == "DICOM directory, not an image"
    assert refused["test-SR.dcm"] == refused["rtplan.dcm"] == "DICOM without an image"
    assert refused["6154"] == "DICOM: body part CSPINE, not the chest"
    assert refused["JPEGLSNearLossless_16.dcm"] == "not an X-ray: too small"
    assert refused["SC_rgb_jls_lossy_line.dcm"] == "not an X-ray: a colour picture"
    assert set(refused.values()) >= {"not an image", "truncated or damaged"}
