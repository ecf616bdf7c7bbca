"""Compressed frames of DICOM by imagecodecs, as a plug-in of pydicom's decoders.

pydicom's own plug-ins for 12-bit and lossless JPEG need GPL code or hold the interpreter while they
decode, and none checks a frame's size before it decodes. The decoders made here are private: those
of the process keep their plug-ins.
"""

from typing import TYPE_CHECKING

from covid_tfds.reading import jpeg
from covid_tfds.reading.codestream import frame_of
from covid_tfds.reading.decoded import refuse_bomb

if TYPE_CHECKING:
    from pydicom.pixels.decoders.base import Decoder, DecodeRunner

RLE = "1.2.840.10008.1.2.5"
_BASELINE = "1.2.840.10008.1.2.4.50"
# Transfer syntaxes: JPEG baseline, extended, lossless (two), JPEG-LS (two), JPEG 2000 (two),
# HTJ2K (three), RLE.
_KNOWN = (
    *(_BASELINE, *(f"1.2.840.10008.1.2.4.{part}" for part in (51, 57, 70, 80, 81, 90, 91))),
    *(*(f"1.2.840.10008.1.2.4.{part}" for part in (201, 202, 203)), RLE),
)
DECODER_DEPENDENCIES = dict.fromkeys(_KNOWN, ("imagecodecs",))  # part of pydicom's plug-in API


def is_available(uid: str) -> bool:
    """Part of pydicom's plug-in API."""
    return uid in _KNOWN


def decoder_of(uid: str) -> "Decoder | None":
    """A decoder of pydicom's for a transfer syntax, or None when nothing decodes it."""
    import pydicom
    from pydicom.pixels import get_decoder
    from pydicom.pixels.decoders.base import Decoder

    uid = pydicom.uid.UID(uid)
    if uid in _KNOWN:
        decoder = Decoder(uid)
        decoder.add_plugin("imagecodecs", (__name__, "_decode_frame"))
        if uid == RLE:  # slower, and forgives segments that are padded
            decoder.add_plugin("pydicom", ("pydicom.pixels.decoders.rle", "_decode_frame"))
        return decoder
    try:
        decoder = get_decoder(uid)
    except NotImplementedError:
        return None
    return decoder if decoder.is_native else None


def _decode_frame(src: bytes, runner: "DecodeRunner") -> bytes | bytearray:
    """Part of pydicom's plug-in API: one frame as bytes in the order of `runner`'s options."""
    import imagecodecs

    if runner.transfer_syntax == RLE:
        runner.set_option("planar_configuration", 1)
        size, width = int(runner.frame_length(unit="bytes")), runner.bits_allocated // 8
        return _exactly(imagecodecs.dicomrle_decode(src, f"<u{width}", out=size), size)
    frame = frame_of(src)
    stated = (runner.columns, runner.rows, runner.samples_per_pixel)
    if frame is None or frame[:3] != stated:
        raise ValueError("the frame is not of the size that the header states")
    refuse_bomb(frame.width * frame.height, frame.samples * 2)
    runner.set_option("planar_configuration", 0)
    if frame.bits == 8 and frame.process == "jpeg":
        jpeg.require_whole(src)
        if runner.transfer_syntax == _BASELINE:
            from pydicom.pixels.decoders import pillow

            return pillow._decode_frame(src, runner)  # knows when colours were transformed
    if frame.process == "jpeg-ls":
        decoded = imagecodecs.jpegls_decode(src)
    elif frame.process == "jpeg 2000":
        decoded = imagecodecs.jpeg2k_decode(src, numthreads=1)
        if runner.photometric_interpretation in ("YBR_ICT", "YBR_RCT"):
            runner.set_option("photometric_interpretation", "RGB")
    elif b"\xff\xd9" not in src[-1024:]:
        raise ValueError("the frame is cut off")  # libjpeg would fill what is missing with grey
    else:
        raw = None if frame.samples == 1 else "YCBCR"  # the same in and out: as it is
        decoded = imagecodecs.jpeg8_decode(src, colorspace=raw, outcolorspace=raw)
    runner.set_option("bits_allocated", 8 * decoded.dtype.itemsize)
    return _exactly(decoded.tobytes(), runner.frame_length(unit="bytes"))


def _exactly(decoded: bytes | bytearray, size: float) -> bytes | bytearray:
    if len(decoded) != size:
        raise ValueError("the frame does not hold the samples that the header states")
    return decoded
