"""Synthetic chest radiographs: an analytic chest, ill in one of four ways, exposed on film.

`covid_tfds.chest` has the anatomy and its attenuation; here are the patients, their diseases, and
what makes a film of the beams: scatter, unsharpness, photon noise, window, collimation, marker.

The films are for want of data and for tests. They prove nothing about patients, and whatever is
measured on them has to say "synthetic".
"""

import argparse
import dataclasses
import functools
import math
import pathlib

import numpy as np
from PIL import Image, ImageDraw

from covid_tfds.chest import AERATED, Chest, Texture, View, soft_step
from covid_tfds.films import LABELS

_SMALLEST = 32  # pixels; below it the marker can't be told from a rib
_FOLLOW_UP = 0.45  # share of patients with a second film


@dataclasses.dataclass(frozen=True)
class Patient:
    """What all films of a patient share.

    Attributes:
        number: Counted from 0; the label is `LABELS[number % 4]`.
        films: 1, or 2 with a follow-up.
        sex: `M` or `F`.
        age: Years, 18 to 89.
    """

    number: int
    films: int
    sex: str
    age: float

    @property
    def key(self) -> str:
        """E.g. `phantom-000012`."""
        return f"phantom-{self.number:06d}"

    @property
    def label(self) -> str:
        """The class."""
        return LABELS[self.number % len(LABELS)]


def patient(seed: int, number: int) -> Patient:
    """Who patient `number` is, without drawing a film."""
    rng = np.random.default_rng([seed, number, 0])
    films = 1 + int(rng.random() < _FOLLOW_UP)
    sex = "MF"[rng.integers(2)]
    return Patient(number, films, sex, float(rng.integers(18, 90)))


def draw_film(
    seed: int, number: int, visit: int, *, shortcut: bool = False, size: int = 224
) -> np.ndarray:
    """Draws one film: every visit has the patient's anatomy and disease, and a pose of its own.

    Pure: the same arguments give the same pixels in any order and any process.

    Args:
        seed: Of the whole population, 0 or more.
        number: Of the patient, from 0.
        visit: 0, or 1 for the follow-up.
        shortcut: Plants a large corner marker whose place and letter tell the class, as a
            hospital's habit would. Without it the marker is small and drawn apart from the class.
        size: Pixels of a side, 32 or more.

    Returns:
        uint8 [size, size], white is dense.

    Raises:
        ValueError: seed, number or visit is negative, or size is below 32.
    """
    if min(seed, number, visit) < 0:
        raise ValueError(f"seed {seed}, number {number}, visit {visit}: count each from 0.")
    if size < _SMALLEST:
        raise ValueError(f"size {size} is too small for a chest; give {_SMALLEST} or more.")
    who = patient(seed, number)
    chest = Chest(np.random.default_rng([seed, number, 1]), who.sex)
    texture = Texture(np.random.default_rng([seed, number, 2]))
    rng = np.random.default_rng([seed, number, 4, visit])
    view = View.posed(size, rng)
    integral, lungs, vessels = chest.project(view, texture)
    illness = np.random.default_rng([seed, number, 3])
    disease = _DISEASE[who.label](illness, view, texture, lungs, vessels)
    pixels = _expose(integral, disease, rng)
    _collimate(pixels, rng)
    _mark(pixels, LABELS.index(who.label) if shortcut else None, rng)
    return pixels


def _patch(
    view: View,
    texture: Texture,
    centre: tuple[float, float],
    radii: tuple[float, float],
    edge: float,
) -> np.ndarray:
    """A region with a ragged border, 0..1, that fades over `edge` cm."""
    dx, dy = (view.x - centre[0]) / radii[0], (view.y - centre[1]) / radii[1]
    distance = (1 - np.sqrt(dx * dx + dy * dy)) * min(radii)
    return soft_step(distance + 0.7 * texture.at(view, 1.1), edge)


def _healthy(
    rng: np.random.Generator, view: View, texture: Texture, lungs: np.ndarray, vessels: np.ndarray
) -> np.ndarray:
    return np.zeros_like(lungs)


