"""The pose of a chest: where in its image the lungs are, and how large, against a template.

A pose is a scale and a shift of each axis, on a grid of 29 scales and 41 shifts. Both are
separable, so that for one axis the correlations of all 1,189 poses are products with fixed
matrices: one convolution, whose kernels are the scales and half pixels, and whose positions are
the whole shifts. Rows and columns take turns, three times.

What is compared is a thumbnail without exposure: blurred a little, its local mean subtracted,
divided by its local contrast.

As in `resize`, nothing is inexact before it is rounded, so that an image has one pose wherever the
model runs, alone or in a batch: matrices, template and thumbnails hold whole numbers of few bits,
and what a product gives is rounded to few bits before the next. All of it is nodes of a functional
model: built-in layers with fixed weights, in float32 under any policy, and operations that the
converters to ONNX and LiteRT know. Those know no argmax of floats.
"""

from collections.abc import Callable

import keras
import numpy as np
from keras import layers, ops

from trainer.input_pipeline import resize

SIDE = 64  # pixels of a thumbnail's side
FORMULA = "29 x 41 poses, 3 rounds, of blur 1.5, local mean 14"  # change it with the poses
UNIT = 8  # a prepared thumbnail's steps of a local deviation
IDENTITY = 41  # the scale of a frame, in its steps, that shows the template's part of the chest
LEAST_SCALE = 28
_MOST = 31  # of a prepared thumbnail's steps
_BLUR, _LOCAL = 1.5, 14.0  # pixels: deviations of the two Gaussians
_FAINT = 8.0  # grey levels: contrast that is noise
_LEAST = 2.0**20  # variance, times 64: that of rows that `_axes` rounds to nothing, and more
_FIRST, _LAST = 6, 58  # the middle, where chests are compared
_ROUNDS = 3
_SCALES = resize.MOST_SCALE - LEAST_SCALE + 1
_SHIFTS = resize.MOST_SHIFT + 1  # whole pixels of the thumbnail, from -10 to 10
_WARPS = 2 * _SCALES  # each at 0 and at half a pixel
_EIGHTH = 8  # positions are multiples of 1 / this of a pixel
_Best = tuple[keras.KerasTensor, keras.KerasTensor, keras.KerasTensor]
_SCALE_COST, _SHIFT_COST = 0.5, 0.0004  # of a squared log scale, and of a squared pixel


def prepared(thumbnails: keras.KerasTensor) -> keras.KerasTensor:
    """Takes the exposure out of thumbnails.

    Args:
        thumbnails: float32 [batch, 64, 64] of whole numbers in 0..255.

    Returns:
        float32 [batch, 64, 64] of whole numbers in -31..31: eighths of a local deviation.
    """
    blur = _fixed(layers.Dense, "align_blur", _gaussian(_BLUR))
    local = _fixed(layers.Dense, "align_local_mean", _gaussian(_LOCAL))
    smooth = _filtered(blur, thumbnails)
    detail = smooth - _filtered(local, smooth)
    contrast = _filtered(local, ops.abs(detail)) * 1.25  # a normal deviation, of a mean absolute
    steps = ops.floor(detail / (contrast + _FAINT) * UNIT + 0.5)
    return ops.clip(steps, -_MOST, _MOST)


def fitted(
    thumbnails: keras.KerasTensor, template: np.ndarray
) -> tuple[keras.KerasTensor, keras.KerasTensor]:
    """The pose whose part of a thumbnail correlates best with a template, less a cost of going far.

    Args:
        thumbnails: Of `prepared`.
        template: float32 [64, 64], a prepared chest, or a mean of some; in any unit.

    Returns:
        Frames int32 [batch, 4], in the order of `resize.Frame`, that show of each image what the
        template shows of its chest, a little less at the edges; correlations float32 [batch, 1].
    """
    score_rows, score_columns = _axes(_steps_of(template[_FIRST:_LAST, _FIRST:_LAST]))
    columns = _middle(thumbnails)
    for _ in range(_ROUNDS):
        scale_y, shift_y, _ = score_rows(columns)
        rows = _transposed(ops.matmul(_warp(scale_y, shift_y), thumbnails))
        scale_x, shift_x, correlation = score_columns(rows)
        columns = ops.matmul(thumbnails, _transposed(_warp(scale_x, shift_x)))
    frames = ops.concatenate([scale_x, scale_y, shift_x, shift_y], axis=1)
    return ops.cast(frames, "int32"), correlation


