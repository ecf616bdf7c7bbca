"""Synthetic chest radiographs: line integrals through an analytic chest, drawn per patient.

A pixel is the Beer-Lambert integral of attenuation along a parallel beam, in closed form: chords
of ellipsoids for body, lungs, heart and mediastinum, profiles of bars for ribs, clavicles and
spine. Attenuation coefficients are those of NIST's XCOM tables at 60 keV, about the mean energy of
a 120 kV chest exposure: soft tissue .205, inflated lung .053, cortical bone .60 per cm.

The drawings are for want of data and for tests. They look like chest films and prove nothing about
patients; whatever is measured on them has to say "synthetic".
"""

import argparse
import dataclasses
import functools
import math
import pathlib

import numpy as np
from PIL import Image, ImageDraw
from scipy import ndimage

from covid_tfds.films import LABELS

_SOFT, _LUNG, _BONE = 0.205, 0.053, 0.60  # 1/cm
_FIELD = 17.0  # cm from the centre of the film to its edge
_FOLLOW_UP = 0.45  # share of patients with a second film


@dataclasses.dataclass(frozen=True)
class Patient:
    """What all films of a patient share.

    Attributes:
        number: Counted from 0; the label is `LABELS[number % 4]`.
        films: 1, or 2 with a follow-up.
        sex: `M` or `F`.
        age: Years.
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
        seed: Of the whole population.
        number: Of the patient, from 0.
        visit: 0, or 1 for the follow-up.
        shortcut: Plants a corner marker whose place tells the class, as a hospital's habit would.
        size: Pixels of a side, 32 or more.

    Returns:
        uint8 [size, size], white is dense.
    """
    label = patient(seed, number).label
    anatomy = _Anatomy(np.random.default_rng([seed, number, 1]))
    rng = np.random.default_rng([seed, number, 2, visit])
    x, y = _posed_grid(size, rng)
    integral, lungs = anatomy.thickness(x, y)
    disease = _DISEASES[label](np.random.default_rng([seed, number, 3]), x, y, lungs)
    pixels = _expose(integral + disease, rng)
    corner = LABELS.index(label) if shortcut else int(rng.integers(4))
    _mark(pixels, corner, large=shortcut)
    return pixels


