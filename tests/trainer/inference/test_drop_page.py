"""The drop page, by HTTP in this process: what is dropped is answered once and kept nowhere."""

import asyncio
import gc
import json
import logging
import re
import sys
import tempfile
import threading
import time
import types

import pytest

pytest.importorskip("gradio", reason="the page needs gradio, of the extra [serve]")

from starlette.requests import Request
from starlette.testclient import TestClient

from covid_tfds.reading import encode
from tests.covid_tfds.reading.made_files import TWELVE, dicom
from tests.helpers import drops
from tests.helpers.images import radiograph
from tests.helpers.pages import Page
from tests.helpers.small_networks import lively
from trainer.evaluation.metrics import NOTICE
from trainer.evaluation.notes import UNKNOWN
from trainer.inference import drop_page, network
from trainer.inference import uploads as uploads_lib
from trainer.inference.image_files import ImageFile
from trainer.inference.uploads import MOST_WAITING, Uploads
from trainer.model import saved

ADDRESS = "http://127.0.0.1:7860"


@pytest.fixture(scope="module")
def net(tmp_path_factory) -> network.Network:
    path = tmp_path_factory.mktemp("network") / "m.keras"
    saved.save(lively(classes=3), path, ("one", "two", "three"))
    return network.load(path)


@pytest.fixture(scope="module")
def served(net):
    with TestClient(drop_page.application(net, threading.Lock()), ADDRESS) as client:
        yield client


@pytest.fixture
def client(served, monkeypatch, tmp_path):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))  # what is written would lie here
    return served


def uploaded(client, files: dict[str, bytes]):
    body, headers = drops.form(files)
    return client.post(drops.UPLOAD, content=body, headers=headers)


def answer(client, *keys: str) -> str:
    body, headers = drops.asking(*keys)
    event = client.post(drops.CALL, content=body, headers=headers).json()["event_id"]
    return drops.answered(client.get(f"{drops.CALL}/{event}").text)


def drawn(seed: int) -> bytes:
    return encode(radiograph(seed, (80, 90)))


def test_files_of_a_drop_get_the_answers_of_predict(client, net, tmp_path):
    files = {"a.png": drawn(1), "b.png": b"no image", "c.dcm": dicom(TWELVE)}
    made = Page(answer(client, *uploaded(client, files).json()))
    given = [ImageFile(name, lambda data=data: data) for name, data in files.items()]
    for each in drop_page.answers(net, given):
        assert each.file in made.text
        if each.error:
            assert f"No answer{each.error}" in made.text
        for name, share in (each.probabilities or {}).items():
            assert f"{name}{share:.3f}" in made.text
    assert made.text.count(NOTICE) == len(made.all("img")) / 2 >= 1
    written = [path.name for path in tmp_path.rglob("*") if path.is_file()]
    assert not [name for name in written if not name.startswith("__autograph")]  # TensorFlow's code


def test_a_drop_is_answered_once(client):
    keys = uploaded(client, {"a.png": drawn(1)}).json()
    assert "Grad-CAM" in answer(client, *keys)
    assert answer(client, *keys) == "(The files are no longer there. Drop them again.)"


def holding(root: object, words: str) -> list[str]:
    """Texts with these words in them that can be reached from an object, but through no module.

    Not those of `gc.get_objects`: it gives what another thread has not made whole yet. Through the
    globals of functions all of a process is reached, which takes a minute after 4,000 tests.
    """
    seen = {id(each.__dict__) for each in sys.modules.values() if hasattr(each, "__dict__")}
    made, left = [], [root]
    while left:
        each = left.pop()
        if type(each) is str:
            made += [each] if words in each else []
        elif id(each) not in seen and type(each) not in (types.ModuleType, type):
            seen.add(id(each))
            left += gc.get_referents(each)
    return made


def test_an_answer_that_was_read_is_kept_nowhere(client):
    name = "eoD enaJ"[::-1]
    assert f"{name}.png" in answer(client, *uploaded(client, {f"{name}.png": drawn(1)}).json())
    deadline = time.monotonic() + 60
    while holding(client.app, name) and time.monotonic() < deadline:
        time.sleep(0.1)  # what answered may not have returned yet
        gc.collect()
    assert holding(client.app, name) == []


def test_an_answer_that_was_not_read_yet_can_be_found(client):
    body, headers = drops.asking(*uploaded(client, {"eoD.png": drawn(1)}).json())
    event = client.post(drops.CALL, content=body, headers=headers).json()["event_id"]
    deadline = time.monotonic() + 60
    while not holding(client.app, "Grad-CAM") and time.monotonic() < deadline:
        time.sleep(0.1)
    assert any("eoD.png" in text for text in holding(client.app, "Grad-CAM"))
    client.get(f"{drops.CALL}/{event}")