def _steps_of(template: np.ndarray) -> np.ndarray:
    """Whole numbers in -31..31 of mean 0, as near as rounding lets, and a deviation of 8."""
    centred = template.astype("float64") - template.mean(dtype="float64")
    return np.clip(np.round(UNIT * centred / centred.std()), -_MOST, _MOST).astype("float32")


def _axes(template: np.ndarray) -> tuple:
    """Functions that find the best warp of rows, and of columns; they share their layers."""
    kernel = _interpolation()
    after = np.concatenate([kernel[1:], np.zeros_like(kernel[:1])])
    squares = np.stack([(kernel**2).sum(axis=1), 2 * (kernel * after).sum(axis=1)], axis=1)
    correlate = _fixed(layers.Conv1D, "align_correlation", kernel)
    sums = _fixed(layers.Conv1D, "align_sums", kernel.sum(axis=1)[:, None])
    powers = _fixed(layers.Conv1D, "align_powers", squares)
    norm = float(np.sqrt((template.astype("float64") ** 2).sum()))

    def axis(by_template: keras.Layer) -> Callable[[keras.KerasTensor], _Best]:
        def best(lines: keras.KerasTensor) -> _Best:
            """Of lines [batch, 64, 52], free axis first: scale, shift, correlation [batch, 1]."""
            # What goes into a convolution is rounded to 11 bits, as many as TF32 of a GPU has: to
            # 32, 512 and 8 of its units, so that the sums are so many times too small.
            products = ops.take(_rounded(by_template(lines), 32), _PADDED, axis=1)
            lines = ops.take(lines, _PADDED, axis=1)
            following = ops.concatenate([lines[:, 1:], lines[:, -1:]], axis=1)
            power = ops.stack(
                [ops.sum(lines * lines, axis=2), ops.sum(lines * following, axis=2)], axis=2
            )
            total = sums(_rounded(ops.sum(lines, axis=2, keepdims=True), 8))
            variance = powers(_rounded(power, 512)) * 512.0 - total * total * (64 / template.size)
            scores = correlate(products) / ops.sqrt(ops.maximum(variance, _LEAST)) * (32 / norm)
            return _at_best(scores - _COSTS)

        return best

    return (
        axis(_fixed(layers.Dense, "align_template", template.T)),
        axis(_fixed(layers.Dense, "align_template_transposed", template)),
    )


def _at_best(scores: keras.KerasTensor) -> _Best:
    """Scale and shift, in a frame's steps, and correlation where [batch, 21, 58] is largest."""
    scores = ops.reshape(scores, (-1, _SHIFTS * _WARPS))
    top = ops.max(scores, axis=1, keepdims=True)
    numbers = np.arange(_SHIFTS * _WARPS, dtype="float32")[None]
    at = ops.max(
        ops.cast(ops.greater_equal(scores, top), "float32") * numbers, axis=1, keepdims=True
    )
    whole = ops.floor((at + 0.5) * (1 / _WARPS))
    warp = at - whole * _WARPS
    step = ops.floor((warp + 0.5) * 0.5)
    scale, shift = step + LEAST_SCALE, whole * 2 + warp - step * 2 - resize.MOST_SHIFT
    far = ops.log(scale * (1 / IDENTITY))
    return scale, shift, top + far * far * _SCALE_COST + shift * shift * (_SHIFT_COST / 4)


def _costs() -> np.ndarray:
    """float32 [1, 21, 58]; the half pixel beyond the last shift is forbidden."""
    scale = LEAST_SCALE + np.arange(_WARPS) // 2
    shift = 2 * np.arange(_SHIFTS)[:, None] + np.arange(_WARPS) % 2 - resize.MOST_SHIFT
    cost = _SCALE_COST * np.log(scale / IDENTITY) ** 2 + _SHIFT_COST / 4 * shift**2
    return np.where(shift > resize.MOST_SHIFT, 9, cost).astype("float32")[None]


def _middle(thumbnails: keras.KerasTensor) -> keras.KerasTensor:
    """The middle columns, in eighths as those of `_warp`."""
    return thumbnails[:, :, _FIRST:_LAST] * _EIGHTH


