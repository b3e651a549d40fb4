"""Coefficients and memory of the named servers, one row each.

The clock's five coefficients are milliseconds as in :class:`~jaxsched.clock.LinearClock`. The
last, of squared prompt tokens, is half of what a fit to ``chunk * (computed + chunk / 2)`` gives.

A KV capacity that no measurement gave is what memory leaves,

    (0.9 x memory - weights - 2 GB a GPU for activations) / bytes of KV cache a token,

rounded down to whole blocks of 16 tokens.
"""

from __future__ import annotations

from typing import NamedTuple

_AIS = "fit to aisimulate 0.13.0.dev202610270000000085, 378 points, relative least squares"
_PROFILES = (
    "fit to public Vidur and Splitwise profiles; attention scaled from the profile of two A100"
)
_PROFILED = "fit to a public Vidur profile"


class Fit(NamedTuple):
    """A row of the table.

    Attributes:
      model: what the server runs.
      hardware: what it runs on.
      coefficients: of the clock, ms.
      kv_capacity: tokens the cache holds.
      mean_error: mean relative error of the fitted step times.
      max_error: the largest of them.
      source: what they were fitted to.
    """

    model: str
    hardware: str
    coefficients: tuple[float, float, float, float, float]
    kv_capacity: int
    mean_error: float
    max_error: float
    source: str


#: GB of memory a GPU.
_MEMORY = {"A100": 80.0, "H100": 80.0, "H200": 141.0, "B200": 180.0}
#: GB of weights, and bytes of KV cache a token.
_MODELS = {
    "Llama-3.1-8B": (16.06, 2 * 32 * 8 * 128 * 2),
    "Llama-3.1-70B": (141.1, 2 * 80 * 8 * 128 * 2),
    "Qwen3-8B": (16.4, 2 * 36 * 8 * 128 * 2),
    "Qwen3-32B": (65.5, 2 * 64 * 8 * 128 * 2),
    "Qwen3-32B-FP8": (33.0, 2 * 64 * 8 * 128 * 2),
    "Qwen3-30B-A3B": (61.1, 2 * 48 * 4 * 128 * 2),
    "Qwen3-235B-A22B-FP8": (236.0, 2 * 94 * 4 * 128 * 2),
    "DeepSeek-V3": (685.0, 61 * 576 * 2),  # latent attention: one vector of 576 a layer
}
_ACTIVATIONS_GB = 2.0
_MEMORY_SHARE = 0.9
_BLOCK = 16


def _kv_capacity(model: str, gpu: str, count: int) -> int:
    weights, bytes_per_token = _MODELS[model]
    gigabytes = count * (_MEMORY_SHARE * _MEMORY[gpu] - _ACTIVATIONS_GB) - weights
    return int(1e9 * gigabytes / bytes_per_token) // _BLOCK * _BLOCK


def _ais(
    model: str,
    gpu: str,
    count: int,
    coefficients: tuple[float, float, float, float, float],
    mean_error: float,
    max_error: float,
    kv_capacity: int | None = None,
) -> Fit:
    *linear, per_pair = coefficients
    hardware = f"{count} x {gpu}"
    tokens = _kv_capacity(model, gpu, count) if kv_capacity is None else kv_capacity
    clock = (*linear, per_pair / 2)
    return Fit(model, hardware, clock, tokens, mean_error, max_error, _AIS)  # pyright: ignore