def _posed_grid(size: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Coordinates in cm, x to the film's right and y up, as the patient stands this time."""
    line = ((np.arange(size, dtype=np.float32) + 0.5) / size * 2 - 1) * _FIELD
    # Plain floats throughout: a NumPy float64 would turn float32 pixels into float64.
    angle, scale = float(rng.normal(0, 0.035)), float(rng.normal(1, 0.04))
    shift_x, shift_y = rng.normal(0, 0.8, 2).tolist()
    x, y = line[None, :] * scale + shift_x, -line[:, None] * scale + shift_y
    cos, sin = math.cos(angle), math.sin(angle)
    return x * cos - y * sin, x * sin + y * cos


def _chord(
    x: np.ndarray,
    y: np.ndarray,
    centre: tuple[float, float],
    radii: tuple[float, float, float],
    angle: float = 0.0,
) -> np.ndarray:
    """Length in cm of a beam inside an ellipsoid; `radii` are in x, y and along the beam."""
    dx, dy = x - centre[0], y - centre[1]
    if angle:
        cos, sin = math.cos(angle), math.sin(angle)
        dx, dy = dx * cos + dy * sin, dy * cos - dx * sin
    inside = 1 - (dx / radii[0]) ** 2 - (dy / radii[1]) ** 2
    return 2 * radii[2] * np.sqrt(np.maximum(inside, 0))


def _step(distance: np.ndarray, width: float) -> np.ndarray:
    """0 below, 1 above, over `width` cm."""
    return 1 / (1 + np.exp(np.clip(-distance / width, -30, 30)))


class _Anatomy:
    """Sizes of one patient's chest, in cm."""

    def __init__(self, rng: np.random.Generator) -> None:
        def near(mean: float, deviation: float) -> float:
            return float(rng.normal(mean, deviation))

        self.width = near(1, 0.05)
        self.depth = near(10.5, 1.0)
        self.lung = (6.3 * self.width, near(13.4, 0.7), near(8.3, 0.6))
        self.dome = near(-9.0, 0.8)
        self.heart = (near(6.0, 0.6) * self.width, near(4.6, 0.35))
        self.heart_x = near(2.2, 0.4)
        self.arch = float(rng.uniform(1.4, 2.1))
        self.rib_gap = near(2.35, 0.12)
        self.rib_slope = near(0.22, 0.05)
        self.bone = near(1, 0.12)
        self.collar = near(12.3, 0.5), near(0.16, 0.06)
        self.vessels = int(rng.integers(2**32))

    def thickness(self, x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Returns (attenuation integral, cm of lung) of every beam."""
        lungs = self._lungs(x, y)
        body = self._body(x, y)
        integral = _SOFT * body - (_SOFT - _LUNG) * lungs
        integral += (_SOFT - _LUNG) * self._vessels(x, y, lungs)
        integral += self._bones(x, y, body)
        airway = np.exp(-(((x + 0.2) / 0.75) ** 2)) * _step(y - 3.5, 0.6) * _step(16 - y, 1.5)
        return integral - _SOFT * 1.1 * airway, lungs

    def _body(self, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        trunk = _chord(x, np.zeros_like(y), (0, 0), (17.5 * self.width, 1, self.depth))
        shoulders = _chord(x, y, (0, 3.0), (30, 16.5, self.depth * 0.9))
        neck = _chord(x, np.zeros_like(y), (0, 0), (6.0, 1, 6.0))
        arms = sum(_chord(x, y, (side * 17.5, 8), (5.5, 14, 4.5), -side * 0.35) for side in (-1, 1))
        blend = _step(11.5 - y, 1.6)
        return trunk * blend + np.maximum(shoulders * 0.85, neck) * (1 - blend) + arms * 0.6

    def _lungs(self, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        total = np.zeros(np.broadcast(x, y).shape, np.float32)
        for side in (-1, 1):
            lung = _chord(x, y, (side * 6.9 * self.width, -0.4), self.lung, side * 0.09)
            # The liver lifts the right dome, at the film's left.
            floor = self.dome + 1.8 - 0.5 * side - 0.070 * (x - side * 6.2) ** 2
            total += lung * _step(y - floor, 0.25)
        heart = _chord(x, y, (self.heart_x, -5.2), (*self.heart, 4.6), -0.55)
        great = _chord(x, y, (0.1, 1.5), (2.9, 14.5, 5.5))
        arch = _chord(x, y, (1.9, 5.4), (self.arch, 1.9, 3.5))
        hila = sum(_chord(x, y, (s * 3.7, 0.8 - 0.5 * s), (1.6, 2.3, 2.3)) for s in (-1, 1))
        soft = np.maximum.reduce([heart * 1.45, great * 1.2, arch * 1.5, hila * 0.75])
        return np.maximum(total - soft, 0)

    def _vessels(self, x: np.ndarray, y: np.ndarray, lungs: np.ndarray) -> np.ndarray:
        """Branches from the hila: streaks along the radius, thinner outwards."""
        rng = np.random.default_rng(self.vessels)
        total = np.zeros_like(lungs)
        for side in (-1, 1):
            dx, dy = x - side * 2.6, y - 0.6
            radius, angle = np.hypot(dx, dy), np.arctan2(dy, side * dx)
            # cm across over the width of a vessel, which narrows outwards; a Lorentz profile, since
            # its square root is never taken and no exponential is needed for each branch.
            sharp = radius / (0.30 * np.exp(-radius / 6) + 0.06)
            branches = np.zeros_like(lungs)
            for start in rng.uniform(-1.5, 1.4, 12).tolist():
                bend = start + float(rng.normal(0, 0.03)) * radius
                branches += 1 / (1 + ((angle - bend) * sharp) ** 2) ** 2
            total += branches * radius / (radius + 1.5) * np.exp(-radius / 5.5) * (side * dx > -0.5)
        return total * np.minimum(lungs, 2.0) * 0.6

    def _bones(self, x: np.ndarray, y: np.ndarray, body: np.ndarray) -> np.ndarray:
        out = np.abs(x)
        cage = (
            14.4 * self.width - 0.030 * np.maximum(y - 2, 0) ** 2
        )  # half-width of the rib cage at height y
        inside = _step(cage - out, 0.25)
        # A beam runs along the cage's wall near its edge, so ribs are densest there.
        edge = 1 + 1.6 * np.exp(-np.maximum(cage - out, 0) / 1.1)
        bone = np.zeros_like(body)
        for i in range(10):
            top = 13.6 - i * self.rib_gap
            back = top + self.rib_slope * 6 - 0.021 * (out - 4.5) ** 2 - self.rib_slope * out * 0.35
            bone += 0.66 * _bar(y - back, 0.68) * inside * edge * _step(out - 1.6, 0.3)
            front = top - 2.8 - 0.55 * (9.5 - out) + 0.012 * (out - 10) ** 2
            bone += 0.34 * _bar(y - front, 0.70) * inside * _step(out - 4.6, 0.6)
        spine = _bar(x, 1.75) * (1 + 0.30 * np.cos(2 * np.pi * y / 2.4) * _bar(x, 1.6))
        height, slope = self.collar
        collar = _bar(y - (height - slope * (12 - out) - 0.02 * (out - 6) ** 2), 0.62)
        collar *= _step(out - 1.7, 0.2) * _step(14.5 - out, 0.5)
        blades = _chord(out, y, (13.6, 7.5), (2.4, 6.5, 0.35), 0.25)
        return self.bone * (_BONE - _SOFT) * (bone + 0.62 * spine + 0.95 * collar + 0.6 * blades)


def _bar(distance: np.ndarray, half_width: float) -> np.ndarray:
    """Profile of a hollow bar: dense walls, spongy inside."""
    t2 = (distance / half_width) ** 2
    return (0.55 + 0.6 * t2 * t2) / (1 + np.minimum(t2, 9) ** 8)


def _texture(rng: np.random.Generator, shape: tuple[int, int], grain: float) -> np.ndarray:
    """Smooth noise of zero mean and unit deviation; `grain` is in pixels."""
    noise = ndimage.gaussian_filter(rng.standard_normal(shape).astype(np.float32), grain)
    return noise / noise.std()


def _blob(rng: np.random.Generator, x: np.ndarray, y: np.ndarray, centre: tuple[float, float],
          radius: float, sharpness: float) -> np.ndarray:  # fmt: skip
    """A patch with a ragged border, 0..1; a small `sharpness` (cm) is a sharp border."""
    angle = np.arctan2(y - centre[1], x - centre[0])
    ragged = sum(
        float(rng.normal(0, 0.10)) * np.cos(k * angle + float(rng.uniform(0, 6.3)))
        for k in (2, 3, 5)
    )
    distance = np.hypot(x - centre[0], (y - centre[1]) * float(rng.uniform(0.75, 1.2)))
    return _step(radius * (1 + ragged) - distance, sharpness)


def _healthy(
    rng: np.random.Generator, x: np.ndarray, y: np.ndarray, lungs: np.ndarray
) -> np.ndarray:
    return np.zeros_like(lungs)


def _lobar(rng: np.random.Generator, x: np.ndarray, y: np.ndarray, lungs: np.ndarray) -> np.ndarray:
    """Bacterial: one lobe filled, its border fairly sharp."""
    side = int(rng.choice((-1, 1)))
    centre = (
        side * float(rng.uniform(5.5, 9)),
        float(rng.choice((-5.0, -2.5, 5)) + rng.normal(0, 0.8)),
    )
    patch = _blob(rng, x, y, centre, float(rng.uniform(2.6, 4.8)), 0.4)
    patch *= 1 + 0.16 * _texture(rng, lungs.shape, lungs.shape[0] / 60)
    return float(rng.uniform(0.35, 0.8)) * (_SOFT - _LUNG) * lungs * 0.62 * patch


def _interstitial(
    rng: np.random.Generator, x: np.ndarray, y: np.ndarray, lungs: np.ndarray
) -> np.ndarray:
    """Viral: a fine net over both lungs, thickest around the hila."""
    grain = lungs.shape[0] / 224
    net = np.abs(_texture(rng, lungs.shape, 1.5 * grain)) + np.abs(
        _texture(rng, lungs.shape, 3.0 * grain)
    )
    net = np.maximum(1.5 - net, 0)  # zero crossings of the noise are a net of lines
    hila = np.exp(-((np.hypot(np.abs(x) - 4.2, y - 0.3) / 5.5) ** 2))
    strength = float(rng.uniform(0.4, 0.9))
    return strength * (_SOFT - _LUNG) * np.minimum(lungs, 9) * (0.16 * net + 0.10) * (0.35 + hila)


def _ground_glass(
    rng: np.random.Generator, x: np.ndarray, y: np.ndarray, lungs: np.ndarray
) -> np.ndarray:
    """COVID-19: soft patches on both sides, at the border of the lungs, more below."""
    patches = np.zeros_like(lungs)
    for side in (-1, 1):
        for _ in range(rng.integers(2, 4)):
            centre = (side * float(rng.uniform(8.6, 11.2)), float(rng.triangular(-8, -5, 4)))
            patch = _blob(rng, x, y, centre, float(rng.uniform(1.7, 3.2)), 0.9)
            patches = np.maximum(patches, patch * float(rng.uniform(0.6, 1)))
    haze = 1 + 0.14 * _texture(rng, lungs.shape, lungs.shape[0] / 90)
    return (
        float(rng.uniform(0.35, 0.75))
        * (_SOFT - _LUNG)
        * np.minimum(lungs, 10)
        * 0.75
        * patches
        * haze
    )


_DISEASES = {
    "healthy": _healthy,
    "covid19": _ground_glass,
    "bacterial": _lobar,
    "viral": _interstitial,
}


def _expose(integral: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """From line integrals to a film: scatter, unsharpness, photon noise, the reader's window."""
    size = integral.shape[0]
    primary = np.exp(-integral)
    scatter = ndimage.zoom(ndimage.gaussian_filter(primary[::8, ::8], size / 80), 8, order=1)
    primary = primary + float(rng.uniform(0.15, 0.35)) * scatter[:size, :size]
    primary = ndimage.gaussian_filter(primary, rng.uniform(0.45, 0.8) * size / 224)
    photons = float(rng.uniform(40_000, 160_000)) * 224 / size
    counts = primary * photons
    counts = counts + np.sqrt(counts) * rng.standard_normal(primary.shape, dtype=np.float32)
    dense = -np.log(np.maximum(counts, 1) / photons)
    # The window is set on the chest: what is thinner than a lung is black.
    middle = dense[size // 6 : -size // 6 : 3, size // 6 : -size // 6 : 3]
    low, high = np.percentile(middle, [1, 99]).tolist()
    low -= 0.12 * (high - low)
    grey = np.clip((dense - low) / (high - low), 0, 1.1) / 1.1
    grey = grey ** float(rng.uniform(0.85, 1.3))
    return (grey * float(rng.uniform(220, 250)) + float(rng.uniform(0, 5))).astype(np.uint8)


def _mark(pixels: np.ndarray, corner: int, large: bool) -> None:
    """Lays a lead letter into a corner, 0 to 3: upper left and right, lower left and right."""
    size = pixels.shape[0]
    letter = _letter("LRLR"[corner], max(6, round(size * (0.16 if large else 0.07))))
    margin = max(1, size // 28)
    height, width = letter.shape
    top = margin if corner < 2 else size - margin - height
    left = margin if corner % 2 == 0 else size - margin - width
    part = pixels[top : top + height, left : left + width]
    np.maximum(part, letter, out=part)


@functools.cache
def _letter(text: str, height: int) -> np.ndarray:
    image = Image.new("L", (height, height))
    ImageDraw.Draw(image).text(
        (height / 2, height / 2), text, fill=245, anchor="mm", font_size=height
    )
    return np.asarray(image)


def contact_sheet(
    rows: int = 4, columns: int = 6, *, seed: int = 0, size: int = 160
) -> Image.Image:
    """A grid of films, a class a row, with the word "synthetic" on it.

    Args:
        rows: How many classes, at most 4.
        columns: Patients of each class.
        seed: Of the population.
        size: Pixels of a film's side on the sheet.
    """
    head, side = 22, 84
    sheet = Image.new("L", (side + columns * size, head + rows * size), 255)
    pen = ImageDraw.Draw(sheet)
    pen.text((side, 4), "synthetic chest films, one patient each", fill=0, font_size=14)
    for row in range(rows):
        pen.text((6, head + row * size + size // 2), LABELS[row], fill=0, font_size=14)
        for column in range(columns):
            film = Image.fromarray(draw_film(seed, len(LABELS) * column + row, 0))
            tile = film.resize((size, size), Image.Resampling.LANCZOS)
            sheet.paste(tile, (side + column * size, head + row * size))
    return sheet


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Draws a contact sheet of synthetic films.")
    parser.add_argument("path", type=pathlib.Path, help="where the picture goes, e.g. sheet.png")
    contact_sheet().save(parser.parse_args().path, optimize=True)
