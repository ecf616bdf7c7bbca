"""DICOM's values: every transfer syntax, modality and VOI transformations, padding, colours."""

import imagecodecs
import numpy as np
import pydicom
import pytest
from pydicom.encaps import encapsulate
from pydicom.pixels import get_decoder
from pydicom.uid import (
    JPEG2000,
    UID,
    ExplicitVRBigEndian,
    HTJ2KLossless,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGExtended12Bit,
    JPEGLossless,
    JPEGLosslessSV1,
    JPEGLSLossless,
    JPEGLSNearLossless,
    RLELossless,
)

from covid_tfds import reading
from covid_tfds.reading import dicom as dicom_files
from covid_tfds.reading import dicom_pixels
from tests.covid_tfds.reading.made_files import (
    GREY,
    SIGNED,
    TWELVE,
    assert_alike,
    dataset,
    dicom,
    pixels,
    unmarked,
    with_marker,
    written,
)
from tests.helpers.images import encoded

RGB = np.stack([GREY] * 3, -1)


@pytest.mark.parametrize(
    "values,bits",
    [(GREY, 8), (TWELVE, 12), (TWELVE, 16), (SIGNED, 16), (SIGNED, 12), (RGB, 8)],
    ids=["8", "12", "16", "signed 16", "signed 12", "rgb"],
)
def test_every_transfer_syntax_that_pydicom_writes_gives_the_same_pixels(values, bits):
    plain = pixels(dicom(values, bits))
    assert_alike(plain, GREY)
    np.testing.assert_array_equal(
        pixels(written(dataset(values, bits), ImplicitVRLittleEndian)), plain
    )
    swapped = values.ravel().view(np.uint16).byteswap()  # words, and bytes of 8 bits in words, too
    made = dataset(values, bits, PixelData=swapped.tobytes())
    made["PixelData"].VR = "OW"
    np.testing.assert_array_equal(pixels(written(made, ExplicitVRBigEndian)), plain)
    for syntax in (RLELossless, JPEGLSLossless, JPEG2000Lossless):
        made = dataset(values, bits)
        made.compress(syntax, generate_instance_uid=False)
        np.testing.assert_array_equal(pixels(written(made)), plain)


def test_lossy_transfer_syntaxes_that_pydicom_writes_give_nearly_the_same_pixels():
    for syntax, options in ((JPEGLSNearLossless, {"jls_error": 2}), (JPEG2000, {"j2k_cr": [4]})):
        made = dataset(TWELVE, 12)
        made.compress(syntax, generate_instance_uid=False, **options)
        assert_alike(pixels(written(made)), GREY, tolerance=3)


def encapsulated(values: np.ndarray, bits: int, frame: bytes, syntax: UID, **elements) -> bytes:
    made = dataset(values, bits, PixelData=encapsulate([frame]), **elements)
    made["PixelData"].VR = "OB"
    made["PixelData"].is_undefined_length = True
    return written(made, syntax)


JPEG = {
    "baseline": (GREY, 8, encoded(GREY, "JPEG", quality=98), JPEGBaseline8Bit, 4),
    "extended, 12 bits": (
        TWELVE, 12, imagecodecs.jpeg8_encode(TWELVE, level=98, bitspersample=12),
        JPEGExtended12Bit, 2),
    "extended, 8 bits": (GREY, 8, encoded(GREY, "JPEG", quality=98), JPEGExtended12Bit, 4),
    "lossless": (
        TWELVE, 12, imagecodecs.jpeg8_encode(TWELVE, lossless=True, bitspersample=12),
        JPEGLossless, 1),
    "lossless, 16 bits": (
        TWELVE, 16, imagecodecs.jpeg8_encode(TWELVE, lossless=True, bitspersample=16),
        JPEGLosslessSV1, 1),
    "lossless, signed": (
        SIGNED, 16, imagecodecs.jpeg8_encode(SIGNED.view(np.uint16), lossless=True,
                                             bitspersample=16), JPEGLosslessSV1, 1),
    "JPEG 2000": (
        TWELVE, 12, imagecodecs.jpeg2k_encode(TWELVE, codecformat="j2k", reversible=True,
                                              bitspersample=12), HTJ2KLossless, 1),
}  # fmt: skip