FITS: dict[str, Fit] = {
    # The servers of the first release, by the names they have had since.
    "llama2_70b_2xa100": Fit(
        "Llama-2-70B",
        "2 x A100",
        (55.4, 0.299, 0.156, 1.12e-4, 2.7e-5),
        53_248,
        0.04,
        0.3,
        _PROFILED,
    ),
    "llama2_70b_4xa100": Fit(
        "Llama-2-70B",
        "4 x A100",
        (35.4, 0.168, 0.092, 5.62e-5, 1.35e-5),
        524_288,
        0.04,
        0.3,
        _PROFILES,
    ),
    "llama2_7b_a100": Fit(
        "Llama-2-7B",
        "1 x A100",
        (9.18, 0.0554, 0.0296, 3.21e-4, 9.7e-6),
        118_784,
        0.04,
        0.3,
        _PROFILES,
    ),
    "llama3_8b_a100": Fit(
        "Llama-3-8B",
        "1 x A100",
        (10.11, 0.0604, 0.0330, 8.90e-5, 9.1e-6),
        483_328,
        0.04,
        0.3,
        _PROFILES,
    ),
    "llama2_70b_4xh100": Fit(
        "Llama-2-70B",
        "4 x H100",
        (24.5, 0.0560, 0.0117, 3.33e-5, 5.9e-6),
        524_288,
        0.04,
        0.3,
        _PROFILES,
    ),
    "llama3.1_8b_a100": _ais(
        "Llama-3.1-8B", "A100", 1, (10.69, 0.05168, 0.04088, 8.42e-5, 2.80e-6), 0.050, 0.19
    ),
    "llama3.1_8b_h100": _ais(
        "Llama-3.1-8B", "H100", 1, (5.897, 0.01684, 0.01341, 4.10e-5, 7.53e-7), 0.070, 0.22, 384_000
    ),
    "llama3.1_8b_h200": _ais(
        "Llama-3.1-8B", "H200", 1, (4.499, 0.01716, 0.01478, 2.93e-5, 7.62e-7), 0.070, 0.23
    ),
    "llama3.1_8b_b200": _ais(
        "Llama-3.1-8B", "B200", 1, (3.251, 0.00899, 0.00578, 1.79e-5, 3.60e-7), 0.044, 0.16
    ),
    "llama3.1_70b_4xa100": _ais(
        "Llama-3.1-70B", "A100", 4, (25.85, 0.1468, 0.1168, 5.91e-5, 3.33e-6), 0.049, 0.19
    ),
    "llama3.1_70b_4xh100": _ais(
        "Llama-3.1-70B", "H100", 4, (14.17, 0.05414, 0.03783, 2.60e-5, 9.42e-7), 0.066, 0.20
    ),
    "llama3.1_70b_4xh200": _ais(
        "Llama-3.1-70B", "H200", 4, (11.15, 0.05409, 0.03919, 1.84e-5, 8.98e-7), 0.068, 0.20
    ),
    "llama3.1_70b_4xb200": _ais(
        "Llama-3.1-70B", "B200", 4, (9.114, 0.03111, 0.02539, 1.16e-5, 4.10e-7), 0.028, 0.16
    ),
    "qwen3_8b_h100": _ais(
        "Qwen3-8B", "H100", 1, (7.035, 0.0174, 0.01468, 4.58e-5, 7.94e-7), 0.062, 0.24
    ),
    "qwen3_32b_2xh100": _ais(
        "Qwen3-32B", "H100", 2, (14.25, 0.04351, 0.02941, 4.13e-5, 1.46e-6), 0.075, 0.25
    ),
    "qwen3_32b_fp8_h200": _ais(
        "Qwen3-32B-FP8", "H200", 1, (13.45, 0.05788, 0.04803, 4.32e-5, 2.52e-6), 0.052, 0.27
    ),
    "qwen3_30b_a3b_h100": _ais(
        "Qwen3-30B-A3B", "H100", 1, (9.90, 0.01628, 0.08596, 3.34e-5, 1.21e-6), 0.23, 0.71
    ),
    "qwen3_235b_a22b_fp8_8xh200": _ais(
        "Qwen3-235B-A22B-FP8", "H200", 8, (14.14, 0.0293, 0.04773, 7.75e-6, 4.15e-7), 0.089, 0.36
    ),
    "deepseek_v3_8xh200": _ais(
        "DeepSeek-V3", "H200", 8, (19.23, 0.05453, 0.1164, 2.40e-6, 8.00e-7), 0.123, 0.37
    ),
    "deepseek_v3_8xb200": _ais(
        "DeepSeek-V3", "B200", 8, (13.69, 0.03614, 0.07094, 1.95e-6, 3.41e-7), 0.139, 0.37
    ),
}
