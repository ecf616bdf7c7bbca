"""A page of thumbnails with answers: one HTML file that opens from a disk, without a network."""

import base64
import collections
import contextlib
import html
import io
from collections.abc import Iterator
from typing import IO

from PIL import Image

from covid_tfds.sources import listing
from trainer.inference.answer_tables import Write
from trainer.inference.answers import Answer
from trainer.inference.network import Network
from trainer.run.text import counted, number

_STYLE = """
:root { color-scheme: light dark; font: 15px/1.4 system-ui, sans-serif; }
body { margin: 1rem auto; max-width: 80rem; padding: 0 1rem; overflow-wrap: anywhere; }
h1 { font-size: 1.3rem; } .notes { border: 2px solid; padding: .5rem 1rem; }
.images { display: grid; grid-template-columns: repeat(auto-fill, minmax(11rem, 1fr)); gap: 1rem; }
figure { margin: 0; break-inside: avoid; } figure img { width: 100%; display: block; }
.error { aspect-ratio: 1; border: 2px dashed; display: grid; place-items: center; padding: .5rem; }
figcaption { font-size: .85rem; }
figcaption b { font-size: 1rem; } dl { display: grid; grid-template-columns: 1fr auto; margin: 0; }
dd { margin: 0; font-variant-numeric: tabular-nums; }
"""
_HEAD = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>Predictions</title>
<meta name="viewport" content="width=device-width, initial-scale=1"><style>{style}</style></head>
<body><h1>Predictions of {path}</h1>
<div class="notes">{notes}</div>
<p>Each image as the network sees it, with its probabilities.</p>
<div class="images">
"""
_QUALITY = 85  # of the JPEG files


@contextlib.contextmanager
def page_writer(network: Network, file: IO[str]) -> Iterator[Write]:
    """Writes the page; an image is on it, and out of memory, when its answer was given.

    Args:
        network: Whose answers they are.
        file: Takes the HTML.

    Yields:
        What is called with each answer.
    """
    notes = "".join(f"<p>{html.escape(sentence)}</p>" for sentence in network.worth())
    file.write(
        _HEAD.format(style=_STYLE, path=html.escape(listing.shown(str(network.path))), notes=notes)
    )
    counts: collections.Counter[str] = collections.Counter()

    def write(answer: Answer) -> None:
        counts[answer.class_name or "error"] += 1
        file.write(_figure(answer))

    yield write
    shown = ", ".join(f"{html.escape(name)} {count}" for name, count in counts.most_common())
    file.write(f"</div><p>{counted(counts.total(), 'file')}: {shown}</p></body></html>\n")


def _figure(answer: Answer) -> str:
    name = html.escape(answer.file)
    called = answer.class_name
    if answer.probabilities is None or called is None or answer.square is None:
        error = html.escape(answer.error)
        return f'<figure><div class="error">{error}</div><figcaption>{name}</figcaption></figure>\n'
    data = io.BytesIO()
    Image.fromarray(answer.square[..., 0]).save(data, "JPEG", quality=_QUALITY)
    encoded = base64.b64encode(data.getvalue()).decode()
    rows = "".join(
        f"<dt>{html.escape(of)}</dt><dd>{number(share)}</dd>"
        for of, share in sorted(answer.probabilities.items(), key=lambda each: -each[1])
    )
    return (
        f'<figure><img loading="lazy" alt="{name}" src="data:image/jpeg;base64,{encoded}">'
        f"<figcaption><b>{html.escape(called)}</b><dl>{rows}</dl>{name}</figcaption></figure>\n"
    )
