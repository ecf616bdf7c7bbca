"""An analytic chest: how much of what each X-ray beam passes, in closed form.

The beam is parallel, and every organ is a solid whose chord along the beam has a closed form:
stacks of elliptic slices (body, lungs), ellipsoids (heart, great vessels, diaphragm, breasts),
tubes (airways, lung vessels), hollow bars (clavicles, spine) and tilted elliptic hoops (ribs, which
project onto ellipses: the upper half is a rib's back, the lower half its front).

Attenuation, 1/cm, is NIST's at 60 keV, about the mean energy of a 120 kV chest exposure: mass
attenuation of the ICRU-44 tissues in J. H. Hubbell and S. M. Seltzer, Tables of X-Ray Mass
Attenuation Coefficients, NISTIR 5632, table 4, times their density: soft tissue .2048 x 1.06,
inflated lung .2053 x .26, adipose tissue .1974 x .95, cortical bone .3148 x 1.92.

Lengths are in cm. x runs to the image's right, which is the patient's left; y runs up; the origin
is in the middle of the chest. Arrays are float32 [size, size] unless said otherwise.
"""

import dataclasses
import functools
import math

import numpy as np

_SOFT, _LUNG, _FAT, _BONE = 0.217, 0.053, 0.188, 0.604  # 1/cm
AERATED = _SOFT - _LUNG  # 1/cm; what a beam gains where tissue or fluid takes the place of air
_FIELD = 17.5  # cm from the centre of the image to its edge
_GRID = 256  # side of the patient's texture, which repeats every _PERIOD cm
_PERIOD = 40.0
_STEP = 0.05  # cm between the heights at which profiles are tabled

# Half-widths and positions over height, as (y, value) knots. Body: half-width and half-depth of a
# slice. Lungs: inner and outer edge, half-depth. Set by eye to an adult's usual proportions.
_BODY_WIDTH = (
    (-20, 16.4), (-6, 15.9), (4, 16.4), (9, 18.6), (12, 21), (14, 19), (15.6, 12), (17, 7.6),
    (20, 6.2),
)  # fmt: skip
_BODY_DEPTH = ((-20, 10.6), (-5, 10.4), (5, 9.8), (11, 8.2), (15, 6.4), (20, 5.6))
_LUNG_INNER = ((-20, 1.0), (6, 1.0), (10, 1.3), (12.8, 1.9), (13.8, 2.8), (14.3, 4.4), (20, 4.4))
_LUNG_OUTER = (
    (-20, 13.3), (-8, 13.6), (-3, 13.3), (3, 12.7), (7, 11.5), (10.5, 9.7), (12.5, 8.1),
    (13.6, 6.7), (14.3, 4.8), (20, 4.8),
)  # fmt: skip
_LUNG_DEPTH = (
    (-20, 0), (-14.5, 0), (-12, 8.6), (-2, 8.6), (5, 7.4), (10, 5.4), (13, 3.4), (14.4, 0), (20, 0),
)  # fmt: skip


@dataclasses.dataclass(frozen=True)
class Pose:
    """How the patient stands before the detector.

    Attributes:
        angle: Radians that the chest is turned by in the image.
        scale: Size of a thing in the image, where 1 is the usual.
        shift_x: How far the middle of the chest lies to the right of the image's, as a share of the
            image's side.
        shift_y: How far below, likewise.
    """

    angle: float
    scale: float
    shift_x: float
    shift_y: float