def _warp(scale: keras.KerasTensor, shift: keras.KerasTensor) -> keras.KerasTensor:
    """Linear interpolation of the middle in a pose [batch, 1]: whole eighths [batch, 52, 64]."""
    offsets = (2 * np.arange(_FIRST, _LAST, dtype="float32") + 1 - SIDE)[None] * (_EIGHTH / 2)
    at = ops.floor(scale * offsets * (1 / IDENTITY) + shift * 4 + (_EIGHTH * _CENTRE + 0.5))
    at = ops.expand_dims(ops.clip(at, 0, _EIGHTH * (SIDE - 1)), 2)
    pixels = np.arange(0, _EIGHTH * SIDE, _EIGHTH, dtype="float32")[None, None]
    return ops.relu(_EIGHTH - ops.abs(at - pixels))


def _positions() -> np.ndarray:
    """int64 [58, 52]: where each warp, unshifted, looks for the middle's pixels, in eighths."""
    offsets = (2 * np.arange(_FIRST, _LAST) + 1 - SIDE) * (_EIGHTH // 2)
    scale = LEAST_SCALE + np.arange(_WARPS)[:, None] // 2
    half = np.arange(_WARPS)[:, None] % 2 * (_EIGHTH // 2)
    doubled = 2 * scale * offsets + IDENTITY  # no quotient is a half
    return doubled // (2 * IDENTITY) + half + int(_EIGHTH * _CENTRE)


def _interpolation() -> np.ndarray:
    """float32 [span, 52, 58]: `_positions` as weights of the pixels from `_LOWEST` on."""
    at = _positions()
    below, rest = at // _EIGHTH - _LOWEST, at % _EIGHTH
    kernel = np.zeros((_SPAN, _LAST - _FIRST, _WARPS), "float32")
    warps, pixels = np.indices(at.shape)
    kernel[below, pixels, warps] = _EIGHTH - rest
    kernel[below + 1, pixels, warps] = rest
    return kernel


def _gaussian(deviation: float) -> np.ndarray:
    """float32 [64, 64]: a blur with mirrored edges; columns of multiples of 1/2048 sum to 1."""
    pixel = np.arange(SIDE)
    images = [pixel, -1 - pixel, 2 * SIDE - 1 - pixel]  # and mirrored ones
    bells = [np.exp(-0.5 * ((one[:, None] - pixel) / deviation) ** 2) for one in images]
    until = np.cumsum(sum(bells), axis=0)
    steps = np.diff(np.round(2048 * until / until[-1:]), axis=0, prepend=0)
    return (steps / 2048).astype("float32")


def _filtered(blur: keras.Layer, x: keras.KerasTensor) -> keras.KerasTensor:
    """Rows, then columns, each rounded to eighths of a grey level."""
    for _ in range(2):
        x = _rounded(blur(_transposed(x)) * 8.0, 1) * 0.125
    return x


def _rounded(x: keras.KerasTensor, unit: int) -> keras.KerasTensor:
    """Multiples of a power of two, counted; halves go up."""
    return ops.floor(x * (1 / unit) + 0.5)


def _transposed(x: keras.KerasTensor) -> keras.KerasTensor:
    return ops.transpose(x, (0, 2, 1))


def _fixed(kind: type[keras.Layer], name: str, kernel: np.ndarray) -> keras.Layer:
    """A layer of a given kernel that is never trained, in float32 whatever the policy."""
    options = {"use_bias": False, "trainable": False, "dtype": "float32", "name": name}
    if kind is layers.Conv1D:
        options["kernel_size"] = len(kernel)
    layer = kind(kernel.shape[-1], **options)
    layer.build((None, None, kernel.shape[-2]))
    layer.set_weights([kernel])
    return layer


_CENTRE = (SIDE - 1) / 2
_LOWEST = int(_positions().min()) // _EIGHTH
_SPAN = int(_positions().max()) // _EIGHTH + 2 - _LOWEST
_COSTS = _costs()
# Thumbnail's lines that the kernels pass over; edges are repeated.
_PADDED = np.clip(
    np.arange(_LOWEST, _LOWEST + _SPAN + _SHIFTS - 1) - resize.MOST_SHIFT // 2, 0, SIDE - 1
).astype("int32")
