"""Pages: one HTML file each, with all pictures in it, that fetches nothing and runs no script."""

import base64
import functools
import io
import os
from typing import Any

import jinja2
import numpy as np
from PIL import Image

from trainer.run import text
from trainer.run.files import written_whole

_QUALITY = 85  # of JPEG
_SIDE = 224  # pixels of a picture, at most


@functools.cache
def _templates() -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader(__package__),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    for function in (text.estimate, text.number, text.counted, text.difference):
        environment.globals[function.__name__] = function
    return environment


def write(path: str | os.PathLike, template: str, **values: Any) -> None:
    """Writes a page, whole.

    Args:
        path: Of the file.
        template: Its name in the folder `templates`.
        values: What it shows; text is escaped.
    """
    page = _templates().get_template(template).render(values)
    with written_whole(path) as beside:
        beside.write_text(page, encoding="utf-8", errors="backslashreplace")


def of_svg(figure: bytes) -> str:
    """A figure of `figures.svg` as the address of an image."""
    return _address("image/svg+xml", figure)


def of_pixels(pixels: np.ndarray) -> str:
    """A picture as the address of an image.

    Args:
        pixels: uint8 [height, width] or [height, width, 3]; made smaller where it is large.
    """
    image = Image.fromarray(pixels)
    image.thumbnail((_SIDE, _SIDE))
    file = io.BytesIO()
    image.save(file, "JPEG", quality=_QUALITY)
    return _address("image/jpeg", file.getvalue())


def _address(kind: str, data: bytes) -> str:
    return f"data:{kind};base64,{base64.b64encode(data).decode()}"