@dataclasses.dataclass(frozen=True)
class Geometry:
    """Where the beams of an image pass the patient.

    Attributes:
        x: Float32 [size, size], cm.
        y: Float32 [size, size], cm.
        rows: int32 [size, size]: where the height y stands in tables over height.
        affine: float64 [2, 2], from cm to (column, row), before `shift`.
        shift: float64 [2], pixels.
        pixel: Side of a pixel in cm.
        pose: What the rest follows from.
    """

    x: np.ndarray
    y: np.ndarray
    rows: np.ndarray
    affine: np.ndarray
    shift: np.ndarray
    pixel: float
    pose: Pose

    @classmethod
    def posed(cls, size: int, rng: np.random.Generator) -> "Geometry":
        """An image of `size` pixels a side, the patient a little turned, moved and near or far."""
        angle, scale = float(rng.normal(0, 0.03)), float(rng.normal(1, 0.045))
        move = rng.normal(0, 0.7, 2)
        cos, sin = math.cos(angle), math.sin(angle)
        pixel = 2 * _FIELD / size * scale
        matrix = pixel * np.array([[cos, sin], [sin, -cos]])  # (column, row) to cm
        line = np.arange(size, dtype=np.float32) - np.float32((size - 1) / 2)
        matrix32, move32 = matrix.astype(np.float32), move.astype(np.float32)
        x = matrix32[0, 0] * line[None, :] + matrix32[0, 1] * line[:, None] + move32[0]
        y = matrix32[1, 0] * line[None, :] + matrix32[1, 1] * line[:, None] + move32[1]
        rows = np.clip((y + 20) / _STEP, 0, 40 / _STEP).astype(np.int32)
        inverse = np.linalg.inv(matrix)
        moved = inverse @ move
        pose = Pose(angle, 1 / scale, *(-moved / size).tolist())
        return cls(x, y, rows, inverse, (size - 1) / 2 - moved, pixel, pose)


class Texture:
    """Smooth noise that is fixed in the patient, so that it moves with the pose."""

    def __init__(self, rng: np.random.Generator) -> None:
        """Draws the noise."""
        noise = rng.standard_normal((_GRID, _GRID), dtype=np.float32)
        self._spectrum = np.fft.rfft2(noise)

    def at(self, geometry: Geometry, grain: float, band: int = 0) -> np.ndarray:
        """Noise of zero mean and unit deviation with details of `grain` cm; bands differ."""
        across, down = np.fft.rfftfreq(_GRID), np.fft.fftfreq(_GRID)
        width = 2 * math.pi**2 * (grain * _GRID / _PERIOD) ** 2
        gain = np.exp(-width * down**2)[:, None] * np.exp(-width * across**2)
        field = np.fft.irfft2(self._spectrum * gain.astype(np.float32), (_GRID, _GRID))
        field /= field.std()
        step = np.float32(_GRID / _PERIOD)
        # The mask wraps, also for negative positions. A band is a far part of the same noise.
        column = (geometry.x * step + (_GRID + 97.0 * band)).astype(np.int32) & (_GRID - 1)
        row = (geometry.y * step + (_GRID + 61.0 * band)).astype(np.int32) & (_GRID - 1)
        return field[row, column]


@functools.cache
def _profile(knots: tuple[tuple[float, float], ...]) -> np.ndarray:
    """A quantity over height, every `_STEP` cm from -20 to 20, its corners rounded."""
    heights, values = zip(*knots, strict=True)
    fine = np.interp(np.arange(-21, 21 + _STEP / 2, _STEP), heights, values)
    bell = np.hanning(2 * round(0.5 / _STEP) + 1)
    smooth = np.convolve(fine, bell / bell.sum(), "same")
    return smooth[round(1 / _STEP) : -round(1 / _STEP)].astype(np.float32)


def _root(inside: np.ndarray) -> np.ndarray:
    return np.sqrt(np.maximum(inside, 0))


def _chord(
    geometry: Geometry,
    centre: tuple[float, float],
    radii: tuple[float, float, float],
    angle: float = 0.0,
) -> np.ndarray:
    """Length in cm of each beam inside an ellipsoid; `radii` run along x, y and the beam."""
    dx, dy = geometry.x - centre[0], geometry.y - centre[1]
    if angle:
        cos, sin = math.cos(angle), math.sin(angle)
        dx, dy = dx * cos + dy * sin, dy * cos - dx * sin
    return 2 * radii[2] * _root(1 - (dx / radii[0]) ** 2 - (dy / radii[1]) ** 2)


