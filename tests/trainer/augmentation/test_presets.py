"""The flag --augmentation: what it names, what it refuses."""

import dataclasses

import pytest

from trainer.augmentation import presets
from trainer.augmentation.presets import OPTIONS, PRESETS


def test_presets_are_those_of_the_article_and_of_a_chest():
    article, radiograph = PRESETS["article"], PRESETS["radiograph"]
    assert (article.rotation, article.shift, article.shear, article.zoom) == (50, 0.2, 0.25, 0.1)
    assert (article.flip_x, article.flip_y, article.channel_shift) == (True, True, 20)
    assert (article.brightness, article.contrast) == (0, 0)
    assert (radiograph.rotation, radiograph.shift, radiograph.zoom) == (10, 0.06, 0.1)
    assert (radiograph.flip_x, radiograph.flip_y) == (False, False)
    assert (radiograph.brightness, radiograph.contrast) == (20, 0.2)


def test_no_preset_uses_an_option():
    off = dict.fromkeys(OPTIONS, 0)
    for chosen in PRESETS.values():
        assert {name: getattr(chosen, name) for name in OPTIONS} == off


def test_the_flag_names_a_preset():
    assert presets.ranges("none") is None
    for name, chosen in PRESETS.items():
        assert presets.ranges(name) == chosen


def test_the_flag_names_options_in_any_order():
    both = dataclasses.replace(PRESETS["radiograph"], noise=10.0, elastic=0.05)
    assert presets.ranges("radiograph+noise+elastic") == both
    assert presets.ranges("radiograph+elastic+noise") == both
    assert OPTIONS.keys() == {"gamma", "noise", "cutout", "elastic"}


def test_a_strength_stands_in_place_of_the_presets():
    article, noisy = PRESETS["article"], presets.ranges("radiograph+noise")
    given = presets.ranges("article", shift=0.01, zoom=0.0, contrast=0.5)
    assert given == dataclasses.replace(article, shift=0.01, zoom=0.0, contrast=0.5)
    assert presets.ranges("radiograph+noise", zoom=0.3) == dataclasses.replace(noisy, zoom=0.3)
    assert presets.ranges("none", shift=0.1) is None


def test_a_negative_strength_is_that_of_the_preset():
    for name, chosen in PRESETS.items():
        assert presets.ranges(name, **dict.fromkeys(presets.STRENGTHS, -1.0)) == chosen


def test_every_preset_is_within_what_flags_can_set():
    for chosen in PRESETS.values():
        assert all(getattr(chosen, name) <= most for name, most in presets.STRENGTHS.items())


@pytest.mark.parametrize(
    "flag", ["", "strong", "radiograph+", "radiograph+blur", "radiograph+gamma+gamma",
             "article+gamma", "none+gamma", "gamma", "radiograph gamma", "radiograph+rotation"],
)  # fmt: skip
def test_any_other_flag_is_refused_with_all_that_there_are(flag):
    with pytest.raises(ValueError, match="There is no augmentation") as refused:
        presets.ranges(flag)
    message = str(refused.value)
    assert repr(flag) in message
    assert "Choose one of: none, article, radiograph;" in message
    assert all(f"+{option}" in message for option in OPTIONS)


def test_ranges_cannot_be_changed():
    with pytest.raises(dataclasses.FrozenInstanceError):
        PRESETS["article"].rotation = 1.0
