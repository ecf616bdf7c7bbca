"""The rule of the room: what it says of a run, it says without TensorFlow and without training."""

import pathlib
import subprocess
import sys

import pytest

import trainer.evaluation

FILES = sorted(pathlib.Path(trainer.evaluation.__file__).parent.glob("*.py"))


@pytest.mark.slow
def test_no_file_of_the_room_imports_tensorflow_or_training():
    names = [f"trainer.evaluation.{path.stem}" for path in FILES if path.stem != "__init__"]
    assert "trainer.evaluation.metrics" in names
    code = (
        f"import importlib, sys; [importlib.import_module(name) for name in {names}]; "
        "print(*(name for name in sys.modules if name.split('.')[0] in ('tensorflow', 'keras') "
        "or name.startswith(('trainer.training', 'trainer.model', 'trainer.input_pipeline')) "
        "or name == 'matplotlib.pyplot'))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == []
