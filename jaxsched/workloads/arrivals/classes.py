"""Classes of requests, each with targets and a priority of its own."""

from __future__ import annotations

import dataclasses
from typing import Any, Literal, get_args

import jax
import jax.numpy as jnp
import numpy as np

from jaxsched._lib.arrays import is_traced
from jaxsched._lib.errors import InputError, choice, reject, wrong_shape
from jaxsched.model.requests import Requests
from jaxsched.workloads.arrivals._streams import leading_of, per_stream

By = Literal["request", "client"]


def with_classes(
    reqs: Requests,
    key: jax.Array,
    *,
    shares: Any,
    ttft_slo_s: Any = None,
    tpot_slo_s: Any = None,
    priority: Any = None,
    by: By = "request",
) -> Requests:
    """Draw a class for every request, or every client, and set its targets and priority.

    :func:`jaxsched.metrics.service_summary` takes targets from the requests, the rule
    ``"priority"`` orders by priority, and rules of deadlines see the targets.

    Args:
      reqs: the requests, ``[n]`` or ``[.., n]``.
      key: a jax random key; equal keys give equal classes.
      shares: numbers >= 0 in proportion to the probabilities of the classes, ``[K]``; they may be
        traced, as may all numbers.
      ttft_slo_s: target for the time to first token of each class in seconds, ``[K]``; infinite
        for no target, None leaves the targets of the requests.
      tpot_slo_s: target for the time per output token, likewise.
      priority: numbers ``[K]``, lower first; None leaves the priorities of the requests.
      by: "request" draws for each request; "client" for each client of a stream, whose requests
        are then all of one class.

    Returns:
      The requests, of which the fields given are new, each ``[.., n]``.

    Raises:
      ValueError: nothing is given to set, a number is out of range, there are not K of them, or
        classes go by client and the requests have none.

    Example:
      >>> import jax
      >>> import jaxsched as js
      >>> inst = js.workloads.chat(jax.random.key(0), num_requests=10_000)
      >>> reqs = js.workloads.poisson(jax.random.key(1), inst, rate=4.0)
      >>> reqs = js.workloads.arrivals.with_classes(
      ...     reqs, jax.random.key(2), shares=[0.8, 0.2], ttft_slo_s=[0.5, 30.0],
      ...     priority=[0, 1])
      >>> round(float((reqs.priority == 1).mean()), 1), float(reqs.ttft_slo_s.max())
      (0.2, 30.0)
    """
    choice("by", by, get_args(By))
    share = _numbers("shares", shares, "numbers >= 0, not all 0", 0.0)
    if not is_traced(share) and not np.any(share):
        raise InputError("shares", shares, "expected a share above 0")
    fields = {
        "ttft_slo_s": (ttft_slo_s, "seconds > 0, or infinity for no target", 1e-300),
        "tpot_slo_s": (tpot_slo_s, "seconds > 0, or infinity for no target", 1e-300),
        "priority": (priority, "numbers", -np.inf),
    }
    given = {name: of for name, of in fields.items() if of[0] is not None}
    if not given:
        raise InputError(
            "ttft_slo_s", None, "give targets or priorities of the classes", finding="is missing"
        )
    values = {name: _numbers(name, *of) for name, of in given.items()}
    for name, value in values.items():
        if value.shape != share.shape:
            raise wrong_shape(name, value.shape, beside=f"shares has {share.shape}")
    if by == "client" and reqs.client is None:
        raise InputError("by", by, "expected requests with clients, or by='request'")
    up_to = jnp.cumsum(jnp.asarray(share).astype(jnp.float32))
    number = _class_numbers(reqs, key, up_to / up_to[-1], by)
    new = {
        name: jnp.asarray(value).astype(jnp.float32)[number]
        for name, value in values.items()
        if name != "priority"
    }
    if "priority" in values:
        whole = jnp.asarray(priority)
        new["priority"] = whole[number]
    return dataclasses.replace(reqs, **new)


def _class_numbers(reqs: Requests, key: jax.Array, up_to: jax.Array, by: By) -> jax.Array:
    """Place of the class of each request, int32 ``[.., n]``."""
    n = reqs.is_real.shape[-1]

    def of_stream(key: jax.Array, whose: jax.Array) -> jax.Array:
        keys = jax.vmap(jax.random.fold_in, (None, 0))(key, whose)
        drawn = jax.vmap(lambda key: jax.random.uniform(key, (), jnp.float32))(keys)
        # A draw just below 1 may lie above a last sum that was rounded.
        return jnp.minimum(jnp.searchsorted(up_to, drawn, side="right"), up_to.shape[0] - 1)

    leading = leading_of(reqs)
    if by == "client":
        whose = jnp.asarray(reqs.client)
    else:
        whose = jnp.broadcast_to(jnp.arange(n, dtype=jnp.int32), (*leading, n))
    return per_stream(of_stream, key, leading, whose)


def _numbers(name: str, value: Any, expectation: str, least: float) -> Any:
    if is_traced(value):
        value = jnp.asarray(value)
    else:
        value = np.asarray(value)
        if value.dtype.kind not in "iuf":
            raise InputError(name, value, f"expected {expectation}, one a class")
        reject(name, value, ~(value >= least), f"expected {expectation}")
    if value.ndim != 1 or not value.size:
        raise wrong_shape(name, value.shape, "expected a list, one number a class")
    return value
