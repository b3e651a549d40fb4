"""The same stream at another rate, and the part of it that is measured."""

from __future__ import annotations

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxsched._lib.arrays import is_traced
from jaxsched._lib.errors import InputError, first_true, index_text
from jaxsched.model.requests import Requests
from jaxsched.workloads.arrivals._streams import leading_of, one_a_stream, rate_of


def at_rate(reqs: Requests, rate: Any) -> Requests:
    r"""Scale the time of streams to a rate, and change nothing else: common random numbers.

    .. math:: r'_i = (r_i - r_1)\, \frac{(n - 1) / \text{rate}}{r_n - r_1}

    So n requests arrive within (n - 1) / rate seconds exactly, from second 0 on. Lengths,
    clients, order and the proportions of gaps stay, so that rates are compared on one draw.
    Everything scales with the time: a day gets shorter, and so do times to think.

    Args:
      reqs: the requests, ``[n]`` or ``[.., n]``, of which each stream has two or more.
      rate: requests a second > 0, one or one a stream ``[..]``; it may be traced.

    Returns:
      The requests with other times.

    Raises:
      ValueError: a rate is not a finite number above 0, or a stream spans no time.

    Example:
      >>> import jaxsched as js
      >>> reqs = js.Requests.from_arrays([0.0, 1.0, 4.0], [5, 5, 5], [1, 1, 1])
      >>> js.workloads.arrivals.at_rate(reqs, 4.0).arrival_s.tolist()
      [0.0, 0.125, 0.5]
    """
    leading = leading_of(reqs)
    with jax.enable_x64(True):
        of_each = rate_of(rate, leading)
        arrival_s, is_real = jnp.asarray(reqs.arrival_s), jnp.asarray(reqs.is_real)
        first = jnp.min(jnp.where(is_real, arrival_s, jnp.inf), axis=-1)
        last = jnp.max(jnp.where(is_real, arrival_s, -jnp.inf), axis=-1)
        count = jnp.sum(is_real, axis=-1, dtype=jnp.int32).astype(jnp.float64)
        if not is_traced(arrival_s, is_real):
            position = first_true(~np.asarray(last > first))
            if position is not None:
                where = f" in stream {index_text(position)}" if position else ""
                finding = f"spans no time{where}, so it has no rate"
                raise InputError("reqs", "", "give it requests that arrive in turn", (), finding)
        scale = (count - 1) / of_each / (last - first)
        scaled = (arrival_s - first[..., None]) * scale[..., None]
        return dataclasses.replace(reqs, arrival_s=jnp.where(is_real, scaled, jnp.inf))


def cut(reqs: Requests, *, warm_up: Any = 0.1, cool_down: Any = 0.1) -> Requests:
    """Leave the first and the last requests of each stream out of metrics, but serve them.

    A server that starts empty is quick at first, and again once nobody comes any more. Requests
    keep their places and times, so that :func:`jaxsched.serve` serves all of them as before.
    ``is_counted`` is False for those that are cut, and :func:`jaxsched.metrics.service_summary`
    leaves them out of latencies, counts, goodput and attainment. So do all studies that measure
    by it, such as :func:`jaxsched.plan_rate`. An earlier cut stays: what it cut stays cut.

    Args:
      reqs: the requests, ``[n]`` or ``[.., n]``.
      warm_up: share of the requests of a stream that are cut at its beginning, rounded down: one,
        or one a stream ``[..]``; it may be traced.
      cool_down: share at its end, likewise. Together they are below 1.

    Returns:
      The requests with ``is_counted``, bool ``[.., n]``.

    Raises:
      ValueError: a share is not from 0 up to 1, or nothing would be left.

    Example:
      >>> import jaxsched as js
      >>> reqs = js.Requests.from_arrays([0.0, 1.0, 4.0, 5.0, 9.0], [5] * 5, [1] * 5)
      >>> js.workloads.arrivals.cut(reqs, warm_up=0.4, cool_down=0.2).is_counted.tolist()
      [False, False, True, True, False]
    """
    leading = leading_of(reqs)
    with jax.enable_x64(True):
        begin, end = (
            one_a_stream(name, value, leading, "a share from 0 up to 1", -1e-300, 1.0)
            for name, value in (("warm_up", warm_up), ("cool_down", cool_down))
        )
        if not is_traced(begin, end):
            position = first_true(np.asarray(begin + end) >= 1)
            if position is not None:
                total = float((begin + end)[position])
                expectation = "expected less than 1, so that requests are left to measure"
                raise InputError("warm_up", total, expectation, (), f"+ cool_down is {total:g}")
        is_real = jnp.asarray(reqs.is_real)
        count = jnp.sum(is_real, axis=-1, dtype=jnp.int32, keepdims=True)
        place = jnp.cumsum(is_real, axis=-1, dtype=jnp.int32) - 1

        def number(share: jax.Array) -> jax.Array:
            # A share such as 0.1 of 30 is 3, also where rounding makes it less.
            cut_off = share[..., None] * count.astype(jnp.float64) + 1e-9
            return jnp.floor(cut_off).astype(jnp.int32)

        is_counted = is_real & (place >= number(begin)) & (place < count - number(end))
    if reqs.is_counted is not None:
        is_counted = is_counted & jnp.asarray(reqs.is_counted)
    return dataclasses.replace(reqs, is_counted=is_counted)
