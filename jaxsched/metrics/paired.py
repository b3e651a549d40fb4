"""Requests and what became of them, checked to belong together, on the host."""

from __future__ import annotations

from typing import Any

import jax
import numpy as np

from jaxsched._lib.arrays import refuse_traced
from jaxsched._lib.errors import InputError, first_true, index_text, reject, wrong_shape
from jaxsched.model.given import require_requests
from jaxsched.model.outcome import Outcome
from jaxsched.model.requests import Requests
from jaxsched.model.schedule import Status
from jaxsched.model.server import Server

_ARRIVAL_TOLERANCE = 1e-9


def paired(reqs: Requests, out: Outcome) -> tuple[Requests, Outcome]:
    """Give requests the leading axes of their outcome, or raise if it is not theirs."""
    refuse_traced(
        "service metrics look at values",
        "return the outcome, and measure it outside",
        (reqs, out),
    )
    require_requests(reqs)
    reqs, out = (jax.tree.map(np.asarray, each) for each in (reqs, out))
    if out.time_unit != "s":
        raise InputError(
            "the outcome",
            out.time_unit,
            "expected seconds, such as those of Outcome.from_schedule(inst, sched, clock)",
            finding=f"counts {out.time_unit}",
        )
    shape = out.completion.shape
    try:
        reqs = jax.tree.map(lambda leaf: np.broadcast_to(leaf, shape), reqs)
    except ValueError as error:
        raise wrong_shape(
            "the outcome", shape, beside=f"the requests have {reqs.is_real.shape}"
        ) from error
    reject("is_real", out.is_real, reqs.is_real != out.is_real, "expected that of the requests")
    real = reqs.is_real
    with np.errstate(invalid="ignore"):
        is_near = np.abs(out.arrival - reqs.arrival_s) <= _ARRIVAL_TOLERANCE * (1 + out.arrival)
    reject("arrival", out.arrival, real & ~is_near, "expected the arrival_s of the request")
    is_lost = real & (out.status == Status.OK) & ~np.isfinite(out.completion)
    reject("completion", out.completion, is_lost, "expected seconds, since the status is OK")
    return reqs, out


def spread(server: Server, leading: tuple[int, ...]) -> Server:
    """Give every number of a server the leading axes of an outcome."""

    def of_each(number: Any) -> np.ndarray:
        try:
            return np.broadcast_to(np.asarray(number), leading)
        except ValueError as error:
            raise wrong_shape(
                "a number of the server", np.shape(number), beside=f"the outcome has {leading}"
            ) from error

    return jax.tree.map(of_each, server)


def require_some(counts: np.ndarray, window: tuple[float, float] | None) -> None:
    """Raise for the first stream in which no request counts."""
    position = first_true(~counts.any(axis=-1))
    if position is None:
        return
    where = f" in stream {index_text(position)}" if position else ""
    if window is None:
        finding = f"holds no real request that counts{where}"
        raise InputError("reqs", "", "leave it out", finding=finding)
    raise InputError(
        "window",
        window,
        "expected seconds in which requests of every stream arrive",
        finding=f"is {window}, when no request arrives{where}",
    )
