"""DICOM, TIFF and PNG files for the tests, made on the spot."""

import io
import struct
import warnings
import zlib

import numpy as np
import pydicom
import tifffile
from pydicom.dataset import FileMetaDataset
from pydicom.uid import UID, DigitalXRayImageStorageForPresentation, ExplicitVRLittleEndian

from covid_tfds.reading import read_image
from tests.helpers.images import radiograph

GREY = radiograph(7, (120, 100))
TWELVE = GREY.astype(np.uint16) * 16 + 15
SIGNED = GREY.astype(np.int16) * 8 - 1024


def pixels(data: bytes) -> np.ndarray:
    return read_image(data).pixels


def assert_alike(got: np.ndarray, wanted: np.ndarray, tolerance: float = 1.0) -> None:
    """Alike in every pixel, so that neither contrast nor a part of the image may differ."""
    assert got.shape == wanted.shape
    assert np.abs(got.astype(int) - wanted.astype(int)).max() <= tolerance


def with_marker(values: np.ndarray, value: float) -> np.ndarray:
    """Values with a marker in 2 % of the area and a soft rim around it, as burned-in text has."""
    marked = values.astype(np.float64)
    marked[6:16, 6:26] = value
    marked[5:17, 5] = marked[5:17, 26] = (marked[5:17, 4] + value) / 2
    return marked.astype(values.dtype)


def unmarked(shown: np.ndarray) -> np.ndarray:
    """The part of an image that `with_marker` leaves alone."""
    return shown[20:]


def tiff(values: np.ndarray, **options) -> bytes:
    out = io.BytesIO()
    tifffile.imwrite(out, values, **options)
    return out.getvalue()


def chunk(kind: bytes, data: bytes) -> bytes:
    """A part of a PNG."""
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def dataset(values: np.ndarray, bits: int | None = None, **elements) -> pydicom.Dataset:
    """A radiograph; `elements` are set by their keywords, None takes one away."""
    made = pydicom.Dataset()
    made.file_meta = FileMetaDataset()
    made.file_meta.MediaStorageSOPClassUID = DigitalXRayImageStorageForPresentation
    made.file_meta.MediaStorageSOPInstanceUID = made.SOPInstanceUID = "1.2.3"
    made.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    made.SOPClassUID = DigitalXRayImageStorageForPresentation
    made.Modality, made.PatientID, made.PatientName = "DX", "P7", "Nobody^Nowhere"
    made.Rows, made.Columns = values.shape[:2]
    made.SamplesPerPixel = 1 if values.ndim == 2 else values.shape[2]
    made.PhotometricInterpretation = "MONOCHROME2" if values.ndim == 2 else "RGB"
    if values.ndim == 3:
        made.PlanarConfiguration = 0
    made.BitsAllocated = 8 * values.dtype.itemsize
    made.BitsStored = bits or made.BitsAllocated
    made.HighBit = made.BitsStored - 1
    made.PixelRepresentation = int(values.dtype.kind == "i")
    made.PixelData = values.tobytes()
    made["PixelData"].VR = "OB" if values.dtype.itemsize == 1 else "OW"
    with warnings.catch_warnings():  # malformed values are what some tests are about
        warnings.simplefilter("ignore")
        for keyword, value in elements.items():
            if value is None:
                del made[keyword]
            else:
                setattr(made, keyword, value)
    return made


def written(made: pydicom.Dataset, syntax: UID | None = None) -> bytes:
    """The bytes of a DICOM file; the pixels are taken to be in the transfer syntax already."""
    out = io.BytesIO()
    if syntax is not None:
        made.file_meta.TransferSyntaxUID = syntax
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        pydicom.dcmwrite(out, made, enforce_file_format=True, **_encoding(made))
    return out.getvalue()


def _encoding(made: pydicom.Dataset) -> dict[str, bool]:
    """What pydicom must be given for a transfer syntax that it does not know."""
    known = not made.file_meta.TransferSyntaxUID.is_private
    return {} if known else {"implicit_vr": False, "little_endian": True}


def dicom(values: np.ndarray, bits: int | None = None, **elements) -> bytes:
    return written(dataset(values, bits, **elements))
