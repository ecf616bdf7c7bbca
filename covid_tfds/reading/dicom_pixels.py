"""The pixels of a DICOM image: decoded, brought to the bits stored, colours to RGB."""

import dataclasses
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from covid_tfds.reading import dicom_codecs, dicom_grey
from covid_tfds.reading.decoded import DAMAGED, Header, Raster, Unusable
from covid_tfds.reading.dicom_elements import TRANSFER_SYNTAX, text, word, words
from covid_tfds.reading.dicom_grey import Stored
from covid_tfds.reading.samples import Samples, to_raster

if TYPE_CHECKING:
    import pydicom

_SAMPLES, _PHOTOMETRIC, _ROWS, _COLUMNS = 0x00280002, 0x00280004, 0x00280010, 0x00280011
_BITS_ALLOCATED, _BITS_STORED, _HIGH_BIT, _SIGNED = 0x00280100, 0x00280101, 0x00280102, 0x00280103
_PLANAR, _PIXELS = 0x00280006, 0x7FE00010
_PALETTE_DESCRIPTORS = (0x00281101, 0x00281102, 0x00281103)
_PALETTE = [
    *(*_PALETTE_DESCRIPTORS, 0x00281201, 0x00281202, 0x00281203),
    *(0x00281221, 0x00281222, 0x00281223),
]
# All that is read of the object beside the header's few texts.
TAGS = [
    *(_SAMPLES, _PHOTOMETRIC, _PLANAR, _ROWS, _COLUMNS, _BITS_ALLOCATED, _BITS_STORED, _HIGH_BIT),
    *(_SIGNED, *dicom_grey.TAGS, *_PALETTE, _PIXELS),
]
_IMPLICIT, _EXPLICIT, _BIG_ENDIAN = (f"1.2.840.10008.1.2{end}" for end in ("", ".1", ".2"))
_MAX_BEYOND = 0.05  # share of pixels beyond the bits stored; with more of them, the bits are wrong


def read(dataset: "pydicom.FileDataset", deflated: bool, header: Header) -> Raster:
    """Decodes the pixels.

    Args:
        dataset: The object's elements of `TAGS`.
        deflated: Whether it was inflated before it was read.
        header: What it says of the person.

    Raises:
        Unusable: No decoder for its transfer syntax, or a colour space that can't be decoded.
    """
    stored = _decoded(dataset, _transfer_syntax(dataset, deflated))
    if stored.photometric in ("MONOCHROME1", "MONOCHROME2"):
        shown = dicom_grey.to_grey(dataset, stored)
        kind = "L" if stored.bits <= 8 else f"I;{stored.bits}"
        mode = kind + "S" * stored.signed
        return Raster(Image.fromarray(shown), None, mode, "DICOM", header)
    if stored.photometric == "PALETTE COLOR":
        samples = _through_palette(dataset, stored)
    elif stored.photometric == "RGB" and stored.values.shape[2:] == (3,):
        samples = Samples(stored.values, stored.bits)
    else:
        raise Unusable("DICOM: colour space can't be decoded")
    return dataclasses.replace(to_raster(samples, "DICOM"), header=header)


def _transfer_syntax(dataset: "pydicom.FileDataset", deflated: bool) -> str:
    uid = text(dataset.file_meta, TRANSFER_SYNTAX)
    if uid and not deflated:
        return uid
    implicit, little = dataset.original_encoding
    return (_IMPLICIT if implicit else _EXPLICIT) if little else _BIG_ENDIAN


def _decoded(dataset: "pydicom.FileDataset", uid: str) -> Stored:
    """The pixels as they are stored, colours as RGB."""
    import pydicom

    decoder = dicom_codecs.decoder_of(uid)
    if decoder is None:
        name = pydicom.uid.UID(uid).name
        name = name if name != uid else "of a private kind"
        raise Unusable(f"DICOM: transfer syntax {name} can't be decoded")
    element = dataset.get_item(_PIXELS)
    if element is None or not element.value:
        raise Unusable(DAMAGED)
    options = _layout(dataset) | {"pixel_keyword": "PixelData", "pixel_vr": str(element.VR)}
    allocated, bits = options["bits_allocated"], options["bits_stored"]
    pixels = element.value
    if decoder.is_native:  # what stands behind the pixels would be taken for further frames
        samples = options["rows"] * options["columns"] * options["samples_per_pixel"]
        size = -(-samples * allocated // 8)
        pixels = pixels[: size + size % 2]
    values, found = decoder.as_array(pixels, index=0, **options)
    values = values.astype(values.dtype.newbyteorder("="), copy=False)
    if decoder.is_native or uid == dicom_codecs.RLE:
        _to_lowest_bits(values, bits, word(dataset, _HIGH_BIT, bits - 1) + 1 - bits)
    bits = _without_unused_bits(values, bits)
    signed = options["pixel_representation"] == 1
    return Stored(values, bits, signed, str(found["photometric_interpretation"]))


def _layout(dataset: "pydicom.FileDataset") -> dict[str, Any]:
    """pydicom's options for the one frame; unused bits are cleared by `_without_unused_bits`."""
    allocated = word(dataset, _BITS_ALLOCATED, 8)
    return {
        "rows": word(dataset, _ROWS, 0),
        "columns": word(dataset, _COLUMNS, 0),
        "samples_per_pixel": word(dataset, _SAMPLES, 1),
        "number_of_frames": 1,
        "bits_allocated": allocated,
        "bits_stored": min(allocated, word(dataset, _BITS_STORED, allocated) or allocated),
        "pixel_representation": int(word(dataset, _SIGNED, 0) == 1),
        "photometric_interpretation": text(dataset, _PHOTOMETRIC).upper() or "MONOCHROME2",
        "planar_configuration": word(dataset, _PLANAR, 0),
        "correct_unused_bits": False,
        "allow_excess_frames": False,
    }


def _to_lowest_bits(values: np.ndarray, bits: int, shift: int) -> None:
    """Moves samples whose high bit is not their number of bits less one, in place."""
    if 0 < shift <= 8 * values.itemsize - bits:
        unsigned = values.view(f"u{values.itemsize}")
        np.right_shift(unsigned, shift, out=unsigned)


def _without_unused_bits(values: np.ndarray, bits: int) -> int:
    """Clears what stands above the bits stored (overlays, text), in place.

    Returns:
        The bits in use: all of the container where too many samples need more than are stated.
    """
    spare = 8 * values.itemsize - bits
    if spare <= 0 or values.dtype.kind not in "iu":
        return bits
    above = values.view(f"u{values.itemsize}") >> bits
    wrong = above != 0
    if values.dtype.kind == "i":
        wrong &= above != (1 << spare) - 1
    if np.count_nonzero(wrong) > _MAX_BEYOND * values.size:
        return 8 * values.itemsize
    np.left_shift(values, spare, out=values)
    np.right_shift(values, spare, out=values)
    return bits


def _through_palette(dataset: "pydicom.FileDataset", stored: Stored) -> Samples:
    import pydicom
    from pydicom.pixels import apply_color_lut

    palette = pydicom.Dataset()
    for tag in _PALETTE:
        if tag in dataset and tag in _PALETTE_DESCRIPTORS:
            palette.add_new(tag, "US", words(dataset, tag).tolist())
        elif tag in dataset:
            palette.add_new(tag, "OW", dataset.get_item(tag).value)
    indices = np.arange(1 << min(16, stored.bits), dtype=stored.values.dtype)
    colours = apply_color_lut(indices, palette)
    return Samples(colours[stored.values], 8 * colours.itemsize)