def _lobar(
    rng: np.random.Generator, view: View, texture: Texture, lungs: np.ndarray, vessels: np.ndarray
) -> np.ndarray:
    """Bacterial: one lobe filled up to its fissure; its airways stay open and show dark."""
    side, upper = int(rng.choice((-1, 1))), bool(rng.random() < 0.45)
    fissure = float(rng.normal(2.2, 0.5)) + float(rng.normal(0, 0.08)) * view.x
    height = float(rng.normal(5.0, 1.0) if upper else rng.normal(-1.8, 1.6))
    centre = (side * float(rng.uniform(5.5, 8.5)), height)
    radii = (float(rng.uniform(3.2, 5.4)), float(rng.uniform(2.6, 4.6)))
    patch = _patch(view, texture, centre, radii, 0.8)
    patch *= soft_step((view.y - fissure) if upper else (fissure - view.y), 0.15)
    patch *= 1 + 0.13 * texture.at(view, 0.35, 1)
    filled = float(rng.uniform(0.32, 0.75)) * np.minimum(lungs, 11) * patch
    return AERATED * (filled - 1.6 * np.clip(patch, 0, 1) * vessels)


def _interstitial(
    rng: np.random.Generator, view: View, texture: Texture, lungs: np.ndarray, vessels: np.ndarray
) -> np.ndarray:
    """Viral: a fine net through both lungs and thick walls of the airways around the hila."""
    # Noise near zero is a net of lines.
    net = np.maximum(1 - 2.2 * np.abs(texture.at(view, 0.20, 1)), 0)
    net += np.maximum(1 - 2.5 * np.abs(texture.at(view, 0.42, 2)), 0)
    spread = (np.abs(view.x) - 4.5) ** 2 + (view.y + 0.5) ** 2
    near = np.exp(-spread / float(rng.uniform(25, 60)))
    strength = float(rng.uniform(0.35, 1.0))
    lines = (0.20 * net + 0.03) * np.minimum(lungs, 9) * (0.3 + near)
    return strength * AERATED * (lines + 0.9 * vessels * near)


def _ground_glass(
    rng: np.random.Generator, view: View, texture: Texture, lungs: np.ndarray, vessels: np.ndarray
) -> np.ndarray:
    """COVID-19: faint soft patches in both lungs, along the chest wall, most of them low."""
    patches = np.zeros_like(lungs)
    for side in (-1, 1):
        for _ in range(int(rng.integers(2, 4))):
            height = float(rng.triangular(-8, -5, 5))
            centre = (side * float(rng.uniform(9.0, 11.8)), height)
            radii = (float(rng.uniform(1.8, 3.2)), float(rng.uniform(2.0, 3.6)))
            patch = _patch(view, texture, centre, radii, 1.3)
            patches = np.maximum(patches, patch * float(rng.uniform(0.55, 1)))
    patches *= 1 + 0.15 * texture.at(view, 0.35, 1)
    return float(rng.uniform(0.22, 0.55)) * AERATED * np.minimum(lungs, 10) * patches


_DISEASE = {
    "healthy": _healthy,
    "covid19": _ground_glass,
    "bacterial": _lobar,
    "viral": _interstitial,
}


def _blur(image: np.ndarray, *parts: tuple[float, float]) -> np.ndarray:
    """A sum of Gaussian blurs; `parts` are (weight, deviation in pixels)."""
    size = image.shape[0]
    pad = size // 7
    wide = np.pad(image, pad, mode="edge")
    across, down = np.fft.rfftfreq(wide.shape[1]), np.fft.fftfreq(wide.shape[0])
    gain = np.zeros(1)
    for weight, deviation in parts:
        width = 2 * (math.pi * deviation) ** 2
        gain = gain + weight * np.exp(-width * down**2)[:, None] * np.exp(-width * across**2)
    smooth = np.fft.irfft2(np.fft.rfft2(wide) * gain.astype(np.float32), wide.shape)
    return smooth[pad : pad + size, pad : pad + size]


