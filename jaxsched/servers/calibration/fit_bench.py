"""A clock from closed-loop benchmarks."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from jaxsched._lib.errors import InputError, in_file, integer
from jaxsched._lib.words import counted
from jaxsched.model.clock import FittedBox
from jaxsched.servers.calibration.calibration import Calibration, calibrated
from jaxsched.servers.calibration.columns import read_csv, resolved
from jaxsched.servers.calibration.forms import Basis, alternatives, linear

_NAMES = {
    "prompt_tokens": ("input_tokens", "input_len", "random_input_len", "isl", "s"),
    "output_tokens": ("output_len", "random_output_len", "osl", "o"),
    "concurrency": ("max_concurrency", "batch_size", "b"),
    "tpot_ms": ("mean_tpot_ms", "tpot"),
    "ttft_ms": ("median_ttft_ms", "mean_ttft_ms", "ttft"),
    "num_prompts": ("completed", "requests", "n"),
}


class _Rows(NamedTuple):
    """Columns ``[n]`` of the model of times; ``first`` says which are times to first token."""

    basis: Basis
    prefill: np.ndarray
    ms: np.ndarray
    shape: np.ndarray
    share: np.ndarray  # of the steps that prefill, the average prompt in them
    prompt: np.ndarray
    first: np.ndarray


def fit_bench(
    table: str | os.PathLike[str] | Mapping[str, Any], *, max_num_batched_tokens: int = 2048
) -> Calibration:
    r"""Fit a clock to closed-loop benchmarks: time per output token against concurrency and shape.

    ``B`` clients each wait for their answer before they ask again, with prompts of ``s`` tokens
    and outputs of ``o``. While one decodes, each of the ``B - 1`` others prefills in one step of
    ``o``. So a request and its expected company take, a step,

    .. math:: \mathrm{TPOT} = a + b (B - 1) \frac{s}{o} + c D + d D \left(s + \frac{o}{2}\right),
        \qquad D = 1 + (B - 1) \frac{o - 1}{o},

    which is :math:`a + cB + dB(s + o/2) + bBs/o` but for small ``B`` and ``o``. Where the table
    says how many requests were sent, ``B - 1`` prompts count as fewer: those of the first ``B``
    begin together, and each of these meets half of the others. Times to first
    token are read where ``B`` is 1, as others hold the wait for clients that began together:

    .. math:: \mathrm{TTFT} = h + a \lceil s / \text{budget} \rceil + b s + e s^2.

    They tell ``e``, which is 0 without them, and the time ``h`` a request spends outside of steps.
    No server has such a term. Least squares are of relative errors, with no coefficient below 0.

    Args:
      table: a CSV, plain or gzip, or columns by name such as a pandas table, with
        ``prompt_tokens``, ``output_tokens``, ``concurrency``, ``tpot_ms`` and perhaps
        ``ttft_ms`` and ``num_prompts``; or by the names ``isl``, ``osl``, ``max_concurrency``,
        ``mean_tpot_ms``, ``median_ttft_ms``.
      max_num_batched_tokens: most tokens the engine computed in a step. Rows whose prompts would
        need more are left out: their clients wait for each other.

    Returns:
      The :class:`~jaxsched.calibrate.Calibration`. Its shapes are pairs of prompt and output.

    Raises:
      ValueError: a column is missing, a number is out of range, or no row is left.
      OSError: the file cannot be read.

    Warns:
      UserWarning: there are fewer than six shapes.

    Example:
      >>> import jaxsched as js
      >>> shapes = [(s, o, b) for s in (100, 400, 1600) for o in (200, 800) for b in (1, 8, 32)]
      >>> s, o, b = zip(*shapes)
      >>> tpot = [6 + 0.02 * (b - 1) * s / o + 4e-5 * b * (s + o / 2) for s, o, b in shapes]
      >>> found = js.calibrate.fit_bench(dict(isl=s, osl=o, concurrency=b, tpot_ms=tpot))
      >>> round(found.clock.prefill_ms_per_token, 3)
      0.02

    Source:
      Our form of a linear fit to benchmark tables; closed loops as ``vllm bench serve
      --max-concurrency`` runs them, vLLM 0.33, 2026.
    """
    budget = integer("max_num_batched_tokens", max_num_batched_tokens)
    if isinstance(table, (str, os.PathLike)):
        source = Path(table).name
        with in_file(table):
            columns = _checked(resolved(read_csv(table), _NAMES))
    else:
        source = "a table"
        columns = _checked(resolved(table, _NAMES))
    rows, box, notes = _rows(columns, budget)
    fitted = linear(rows.basis, rows.prefill, rows.ms, rows.shape)
    *coefficients, host_ms = fitted.coefficients
    if rows.basis.host is None:
        coefficients, host_ms = [*fitted.coefficients, 0.0], None
    return calibrated(
        fitted,
        coefficients,
        box,
        ms=rows.ms,
        num_shapes=int(rows.shape.max()) + 1,
        notes=notes,
        alternatives=alternatives(
            rows.basis, rows.prefill, lambda free: _beyond(rows, free), rows.ms, rows.shape
        ),
        source=source,
        host_ms=None if host_ms is None else float(host_ms),
    )


def _checked(columns: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    for name in list(_NAMES)[:4]:
        if name not in columns:
            raise InputError(name, None, f"expected {', '.join(_NAMES)}", finding="is missing")
        least = {"tpot_ms": 0.0, "output_tokens": 2.0}.get(name, 1.0)
        is_bad = columns[name] < least if least else columns[name] <= 0.0
        if is_bad.any():
            row = int(np.argmax(is_bad))
            bound = f">= {least:g}" if least else "above 0"
            raise InputError(name, columns[name][row], f"expected a number {bound}", (row,))
    sizes = {name: values.shape for name, values in columns.items()}
    if len(set(sizes.values())) > 1:
        raise InputError("columns", sizes, "expected as many rows in each", finding=f"are {sizes}")
    return columns


def _rows(columns: dict[str, np.ndarray], budget: int) -> tuple[_Rows, FittedBox, tuple[str, ...]]:
    s, o, clients, tpot = (columns[name] for name in list(_NAMES)[:4])
    # Clients begin together: of the first round of answers each meets half of the other prompts.
    in_first = 0.5 * clients / np.maximum(columns.get("num_prompts", np.inf), clients)
    begun = (clients - 1.0) / o * (1.0 - in_first)
    is_busy = (clients - 1.0) * s / o + clients > budget
    if is_busy.all():
        raise InputError(
            "max_num_batched_tokens",
            budget,
            "give what the engine was served with",
            finding=f"is {budget}, and the prompts of every row need more in a step",
        )
    shape = np.unique(np.column_stack([s, o]), axis=0, return_inverse=True)[1].reshape(-1)
    kept = ~is_busy
    ttft = columns.get("ttft_ms", np.zeros_like(s))
    alone = (clients == 1.0) & (ttft > 0.0)
    of = np.concatenate([np.flatnonzero(kept), np.flatnonzero(alone)])
    first = np.arange(of.size) >= kept.sum()
    s, o, clients = s[of], o[of], clients[of]
    decoding = np.where(first, 0.0, 1.0 + (clients - 1.0) * (o - 1.0) / o)
    begun = np.where(first, 1.0, begun[of])
    has_first = bool(alone.any())
    basis = Basis(
        one=np.where(first, np.ceil(s / budget), 1.0),
        decoding_requests=decoding,
        kv_tokens=decoding * (s + o / 2.0),
        squared_tokens=begun * s**2 if has_first else None,
        host=first.astype(np.float64) if has_first else None,
    )
    numbers = np.unique(shape[of], return_inverse=True)[1]
    ms = np.where(first, ttft[of], tpot[of])
    rows = _Rows(basis, begun * s, ms, numbers, begun, s, first)
    held = np.where(first, 0.0, clients * (s + o / 2.0))
    box = FittedBox(min(float(s.max()), float(budget)), float(clients.max()), float(held.max()))
    return rows, box, _notes(columns, int(is_busy.sum()), has_first)


def _beyond(rows: _Rows, free: float) -> np.ndarray:
    """Tokens above the free ones, averaged over steps with and without a prompt."""
    decoding = rows.basis.decoding_requests
    with_prompt = np.minimum(rows.share, 1.0)
    tokens = rows.prefill / np.where(with_prompt > 0.0, with_prompt, 1.0)
    company = with_prompt * np.maximum(tokens + decoding - free, 0.0)
    alone = (1.0 - with_prompt) * np.maximum(decoding - free, 0.0)
    of_first = np.maximum(rows.prompt - free * rows.basis.one, 0.0)
    return np.where(rows.first, of_first, company + alone)


def _notes(columns: dict[str, np.ndarray], num_busy: int, has_first: bool) -> tuple[str, ...]:
    notes = []
    if num_busy:
        notes.append(
            f"left out {counted(num_busy, 'row')} whose prompts need more than the token budget"
        )
    if "ttft_ms" in columns and not has_first:
        notes.append("no TTFT at a concurrency of 1, so none was read")
    if not has_first:
        notes.append("without TTFT the cost of squared prompt tokens is taken as 0")
    return tuple(notes)
