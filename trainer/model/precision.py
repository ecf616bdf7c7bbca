"""The precision of the arithmetic: what the hardware does well, or what is measured to be fastest.

`--precision=auto` goes by what the processor says of itself; `--autotune` measures.
"""

import contextlib
import dataclasses
import os
import pathlib
import time
from collections.abc import Iterator

import keras
import numpy as np

from trainer.config import BLOCKS, PRECISIONS
from trainer.model import vgg16
from trainer.model.weights import Weights
from trainer.run.errors import RunError

_BATCH = 16  # images
_ISA_LIMITS = ("ONEDNN_MAX_CPU_ISA", "DNNL_MAX_CPU_ISA")
_ISAS_WITH_BFLOAT16 = ("AVX512_CORE_BF16", "AVX512_CORE_FP16", "AVX512_CORE_AMX", "AVX10")
_SECONDS = 1.0  # of measuring each candidate, after its first batch, which compiles


@dataclasses.dataclass(frozen=True)
class Precision:
    """How the network computes.

    Attributes:
        policy: Keras' dtype policy.
        jit: Whether XLA compiles the frozen part.
        reason: Why, in words.
    """

    policy: str
    jit: bool
    reason: str


def choose(precision: str, image_size: int, *, autotune: bool) -> Precision:
    """Chooses the precision of a run.

    Args:
        precision: "auto", "float32", "mixed_bfloat16" or "mixed_float16".
        image_size: Pixels of a side.
        autotune: Whether to measure for some seconds.

    Returns:
        The precision, and why.

    Raises:
        RunError: There is no such precision, or this machine can't compute in it.
    """
    try:
        policy, reason = choose_precision(precision)
    except ValueError as error:
        raise RunError(str(error)) from None
    return _measured(precision, image_size) if autotune else Precision(policy, False, reason)


@contextlib.contextmanager
def global_policy(policy: str) -> Iterator[None]:
    """Sets Keras' global dtype policy for a block; afterwards it is what it was."""
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(policy)
    try:
        yield
    finally:
        keras.config.set_dtype_policy(before)


def candidates(precision: str) -> list[str]:
    """The policies worth measuring: the one that is named, or all that may be fast here."""
    if precision != "auto":
        return [precision]
    every = [policy for policy in PRECISIONS if policy != "auto"]
    if gpu_capability() is not None:
        return every
    # A CPU is slower in float16 than in float32, always.
    return every[:1] if bfloat16_limit() else every[:2]


def _measured(precision: str, image_size: int) -> Precision:
    """The fastest candidate, with and without XLA."""
    speeds = {
        (policy, jit): _images_per_second(policy, jit, image_size)
        for policy in candidates(precision)
        for jit in (False, True)
    }
    order = sorted(speeds, key=speeds.__getitem__, reverse=True)
    listed = ", ".join(
        f"{policy}{' with XLA' if jit else ''} {speeds[policy, jit]:,.0f}" for policy, jit in order
    )
    return Precision(*order[0], f"measured, images/s through the frozen part: {listed}")


def _images_per_second(policy: str, jit: bool, image_size: int) -> float:
    """Through VGG16 up to its last pooling, median of the batches."""
    with global_policy(policy):
        model = vgg16.build_model(
            classes=2, image_size=image_size, head_units=1, dropout=0.0, pooling="average",
            weights=Weights(None, "", "random numbers"),
        )  # fmt: skip
        part = vgg16.part(model, vgg16.SQUARE, f"{BLOCKS[-1]}_pool", jit=jit)
    images = np.random.default_rng(0).uniform(0, 255, (_BATCH, image_size, image_size, 1))
    images = images.astype(np.float32)
    part.predict_on_batch(images)
    seconds: list[float] = []
    while sum(seconds) < _SECONDS:
        begin = time.perf_counter()
        part.predict_on_batch(images)
        seconds.append(time.perf_counter() - begin)
    return _BATCH / float(np.median(seconds))


