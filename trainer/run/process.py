"""The process of a command, whatever it was started with: streams, warnings, settings for plots."""

import io
import os
import sys
import warnings


def prepare() -> None:
    """Makes the process fit for a command: nothing that it prints or is warned of ends it."""
    _open_streams()
    if isinstance(sys.stdout, io.TextIOWrapper):  # as stderr is from the start
        sys.stdout.reconfigure(errors="backslashreplace")
    if any(option.startswith("error") for option in sys.warnoptions):
        # Libraries warn of their own future, and some of them stop halfway where that raises.
        warnings.simplefilter("default")
    # No command opens a window, and matplotlib refuses to be imported with a name it does not know.
    os.environ["MPLBACKEND"] = "Agg"


def _open_streams() -> None:
    """Puts the null device in place of closed streams: else the next file has their numbers."""
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # has the lowest number that is free
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, mode, encoding="utf-8"))  # noqa: SIM115 (stays open)
