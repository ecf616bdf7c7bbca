"""The drop page as it is served: on this machine alone, quietly, and gone at the end."""

import os
import socket
import tempfile
import threading
from collections.abc import Callable
from typing import Any

import numpy as np
import uvicorn

from trainer.inference import gradcam
from trainer.inference.network import load
from trainer.inference.page_door import HOST
from trainer.run.errors import RunError
from trainer.run.progress import fitted, working

_CONNECTIONS = 256  # a page that is open holds three
_GRACE = 1  # seconds for requests that are being answered when the server ends
_FOLDER = "drop_page_"
_PREFIX = "GRADIO_"
# What else Gradio and the library below it read: no statistics, no look for newer versions.
_QUIET = {
    "GRADIO_ANALYTICS_ENABLED": "False",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "HF_HUB_OFFLINE": "1",
}


def serve(run: str | os.PathLike, listener: socket.socket) -> None:
    """Serves the page of a network; does not return.

    Args:
        run: A run folder, or a file .keras.
        listener: Of `page_door.listening`.

    Raises:
        RunError: There is no network, or the server ended by itself.
    """
    with working("loading the network"):
        network = load(run)
        square = np.zeros((1, network.image_size, network.image_size, 1), np.uint8)
        network.probabilities(square)  # the first one takes seconds
        gradcam.heatmaps(network.model, square)
    computing = threading.Lock()
    with tempfile.TemporaryDirectory(prefix=_FOLDER) as folder:
        _set_quiet(folder)
        with working("loading the page"):
            from trainer.inference import drop_page  # imports Gradio

            server = _server(drop_page.application(network, computing))
        serving = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
        serving.start()
        print(fitted(f"The page is at http://{HOST}:{listener.getsockname()[1]}/"), flush=True)
        print(fitted("Open it on this machine. Ctrl-C ends it."), flush=True)
        try:
            serving.join()
        finally:
            server.should_exit = True
            serving.join()
            computing.acquire()  # Python can't end while TensorFlow computes: it would be aborted
    raise RunError("The page ended by itself. Start it again.")


def _server(application: Callable[..., Any]) -> uvicorn.Server:
    """Without a word of what is asked: its lines would have names of files in them."""
    config = uvicorn.Config(
        application, log_config=None, log_level="critical", access_log=False, ws="none",
        proxy_headers=False, server_header=False, limit_concurrency=_CONNECTIONS,
        backlog=_CONNECTIONS // 4,  # as many are taken at a time
        timeout_graceful_shutdown=_GRACE,
    )  # fmt: skip
    return uvicorn.Server(config)


def _set_quiet(folder: str) -> None:
    """Variables for Gradio, in place of a user's, which may ask for a public address or statistics.

    Args:
        folder: For what Gradio puts into a folder.
    """
    for name in [name for name in os.environ if name.startswith(_PREFIX)]:
        del os.environ[name]
    os.environ.update(_QUIET, GRADIO_TEMP_DIR=folder)
