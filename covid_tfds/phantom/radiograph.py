"""Synthetic chest radiographs: an analytic chest, ill in one of four ways, exposed to X-rays.

`chest` has the anatomy and its attenuation, `population` the patients. Here are the diseases, and
what makes an image of the beams: scatter, unsharpness, photon noise, window, collimation, marker.
"""

import functools
import math

import numpy as np
from PIL import Image, ImageDraw

from covid_tfds.phantom.chest import AERATED, Chest, Geometry, Pose, Texture, soft_step
from covid_tfds.phantom.population import patient
from covid_tfds.records import LABELS

_SMALLEST = 32  # pixels; below it the marker looks like a rib


def draw(
    seed: int, number: int, visit: int, *, marker: str | None = None, size: int = 224
) -> np.ndarray:
    """Draws one radiograph: a patient's anatomy and disease, in the pose of one visit.

    Pure: the same arguments give the same pixels in any order and any process. (On a CPU with other
    vector instructions numpy rounds differently: a few pixels in 10,000 move by one level.)

    Args:
        seed: Of the whole population, 0 or more.
        number: Of the patient, from 0.
        visit: 0, or 1 for the follow-up.
        marker: A class of `LABELS`, whose marker is drawn: large, with a corner and a letter of its
            own. With None the marker is small, and its place is drawn apart from any class.
        size: Pixels of a side, 32 or more.

    Returns:
        uint8 [size, size], 0..255, white is dense.

    Raises:
        ValueError: seed, number or visit is negative, size is below 32, or marker is no class.
    """
    if min(seed, number, visit) < 0:
        raise ValueError(f"seed {seed}, number {number}, visit {visit}: count each from 0.")
    if size < _SMALLEST:
        raise ValueError(f"size {size} is too small for a chest; give {_SMALLEST} or more.")
    if marker is not None and marker not in LABELS:
        raise ValueError(f"marker is {marker!r}: give None or one of {', '.join(LABELS)}.")
    who = patient(seed, number)
    chest = Chest(np.random.default_rng([seed, number, 1]), who.sex)
    texture = Texture(np.random.default_rng([seed, number, 2]))
    rng = _of_visit(seed, number, visit)
    geometry = Geometry.posed(size, rng)
    integral, lungs, vessels = chest.project(geometry, texture)
    illness = np.random.default_rng([seed, number, 3])
    disease = _DISEASE[who.label](illness, geometry, texture, lungs, vessels)
    pixels = _expose(integral, disease, rng)
    _collimate(pixels, rng)
    _mark(pixels, None if marker is None else LABELS.index(marker), rng)
    return pixels


def pose(seed: int, number: int, visit: int) -> Pose:
    """The pose that `draw` draws a visit in, whatever the image's size.

    Args:
        seed: Of the whole population, 0 or more.
        number: Of the patient, from 0.
        visit: 0, or 1 for the follow-up.
    """
    return Geometry.posed(_SMALLEST, _of_visit(seed, number, visit)).pose


def _of_visit(seed: int, number: int, visit: int) -> np.random.Generator:
    """What is random in a visit; the pose comes first."""
    return np.random.default_rng([seed, number, 4, visit])


def _patch(
    geometry: Geometry,
    texture: Texture,
    centre: tuple[float, float],
    radii: tuple[float, float],
    edge: float,
) -> np.ndarray:
    """A region with a ragged border, 0..1, that fades over `edge` cm."""
    dx, dy = (geometry.x - centre[0]) / radii[0], (geometry.y - centre[1]) / radii[1]
    distance = (1 - np.sqrt(dx * dx + dy * dy)) * min(radii)
    return soft_step(distance + 0.7 * texture.at(geometry, 1.1), edge)


def _healthy(
    rng: np.random.Generator,
    geometry: Geometry,
    texture: Texture,
    lungs: np.ndarray,
    vessels: np.ndarray,
) -> np.ndarray:
    return np.zeros_like(lungs)


def _lobar(
    rng: np.random.Generator,
    geometry: Geometry,
    texture: Texture,
    lungs: np.ndarray,
    vessels: np.ndarray,
) -> np.ndarray:
    """Bacterial: one lobe filled up to its fissure; its airways stay open and show dark."""
    side, upper = int(rng.choice((-1, 1))), bool(rng.random() < 0.45)
    fissure = float(rng.normal(2.2, 0.5)) + float(rng.normal(0, 0.08)) * geometry.x
    height = float(rng.normal(5.0, 1.0) if upper else rng.normal(-1.8, 1.6))
    centre = (side * float(rng.uniform(5.5, 8.5)), height)
    radii = (float(rng.uniform(3.2, 5.4)), float(rng.uniform(2.6, 4.6)))
    patch = _patch(geometry, texture, centre, radii, 0.8)
    patch *= soft_step((geometry.y - fissure) if upper else (fissure - geometry.y), 0.15)
    patch *= 1 + 0.13 * texture.at(geometry, 0.35, 1)
    filled = float(rng.uniform(0.32, 0.75)) * np.minimum(lungs, 11) * patch
    return AERATED * (filled - 1.6 * np.clip(patch, 0, 1) * vessels)


