"""Service metrics as arithmetic on arrays ``[rows, n]``."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from jaxsched.metrics.alone import alone_s, generated_tokens
from jaxsched.metrics.distribution import distribution
from jaxsched.metrics.itl import itl_percentiles
from jaxsched.model.outcome import Outcome
from jaxsched.model.requests import Requests
from jaxsched.model.schedule import Status
from jaxsched.model.server import Server

Measures = dict[str, np.ndarray]


class Targets(NamedTuple):
    """Seconds ``[.., 1]`` or ``[.., n]``; None where there is no target."""

    ttft: np.ndarray | None
    tpot: np.ndarray | None
    e2e: np.ndarray | None


def latencies(
    reqs: Requests, out: Outcome, counts: np.ndarray, machine: Server | None, *, has_all: bool
) -> Measures:
    """Describe each latency of the requests that completed."""
    output = generated_tokens(reqs, machine)
    is_served = _is_served(out, counts)
    decode_s = np.where(is_served, out.completion - out.first_token, np.nan)

    def of_served(values: np.ndarray) -> np.ndarray:
        return np.where(is_served, values, np.nan)

    measures = {
        **distribution("ttft_s", of_served(out.ttft)),
        **distribution("tpot_s", _tpot_s(decode_s, output, alone=np.nan)),
        **_gaps(out, decode_s, output, has_all=has_all),
        **distribution("e2e_s", of_served(out.latency)),
        **distribution("queueing_s", of_served(out.queueing)),
        **distribution("normalized_latency_s", of_served(out.latency / output)),
    }
    if machine is not None:
        measures |= distribution("slowdown", of_served(out.latency / alone_s(reqs, machine)))
    return measures


def _tpot_s(decode_s: np.ndarray, output: np.ndarray, alone: float) -> np.ndarray:
    """Seconds per output token; ``alone`` for requests with one."""
    return np.where(output > 1, decode_s / np.maximum(output - 1, 1), alone)


def _gaps(out: Outcome, decode_s: np.ndarray, output: np.ndarray, *, has_all: bool) -> Measures:
    """Pool times between tokens: a request's ``output - 1`` of them add up to ``decode_s``."""
    num_gaps = np.where(np.isnan(decode_s), 0, output - 1)
    with np.errstate(invalid="ignore"):
        measures = {"mean_itl_s": np.nansum(decode_s, axis=-1) / num_gaps.sum(axis=-1)}
    if out.itl_histogram is not None and has_all:
        measures |= itl_percentiles(out.itl_histogram)
    if out.max_itl is not None:
        longest = np.where(num_gaps > 0, out.max_itl, -np.inf).max(axis=-1)
        measures["max_itl_s"] = np.where(num_gaps.any(axis=-1), longest, np.nan)
    return measures


def counted(
    reqs: Requests,
    out: Outcome,
    counts: np.ndarray,
    targets: Targets,
    machine: Server | None,
) -> Measures:
    """Count requests, tokens and evictions, and divide by the duration."""
    output = generated_tokens(reqs, machine)
    is_served = _is_served(out, counts)
    num_requests = counts.sum(axis=-1, dtype=np.int64)
    num_served = is_served.sum(axis=-1, dtype=np.int64)
    num_refused = (counts & (out.status == Status.REFUSED)).sum(axis=-1, dtype=np.int64)
    duration_s = _duration_s(out, counts)

    def tokens(each: np.ndarray) -> np.ndarray:
        return np.where(is_served, each, 0).sum(axis=-1, dtype=np.int64)

    measures = {
        "num_requests": num_requests,
        "num_refused": num_refused,
        "num_unfinished": num_requests - num_served - num_refused,
        "duration_s": duration_s,
        "throughput_requests_per_s": _per(duration_s, num_served),
        "throughput_tokens_per_s": _per(duration_s, tokens(output)),
        "throughput_total_tokens_per_s": _per(duration_s, tokens(output + reqs.prompt_tokens)),
    }
    if any(target is not None for target in targets):
        tpot_s = _tpot_s(out.completion - out.first_token, output, alone=0.0)
        is_good = is_served.copy()
        for seconds, target in zip((out.ttft, tpot_s, out.latency), targets, strict=True):
            if target is not None:
                with np.errstate(invalid="ignore"):
                    is_good &= seconds <= target
        num_good = is_good.sum(axis=-1)
        measures["goodput_requests_per_s"] = _per(duration_s, num_good)
        measures["attainment"] = num_good / num_requests
    preemptions = np.where(counts, out.num_preemptions, 0)
    measures["num_preemptions"] = preemptions.sum(axis=-1, dtype=np.int64)
    measures["share_preempted"] = np.count_nonzero(preemptions, axis=-1) / num_requests
    return measures


def whole_run(reqs: Requests, out: Outcome, machine: Server | None) -> Measures:
    """Describe work and memory of the server, from the first arrival to the last completion."""
    is_served, is_refused = (out.status == status for status in (Status.OK, Status.REFUSED))
    is_over = (~reqs.is_real | is_served | is_refused).all(axis=-1)
    run_s = np.where(is_over, _duration_s(out, reqs.is_real), np.nan)
    measures = {}
    for name in ("num_steps", "recomputed_tokens", "peak_kv_tokens"):
        if getattr(out, name) is not None:
            measures[name] = getattr(out, name)
    if out.recomputed_tokens is not None:
        # The last output token is sampled, but never computed.
        once = reqs.prompt_tokens.astype(np.int64) + generated_tokens(reqs, machine) - 1
        computed = np.where(_is_served(out, reqs.is_real), once, 0).sum(axis=-1)
        computed = computed + out.recomputed_tokens
        measures["recompute_share"] = np.where(
            is_over, out.recomputed_tokens / np.maximum(computed, 1), np.nan
        )
    if out.kv_token_time is not None:
        measures["mean_kv_tokens"] = _per(run_s, out.kv_token_time)
    if machine is not None:
        for name in ("peak_kv", "mean_kv"):
            if f"{name}_tokens" in measures:
                measures[f"{name}_share"] = measures[f"{name}_tokens"] / machine.kv_capacity
    if out.busy is not None:
        measures["busy_share"] = _per(run_s, out.busy)
    return measures


def _is_served(out: Outcome, counts: np.ndarray) -> np.ndarray:
    return counts & (out.status == Status.OK)


def _duration_s(out: Outcome, counts: np.ndarray) -> np.ndarray:
    """From the first arrival to the last completion of those that count, NaN if none completes."""
    first = np.where(counts, out.arrival, np.inf).min(axis=-1)
    last = np.where(_is_served(out, counts), out.completion, -np.inf).max(axis=-1)
    return np.where(np.isfinite(last), last - first, np.nan)


def _per(seconds: np.ndarray, amount: np.ndarray) -> np.ndarray:
    """Divide an amount by seconds; nothing in no time is nothing."""
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(amount == 0, 0.0, amount / seconds)
