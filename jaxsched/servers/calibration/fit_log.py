"""A clock from the steps of a running engine."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np

from jaxsched._lib.errors import integer
from jaxsched.model.clock import FittedBox
from jaxsched.servers.calibration.calibration import Calibration, calibrated
from jaxsched.servers.calibration.forms import Basis, alternatives, linear
from jaxsched.servers.calibration.steps import read_steps


def fit_log(
    path: str | os.PathLike[str], *, kv_capacity: int | None = None, block_size: int = 16
) -> Calibration:
    r"""Fit a clock to the steps of a running engine.

    .. math:: \min_{a, b, c, d, e \ge 0}\ \sum_i \left(
        \frac{a + b P_i + c B_i + d\,KV_i + e Q_i}{t_i} - 1 \right)^2

    The file is either of these, plain or gzip:

    * a log of ``vllm serve --enable-logging-iteration-details --no-async-scheduling``, without
      speculation and best without prefix caching. Its times are those of the model: what the
      scheduler itself takes between two steps is not in them;
    * a CSV, a row a step, with the columns ``prefill_tokens``, ``decoding_requests``,
      ``kv_tokens`` (cached by the requests that decode, before the step), ``ms``, and perhaps
      ``squared_tokens``. The names ``P``, ``B``, ``KV``, ``Q`` and ``seconds`` do as well, and so
      do the columns ``step_..`` that :func:`jaxsched.serve` records.

    vLLM's lines say how full the cache is to a thousandth, and not how prompts were cut. Steps
    whose chunks are not known are left out, and a note counts them. Those in which several
    prompts begin are among them, unless most steps with prompts are so. How well ``e`` is known
    depends on prompts: those of 500 tokens hardly show it, those of 10,000 do.

    Args:
      path: the file.
      kv_capacity: tokens the cache holds, which vLLM prints as "GPU KV cache size"; None reads
        that line of the log. A CSV does not need it.
      block_size: tokens a block of the cache holds.

    Returns:
      The :class:`~jaxsched.calibrate.Calibration`. Its shapes are prompt tokens and decoding
      requests of a step, both by powers of two.

    Raises:
      ValueError: the file is neither, the capacity is not known, or steps were not timed.
      OSError: it cannot be read.

    Warns:
      UserWarning: there are fewer than six shapes.

    Example:
      >>> import pathlib, tempfile
      >>> import jaxsched as js
      >>> steps = [(p, b, 300 * b) for p in (0, 100, 500, 2000) for b in (1, 7, 30)]
      >>> rows = [f"{p},{b},{kv},{6 + 0.02 * p + 0.01 * b + 4e-5 * kv}" for p, b, kv in steps]
      >>> with tempfile.TemporaryDirectory() as folder:
      ...     path = pathlib.Path(folder, "steps.csv")
      ...     _ = path.write_text("\n".join(["P,B,KV,ms", *rows]))
      ...     found = js.calibrate.fit_log(path)
      >>> round(found.clock.iteration_ms, 3), round(found.clock.prefill_ms_per_token, 3)
      (6.0, 0.02)

    Source:
      The lines are those of vLLM 0.33, ``vllm/v1/metrics/loggers.py``, 2026.
    """
    if kv_capacity is not None:
        integer("kv_capacity", kv_capacity)
    integer("block_size", block_size)
    steps, kv_capacity = read_steps(path, kv_capacity, block_size)
    prefill, decoding = steps.prefill_tokens, steps.decoding_requests
    shape = _numbered(_power(prefill) * 64 + _power(decoding))
    basis = Basis(np.ones_like(prefill), decoding, steps.kv_tokens, steps.squared_tokens)
    fitted = linear(basis, prefill, steps.ms, shape)
    coefficients = [*fitted.coefficients, 0.0][:5]
    return calibrated(
        fitted,
        coefficients,
        FittedBox(float(prefill.max()), float(decoding.max()), float(steps.kv_tokens.max())),
        ms=steps.ms,
        num_shapes=int(shape.max()) + 1,
        notes=steps.notes,
        alternatives=alternatives(
            basis,
            prefill,
            lambda free: np.maximum(prefill + decoding - free, 0.0),
            steps.ms,
            shape,
        ),
        source=Path(path).name,
        kv_capacity=kv_capacity,
    )


def _power(values: np.ndarray) -> np.ndarray:
    """Count binary digits: 0 for 0, 1 for 1, 2 for 2 and 3, and so on."""
    return np.frexp(np.floor(values))[1].astype(np.int64)


def _numbered(keys: np.ndarray) -> np.ndarray:
    return np.unique(keys, return_inverse=True)[1]