def _tubes(
    geometry: Geometry, starts: np.ndarray, ends: np.ndarray, radii: np.ndarray
) -> np.ndarray:
    """Cm inside round tubes from starts to ends [n, 2] of `radii` [n]; the longest where they meet.

    A tube thinner than a pixel is drawn a pixel wide and as much fainter.
    """
    size = len(geometry.x)
    drawn = np.maximum(radii, 0.6 * geometry.pixel).astype(np.float32)[:, None, None]
    # A square of pixels around each tube, all of one size, so that one pass draws them all.
    reach = np.abs(ends - starts).max() / 2 + drawn.max()
    span = np.arange(2 * math.ceil(1.05 * reach / geometry.pixel) + 2) - math.ceil(
        reach / geometry.pixel
    )
    corner = np.rint((starts + ends) / 2 @ geometry.affine.T + geometry.shift).astype(int)
    column, row = corner[:, 0, None] + span, corner[:, 1, None] + span
    matrix = np.linalg.inv(geometry.affine)
    offset = -geometry.shift @ matrix.T - starts
    across = (matrix[:, 0] * column[..., None] + offset[:, None]).astype(np.float32)
    down = (matrix[:, 1] * row[..., None]).astype(np.float32)
    dx = across[:, None, :, 0] + down[:, :, None, 0]
    dy = across[:, None, :, 1] + down[:, :, None, 1]
    run = (ends - starts).astype(np.float32)
    ax, ay = run[:, 0, None, None], run[:, 1, None, None]
    along = np.clip((dx * ax + dy * ay) / (ax * ax + ay * ay), 0, 1)
    square = (dx - along * ax) ** 2 + (dy - along * ay) ** 2
    thin = (radii.astype(np.float32)[:, None, None] / drawn) ** 2
    chord = 2 * thin * _root(drawn * drawn - square)
    image = np.zeros((size, size), np.float32)
    tube, i, j = np.nonzero(chord)
    rows, columns = row[tube, i], column[tube, j]
    seen = (rows >= 0) & (rows < size) & (columns >= 0) & (columns < size)
    np.maximum.at(image, (rows[seen], columns[seen]), chord[tube, i, j][seen])
    return image


def soft_step(distance: np.ndarray, width: float) -> np.ndarray:
    """0 up to -width, 1 from `width` on, smooth between; both in cm."""
    t = np.clip(distance / (2 * width) + 0.5, 0, 1)
    return t * t * (3 - 2 * t)


def _shell(offset: np.ndarray, half: float, wall: float) -> np.ndarray:
    """Bone in cm across a hollow bone: an elliptic tube, its inside one fifth bone."""
    square = (offset / half) ** 2
    core = (half - wall) / half
    return 1.3 * half * (_root(1 - square) - 0.8 * core * _root(1 - square / core**2))


