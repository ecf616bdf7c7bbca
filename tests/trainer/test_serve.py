"""`trainer.serve`: its flags, and, slowly, the page as it is served."""

import collections
import contextlib
import http.client
import importlib.util
import json
import os
import pathlib
import re
import signal
import socket
import threading
import time

import pytest

from covid_tfds.reading import encode
from tests.helpers import commands, drops
from tests.helpers.images import radiograph
from trainer.inference import page_door
from trainer.inference.page_door import MOST_BYTES

HOST = "127.0.0.1"
SECONDS = 6
# Runs first in the process of the page, and writes down where it connects to.
NOTING = """
import os, sys
def hook(event, arguments):
    if event in ("socket.connect", "socket.getaddrinfo", "socket.gethostbyname"):
        with open(os.environ["CONNECTIONS"], "a") as file:
            print(event, arguments[1:] if event == "socket.connect" else arguments, file=file)
sys.addaudithook(hook)
hook("socket.connect", ("noting", ("127.0.0.1", "noting")))
"""


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> pathlib.Path:
    from tests.helpers.small_networks import lively
    from trainer.model import saved

    path = tmp_path_factory.mktemp("network") / "m.keras"
    saved.save(lively(align="chest"), path, ("well", "ill"))
    return path


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ((), "--run is missing. Give the folder of a run, or a model.keras."),
        (
            ("--run=a", "--port=70000"),
            "--port=70000 can't be read. Give a whole number, 0 to 65535.",
        ),
        (("--run=a", "--port=http"), "--port=http can't be read. Give a whole number, 0 to 65535."),
        (("--run=a", "image.png"), "['image.png'] are no flags."),
    ],
)
def test_a_wrong_command_line_is_a_sentence(flags, message):
    ended = commands.run("trainer.serve", *flags)
    assert ended.status == 2 and message in " ".join(ended.err.split())


def test_without_a_network_nothing_is_served(tmp_path):
    ended = commands.run("trainer.serve", f"--run={tmp_path}/none.keras", "--port=0")
    assert ended.status == 1 and "none.keras" in ended.err and ended.out == ""


@pytest.mark.slow
def test_without_gradio_it_is_named(run, monkeypatch):
    find = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name, *more: name != "gradio" and find(name, *more)
    )
    ended = commands.run("trainer.serve", f"--run={run}", "--port=0")
    assert ended.status == 1 and "covid-tfds[serve]" in ended.err


def test_a_port_that_is_taken_is_named(run):
    pytest.importorskip("gradio", reason="the page needs gradio, of the extra [serve]")
    with page_door.listening(0) as taken:
        port = taken.getsockname()[1]
        ended = commands.run("trainer.serve", f"--run={run}", f"--port={port}")
    assert ended.status == 1 and f"--port={port} can't be used" in ended.err


class Page:
    """A page that is served by a process of its own."""

    def __init__(self, process, folder: pathlib.Path) -> None:
        self.process, self.folder = process, folder
        line, self.hint = process.stdout.readline(), process.stdout.readline()
        self.port = int(re.fullmatch(r"The page is at http://127\.0\.0\.1:(\d+)/\n", line)[1])
        self.address = f"http://{HOST}:{self.port}/"

    def ask(self, method, path, body=None, headers=None) -> tuple[int, str]:
        connection = http.client.HTTPConnection(HOST, self.port, timeout=60)
        try:
            connection.request(method, path, body, headers or {})
            response = connection.getresponse()
            return response.status, response.read().decode()
        finally:
            connection.close()

    def answer(self, data: bytes) -> str:
        status, text = self.ask("POST", drops.UPLOAD, *drops.form({"Jane Doe.png": data}))
        if status != 200:
            return f"({text})"
        return self.of_keys(*json.loads(text))

    def of_keys(self, *keys: str) -> str:
        status, text = self.ask("POST", drops.CALL, *drops.asking(*keys))
        if status != 200:
            return f"({text})"
        return drops.answered(self.ask("GET", f"{drops.CALL}/{json.loads(text)['event_id']}")[1])


@pytest.fixture
def page(run, tmp_path):
    pytest.importorskip("gradio", reason="the page needs gradio, of the extra [serve]")
    (tmp_path / "sitecustomize.py").write_text(NOTING)
    (tmp_path / "tmp").mkdir()
    variables = {
        "PYTHONPATH": str(tmp_path), "CONNECTIONS": str(tmp_path / "connections"),
        "TMPDIR": str(tmp_path / "tmp"), "GRADIO_SHARE": "True", "GRADIO_SERVER_NAME": "0.0.0.0",
        "GRADIO_ANALYTICS_ENABLED": "True", "GRADIO_MCP_SERVER": "True",
    }  # fmt: skip
    with commands.started(
        "trainer.serve", f"--run={run}", "--port=0", env=os.environ | variables
    ) as process:
        yield Page(process, tmp_path)


