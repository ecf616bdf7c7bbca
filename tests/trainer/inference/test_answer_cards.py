"""Answers on the drop page: all that is known, escaped, and never without their worth."""

import pathlib

import numpy as np
import pytest

from tests.helpers.pages import Page
from trainer.evaluation.metrics import NOTICE
from trainer.inference import answer_cards
from trainer.inference.answers import Answer
from trainer.inference.network import Network

NOTES = ("CONFOUNDED: in train, class and source go together (<V> 1.00).",)
E = {"value": 0.8, "low": 0.7, "high": 0.9, "groups": 50}
SCORES = {
    "split": "test", "n": 80, "groups": 50, "balanced_accuracy": E, "shortcut_baseline": E,
    "classes": {"well": {"sensitivity": E, "specificity": E | {"value": 0.75}},
                "a<b": {"sensitivity": E, "specificity": E}},
}  # fmt: skip


def network(**changes) -> Network:
    options = {
        "path": pathlib.Path("m.keras"), "run": None, "model": None, "align": "none",
        "class_names": ("well", "a<b"), "image_size": 32, "about": None, "notes": NOTES,
    }  # fmt: skip
    return Network(**(options | changes))


def answer(file="a.png", shares=(0.25, 0.75)) -> Answer:
    square = np.arange(1024, dtype=np.uint8).reshape(32, 32, 1)
    return Answer(file, dict(zip(("well", "a<b"), shares, strict=True)), "", NOTES, square)


def page(text: str) -> Page:
    made = Page(text)
    assert not [tag for tag, attributes in made.tags if tag == "script" or "onerror" in attributes]
    return made


def test_an_answer_has_its_class_every_probability_and_two_pictures():
    made = page(answer_cards.cards(network(), [answer()], [np.ones((2, 2), np.float32)]))
    assert "a<b 0.750" in made.text and "well0.250" in made.text
    assert "sensitivity" not in made.text  # no scores are known
    pictures = made.all("img")
    assert len(pictures) == 2 and all(each["alt"] for each in pictures)
    assert all(each["src"].startswith("data:image/jpeg;base64,") for each in pictures)
    assert made.text.index("a<b0.750") < made.text.index("well0.250")  # the highest first


def test_what_it_is_worth_is_in_every_answer_and_in_full_above():
    made = page(answer_cards.cards(network(scores=SCORES), [answer()], [np.zeros((2, 2))]))
    assert f"CONFOUNDED. {NOTICE}" in made.text
    assert "test: sensitivity 0.80 [0.70, 0.90], specificity 0.75 [0.70, 0.90]" in made.text
    above = page(answer_cards.worth(network(scores=SCORES))).text
    assert NOTES[0] in above and NOTICE in above and "Balanced accuracy on test: 0.800" in above


def test_what_a_network_says_of_itself_is_text():
    scores = SCORES | {"split": "<script>alert(1)</script>"}
    made = page(answer_cards.cards(network(scores=scores), [answer()], [np.zeros((2, 2))]))
    assert "<script>alert(1)</script>: sensitivity" in made.text


@pytest.mark.parametrize("name", ["<img src=x onerror=alert(1)>.png", '"><script>', "${alert(1)}&"])
def test_a_name_is_text(name):
    bad = Answer(name, None, "<b>broken</b>", NOTES)
    made = page(answer_cards.cards(network(), [answer(name), bad], [np.ones((2, 2))]))
    assert made.text.count(name) == 2 and "<b>broken</b>" in made.text
    assert len(made.all("img")) == 2


def test_each_answer_has_its_own_map_where_others_have_none():
    bad = Answer("b.png", None, "not an image", NOTES)
    maps = [np.zeros((2, 2)), np.ones((2, 2))]
    together = answer_cards.cards(network(), [answer("a"), bad, answer("c")], maps)
    for name, heatmap in (("a", maps[0]), ("c", maps[1])):
        alone = answer_cards.cards(network(), [answer(name)], [heatmap])
        assert alone.removeprefix('<div class="answers">').removesuffix("</div>") in together
