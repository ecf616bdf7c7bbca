"""How strong augmentation is: ranges, presets, and the flag that names them.

Imports no Keras, so that the flag can be checked before anything heavy is loaded.
"""

import dataclasses
from typing import Any


@dataclasses.dataclass(frozen=True)
class Ranges:
    """How far each parameter may stray from "no change"; 0 or False switches it off.

    Attributes:
        rotation: degrees, uniform in ±rotation.
        shift: share of the width and of the height, each uniform in ±shift.
        shear: degrees, uniform in ±shear.
        zoom: zoom along x and along y, drawn apart, uniform in 1 ± zoom.
        flip_x: mirror left and right with probability 1/2.
        flip_y: mirror up and down with probability 1/2.
        channel_shift: grey levels, uniform in ±channel_shift, clipped to the image's own range.
        brightness: grey levels, uniform in ±brightness.
        contrast: factor about the image's mean, uniform in 1 ± contrast.
        gamma: exponent of the grey levels as shares of 255, log-uniform in 1 / (1 + gamma)..
            1 + gamma.
        noise: grey levels, standard deviation of Gaussian noise, uniform in 0..noise.
        cutout: share of the image under one black rectangle, uniform in 0..cutout; at most 1/2.
        elastic: share of the width and of the height. The knots of a coarse grid move uniformly in
            ±elastic along x and along y, and bend the image smoothly between them.
    """

    rotation: float = 0.0
    shift: float = 0.0
    shear: float = 0.0
    zoom: float = 0.0
    flip_x: bool = False
    flip_y: bool = False
    channel_shift: float = 0.0
    brightness: float = 0.0
    contrast: float = 0.0
    gamma: float = 0.0
    noise: float = 0.0
    cutout: float = 0.0
    elastic: float = 0.0


PRESETS = {
    # A. Y. Xu, "Detecting COVID-19 induced Pneumonia from Chest X-rays with Transfer Learning"
    # (2020): the arguments its notebooks give to Keras' ImageDataGenerator.
    "article": Ranges(
        rotation=50.0,
        shift=0.2,
        shear=0.25,
        zoom=0.1,
        flip_x=True,
        flip_y=True,
        channel_shift=20.0,
    ),
    # What differs between two exposures of one chest. No flips: they would move the heart.
    "radiograph": Ranges(rotation=10.0, shift=0.06, zoom=0.1, brightness=20.0, contrast=0.2),
}

# What "radiograph" takes on top, by the field of `Ranges` that it sets.
OPTIONS = {
    # Detectors and digitisers differ in their response. Exponents of .77 to 1.3 move middle grey
    # by 25 levels at most, hardly more than the preset's brightness does.
    "gamma": 0.3,
    # Up to 4 % of the scale: enough to bury a source's JPEG texture, too little to hide a lesion.
    "noise": 10.0,
    # Less than one lung, which covers about a fifth of an image.
    "cutout": 0.15,
    # At most 7.5 pixels of 150, typically 2: a breath, another stance.
    "elastic": 0.05,
}

# The ranges that a flag of their own can set, and how far: a shift of half the side leaves half the
# image, and a zoom or contrast of 1 would leave none of it.
STRENGTHS = {"shift": 0.5, "zoom": 0.9, "contrast": 0.9}

SYNTAX = (
    f"none, {', '.join(PRESETS)}; radiograph takes any of {', '.join(f'+{o}' for o in OPTIONS)} "
    "behind it, each once"
)


def ranges(flag: str, **strengths: float) -> Ranges | None:
    """Reads the flag --augmentation.

    Args:
        flag: "none", "article", or "radiograph" with options, as in "radiograph+gamma+noise".
        strengths: Ranges in place of the preset's, by the field of `Ranges`; a negative one stands
            for that of the preset.

    Returns:
        The ranges, or None for "none". The order of options does not matter.

    Raises:
        ValueError: there is no such preset or option, an option is given twice, or to another
            preset than radiograph.
    """
    preset, *options = flag.split("+")
    if flag == "none":
        return None
    known = preset in PRESETS and OPTIONS.keys() >= set(options)
    if not known or len(set(options)) < len(options) or (options and preset != "radiograph"):
        raise ValueError(f"There is no augmentation {flag!r}. Choose one of: {SYNTAX}.")
    chosen: dict[str, Any] = {option: OPTIONS[option] for option in options}
    given: dict[str, Any] = {name: value for name, value in strengths.items() if value >= 0}
    return dataclasses.replace(PRESETS[preset], **chosen, **given)
