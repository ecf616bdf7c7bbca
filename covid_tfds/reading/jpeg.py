"""8-bit JPEG, refused where libjpeg finds it damaged.

libjpeg mends what is damaged: it fills in grey, or goes on with shifted bands, and only warns.
Pillow and imagecodecs pass over the warning, so that a class of damaged files would be told by its
damage. simplejpeg, on the same libjpeg-turbo, gives the same pixels and makes the warning an error.
"""

from PIL import Image

from covid_tfds.reading.decoded import DAMAGED, Unusable


def decode(data: bytes, mode: str) -> Image.Image:
    """The pixels of a JPEG file.

    Args:
        data: The file's bytes; what stands behind its end is of no matter.
        mode: `L` or `RGB`, as the file has it.

    Raises:
        Unusable: A part of the file is damaged or missing.
    """
    import simplejpeg

    try:
        decoded = simplejpeg.decode_jpeg(data, "GRAY" if mode == "L" else mode, strict=True)
    except ValueError:
        raise Unusable(DAMAGED) from None
    return Image.fromarray(decoded[..., 0] if mode == "L" else decoded)


def require_whole(data: bytes, colours: str = "GRAY") -> None:
    """Refuses a damaged stream that another decoder takes.

    Args:
        data: A JPEG stream of 8 bits a sample, baseline or progressive.
        colours: `CMYK` where it has inks, which have no way to grey; else `GRAY`.

    Raises:
        Unusable: A part of it is damaged or missing.
    """
    import simplejpeg

    try:
        # An eighth of the size: all of the stream is read, and little of it computed.
        simplejpeg.decode_jpeg(data, colours, min_height=1, min_width=1, strict=True)
    except ValueError:
        raise Unusable(DAMAGED) from None
