"""What a machine refuses: the room on a disk, known ahead; full disks and memory, as sentences."""

import errno
import os
import re
import resource
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from trainer.run import files
from trainer.run.errors import RunError
from trainer.run.progress import note
from trainer.run.text import wrapped

_AGAIN = "then give the same command again"
_FULL = {
    errno.ENOSPC: "The disk is full",
    errno.EDQUOT: "The quota of the disk is used up",
    errno.EFBIG: "A file would grow over the limit of a file's size (ulimit -f)",
}
_MEND = {
    errno.ENOSPC: f"Free some room, {_AGAIN}.",
    errno.EDQUOT: f"Free some room, {_AGAIN}.",
    errno.EFBIG: f"Raise the limit, {_AGAIN}.",
    errno.EMFILE: f"Raise the limit of open files (ulimit -n), {_AGAIN}.",
    errno.ENFILE: f"Close other programs, {_AGAIN}.",
    errno.ENAMETOOLONG: "Give a shorter path.",
}
_FEWER_FILES = "Remove some (df -i counts them)"
_OTHERWISE = f"See to it that this can be read and written, {_AGAIN}."
_MEMORY = (
    "There is not enough memory ({}). Give a smaller --batch_size, --image_size or --head_units, "
    f"or end other programs, {_AGAIN}."
)
# What libraries say where memory is missing, and that TensorFlow passes on of Python's errors.
_NO_MEMORY = re.compile(
    r"out of memory|OOM when|[Cc]annot allocate memory|failed to map segment|[Ff]ailed to allocate"
    r"|can't start new thread|unable to allocate|bad_alloc"
)
_ERRNO = re.compile(r"\[Errno (\d+)\] ([^\n]+)")
_RUN_ERROR = re.compile(r"^(?:CacheError|DamagedError|RunError): (.+)$", re.MULTILINE)


def sentence(error: BaseException) -> str | None:
    """What the machine refused and how to mend it; None for an error that is not of its kind.

    Args:
        error: Any. TensorFlow's errors count if they are of the memory, of a file, or one of
            Python's that was raised where TensorFlow called it.
    """
    if isinstance(error, OSError) and error.errno != errno.ENOMEM:
        if error.errno == errno.ENOSPC and error.filename and takes_no_file(error.filename):
            return f"The disk takes no more files ({text_of(error)}). {_FEWER_FILES}, {_AGAIN}."
        return _of_folder(error) or _of_system(error.errno, text_of(error))
    text = str(error)
    if isinstance(error, (MemoryError, OSError)):
        return _MEMORY.format(_first_line(text) or "no reason is known")
    if isinstance(error, (ImportError, RuntimeError)) and _NO_MEMORY.search(text):
        return _MEMORY.format(_first_line(text))
    return _of_tensorflow(error, text)


def _of_folder(error: OSError) -> str | None:
    """The sentence where what is gone is the folder that relative paths begin in."""
    if error.errno != errno.ENOENT or os.path.isabs(os.fsdecode(error.filename or "")):
        return None
    try:
        os.getcwd()
    except FileNotFoundError:
        return (
            "The folder that this command was started in was removed. Change to one that is there, "
            f"{_AGAIN}."
        )
    return None


def _of_tensorflow(error: BaseException, text: str) -> str | None:
    errors = getattr(sys.modules.get("tensorflow"), "errors", None)
    if errors is None or not isinstance(error, errors.OpError):
        return None
    if known := _RUN_ERROR.search(text):
        return known[1]
    if number := _ERRNO.search(text):
        return _of_system(int(number[1]), number[2])
    for code, strerror in ((each, os.strerror(each)) for each in _FULL):
        if strerror in text:
            return _of_system(code, _first_line(text))
    if isinstance(error, errors.ResourceExhaustedError) or _NO_MEMORY.search(text):
        return _MEMORY.format(_first_line(text))
    of_files = (errors.NotFoundError, errors.PermissionDeniedError, errors.DataLossError)
    if isinstance(error, of_files):
        return _of_system(None, _first_line(text))
    return None


