"""What the tests of weights share."""

import socket

import pytest

from trainer.model import weights as module


@pytest.fixture
def no_keras_weights(tmp_path, monkeypatch):
    """Neither Keras' cache nor its address, whatever this machine has at home."""
    monkeypatch.setenv("KERAS_HOME", str(tmp_path / "keras"))
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    monkeypatch.setattr(module, "KERAS_URL", f"http://127.0.0.1:{port}/{module.KERAS_FILE}")
