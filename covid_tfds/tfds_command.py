"""What `tfds build` itself refuses: a sentence in place of its traceback.

TFDS reads some flags after it has imported the builder and before it calls it, so that no code of
ours stands in the way of the error: wrong JSON in --config and --download_config, a wrong
--config_idx, --fail_if_exists. Its `app.run` offers handlers of errors, but prints the traceback
all the same. The interpreter's own hook is left; it is set in TFDS' command alone, whose process
does nothing else, and passes on every error that TFDS' `build.py` did not raise by itself.
"""

import json
import pathlib
import sys
import traceback
from types import TracebackType

from covid_tfds.errors import shown, under_tfds_command

_MARK = "of_covid_tfds"  # on the hook that is set here
_OF_COMMAND = ("tensorflow_datasets", "scripts", "cli", "build.py")


def explain_errors() -> None:
    """Has this process print one sentence for what TFDS' command refuses; else does nothing."""
    if not under_tfds_command() or getattr(sys.excepthook, _MARK, False):
        return
    before = sys.excepthook

    def hook(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
        if raised_by_command(error):
            print(shown(error_message(error)), file=sys.stderr)
        else:
            before(kind, error, trace)

    setattr(hook, _MARK, True)
    sys.excepthook = hook


def raised_by_command(error: BaseException) -> bool:
    """Whether TFDS' `build.py` raised it by itself, or by reading JSON."""
    frames = [pathlib.Path(each.filename) for each in traceback.extract_tb(error.__traceback__)]
    own = [path for path in frames if path.parent.name != "json"]
    return isinstance(error, Exception) and bool(own) and own[-1].parts[-4:] == _OF_COMMAND


def error_message(error: BaseException) -> str:
    """The error in the words of the one who typed the command."""
    if not isinstance(error, json.JSONDecodeError):
        return f"{str(error).rstrip('.')}."
    near = error.doc[max(0, error.pos - 20) : error.pos + 10]
    return (
        f"A flag is not JSON at character {error.pos + 1}, near {near!r} ({error.msg}). Write e.g. "
        """--config='{"name": "small", "images": "phantom", "patients": 100}'."""
    )
