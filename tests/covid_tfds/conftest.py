"""What builds datasets for several tests: TFDS' own command, and datasets that are there.

What is imported in functions takes a second that most tests do without.
"""

import atexit
import gc
import io
import pathlib
import shutil
import sys
from collections.abc import Callable
from contextlib import redirect_stderr, redirect_stdout

import pytest

from tests.covid_tfds.made_sources import TINY
from tests.helpers.commands import ROOT, Ended


@pytest.fixture
def tfds_build(monkeypatch) -> Callable[..., Ended]:
    """Runs `tfds build FLAGS` in this process."""
    from absl import logging
    from tensorflow_datasets.scripts.cli import main as cli

    from covid_tfds import tfds_command

    verbosity, register, last = logging.get_verbosity(), atexit.register, []

    def registered(function: Callable, *arguments):
        if function is print:
            last.append(arguments)
        elif function is not gc.freeze:  # this process goes on
            register(function, *arguments)
        return function

    monkeypatch.setattr(atexit, "register", registered)
    monkeypatch.setattr(sys, "excepthook", sys.__excepthook__)

    def run(*flags: str, cwd: pathlib.Path = ROOT) -> Ended:
        out, err, status = io.StringIO(), io.StringIO(), 0
        monkeypatch.chdir(cwd)
        monkeypatch.setattr(sys, "argv", ["tfds", "build", *flags])
        with redirect_stdout(out), redirect_stderr(err):
            tfds_command.explain_errors()
            try:
                cli._parse_flags(sys.argv).execute()
            except SystemExit as error:  # as Python ends
                status = 1
                print(error.code, file=sys.stderr)
            except Exception:
                status = 1
                sys.excepthook(*sys.exc_info())
            while last:
                print(*last.pop())
        return Ended(status, out.getvalue(), err.getvalue())

    yield run
    logging.set_verbosity(verbosity)


@pytest.fixture(scope="session")
def phantoms(tmp_path_factory) -> dict[int, pathlib.Path]:
    """Folders of `tiny`, by its number of patients; nobody writes there."""
    import covid_tfds
    from covid_tfds.config import CovidConfig

    built = {}
    for patients in (40, 60):
        config = CovidConfig(**TINY | {"patients": patients})
        folder = tmp_path_factory.mktemp(f"of_{patients}_patients")
        built[patients] = pathlib.Path(covid_tfds.build(config, data_dir=folder).data_path)
    return built


@pytest.fixture
def tiny(phantoms, tmp_path) -> pathlib.Path:
    """The folder of a dataset in `tmp_path` that was built before."""
    return shutil.copytree(phantoms[40], tmp_path / "covid_tfds" / "tiny" / "2.0.0")
