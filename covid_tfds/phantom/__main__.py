"""`python -m covid_tfds.phantom PATH` writes a contact sheet of synthetic radiographs."""

import argparse
import pathlib
from collections.abc import Sequence

from PIL import Image

from covid_tfds.phantom.sheet import contact_sheet


def main(arguments: Sequence[str] | None = None) -> None:
    """Writes the sheet.

    Args:
        arguments: Of the command line; by default those of this process.

    Raises:
        SystemExit: 2, with a sentence on stderr: the path can't be written.
    """
    parser = argparse.ArgumentParser(
        prog="python -m covid_tfds.phantom",
        description="Draws a contact sheet of synthetic chest radiographs.",
    )
    parser.add_argument("path", type=pathlib.Path, help="where the image goes, e.g. sheet.png")
    path = parser.parse_args(arguments).path
    if Image.registered_extensions().get(path.suffix.lower()) not in Image.SAVE:
        parser.error(f"{path} has no suffix of an image format. Give a name such as sheet.png.")
    try:
        contact_sheet().save(path, optimize=True)
    except (OSError, ValueError) as error:  # ValueError: a format for colours alone
        parser.error(f"{path} can't be written ({error}). Give another path.")


if __name__ == "__main__":
    main()
