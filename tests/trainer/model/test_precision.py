"""The precision of a run: what the hardware does well, what is refused, what is measured."""

import pathlib
import sys
import types

import keras
import pytest

from trainer.config import PRECISIONS
from trainer.model import precision
from trainer.model.precision import Precision, choose_precision, precision_for
from trainer.run.errors import RunError


@pytest.mark.parametrize(
    ("cpu", "gpu", "policy", "reason"),
    [
        ({"avx2"}, None, "float32", "CPU without"),
        ({"avx512_bf16"}, None, "mixed_bfloat16", "CPU with avx512_bf16"),
        ({"amx_bf16", "avx512_bf16"}, None, "mixed_bfloat16", "CPU with amx_bf16"),
        ({"avx512_bf16"}, 6.1, "float32", "GPU of compute capability 6.1"),
        ({"avx2"}, 7.5, "mixed_float16", "GPU of compute capability 7.5"),
        ({"avx2"}, 8.0, "mixed_bfloat16", "GPU of compute capability 8.0"),
        ({"avx2"}, 12.0, "mixed_bfloat16", "GPU of compute capability 12.0"),
    ],
)
def test_auto_precision_follows_the_hardware(cpu, gpu, policy, reason):
    chosen, why = precision_for("auto", frozenset(cpu), gpu)
    assert chosen == policy and why.startswith(reason)


@pytest.mark.parametrize("choice", ["float32", "mixed_bfloat16", "mixed_float16"])
def test_a_precision_that_is_named_is_taken(choice):
    assert precision_for(choice, frozenset(), 7.0) == (choice, "as --precision says")


def test_float16_without_a_gpu_is_refused():
    with pytest.raises(ValueError, match="mixed_float16 needs a GPU, and there is none"):
        precision_for("mixed_float16", frozenset({"avx512_fp16"}), None)


def test_precision_of_this_machine_is_one_that_keras_knows():
    policy, reason = choose_precision("auto")
    assert keras.DTypePolicy(policy).name in PRECISIONS
    assert reason
    with pytest.raises(ValueError, match=r"no precision 'float64'\. Choose one of: auto"):
        choose_precision("float64")


def test_without_autotune_xla_compiles_nothing():
    chosen = precision.choose("float32", 32, autotune=False)
    assert chosen == Precision("float32", False, "as --precision says")


def test_a_precision_that_this_machine_does_not_have_is_an_error_of_the_run():
    with pytest.raises(RunError, match=r"no precision 'float64'\. Choose one of"):
        precision.choose("float64", 32, autotune=False)


@pytest.mark.bfloat16
def test_candidates_are_the_one_that_is_named_or_all_that_may_be_fast(monkeypatch):
    assert precision.candidates("mixed_bfloat16") == ["mixed_bfloat16"]
    monkeypatch.setattr(precision, "gpu_capability", lambda: None)
    assert precision.candidates("auto") == ["float32", "mixed_bfloat16"]
    monkeypatch.setattr(precision, "gpu_capability", lambda: 8.0)
    assert precision.candidates("auto") == ["float32", "mixed_bfloat16", "mixed_float16"]


def test_autotune_takes_the_fastest_and_lists_what_it_measured(monkeypatch):
    speeds = {("float32", False): 90.0, ("float32", True): 1234.5,
              ("mixed_bfloat16", False): 100.0, ("mixed_bfloat16", True): 80.0}  # fmt: skip
    monkeypatch.setattr(precision, "candidates", lambda _: ["float32", "mixed_bfloat16"])
    monkeypatch.setattr(precision, "_images_per_second", lambda *each: speeds[each[:2]])
    assert precision.choose("auto", 32, autotune=True) == Precision(
        "float32",
        True,
        "measured, images/s through the frozen part: float32 with XLA 1,234, mixed_bfloat16 100, "
        "float32 90, mixed_bfloat16 with XLA 80",
    )


@pytest.mark.bfloat16
@pytest.mark.parametrize("jit", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_a_measurement_passes_images_through_and_leaves_the_policy(jit, monkeypatch):
    monkeypatch.setattr(precision, "_SECONDS", 1e-9)
    monkeypatch.setattr(precision, "_BATCH", 1)
    before = keras.config.dtype_policy().name
    assert precision._images_per_second("mixed_bfloat16", jit, 32) > 0
    assert keras.config.dtype_policy().name == before


def test_a_policy_ends_with_its_block_even_if_that_fails():
    before = keras.config.dtype_policy().name
    with pytest.raises(RuntimeError), precision.global_policy("mixed_bfloat16"):
        assert keras.config.dtype_policy().name == "mixed_bfloat16"
        raise RuntimeError
    assert keras.config.dtype_policy().name == before


@pytest.mark.parametrize(
    ("value", "limited"),
    [
        ("AVX2", True),
        ("avx512_core", True),
        ("AVX512_CORE_BF16", False),
        ("ALL", False),
        ("", False),
    ],
)
def test_a_limit_on_onednns_instructions_keeps_auto_from_bfloat16(value, limited, monkeypatch):
    monkeypatch.delenv("DNNL_MAX_CPU_ISA", raising=False)
    monkeypatch.setenv("ONEDNN_MAX_CPU_ISA", value)
    monkeypatch.setattr(precision, "_cpu_flags", lambda: frozenset({"avx512_bf16"}))
    monkeypatch.setattr(precision, "gpu_capability", lambda: None)
    assert (precision.choose_precision("auto")[0] == "float32") == limited
    assert precision.candidates("auto") == ["float32", "mixed_bfloat16"][: 2 - limited]
    if limited:
        with pytest.raises(ValueError, match=f"under ONEDNN_MAX_CPU_ISA={value.upper()}"):
            precision.choose_precision("mixed_bfloat16")


@pytest.mark.parametrize(
    ("devices", "least"), [([("gpu", "8.6"), ("gpu", "7.5"), ("cpu", None)], 7.5),
                           ([("cpu", None)], None)],
)  # fmt: skip
def test_gpus_that_jax_sees_count_by_the_least_of_them(devices, least, monkeypatch):
    seen = [types.SimpleNamespace(platform=on, compute_capability=able) for on, able in devices]
    monkeypatch.setitem(sys.modules, "jax", types.SimpleNamespace(devices=lambda: seen))
    monkeypatch.setattr(precision.keras.backend, "backend", lambda: "jax")
    assert precision.gpu_capability() == least


def test_a_machine_that_names_no_instructions_computes_in_float32(monkeypatch):
    def read_text(path, **_):
        raise FileNotFoundError(path)

    monkeypatch.setattr(pathlib.Path, "read_text", read_text)
    monkeypatch.setattr(precision, "gpu_capability", lambda: None)
    assert choose_precision("auto") == ("float32", "CPU without bfloat16 instructions")
