"""The drop page as an ASGI application: Gradio's page and queue, with uploads of its own.

Gradio keeps what is uploaded as files, in folders of their digests, which two people with one image
share; here it stays in memory until it is answered. It would also fetch what a client names by an
address; here nothing but a key of what was dropped is taken.
"""

import asyncio
import contextlib
import functools
import html
import json
import os
import traceback
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import fastapi
import gradio as gr
import numpy as np
from fastapi import responses
from gradio.utils import LRUCache
from starlette import formparsers

from covid_tfds.sources import listing
from trainer.inference import answer_cards, gradcam
from trainer.inference.answers import answers
from trainer.inference.image_files import ImageFile
from trainer.inference.network import Network
from trainer.inference.page_door import MOST_BYTES, MOST_FILES, UPLOAD, Door
from trainer.inference.uploads import MOST_WAITING, Busy, Upload, Uploads
from trainer.run.progress import note

_BROWSERS = 256  # that are remembered, with what waits for them
_KEPT = 300  # seconds for which a file waits at most
_SLOWEST = 60  # seconds in which a drop has to come
_LONGEST = 100  # letters of a file's name
_LATE = "The files came too slowly. Drop them again."
_NO_FILES = f"There are no files here, or too many. Drop up to {MOST_FILES} at once."
_FONT = ("system-ui", "sans-serif")
_STYLE = """
.gradio-container { max-width: 72rem !important; margin: 0 auto; }
footer { display: none !important; }
"""


class _Blocks(gr.Blocks):
    """A page that takes keys alone, keeps no answer, and whose errors are sentences.

    Gradio opens what a client names, a path or an address, keeps the last answer of each browser
    for an hour, and prints what it could not use.
    """

    async def preprocess_data(self, function: object, inputs: list, *_: object) -> list[list[str]]:
        (files,) = inputs
        return [[str(each["path"]) for each in files]]

    async def process_api(self, *args: Any, **options: Any) -> Any:
        try:
            return await super().process_api(*args, **(options | {"state": None}))
        except gr.Error:
            raise
        except Exception as error:
            where = traceback.extract_tb(error.__traceback__)[-1]
            reason = f"{type(error).__name__}, {os.path.basename(where.filename)}:{where.lineno}"
            note(f"A drop could not be answered ({reason}).")
            raise gr.Error(f"No answer ({reason}). Try again.", print_exception=False) from None


class _Form(formparsers.MultiPartParser):
    """Reads files into memory, however large they are."""

    spool_max_size = MOST_BYTES


def application(
    network: Network, computing: contextlib.AbstractContextManager
) -> Callable[..., Awaitable[None]]:
    """The page of a network, behind its door.

    Args:
        network: It answers one drop at a time.
        computing: Entered for as long as it computes.
    """
    uploads = Uploads()
    app = fastapi.FastAPI(openapi_url=None)
    app.post(UPLOAD)(functools.partial(_take_in, uploads))
    app.get("/gradio_api/upload_progress")(_progress)
    app = gr.mount_gradio_app(
        app, _blocks(network, uploads, computing), "/",
        footer_links=[], run_history=False, show_error=True, max_file_size=MOST_BYTES,
        ssr_mode=False, enable_monitoring=False, pwa=False, mcp_server=False,
        theme=gr.themes.Base(font=_FONT, font_mono=("ui-monospace", "monospace")),
        css=_STYLE + answer_cards.STYLE,
    )  # fmt: skip
    return Door(app)


def _blocks(
    network: Network, uploads: Uploads, computing: contextlib.AbstractContextManager
) -> gr.Blocks:
    names = html.escape(", ".join(network.class_names))
    with _Blocks(title="Chest X-rays", analytics_enabled=False) as blocks:
        trained = f" Trained on {html.escape(network.about.dataset)}." if network.about else ""
        about = f"<p>Classes: {names}.{trained}</p>"
        gr.HTML(f"<h1>Chest X-rays</h1>{about}{answer_cards.worth(network)}")
        label = f"Images, up to {MOST_FILES} at once: PNG, JPEG, TIFF, WebP, BMP, DICOM"
        files = gr.File(file_count="multiple", label=label, height=180)
        shown = gr.HTML()
        files.upload(
            functools.partial(_answer, network, uploads, computing), files, [shown, files],
            api_name="answer", concurrency_limit=1, show_progress_on=shown,
        )  # fmt: skip
    blocks.queue(max_size=MOST_WAITING, api_open=False)
    blocks.state_session_capacity = _BROWSERS
    blocks._queue.pending_messages_per_session = LRUCache(_BROWSERS)  # by default 2000 answers
    return blocks


def _answer(
    network: Network,
    uploads: Uploads,
    computing: contextlib.AbstractContextManager,
    keys: Sequence[str],
) -> tuple[str, None]:
    """Cards of answers, and a place for files that is empty again."""
    taken = [uploads.take(key) for key in keys]
    dropped = [each for each in taken if each is not None]
    if not dropped or len(dropped) < len(taken):
        raise gr.Error("The files are no longer there. Drop them again.", print_exception=False)
    files = [ImageFile(each.name, functools.partial(getattr, each, "data")) for each in dropped]
    with computing:
        made = list(answers(network, files))
        squares = [each.square for each in made if each.square is not None]
        labels = [network.class_names.index(each.class_name) for each in made if not each.error]
        maps = gradcam.heatmaps(network.model, np.stack(squares), labels) if squares else ()
    return answer_cards.cards(network, made, maps), None


async def _take_in(uploads: Uploads, request: fastapi.Request) -> responses.Response:
    """Takes files in; answers with their keys, which Gradio calls paths."""
    try:
        with uploads.coming(int(request.headers["content-length"])):
            async with asyncio.timeout(_SLOWEST):
                form = await _Form(
                    request.headers, request.stream(), max_files=MOST_FILES, max_fields=0
                ).parse()
            files = [each for each in form.getlist("files") if not isinstance(each, str)]
            taken = [Upload(_name(each.filename), await each.read()) for each in files]
            await form.close()
            keys = uploads.put(taken)
    except Busy as reason:
        return responses.PlainTextResponse(str(reason), status_code=503)
    except TimeoutError:
        return responses.PlainTextResponse(_LATE, status_code=408)
    except (KeyError, formparsers.MultiPartException):  # no form, a damaged or a long one
        keys = []
    if not keys:
        return responses.PlainTextResponse(_NO_FILES, status_code=400)
    loop = asyncio.get_running_loop()
    for key in keys:
        loop.call_later(_KEPT, uploads.take, key)
    return responses.JSONResponse(keys)


def _name(given: str | None) -> str:
    return listing.shown(given or "image")[-_LONGEST:]


async def _progress() -> responses.Response:
    """What Gradio's page shows a bar of: on one machine, files are there at once."""
    done = f"data: {json.dumps({'msg': 'done'})}\n\n"
    return responses.Response(done, media_type="text/event-stream")
