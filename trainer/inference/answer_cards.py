"""Answers as the drop page shows them: class, probabilities, their worth, and Grad-CAM."""

import base64
import html
import io
from collections.abc import Iterable, Mapping, Sequence

import numpy as np
from PIL import Image

from trainer.evaluation.heatmaps import overlay
from trainer.evaluation.metrics import NOTICE
from trainer.evaluation.notes import in_short
from trainer.inference.answers import Answer
from trainer.inference.network import Network
from trainer.run.text import estimate, number

# Below Gradio's own, whose colours of text and lines follow the browser's light or dark.
STYLE = """
.html-container { padding: 0 !important; }
.worth { --warn: #9a3b00; --warn-paper: #fff3ea; }
.dark .worth { --warn: #ffb27a; --warn-paper: #33210f; }
.answers { --warn: #9a3b00; --bar: #0072b2; --soft: #57606a; }
.dark .answers { --warn: #ffb27a; --bar: #56b4e9; --soft: #a3acb5; }
.worth { border-style: solid; border-color: var(--warn) !important; border-width: 1px;
  border-left-width: .4rem; border-radius: .3rem; padding: .4rem .9rem;
  background: var(--warn-paper); }
.worth p { margin: .3rem 0; }
.answers { display: grid; gap: 1rem; align-items: start; overflow-wrap: break-word;
  grid-template-columns: repeat(auto-fill, minmax(min(22rem, 100%), 1fr)); }
.answer { border: 1px solid var(--border-color-primary); border-radius: .4rem; padding: .8rem;
  min-width: 0; }
.answer.error { border-style: dashed; }
.answer p { margin: 0; }
.answer .file { color: var(--soft); overflow-wrap: anywhere; }
.answer p.called { font-size: 1.4rem; margin: .2rem 0 .5rem; }
.answer .pair { display: grid; grid-template-columns: 1fr 1fr; gap: .4rem; }
.answer figure { margin: 0; }
.answer img { width: 100%; display: block; margin: 0; }
.answer figcaption, .answer .file, .answer .short, .answer small { font-size: .85rem; }
.answer ul { list-style: none; margin: .7rem 0; padding: 0; font-variant-numeric: tabular-nums; }
.answer li { display: grid; grid-template-columns: 1fr auto; margin: 0 0 .5rem; padding: 0; }
.answer li.called { font-weight: 700; }
.answer li .bar, .answer li small { grid-column: 1 / -1; }
.answer li small { font-weight: 400; color: var(--soft); }
.answer .bar { height: .35rem; background: var(--bar); min-width: 1px; }
.answer .short { color: var(--warn); font-weight: 600; }
"""
_QUALITY = 90  # of the JPEG files


def worth(network: Network) -> str:
    """What has to be known with all answers, as HTML."""
    lines = "".join(f"<p>{html.escape(sentence)}</p>" for sentence in network.worth())
    return f'<div class="worth">{lines}</div>'


def cards(network: Network, answers: Sequence[Answer], maps: Iterable[np.ndarray]) -> str:
    """Answers as HTML that needs nothing else.

    Args:
        network: Whose answers.
        answers: In the order in which they are shown.
        maps: Of the answers without an error, float32 [height, width], 0..1.
    """
    left = iter(maps)
    each = [_error(a) if a.error else _card(network, a, next(left)) for a in answers]
    return f'<div class="answers">{"".join(each)}</div>'


def _error(answer: Answer) -> str:
    return (
        f'<article class="answer error"><p class="file">{html.escape(answer.file)}</p>'
        f'<p class="called">No answer</p><p>{html.escape(answer.error)}</p></article>'
    )


def _card(network: Network, answer: Answer, heatmap: np.ndarray) -> str:
    called, shares = answer.class_name, answer.probabilities
    assert called is not None and shares is not None and answer.square is not None
    square = answer.square[..., 0]
    short = ". ".join(filter(None, [in_short(answer.notes), NOTICE]))
    return (
        f'<article class="answer"><p class="file">{html.escape(answer.file)}</p>'
        f'<p class="called"><strong>{html.escape(called)}</strong> '
        f"{number(shares[called])}</p>"
        f'<div class="pair">{_figure(square, "As the network sees it")}'
        f"{_figure(overlay(square, heatmap), f'Grad-CAM: what speaks for {called}')}</div>"
        f'{_list(network, shares, called)}<p class="short">{html.escape(short)}</p></article>'
    )


def _figure(pixels: np.ndarray, caption: str) -> str:
    data = io.BytesIO()
    Image.fromarray(pixels).save(data, "JPEG", quality=_QUALITY)
    encoded, caption = base64.b64encode(data.getvalue()).decode(), html.escape(caption)
    return (
        f'<figure><img alt="{caption}" src="data:image/jpeg;base64,{encoded}">'
        f"<figcaption>{caption}</figcaption></figure>"
    )


def _list(network: Network, shares: Mapping[str, float], called: str) -> str:
    """Probabilities, the highest first, and how well each class is recognized."""
    rows = []
    for name, share in sorted(shares.items(), key=lambda each: -each[1]):
        mark = ' class="called"' if name == called else ""
        bar = f'<span class="bar" style="width: {100 * share:.1f}%"></span>'
        rows.append(
            f"<li{mark}><span>{html.escape(name)}</span><span>{number(share)}</span>{bar}"
            f"{_score(network, name)}</li>"
        )
    return f"<ul>{''.join(rows)}</ul>"


def _score(network: Network, name: str) -> str:
    if not network.scores:
        return ""
    of_class = network.scores["classes"][name]
    parts = [
        f"{key} {estimate(of_class[key], decimals=2)}" for key in ("sensitivity", "specificity")
    ]
    return f"<small>{html.escape(str(network.scores['split']))}: {', '.join(parts)}</small>"
