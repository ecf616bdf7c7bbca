"""What passes the door of the drop page, and what gets a sentence instead; without Gradio."""

import asyncio
import importlib.util
import socket

import pytest

from trainer.inference import page_door
from trainer.inference.page_door import MOST_BYTES, UPLOAD, Door
from trainer.run.errors import RunError

OURS = {"host": "127.0.0.1:7860"}


def asked(method, path, headers, body=(b"",)):
    """What comes back: the status, the headers and the text; the page itself answers "page"."""
    sent, parts = [], list(body)

    async def page(scope, receive, send):
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"page"})

    async def receive():
        part = parts.pop(0)
        return {"type": "http.request", "body": part, "more_body": bool(parts)}

    async def send(message):
        sent.append(message)

    pairs = [(name.encode(), value.encode()) for name, value in headers.items()]
    scope = {"type": "http", "method": method, "path": path, "headers": pairs}
    asyncio.run(Door(page)(scope, receive, send))
    start, end = sent
    return start["status"], dict(start["headers"]), end["body"].decode(), parts


@pytest.mark.parametrize(
    ("method", "path", "more"),
    [
        ("GET", "/", {}),
        ("HEAD", "/", {}),
        ("GET", "/assets/index.js", {"origin": "http://127.0.0.1:7860"}),
        ("POST", UPLOAD, {"content-length": str(MOST_BYTES)}),
        ("POST", "/gradio_api/queue/join", {"content-length": "100"}),
        ("GET", "/", {"host": "localhost:7860"}),
        ("GET", "/", {"host": "127.0.0.1"}),  # of --port=80
        ("GET", "/", {"host": "localhost", "origin": "http://localhost"}),
    ],
)
def test_the_page_itself_passes_and_may_fetch_from_nowhere_else(method, path, more):
    status, headers, text, _ = asked(method, path, OURS | more)
    assert (status, text) == (200, "page")
    policy = headers[b"content-security-policy"].decode()
    assert policy.startswith("default-src 'self'; ") and "://" not in policy and "*" not in policy


@pytest.mark.parametrize(
    ("status", "method", "path", "headers"),
    [
        (403, "GET", "/", {}),
        (403, "GET", "/", {"host": "evil.example:7860"}),
        (403, "GET", "/", {"host": "127.0.0.1.evil.example:7860"}),
        (403, "POST", UPLOAD, OURS | {"origin": "https://evil.example", "content-length": "1"}),
        (403, "POST", UPLOAD, OURS | {"origin": "null", "content-length": "1"}),
        (403, "GET", "/", OURS | {"origin": "http://[" }),
        (404, "GET", "/gradio_api/file=/etc/passwd", OURS),
        (404, "GET", "/gradio_api/proxy=https://a.hf.space/", OURS),
        (404, "GET", "/monitoring", OURS),
        (404, "GET", "/docs", OURS),
        (404, "POST", "/gradio_api/run/answer", OURS | {"content-length": "1"}),
        (404, "POST", "/gradio_api/vibe-edit", OURS | {"content-length": "1"}),
        (405, "DELETE", "/", OURS),
        (411, "POST", UPLOAD, OURS),
        (411, "POST", UPLOAD, OURS | {"content-length": "-1"}),
        (413, "POST", UPLOAD, OURS | {"content-length": str(MOST_BYTES + 1)}),
        (413, "POST", "/gradio_api/queue/join", OURS | {"content-length": str(MOST_BYTES)}),
    ],
)  # fmt: skip
def test_the_rest_gets_a_sentence_when_all_of_it_has_come(status, method, path, headers):
    given, _, text, left = asked(method, path, headers, body=[b"x", b"x", b"x"])
    assert given == status and text.endswith(".") and ". " in text
    assert left == []


def test_a_limit_is_in_its_sentence():
    *_, text, _ = asked("POST", UPLOAD, OURS | {"content-length": str(10**15)})
    assert text == "This is more than 64 MiB. Drop fewer files at once, or smaller ones."


def test_a_port_that_another_has_is_a_sentence():
    with page_door.listening(0) as first:
        port = first.getsockname()[1]
        with pytest.raises(RunError, match=rf"--port={port} can't be used \(Address already in"):
            page_door.listening(port)


def test_it_listens_on_this_machine_alone():
    with page_door.listening(0) as listener:
        host, port = listener.getsockname()
        assert host == "127.0.0.1"
        socket.create_connection((host, port), timeout=5).close()


def test_without_gradio_a_sentence_names_what_to_install(monkeypatch):
    find = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: None if name == "gradio" else find(name)
    )
    with pytest.raises(RunError, match=r'pip install "covid-tfds\[serve\]"'):
        page_door.require_gradio()


def test_what_is_no_http_gets_no_answer_and_reaches_no_page():
    def unwanted(*arguments):
        raise AssertionError(arguments)

    asyncio.run(Door(unwanted)({"type": "websocket"}, unwanted, unwanted))