def _of_system(number: int | None, text: str) -> str:
    what, mend = _FULL.get(number or 0), _MEND.get(number or 0, _OTHERWISE)
    return f"{what} ({text}). {mend}" if what else f"The system refused: {text}. {mend}"


def text_of(error: BaseException) -> str:
    """An error in some words, with the path of one of the system."""
    if not isinstance(error, OSError) or not error.strerror:
        return f"{type(error).__name__}: {_first_line(str(error))}".removesuffix(": ")
    if error.filename is None:
        return error.strerror
    path = Path(os.fsdecode(error.filename))
    name = files.unfinished(path)  # of a file that is not whole yet
    return f"{error.strerror}: {path.with_name(name) if name else path}"


def _first_line(text: str) -> str:
    # TensorFlow begins with the name of an operation, in braces.
    return re.sub(r"^\{\{.*?\}\} ", "", text).partition("\n")[0].removesuffix(".")


def is_full(error: OSError) -> bool:
    """Whether a disk or quota is full, or a file would become too large."""
    return error.errno in _FULL


def takes_no_file(path: str | os.PathLike) -> bool:
    """Whether the disk of a path has as many files as it may (inodes), whatever room it has."""
    try:
        usage = os.statvfs(_there(path))
    except OSError:
        return False
    return usage.f_files > 0 and usage.f_favail == 0


def free(path: str | os.PathLike) -> int:
    """Bytes that are free on the disk of a path, which need not be there yet.

    Some FUSE mounts give 0 for the size and all that is free, and count as boundless.

    Raises:
        OSError: The disk can't be looked at.
    """
    usage = shutil.disk_usage(_there(path))
    return usage.free if usage.total else sys.maxsize


def _there(path: str | os.PathLike) -> Path:
    path = Path(os.fsdecode(path)).absolute()
    return next(each for each in (path, *path.parents) if each.exists())


def require_room(path: str | os.PathLike, needed: int, what: str) -> None:
    """Refuses to begin what would fill the disk.

    Args:
        path: Where it would be written; it need not be there yet.
        needed: Bytes.
        what: What they are for: "its network and saved states".

    Raises:
        RunError: Fewer bytes are free.
    """
    if needed > (there := free(path)):
        raise RunError(
            f"{path} needs {size(needed)} for {what}, and its disk has {size(there)} free. Free "
            "some room, or give a folder on another disk."
        )


def require_file(path: str | os.PathLike, needed: int) -> None:
    """Refuses to begin what would write a larger file than this process may.

    Args:
        path: Folder of the file.
        needed: Bytes of the file.

    Raises:
        RunError: The limit of a file's size is lower.
    """
    limit, _ = resource.getrlimit(resource.RLIMIT_FSIZE)
    if limit != resource.RLIM_INFINITY and needed > limit:
        raise RunError(
            f"A file in {path} needs {size(needed)}, and this process may write {size(limit)} into "
            "one. Raise the limit: ulimit -f unlimited."
        )


def size(count: int) -> str:
    """Bytes in words: "58.2 MiB"."""
    unit, name = (2**30, "GiB") if count >= 2**30 else (2**20, "MiB")
    return f"{count / unit:,.1f} {name}"


def attempted(what: str, mend: str, function: Callable[..., Any], *args: Any) -> bool:
    """Calls a function that a run can do without; a line on stderr says so where it fails.

    Args:
        what: What it makes: "The plots".
        mend: What follows from its failure.
        function: What is called.
        args: Its arguments.

    Returns:
        Whether it succeeded.
    """
    try:
        function(*args)
    except Exception as error:
        print_failed(what, error, mend)
        return False
    return True


def print_failed(what: str, error: Exception, mend: str) -> None:
    """Prints on stderr that something could not be written, why, and what follows."""
    note(wrapped(f"{what} could not be written ({text_of(error)}). {mend}"))