@pytest.mark.parametrize("name", JPEG)
def test_jpeg_that_pydicom_can_t_write_is_read(name):
    values, bits, frame, syntax, tolerance = JPEG[name]
    assert_alike(pixels(encapsulated(values, bits, frame, syntax)), GREY, tolerance)


@pytest.mark.parametrize("name", ["extended, 12 bits", "lossless", "JPEG 2000"])
def test_a_frame_that_is_cut_off_is_refused(name):
    values, bits, frame, syntax, _ = JPEG[name]
    with pytest.raises(reading.Unusable, match="truncated or damaged"):
        pixels(encapsulated(values, bits, frame[: len(frame) // 2 // 2 * 2], syntax))


@pytest.mark.parametrize("name", ["baseline", "extended, 8 bits"])
def test_a_frame_that_is_damaged_inside_is_refused(name):
    values, bits, frame, syntax, _ = JPEG[name]
    middle = len(frame) // 2
    damaged = frame[:middle] + bytes(200) + frame[middle + 200 :]
    with pytest.raises(reading.Unusable, match="truncated or damaged"):
        pixels(encapsulated(values, bits, damaged, syntax))


def test_colours_of_a_jpeg_are_converted():
    frame = encoded(RGB, "JPEG", quality=98, subsampling=0)
    for photometric in ("YBR_FULL", "YBR_FULL_422"):
        data = encapsulated(RGB, 8, frame, JPEGBaseline8Bit, PhotometricInterpretation=photometric)
        assert_alike(pixels(data), GREY, tolerance=5)


def test_a_frame_that_is_not_of_the_header_s_size_is_refused():
    large = np.tile(TWELVE, (9, 9))
    for values in (large, TWELVE[:50]):
        frame = imagecodecs.jpegls_encode(values)
        with pytest.raises(reading.Unusable, match="truncated or damaged"):
            reading.read_image(encapsulated(TWELVE, 16, frame, JPEGLSLossless))


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_frames_are_decoded_as_pydicom_s_own_plug_ins_do():
    from tests.covid_tfds.reading.test_dicom import PYDICOM

    same = 0
    for path in sorted((PYDICOM / "test_files").glob("*.dcm")):
        found = pydicom.dcmread(path, force=True)
        syntax = found.file_meta.get("TransferSyntaxUID")
        if "PixelData" not in found or "Rows" not in found or syntax is None:
            continue
        try:
            wanted = get_decoder(syntax).as_array(found, index=0)[0]
        except (RuntimeError, ValueError):  # damaged, or no plug-in of pydicom's own
            continue
        data, deflated = dicom_files._inflated(path.read_bytes())
        parsed = dicom_files._parsed(data, dicom_pixels.TAGS, pixels=True)
        if int(found.get("NumberOfFrames") or 1) > 1 and syntax.is_encapsulated:
            continue
        uid = dicom_pixels._transfer_syntax(parsed, deflated)
        np.testing.assert_array_equal(dicom_pixels._decoded(parsed, uid).values, wanted)
        same += 1
    assert same >= 40


def lut(entries: np.ndarray, first: int = 0, bits: int = 16, word: str = "<u2"):
    item = pydicom.Dataset()
    item.add_new(0x00283002, "US", [len(entries) % 65536, first % 65536, bits])
    item.add_new(0x00283006, "OW", np.asarray(entries, word).tobytes())
    return pydicom.Sequence([item])


def without(sequence: pydicom.Sequence, element: str) -> pydicom.Sequence:
    del sequence[0][element]
    return sequence


INVERSE = np.arange(4096)[::-1] * 16
HALF = {"WindowCenter": 1023.5, "WindowWidth": 2048}
DARK = np.minimum(TWELVE * (255 / 2047), 255)
TRANSFORMATIONS = {
    "none": ({}, GREY),
    "identity": ({"RescaleSlope": 1, "RescaleIntercept": 0}, GREY),
    "rescale": ({"RescaleSlope": 2, "RescaleIntercept": -1000}, GREY),
    "rescale, falling": ({"RescaleSlope": -1, "RescaleIntercept": 4095}, 255 - GREY),
    "rescale by 0": ({"RescaleSlope": 0, "RescaleIntercept": 7}, GREY),
    "window": (HALF, DARK),
    "exact window": (HALF | {"VOILUTFunction": "LINEAR_EXACT"}, DARK),
    "window in other words": (HALF | {"VOILUTFunction": "linear"}, DARK),
    "window after rescale": (
        {"RescaleSlope": 2, "RescaleIntercept": -1000, "WindowCenter": 1047.5,
         "WindowWidth": 4096}, DARK),
    "first of several windows": (
        {"WindowCenter": [1023.5, 10], "WindowWidth": [2048, 20]}, DARK),
    "second window after one that can't be": (
        {"WindowCenter": [0, 1023.5], "WindowWidth": [0, 2048]}, DARK),
    "sigmoid": (
        {"WindowCenter": 2048, "WindowWidth": 4096, "VOILUTFunction": "SIGMOID"},
        255 / (1 + np.exp(-4 * (TWELVE - 2048.0) / 4096))),
    "window of no width": ({"WindowCenter": 2048, "WindowWidth": 0}, GREY),
    "window far away": ({"WindowCenter": 60000, "WindowWidth": 100}, GREY),
    "window too wide": ({"WindowCenter": 32768, "WindowWidth": 65535}, GREY),
    "modality LUT": ({"ModalityLUTSequence": lut(INVERSE)}, 255 - GREY),
    "VOI LUT": ({"VOILUTSequence": lut(INVERSE)}, 255 - GREY),
    "VOI LUT before window": ({"VOILUTSequence": lut(INVERSE)} | HALF, 255 - GREY),
    "VOI LUT of 8 bits in words": (
        {"VOILUTSequence": lut(np.arange(4096)[::-1] >> 4, bits=8)}, 255 - GREY),
    "VOI LUT of 8 bits, two entries a word": (
        {"VOILUTSequence": lut(np.arange(4096)[::-1] >> 4, bits=8, word="u1")}, 255 - GREY),
    "VOI LUT of no such depth": ({"VOILUTSequence": lut(INVERSE, bits=40)} | HALF, DARK),
    "VOI LUT without entries": (
        {"VOILUTSequence": without(lut(INVERSE), "LUTData")} | HALF, DARK),
    "modality LUT without a descriptor": (
        {"ModalityLUTSequence": without(lut(INVERSE), "LUTDescriptor"), "RescaleSlope": -1,
         "RescaleIntercept": 4095}, 255 - GREY),
    "VOI LUT of signed values": (
        {"RescaleSlope": 1, "RescaleIntercept": -2048,
         "VOILUTSequence": lut(INVERSE, first=-2048)}, 255 - GREY),
    "empty VOI LUT": ({"VOILUTSequence": pydicom.Sequence([])} | HALF, DARK),
}  # fmt: skip


@pytest.mark.parametrize("name", TRANSFORMATIONS)
def test_transformations_of_the_header_are_applied(name):
    elements, wanted = TRANSFORMATIONS[name]
    assert_alike(pixels(dicom(TWELVE, 12, **elements)), wanted)
    data = written(dataset(TWELVE, 12, **elements), ImplicitVRLittleEndian)
    assert_alike(pixels(data), wanted)
    inverted = dicom(TWELVE, 12, PhotometricInterpretation="MONOCHROME1", **elements)
    assert_alike(pixels(inverted), 255 - np.asarray(wanted))


def test_a_window_that_is_no_number_is_ignored():
    made = dataset(TWELVE, 12, WindowCenter="1", WindowWidth="7")
    data = written(made).replace(b"DS\x02\x007 ", b"DS\x02\x00xy")
    assert_alike(pixels(data), GREY)


@pytest.mark.parametrize("photometric", ["MONOCHROME1", "MONOCHROME2"])
@pytest.mark.parametrize("limit", [None, 65535])
def test_padding_is_black_and_counts_for_nothing(photometric, limit):
    values = TWELVE // 2
    values[:50] = 60_000 if limit is None else np.linspace(60_000, 65_535, 5000).reshape(50, 100)
    elements = {} if limit is None else {"PixelPaddingRangeLimit": limit}
    data = dicom(
        values, PixelPaddingValue=60_000, PhotometricInterpretation=photometric, **elements
    )
    shown = pixels(data)
    wanted = GREY / 2 if photometric == "MONOCHROME2" else 255 - GREY / 2
    assert (shown[:50] == 0).all()
    assert_alike(shown[50:], wanted[50:])


def test_padding_of_signed_values_and_padding_that_is_everything():
    values = SIGNED.copy()
    values[:50] = -2000
    shown = pixels(dicom(values, PixelPaddingValue=-2000))
    assert_alike(shown[50:], GREY[50:], tolerance=3)
    assert (shown[:50] == 0).all()
    whole = dicom(TWELVE, 12, PixelPaddingValue=0, PixelPaddingRangeLimit=4095)
    assert_alike(pixels(whole), GREY)


def test_bits_stored_say_the_range_and_markers_do_not():
    fourteen = TWELVE * np.uint16(2)
    assert_alike(pixels(dicom(fourteen, 14)), GREY / 2)
    assert_alike(unmarked(pixels(dicom(with_marker(TWELVE, 65535)))), unmarked(GREY))
    assert_alike(unmarked(pixels(dicom(with_marker(TWELVE, 65535), 12))), unmarked(GREY))


def test_bits_that_are_not_where_they_should_be_are_found():
    overlay = TWELVE.copy()
    overlay[10:14, 10:60] |= 0x8000  # an overlay in a bit that is not used
    assert_alike(pixels(dicom(overlay, 12)), GREY)
    swapped = written(dataset(overlay.byteswap(), 12), ExplicitVRBigEndian)
    np.testing.assert_array_equal(pixels(swapped), pixels(dicom(overlay, 12)))
    assert_alike(pixels(dicom(TWELVE * np.uint16(16), 12, HighBit=15)), GREY)
    assert_alike(pixels(dicom(GREY.astype(np.uint16) * 257, 12)), GREY)  # 16 bits, not 12
    unextended = (SIGNED + 1024).astype(np.int16) - 1024 & 0x0FFF
    assert_alike(pixels(dicom(unextended.astype(np.int16), 12)), GREY)


def test_colours_become_grey():
    deep = RGB.astype(np.uint16) * 257
    planes = np.ascontiguousarray(np.moveaxis(RGB, 2, 0)).tobytes()
    assert_alike(pixels(dicom(deep)), GREY)
    assert_alike(pixels(dicom(RGB, PixelData=planes, PlanarConfiguration=1)), GREY)
    ybr = np.stack([GREY, np.full_like(GREY, 128), np.full_like(GREY, 128)], -1)
    assert_alike(pixels(dicom(ybr, PhotometricInterpretation="YBR_FULL")), GREY)
    palette = {
        f"{colour}PaletteColorLookupTable{part}": value
        for colour in ("Red", "Green", "Blue")
        for part, value in (
            ("Descriptor", [256, 0, 16]),
            ("Data", (np.arange(256)[::-1] * 257).astype("<u2").tobytes()),
        )
    }
    for syntax in (ImplicitVRLittleEndian, None):
        made = dataset(GREY, PhotometricInterpretation="PALETTE COLOR", **palette)
        assert_alike(pixels(written(made, *([syntax] if syntax else []))), 255 - GREY)


def test_a_colour_space_that_nothing_converts_is_refused():
    with pytest.raises(reading.Unusable, match="colour space"):
        reading.read_image(dicom(GREY, PhotometricInterpretation="HSV"))