class Chest:
    """Sizes of one patient's chest, in cm, and its projection."""

    def __init__(self, rng: np.random.Generator, sex: str) -> None:
        """Draws a chest; `sex` is M or F."""

        def near(mean: float, deviation: float) -> float:
            return float(mean + deviation * np.clip(rng.standard_normal(), -2, 2))

        self.wide = near(1.0 if sex == "M" else 0.95, 0.035)
        self.tall = near(1, 0.04)
        self.thick = near(1, 0.09)
        self.fat = abs(near(0, 1.2))
        self.domes = near(-7.0, 0.9), near(-8.0, 0.9)  # right, left
        self.heart = near(1, 0.07)
        self.tilt = near(-0.62, 0.09)
        self.knob = near(1.9, 0.25)
        self.gap, self.hoop = near(2.35, 0.1), near(4.1, 0.5)
        self.bone = near(1.0, 0.13)
        self.collar = near(10.6, 0.6), near(1.7, 0.6)
        self.bend = near(0, 0.25), near(0, 1.5)
        self.bubble = near(0.7, 0.4)
        self.breast = near(1.1, 0.35) if sex == "F" else 0.0
        self.tree = int(rng.integers(2**32))

    def project(
        self, geometry: Geometry, texture: Texture
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Returns the attenuation integral, cm of lung and cm of lung vessel of every beam."""
        width = _profile(_BODY_WIDTH)[geometry.rows] * self.wide + 0.5 * self.fat
        depth = _profile(_BODY_DEPTH)[geometry.rows] * self.thick + 0.6 * self.fat
        body = 2 * depth * _root(1 - (geometry.x / width) ** 2)
        lungs = self._lungs(geometry)
        vessels = self._vessels(geometry) * np.minimum(lungs * 0.4, 1.3)
        integral = _SOFT * body - AERATED * (lungs - vessels)
        integral += AERATED * 0.014 * lungs * texture.at(geometry, 0.16)
        integral += self.bone * (_BONE - _SOFT) * (self._cage(geometry) + self._spine(geometry))
        integral += self._shoulders(geometry)
        integral -= _SOFT * self._airways(geometry)
        if self.breast:
            for side in (-1, 1):
                centre = (side * 7.8 * self.wide, -4.6)
                integral += _FAT * _chord(geometry, centre, (6.3, 5.6, self.breast), -0.2 * side)
        return np.maximum(integral, 0), lungs, vessels

    def _lungs(self, geometry: Geometry) -> np.ndarray:
        inner = _profile(_LUNG_INNER)[geometry.rows]
        outer = _profile(_LUNG_OUTER)[geometry.rows] * self.wide
        depth = _profile(_LUNG_DEPTH)[geometry.rows] * self.thick
        across = np.abs((np.abs(geometry.x) - 0.5 * (outer + inner)) / (0.5 * (outer - inner)))
        filled = self._mediastinum(geometry)
        for side, top in zip((-1, 1), self.domes, strict=True):
            # Above its widest level a dome is an ellipsoid, below it a cylinder.
            dx = (geometry.x - side * 6.3 * self.wide) / (7.2 * self.wide)
            dy = np.maximum((geometry.y - (top - 5.6)) / 5.6, 0)
            filled = np.maximum(filled, 2 * 13 * _root(1 - dx**2 - dy**2))
        return np.maximum(2 * depth * _root(1 - across**3) - filled, 0)

    def _mediastinum(self, geometry: Geometry) -> np.ndarray:
        h, down = self.heart, 0.7 * (self.domes[1] + 7.6)
        parts = (
            _chord(geometry, (2.6 * h, -4.2 + down), (6.4 * h, 4.7 * h, 5.6), self.tilt),
            _chord(geometry, (-1.3 * h, -3.6 + down), (3.3 * h, 4.6 * h, 5.4)),
            _chord(geometry, (0.2, 2.0), (2.5, 16.0, 6.0)),
            _chord(geometry, (1.3, 5.8), (self.knob, 1.9, 3.6)),
            _chord(geometry, (1.8, 1.4), (2.1, 4.8, 3.6), -0.2),
            _chord(geometry, (-1.2, 4.0), (1.7, 7.5, 3.2)),
            _chord(geometry, (-3.3, 0.4), (1.0, 2.4, 1.2), -0.35),
            _chord(geometry, (3.6, 1.2), (1.0, 2.0, 1.2), 0.35),
        )
        return 1.35 * np.maximum.reduce(parts)

    def _vessels(self, geometry: Geometry) -> np.ndarray:
        """Arteries and veins: three generations out of each hilum, thinner and thinner."""
        rng = np.random.default_rng(self.tree)
        side = np.repeat((-1.0, 1.0), 7)
        start = np.stack([side * 2.7, 1.1 + 0.5 * side], 1)
        angle = np.tile(np.linspace(-1.45, 1.25, 7), 2) + rng.normal(0, 0.12, 14)
        radius = np.full(14, 0.6)
        pieces = []
        for steps in (3, 2, 2):
            for _ in range(steps):
                angle = angle + rng.normal(0, 0.15, len(angle))
                run = np.stack([side * np.cos(angle), np.sin(angle)], 1)
                end = start + rng.uniform(0.8, 1.6, (len(angle), 1)) * run
                pieces.append(np.column_stack([start, end, radius]))
                start, radius = end, radius * 0.85
            fork = np.tile((-1.0, 1.0), len(angle)) * rng.uniform(0.15, 0.55, 2 * len(angle))
            start, side = np.repeat(start, 2, 0), np.repeat(side, 2)
            angle = np.repeat(angle, 2) + fork
            radius = np.repeat(radius, 2) * rng.uniform(0.5, 0.75, len(angle))
        drawn = np.concatenate(pieces)
        return _tubes(geometry, drawn[:, :2], drawn[:, 2:4], drawn[:, 4])

    def _cage(self, geometry: Geometry) -> np.ndarray:
        """Ribs: ten hoops tilted forward and down. Half-width follows the outside of the lungs."""
        width = _profile(_LUNG_OUTER)[geometry.rows] * self.wide + 0.35
        out = np.abs(geometry.x)
        t = out / width
        rise = _root(1 - t * t)
        # Near the side the beam runs along the rib, through more of it.
        along = np.minimum(1 / (rise + 0.30), 2.4) * soft_step(1.02 - t, 0.02)
        bone = np.zeros_like(out)
        hoop = self.hoop * np.minimum(width / 10, 1.15)
        for sign, half, start, gain in ((1, 0.68, 1.6, 1.5), (-1, 0.74, 5.2, 0.9)):
            level = (geometry.y - sign * hoop * rise + 12.6) / self.gap
            near = np.clip(np.rint(level), 0, 8 if sign > 0 else 6)
            rib = _shell((level - near) * self.gap, half, 0.17)
            bone += gain * rib * along * soft_step(out - start, 0.5 if sign > 0 else 1.2)
        return bone

    def _spine(self, geometry: Geometry) -> np.ndarray:
        size, phase = self.bend
        x = geometry.x - size * np.sin(geometry.y * 0.16 + phase)
        period = 2.3 * self.tall
        level = (geometry.y + phase) / period
        within = (level - np.rint(level)) * period  # -1.15..1.15 of a vertebra
        body = _root(1 - (x / (1.75 - 0.12 * np.cos(within * 2.7))) ** 2)
        plates = 0.55 + 0.75 * np.exp(-(((np.abs(within) - 0.85) / 0.16) ** 2))
        plates -= 0.4 * soft_step(np.abs(within) - 1.02, 0.1)
        pedicles = _root(1 - ((np.abs(x) - 1.05) / 0.36) ** 2 - ((within - 0.25) / 0.5) ** 2)
        process = _root(1 - (x / 0.3) ** 2 - ((within + 0.45) / 0.6) ** 2)
        wings = _shell(within - 0.35, 0.45, 0.15) * soft_step(3.1 - np.abs(x), 0.3)
        return 0.9 * body * plates + 0.4 * pedicles + 0.45 * process + 0.3 * wings

    def _shoulders(self, geometry: Geometry) -> np.ndarray:
        """Clavicles, shoulder blades and heads of the upper arms, as attenuation."""
        height, rise = self.collar
        out = np.abs(geometry.x) / self.wide
        s = np.clip((out - 1.6) / 13, 0, 1)
        middle = height + rise * s + 0.7 * np.sin(2 * math.pi * s) * (1 - 0.4 * s)
        half = 0.62 + 0.35 * (1 - s) ** 6
        ends = soft_step(out - 1.9, 0.35) * soft_step(14.8 - out, 0.5)
        bone = 2.2 * _shell((geometry.y - middle) / half, 1.0, 0.3) * half * ends
        for side in (-1, 1):
            blade = _chord(geometry, (side * 14.4 * self.wide, 5.6), (2.6, 7.2, 0.32), -0.26 * side)
            head = _chord(geometry, (side * 18.2 * self.wide, 10.6), (2.6, 2.7, 0.45))
            bone += blade + head
        return self.bone * (_BONE - _SOFT) * bone

    def _airways(self, geometry: Geometry) -> np.ndarray:
        """Cm of air in windpipe, main bronchi and the stomach's bubble."""
        starts = np.array([(0.0, 19.0), (-0.1, 10.0), (-0.2, 3.6), (-0.2, 3.6)])
        ends = np.array([(-0.1, 10.0), (-0.2, 3.6), (-2.6, 1.2), (3.2, 1.5)])
        air = _tubes(geometry, starts, ends, np.array([0.85, 0.85, 0.62, 0.55]))
        if self.bubble > 0.6:
            centre = (6.4, self.domes[1] - 3.0)
            air += _chord(geometry, centre, (2.2 * self.bubble, 1.2 * self.bubble, 1.2), 0.3)
        return air