@pytest.mark.parametrize("key", ["/etc/passwd", "http://192.0.2.1/a.png", ""])
def test_nothing_but_what_was_dropped_is_read(client, key):
    assert answer(client, key) == "(The files are no longer there. Drop them again.)"


@pytest.mark.parametrize("data", [[], [[]], [None], [[1]], ["a"], [[{"meta": 1}]], [1, 2]])
def test_what_no_page_sends_is_a_sentence_and_nothing_of_it_is_printed(client, data, capfd, caplog):
    headers = {"Content-Type": "application/json"}
    sent = json.dumps({"data": data, "oauth_token": "Jane Doe"}).encode()
    event = client.post(drops.CALL, content=sent, headers=headers).json()["event_id"]
    assert drops.answered(client.get(f"{drops.CALL}/{event}").text).endswith(" again.)")
    printed = "".join(capfd.readouterr())
    assert "Traceback" not in printed and "Doe" not in printed + caplog.text
    assert not [record for record in caplog.records if record.levelno >= logging.ERROR]


@pytest.mark.parametrize(
    ("content", "kind"),
    [(b"", "multipart/form-data; boundary=a"), (b"nonsense", "multipart/form-data; boundary=a"),
     (b"a=1", "application/x-www-form-urlencoded"), (b"x", "multipart/form-data"), (b"x", "")],
)  # fmt: skip
def test_an_upload_without_files_is_a_sentence(client, content, kind):
    given = client.post(drops.UPLOAD, content=content, headers={"Content-Type": kind})
    assert given.status_code == 400 and given.text.startswith("There are no files here")


def test_a_drop_of_too_many_files_is_a_sentence(client):
    given = uploaded(client, {f"{i}.png": b"" for i in range(17)})
    assert (given.status_code, given.text.endswith("Drop up to 16 at once.")) == (400, True)


def test_a_drop_that_comes_too_slowly_is_a_sentence_and_takes_nobodys_place(monkeypatch):
    monkeypatch.setattr(drop_page, "_SLOWEST", 0.01)
    body, headers = drops.form({"a.png": drawn(1)})
    headers |= {"Content-Length": str(len(body))}
    pairs = [(name.lower().encode(), value.encode()) for name, value in headers.items()]
    parts = iter([{"type": "http.request", "body": body[:99], "more_body": True}])

    async def receive():
        return next(parts, None) or await asyncio.Event().wait()  # for the rest, for ever

    uploads = Uploads()
    request = Request({"type": "http", "method": "POST", "headers": pairs}, receive)
    given = asyncio.run(drop_page._take_in(uploads, request))
    assert (given.status_code, given.body) == (408, b"The files came too slowly. Drop them again.")
    with uploads.coming(uploads_lib._MOST_BYTES):  # there is room for all that may be on the way
        pass


def test_the_progress_of_a_drop_is_done_at_once(client):
    given = client.get("/gradio_api/upload_progress?upload_id=1")
    assert given.headers["content-type"].startswith("text/event-stream")
    assert json.loads(given.text.removeprefix("data: ")) == {"msg": "done"}


def test_a_queue_that_is_full_says_so_and_goes_on_when_it_is_not(net):
    with TestClient(drop_page.application(net, threading.Lock()), ADDRESS) as client:
        _fill_the_queue_of(client)


def _fill_the_queue_of(client):
    for _ in range(MOST_WAITING // 16):
        keys = uploaded(client, {f"{i}.png": b"" for i in range(16)}).json()
    refused = uploaded(client, {"a.png": drawn(1)})
    assert refused.status_code == 503
    assert refused.text == "The page is busy: 64 images wait. Drop the files again in a minute."
    answer(client, *keys)
    assert "Grad-CAM" in answer(client, *uploaded(client, {"a.png": drawn(1)}).json())


def test_the_page_says_what_answers_are_worth_and_names_nothing_outside(client):
    config = client.get("/config").json()
    shown = " ".join(str(each["props"].get("value")) for each in config["components"])
    assert UNKNOWN.split(":")[0] in shown and NOTICE in shown and "one, two, three" in shown
    for address in ("/", "/theme.css"):
        fetched = re.findall(
            r"(?:src|href)=.?https?:|url\(.?https?:|@import", client.get(address).text
        )
        assert fetched == []
    assert not config.get("run_history") and not config.get("footer_links")
