"""What passes into the drop page: requests of this machine, of a bounded size, for what it serves.

Gradio has more addresses than the page needs, among them some that fetch from elsewhere or give
files away; they are shut here. Nothing of this needs Gradio.
"""

import importlib.util
import socket
import urllib.parse
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from trainer.run.errors import RunError

HOST = "127.0.0.1"
MOST_FILES = 16  # of one drop
MOST_BYTES = 64 * 2**20  # of one drop: a large DICOM study of the chest has some 40 MB
UPLOAD = "/gradio_api/upload"
_MOST_WORDS = 64 * 2**10  # bytes of any other request

_NAMES = {HOST, "localhost"}
_EXACTLY = {"/", "/config", "/theme.css", "/manifest.json", "/favicon.ico", "/gradio_api/info",
            "/gradio_api/startup-events", "/gradio_api/upload_progress", "/gradio_api/theme.css",
            "/gradio_api/queue/join", "/gradio_api/queue/data", "/gradio_api/call/answer",
            UPLOAD}  # fmt: skip
_BELOW = ("/assets/", "/static/", "/gradio_api/heartbeat/", "/gradio_api/call/answer/")
# The browser holds the page to it, whatever Gradio's scripts may want: nothing from elsewhere.
# Gradio's page has scripts and styles in it, and makes functions of templates.
_HEADERS = {
    "content-security-policy": (
        "default-src 'self'; script-src 'self' 'unsafe-inline' 'unsafe-eval'; style-src 'self' "
        "'unsafe-inline'; img-src 'self' data: blob:; font-src 'self' data:; object-src 'none'; "
        "frame-ancestors 'none'; form-action 'self'; base-uri 'self'"
    ),
    "cross-origin-resource-policy": "same-origin",
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
}

Scope = Mapping[str, Any]
Receive = Callable[[], Awaitable[dict]]
Send = Callable[[dict], Awaitable[None]]


def require_gradio() -> None:
    """Raises RunError where Gradio is not installed; it is not imported."""
    if not importlib.util.find_spec("gradio"):
        raise RunError(
            "The page needs gradio, which is not installed. Install it: pip install "
            '"covid-tfds[serve]".'
        )


def listening(port: int) -> socket.socket:
    """A socket of this machine alone that takes connections, which wait until they are served.

    Args:
        port: Its number; 0 is any that is free.

    Raises:
        RunError: Another program has the port, or it is not for everybody.
    """
    try:
        return socket.create_server((HOST, port))
    except OSError as error:
        raise RunError(
            f"--port={port} can't be used ({error.strerror}). Give another one, or --port=0 for "
            "any that is free."
        ) from None


class Door:
    """An ASGI application that passes on what may come in, and answers the rest with a sentence."""

    def __init__(self, application: Callable[[Scope, Receive, Send], Awaitable[None]]) -> None:
        """Passes nothing on yet.

        Args:
            application: An ASGI application.
        """
        self._application = application

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handles one connection."""
        if scope["type"] == "lifespan":
            await self._application(scope, receive, send)
        elif scope["type"] == "http":
            headers = {name.decode("latin-1"): value.decode("latin-1")
                       for name, value in scope["headers"]}  # fmt: skip
            refusal = _refusal(scope["method"], scope["path"], headers)
            if refusal is None:
                await self._application(scope, receive, _with_headers(send))
            else:
                await _refuse(receive, _with_headers(send), *refusal)


def _refusal(method: str, path: str, headers: Mapping[str, str]) -> tuple[int, str] | None:
    """Status and sentence for what may not come in."""
    host = headers.get("host", "")
    # Another site's name that leads here is how it would read the page; its scripts name it, too.
    if host.partition(":")[0] not in _NAMES or _site(headers.get("origin", f"//{host}")) != host:
        return 403, "The page answers on this machine alone. Open the address that was printed."
    if path not in _EXACTLY and not path.startswith(_BELOW):
        return 404, "There is nothing at this address. Open the address that was printed."
    if method not in ("GET", "HEAD", "POST"):
        return 405, "This is not a way to ask. Open the address that was printed."
    if method != "POST":
        return None
    length, most = headers.get("content-length", ""), MOST_BYTES if path == UPLOAD else _MOST_WORDS
    if not length.isdecimal():
        return 411, "The size of the request is missing. Send Content-Length with it."
    if int(length) > most:
        return 413, (
            f"This is more than {most / 2**20:g} MiB. Drop fewer files at once, or smaller ones."
        )
    return None


def _site(origin: str) -> str:
    """Host and port of an origin; "" where it has none."""
    try:
        return urllib.parse.urlsplit(origin).netloc
    except ValueError:
        return ""


def _with_headers(send: Send) -> Send:
    async def send_with(message: dict) -> None:
        if message["type"] == "http.response.start":
            ours = [(name.encode(), value.encode()) for name, value in _HEADERS.items()]
            message = message | {"headers": [*message.get("headers", ()), *ours]}
        await send(message)

    return send_with


async def _refuse(receive: Receive, send: Send, status: int, sentence: str) -> None:
    """Answers, when all has come: who still sends sees a broken connection, not the answer."""
    while (message := await receive())["type"] == "http.request" and message.get("more_body"):
        pass
    body = sentence.encode()
    headers = [(b"content-type", b"text/plain"), (b"content-length", b"%d" % len(body))]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