def _expose(integral: np.ndarray, disease: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """From attenuation to a film: scatter, unsharpness, photon noise, the reader's window."""
    size = integral.shape[0]
    unit = size / 224
    scatter, sharp = float(rng.uniform(0.05, 0.25)), float(rng.uniform(0.35, 0.75))
    light = _blur(np.exp(-(integral + disease)), (1, sharp * unit), (scatter, 16 * unit))
    # The same dose an area: a larger pixel catches more photons.
    photons = float(rng.uniform(60_000, 250_000)) / unit**2
    counts = np.maximum(light, 1e-4) * photons
    # A stream of its own, so that what is drawn after it doesn't depend on the film's size.
    noise = rng.spawn(1)[0].standard_normal(counts.shape, dtype=np.float32)
    counts += np.sqrt(counts) * noise
    dense = -np.log(np.maximum(counts, 1) / photons)
    flat = float(rng.uniform(0.25, 0.5))
    # Processing flattens large differences and keeps details, as digital units do.
    dense -= flat * _blur(dense, (1, 18 * unit))
    # The window is set on the chest without disease, or the film's rim would tell the class.
    plain = -np.log(np.exp(-integral[::4, ::4]) + 0.06 * scatter)
    plain -= flat * _blur(plain, (1, 4.5 * unit))
    rim = len(plain) // 8
    low, high = np.percentile(plain[rim:-rim, rim:-rim], [3, 97]).tolist()
    grey = np.clip(0.11 + 0.69 * (dense - low) / (high - low), 0, 1.4)
    # The shoulder of the film's curve: what is densest keeps some detail.
    grey = grey - 0.20 * grey**3
    grey = np.minimum(grey / 0.80, 1)
    grey = grey ** float(rng.uniform(0.85, 1.25))
    return (grey * float(rng.uniform(225, 250)) + float(rng.uniform(0, 5))).astype(np.uint8)


def _collimate(pixels: np.ndarray, rng: np.random.Generator) -> None:
    """Blackens up to 4 % at each side of some films, whatever their class."""
    size = pixels.shape[0]
    left, top, right, bottom = (rng.uniform(-0.04, 0.04, 4).clip(0) * size).astype(int).tolist()
    pixels[:top], pixels[size - bottom :] = 2, 2
    pixels[:, :left], pixels[:, size - right :] = 2, 2


def _mark(pixels: np.ndarray, tell: int | None, rng: np.random.Generator) -> None:
    """Lays a lead letter on the film: small and by chance, or large and telling the class."""
    size = pixels.shape[0]
    corner = int(rng.integers(2)) if tell is None else tell
    letter = _letter("RL"[corner % 2], max(5, round(size * (0.06 if tell is None else 0.13))))
    high, wide = letter.shape
    margin = float(rng.uniform(0.03, 0.08)) if tell is None else 0.015
    near = round(margin * size)
    top = near if corner < 2 else size - near - high
    left = near if corner % 2 == 0 else size - near - wide
    part = pixels[top : top + high, left : left + wide]
    np.maximum(part, letter, out=part)


@functools.cache
def _letter(text: str, height: int) -> np.ndarray:
    image = Image.new("L", (height, height))
    place = (height / 2, height / 2)
    ImageDraw.Draw(image).text(place, text, fill=245, anchor="mm", font_size=height * 1.2)
    return np.asarray(image)


def contact_sheet(
    rows: int = 4, columns: int = 6, *, seed: int = 0, size: int = 160
) -> Image.Image:
    """A grid of films, a class a row, with the word "synthetic" on it.

    Args:
        rows: How many classes, 1 to 4.
        columns: Patients of each class, 1 or more.
        seed: Of the population.
        size: Pixels of a film's side.

    Returns:
        A grey picture (mode L).

    Raises:
        ValueError: rows or columns is out of range.
    """
    if not 1 <= rows <= len(LABELS) or columns < 1:
        raise ValueError(
            f"{rows} x {columns} films: give 1 to {len(LABELS)} rows, 1 column or more."
        )
    head, side = 24, 84
    sheet = Image.new("L", (side + columns * size, head + rows * size), 255)
    pen = ImageDraw.Draw(sheet)
    pen.text((side, 4), "synthetic chest films, not of patients", fill=0, font_size=14)
    for row in range(rows):
        pen.text((6, head + row * size + size // 2), LABELS[row], fill=0, font_size=14)
        for column in range(columns):
            film = draw_film(seed, len(LABELS) * column + row, 0, size=size)
            sheet.paste(Image.fromarray(film), (side + column * size, head + row * size))
    return sheet


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Draws a contact sheet of synthetic films.")
    parser.add_argument("path", type=pathlib.Path, help="where the picture goes, e.g. sheet.png")
    contact_sheet().save(parser.parse_args().path, optimize=True)
