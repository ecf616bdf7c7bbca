"""The page's server, which ends when it is told to, and with a sentence when it is not."""

import os
import socket
from unittest import mock

import pytest

pytest.importorskip("gradio", reason="the page needs gradio, of the extra [serve]")

from tests.helpers.small_networks import lively
from trainer.inference import page_server
from trainer.model import saved
from trainer.run.errors import RunError

pytestmark = pytest.mark.slow


def test_a_server_that_ends_by_itself_is_an_error(tmp_path, monkeypatch):
    class Server:
        should_exit = False

        def run(self, sockets):
            """Ends, as where its socket was closed."""

    saved.save(lively(), tmp_path / "m.keras", ("healthy", "covid19"))
    server = Server()
    monkeypatch.setattr(page_server, "_server", lambda application: server)
    with (
        mock.patch.dict(os.environ),  # it sets some for Gradio
        socket.create_server(("127.0.0.1", 0)) as listener,
        pytest.raises(RunError, match=r"The page ended by itself\. Start it again\."),
    ):
        page_server.serve(tmp_path / "m.keras", listener)
    assert server.should_exit
