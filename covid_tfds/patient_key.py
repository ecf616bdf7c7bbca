"""A key for a person that says nothing of who they are: a salted hash of the id in a DICOM file.

Hospital numbers are short, so their plain hash can be tried out in seconds; the salt prevents that.
It is made once and kept beside the datasets, so that one person has one key in all of them.
"""

import hashlib
import hmac
import os
import pathlib
import secrets
import unicodedata
from collections.abc import Callable

from etils import epath

from covid_tfds import paths
from covid_tfds.errors import DatasetError

VARIABLE = "COVID_TFDS_SALT"
FILE = ".patient_salt"
_SHORTEST = 16  # characters


class Keys:
    """The keys of persons by one salt, which is loaded when the first of them is asked for."""

    def __init__(self, load: Callable[[], bytes]) -> None:
        """Loads nothing yet.

        Args:
            load: Gives the salt.
        """
        self._load, self._salt = load, b""

    def __call__(self, patient_id: str) -> str:
        """As `patient_key`."""
        self._salt = self._salt or self._load()
        return patient_key(self._salt, patient_id)

    @property
    def check(self) -> str:
        """Equal for equal salts, which it does not give away; "" where no key was asked for."""
        return patient_key(self._salt, "") if self._salt else ""


def kept_salt(folder: epath.Path) -> bytes | None:
    """The salt of the datasets in a folder, if there is one.

    Args:
        folder: As for `load_salt`.

    Raises:
        DatasetError: The salt is too short to protect anybody, or can't be read.
    """
    local = paths.local_folder(folder)
    if os.environ.get(VARIABLE) or (local is not None and os.path.lexists(local / FILE)):
        return load_salt(folder)
    return None


def load_salt(folder: epath.Path) -> bytes:
    """The salt of the datasets in a folder; made and kept there when it is the first time.

    Args:
        folder: Where the datasets of this builder lie, e.g. `DATA_DIR/covid_tfds`.

    Returns:
        What `COVID_TFDS_SALT` says, else what the file `.patient_salt` says.

    Raises:
        DatasetError: The salt is too short to protect anybody, or can't be kept.
    """
    if given := os.environ.get(VARIABLE):
        return _checked(os.fsencode(given), f"the environment variable {VARIABLE}")
    local = paths.local_folder(folder)
    if local is None:
        raise DatasetError(
            f"DICOM files name their patients, and {folder} is no local folder in which the salt "
            f"of their hash could be kept to its owner. Give a salt of your own in {VARIABLE}."
        )
    path = local / FILE
    try:
        if not path.exists():
            _make(path)
        if not path.is_file():  # a pipe would be waited for
            raise DatasetError(f"{path} is no file. Remove it, and the salt is made there.")
        salt = path.read_bytes()
    except OSError as error:
        raise DatasetError(
            f"The salt of the patients' hash can't be kept in {path} ({error.strerror}). "
            f"Make the folder writable, or give a salt of your own in {VARIABLE}."
        ) from None
    return _checked(salt, str(path))


def patient_key(salt: bytes, patient_id: str) -> str:
    """The key of a person: 16 hexadecimal digits of HMAC-SHA256.

    Case, blanks and forms of one letter don't matter: `Ab 1`, `AB1` are one person.

    Args:
        salt: From `load_salt`.
        patient_id: As the file has it; kept nowhere.
    """
    plain = "".join(unicodedata.normalize("NFKC", patient_id).casefold().split())
    return hmac.new(salt, plain.encode(), hashlib.sha256).hexdigest()[:16]


def _make(path: pathlib.Path) -> None:
    """Writes a new salt beside its place and links it there, so that it is never seen in part.

    Another build may be first: its salt is the one.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f"{FILE}.{secrets.token_hex(8)}")
    descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "w") as file:
            file.write(secrets.token_hex(32))
        paths.flush(beside)
        try:
            os.link(beside, path)
        except FileExistsError:
            pass
        except OSError:  # a disk without links, such as exFAT
            if not path.exists():
                beside.rename(path)
        paths.flush(path.parent)
    finally:
        beside.unlink(missing_ok=True)


def _checked(salt: bytes, where: str) -> bytes:
    salt = salt.strip()
    if len(salt) < _SHORTEST:
        raise DatasetError(
            f"The salt in {where} has {len(salt)} characters. Give {_SHORTEST} or more, or remove "
            "it, and one is made; datasets built with another salt have other patient keys."
        )
    return salt