def choose_precision(choice: str) -> tuple[str, str]:
    """Resolves the flag to a Keras dtype policy that this machine does well.

    Args:
        choice: "auto", "float32", "mixed_bfloat16" or "mixed_float16".

    Returns:
        The name of the policy, and the reason for it in words.

    Raises:
        ValueError: there is no such precision, or it is float16 without a GPU.
    """
    capability, limit = gpu_capability(), bfloat16_limit()
    if limit and capability is None and choice == "mixed_bfloat16":
        raise ValueError(
            f"mixed_bfloat16 does not run on this CPU under {limit}. Remove that variable, or use "
            "--precision=float32."
        )
    return precision_for(choice, frozenset() if limit else _cpu_flags(), capability)


def precision_for(
    choice: str, cpu_flags: frozenset[str], gpu_capability: float | None
) -> tuple[str, str]:
    """Decides for `choose_precision`, given the hardware.

    On two CPU cores with AVX512-BF16 the frozen VGG16 ran 1.95 times as fast in bfloat16 as in
    float32, and .74 times in float16.

    Args:
        choice: as for `choose_precision`.
        cpu_flags: the processor's, as Linux names them.
        gpu_capability: CUDA compute capability of the least capable GPU, None without a GPU.

    Returns:
        The name of the policy, and the reason for it in words.

    Raises:
        ValueError: as for `choose_precision`.
    """
    if choice not in PRECISIONS:
        raise ValueError(
            f"There is no precision {choice!r}. Choose one of: {', '.join(PRECISIONS)}."
        )
    if choice == "mixed_float16" and gpu_capability is None:
        raise ValueError(
            "mixed_float16 needs a GPU, and there is none: a CPU is slower in it than in float32. "
            "Use --precision=auto."
        )
    if choice != "auto":
        return choice, "as --precision says"
    if gpu_capability is not None:
        if gpu_capability >= 8:
            return "mixed_bfloat16", f"GPU of compute capability {gpu_capability}"
        if gpu_capability >= 7:
            return "mixed_float16", f"GPU of compute capability {gpu_capability}"
        return "float32", f"GPU of compute capability {gpu_capability}, without tensor cores"
    for flag in ("amx_bf16", "avx512_bf16"):
        if flag in cpu_flags:
            return "mixed_bfloat16", f"CPU with {flag}"
    return "float32", "CPU without bfloat16 instructions"


def bfloat16_limit() -> str | None:
    """The variable that keeps oneDNN from the processor's bfloat16 instructions, as NAME=VALUE.

    TensorFlow goes by the processor alone, and its convolutions in bfloat16 then end in an error.
    """
    for name in _ISA_LIMITS:
        value = os.environ.get(name, "").upper()
        able = value.startswith(_ISAS_WITH_BFLOAT16)
        if value and value not in ("ALL", "DEFAULT") and not able:
            return f"{name}={value}"
    return None


def _cpu_flags() -> frozenset[str]:
    """The first processor's flags; none where there is no /proc/cpuinfo."""
    try:
        lines = pathlib.Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return frozenset()
    flags = next((line for line in lines if line.startswith("flags")), "")
    return frozenset(flags.partition(":")[2].split())


def gpu_capability() -> float | None:
    """Compute capability of the least capable CUDA GPU that the backend sees."""
    if keras.backend.backend() == "jax":
        import jax

        capabilities = [d.compute_capability for d in jax.devices() if d.platform == "gpu"]
        return min(map(float, capabilities), default=None)
    import tensorflow as tf

    details = map(tf.config.experimental.get_device_details, tf.config.list_physical_devices("GPU"))
    # Other makers' GPUs report no capability: float32 for them.
    capabilities = [detail.get("compute_capability", (0, 0)) for detail in details]
    return float("{}.{}".format(*min(capabilities))) if capabilities else None