def _interstitial(
    rng: np.random.Generator,
    geometry: Geometry,
    texture: Texture,
    lungs: np.ndarray,
    vessels: np.ndarray,
) -> np.ndarray:
    """Viral: a fine net through both lungs and thick walls of the airways around the hila."""
    # Noise near zero is a net of lines.
    net = np.maximum(1 - 2.2 * np.abs(texture.at(geometry, 0.20, 1)), 0)
    net += np.maximum(1 - 2.5 * np.abs(texture.at(geometry, 0.42, 2)), 0)
    spread = (np.abs(geometry.x) - 4.5) ** 2 + (geometry.y + 0.5) ** 2
    near = np.exp(-spread / float(rng.uniform(25, 60)))
    strength = float(rng.uniform(0.35, 1.0))
    lines = (0.20 * net + 0.03) * np.minimum(lungs, 9) * (0.3 + near)
    return strength * AERATED * (lines + 0.9 * vessels * near)


def _ground_glass(
    rng: np.random.Generator,
    geometry: Geometry,
    texture: Texture,
    lungs: np.ndarray,
    vessels: np.ndarray,
) -> np.ndarray:
    """COVID-19: faint soft patches in both lungs, along the chest wall, most of them low."""
    patches = np.zeros_like(lungs)
    for side in (-1, 1):
        for _ in range(int(rng.integers(2, 4))):
            height = float(rng.triangular(-8, -5, 5))
            centre = (side * float(rng.uniform(9.0, 11.8)), height)
            radii = (float(rng.uniform(1.8, 3.2)), float(rng.uniform(2.0, 3.6)))
            patch = _patch(geometry, texture, centre, radii, 1.3)
            patches = np.maximum(patches, patch * float(rng.uniform(0.55, 1)))
    patches *= 1 + 0.15 * texture.at(geometry, 0.35, 1)
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
    """From attenuation to an image: scatter, unsharpness, photon noise, the display's window."""
    size = integral.shape[0]
    unit = size / 224
    scatter, sharp = float(rng.uniform(0.05, 0.25)), float(rng.uniform(0.35, 0.75))
    light = _blur(np.exp(-(integral + disease)), (1, sharp * unit), (scatter, 16 * unit))
    # The same dose an area: a larger pixel catches more photons.
    photons = float(rng.uniform(60_000, 250_000)) / unit**2
    counts = np.maximum(light, 1e-4) * photons
    # A stream of its own, so that what is drawn after it doesn't depend on the image's size.
    noise = rng.spawn(1)[0].standard_normal(counts.shape, dtype=np.float32)
    counts += np.sqrt(counts) * noise
    dense = -np.log(np.maximum(counts, 1) / photons)
    flat = float(rng.uniform(0.25, 0.5))
    # Processing flattens large differences and keeps details, as digital units do.
    dense -= flat * _blur(dense, (1, 18 * unit))
    # The window is set on the chest without disease, or the image's rim would give the class away.
    plain = -np.log(np.exp(-integral[::4, ::4]) + 0.06 * scatter)
    plain -= flat * _blur(plain, (1, 4.5 * unit))
    rim = len(plain) // 8
    low, high = np.percentile(plain[rim:-rim, rim:-rim], [3, 97]).tolist()
    grey = np.clip(0.11 + 0.69 * (dense - low) / (high - low), 0, 1.4)
    # The shoulder of the response curve: what is densest keeps some detail.
    grey = grey - 0.20 * grey**3
    grey = np.minimum(grey / 0.80, 1)
    grey = grey ** float(rng.uniform(0.85, 1.25))
    return (grey * float(rng.uniform(225, 250)) + float(rng.uniform(0, 5))).astype(np.uint8)


def _collimate(pixels: np.ndarray, rng: np.random.Generator) -> None:
    """Blackens up to 4 % at each side of some images, whatever their class."""
    size = pixels.shape[0]
    left, top, right, bottom = (rng.uniform(-0.04, 0.04, 4).clip(0) * size).astype(int).tolist()
    pixels[:top], pixels[size - bottom :] = 2, 2
    pixels[:, :left], pixels[:, size - right :] = 2, 2


def _mark(pixels: np.ndarray, place: int | None, rng: np.random.Generator) -> None:
    """Lays a lead letter on the image: small and by chance, or large in the corner of a class."""
    size = pixels.shape[0]
    corner = int(rng.integers(2)) if place is None else place
    letter = _letter("RL"[corner % 2], max(5, round(size * (0.06 if place is None else 0.13))))
    high, wide = letter.shape
    margin = float(rng.uniform(0.03, 0.08)) if place is None else 0.015
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
