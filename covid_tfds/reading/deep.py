"""Files of more than 8 bits a sample, of which Pillow would drop the rest: PNG, JPEG, PPM.

Pillow reads their headers where it can; imagecodecs reads the samples.
"""

import math

import numpy as np
from PIL import ImageFile

from covid_tfds.reading.codestream import Frame
from covid_tfds.reading.decoded import DAMAGED, Raster, Unusable, refuse_bomb
from covid_tfds.reading.samples import Samples, to_raster


def read_jpeg(data: bytes, frame: Frame) -> Raster:
    """A JPEG of more than 8 bits, a lossless one, or JPEG-LS.

    Args:
        data: The file's bytes.
        frame: Its header.
    """
    import imagecodecs

    refuse_bomb(frame.width * frame.height, frame.samples * 2)
    if b"\xff\xd9" not in data[-1024:]:
        raise Unusable(DAMAGED)  # libjpeg fills what is cut off with grey
    if frame.process == "jpeg-ls":
        return to_raster(Samples(imagecodecs.jpegls_decode(data), frame.bits), "JPEG-LS")
    return to_raster(Samples(imagecodecs.jpeg8_decode(data), frame.bits), "JPEG")


def read_png(data: bytes, orientation: object) -> Raster:
    """A PNG of 16 bits with colours or alpha, whose header Pillow has read.

    By the PNG specification its samples fill 16 bits whatever sBIT says; those that do not are
    found by their range.
    """
    import imagecodecs

    return to_raster(Samples(imagecodecs.png_decode(data), 16), "PNG", orientation)


def read_jpeg_2000(data: bytes, frame: Frame, orientation: object) -> Raster:
    """A JPEG 2000 file of more than 8 bits, whose header Pillow has read."""
    import imagecodecs

    refuse_bomb(frame.width * frame.height, frame.samples * 4)
    values = imagecodecs.jpeg2k_decode(data, numthreads=1)
    return to_raster(Samples(values, frame.bits), "JPEG2000", orientation)


def ppm_largest(picture: ImageFile.ImageFile) -> int:
    """What a sample of a PPM is at most, where Pillow has it scaled; else 255."""
    tile = picture.tile[0]
    return tile.args[1] if tile.codec_name == "ppm" and isinstance(tile.args, tuple) else 255


def read_ppm(data: bytes, picture: ImageFile.ImageFile) -> Raster:
    """A binary colour PPM of 16 bits, whose header Pillow has read."""
    largest = ppm_largest(picture)
    shape = (picture.height, picture.width, 3)
    values = np.frombuffer(data, ">u2", math.prod(shape), picture.tile[0].offset).reshape(shape)
    stated = (0, largest) if largest < 65535 else None
    return to_raster(Samples(values, 16, stated), "PPM")