def oversized(page: Page) -> str:
    """Sends more than may come, as far as it is taken."""
    connection = http.client.HTTPConnection(HOST, page.port, timeout=60)
    connection.putrequest("POST", drops.UPLOAD)
    connection.putheader("Content-Length", str(MOST_BYTES + 2**20))
    connection.endheaders()
    for _ in range(MOST_BYTES // 2**20 + 1):
        connection.send(bytes(2**20))
    text = connection.getresponse().read().decode()
    connection.close()
    return f"({text})"


def aborted(page: Page) -> str:
    """Leaves in the middle of its request."""
    body, headers = drops.form({"a.png": bytes(10**6)})
    head = (
        f"POST {drops.UPLOAD} HTTP/1.1\r\nHost: {HOST}:{page.port}\r\nContent-Length: {len(body)}"
    )
    kind = f"\r\nContent-Type: {headers['Content-Type']}\r\n\r\n"
    with socket.create_connection((HOST, page.port), timeout=60) as connection:
        connection.sendall((head + kind).encode() + body[: 10**5])
    time.sleep(0.05)  # else this one alone takes all connections
    return "(left)"


KINDS = {
    "drawn": lambda page: page.answer(encode(radiograph(1, (90, 80)))),
    "broken": lambda page: page.answer(b"\x89PNG\r\n\x1a\n and no more"),
    "oversized": oversized,
    "aborted": aborted,
    "path": lambda page: page.of_keys("/etc/passwd"),
    "address": lambda page: page.of_keys("http://192.0.2.1/a.png"),
    "words": lambda page: f"({page.ask('POST', drops.CALL, b'{', {})[0]})",
}


def shown(text: str) -> str:
    """What came, in short."""
    return "answer" if "Grad-CAM" in text else "no answer" if "No answer" in text else text


@pytest.mark.slow
def test_twenty_clients_are_answered_each_and_sigterm_ends_it_in_the_middle(page):
    came, until = collections.Counter(), time.monotonic() + SECONDS

    def client(kind: str) -> None:
        while time.monotonic() < until:
            try:
                came[kind, shown(KINDS[kind](page))] += 1
            except OSError as error:
                came[kind, repr(error)] += 1

    names = ["drawn"] * 13 + list(KINDS)
    threads = [threading.Thread(target=client, args=(kind,)) for kind in names]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    gone = "(The files are no longer there. Drop them again.)"
    assert set(came) == {
        ("drawn", "answer"), ("broken", "no answer"), ("aborted", "(left)"), ("path", gone),
        ("oversized", "(This is more than 64 MiB. Drop fewer files at once, or smaller ones.)"),
        ("address", gone), ("words", "(422)"),
    }  # fmt: skip
    assert "answer" in shown(KINDS["drawn"](page))  # and goes on
    for _ in range(5):
        threading.Thread(target=left_alone, args=(page,), daemon=True).start()
    time.sleep(0.3)  # they are being answered
    require_clean_end(page, signal.SIGTERM)


def left_alone(page: Page) -> None:
    """Drops many files, while the page ends."""
    files = {f"{seed}.png": encode(radiograph(seed, (300, 280))) for seed in range(16)}
    with contextlib.suppress(OSError, ValueError, http.client.HTTPException):
        while True:
            status, text = page.ask("POST", drops.UPLOAD, *drops.form(files))
            if status == 200:
                page.of_keys(*json.loads(text))


def require_clean_end(page: Page, number: signal.Signals) -> None:
    """Ends the page with a signal; nothing has left the machine, nothing was kept or printed."""
    page.process.send_signal(number)
    out, err = page.process.communicate(timeout=30)
    assert page.process.returncode == 128 + number
    assert (page.hint, out) == ("Open it on this machine. Ctrl-C ends it.\n", "")
    *working, last = filter(None, err.splitlines())
    assert "the page is closed, and nothing that was dropped is kept" in last
    assert all(line.endswith(" ...") for line in working), err
    left = [path for path in (page.folder / "tmp").rglob("*") if path.is_file()]
    assert not [path for path in left if not path.name.startswith("__autograph")]
    assert not list((page.folder / "tmp").glob("drop_page_*"))
    noted, *lines = (page.folder / "connections").read_text().splitlines()
    assert "noting" in noted
    assert not [line for line in lines if HOST not in line]


@pytest.mark.slow
def test_gradios_own_client_is_answered_and_ctrl_c_ends_it(page, tmp_path):
    from gradio_client import Client, handle_file

    path = tmp_path / "Jane Doe.png"
    path.write_bytes(encode(radiograph(2, (90, 80))))
    client = Client(page.address, verbose=False, analytics_enabled=False)
    html, _ = client.predict([handle_file(path)], api_name="/answer")
    assert "Jane Doe.png" in html and "well" in html and "Research use" in html
    client.close()
    require_clean_end(page, signal.SIGINT)
