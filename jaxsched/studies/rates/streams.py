"""The same streams faster or slower, or dealt out to several servers."""

from __future__ import annotations

import dataclasses
from typing import Any

import jax
import numpy as np

from jaxsched._lib.arrays import refuse_traced
from jaxsched._lib.errors import InputError, first_true, index_text
from jaxsched.model.given import require_requests
from jaxsched.model.outcome import Outcome
from jaxsched.model.requests import Requests

_PADDING = {"arrival_s": np.inf, "prompt_tokens": 1, "output_tokens": 1, "is_real": False}


def flattened(reqs: Requests, verb: str) -> Requests:
    """Give requests one leading axis, that of streams, as numpy's arrays."""
    refuse_traced(f"{verb} looks at values", "call it outside", require_requests(reqs))
    reqs = jax.tree.map(np.asarray, reqs)
    n = reqs.is_real.shape[-1]
    return jax.tree.map(lambda leaf: leaf.reshape(-1, n), reqs)


def own_rate(reqs: Requests) -> np.ndarray:
    r"""Count requests a second, :math:`(n_b - 1) / (r_{b,n_b} - r_{b,1})`, ``[B]``."""
    count = reqs.is_real.sum(axis=-1)
    first = np.where(reqs.is_real, reqs.arrival_s, np.inf).min(axis=-1)
    last = np.where(reqs.is_real, reqs.arrival_s, -np.inf).max(axis=-1)
    position = first_true((count < 2) | ~(last > first))
    if position is not None:
        finding = f"have no rate in stream {index_text(position)}, whose arrivals span no time"
        raise InputError("reqs", "", "give it requests that arrive over time", finding=finding)
    return (count - 1) / (last - first)


def at_rates(reqs: Requests, rates: Any) -> Requests:
    r"""Streams ``[B, n]`` at each of K rates, ``[K, B, n]``: times are scaled, nothing else.

    .. math:: r'_{b,i} = r_{b,i} \, \lambda_b / \lambda

    with :math:`\lambda_b` the stream's own rate, so that each has the rate exactly.
    """
    scale = own_rate(reqs) / np.asarray(rates, np.float64)[:, None]
    shape = (*scale.shape, reqs.is_real.shape[-1])
    wide = jax.tree.map(lambda leaf: np.broadcast_to(leaf, shape), reqs)
    return dataclasses.replace(wide, arrival_s=reqs.arrival_s * scale[..., None])


def dealt(reqs: Requests, count: int) -> Requests:
    """Deal the requests of streams ``[B, n]`` out in turn, as ``[count * B, n]`` streams.

    Request i goes to server ``i % count``, whose stream is padded.
    """
    n = reqs.is_real.shape[-1]
    width = -(-n // count)

    def part(leaf: np.ndarray, filler: Any) -> np.ndarray:
        full = np.pad(leaf, ((0, 0), (0, count * width - n)), constant_values=filler)
        rows = np.moveaxis(full.reshape(-1, width, count), -1, 0).reshape(-1, width)
        return np.pad(rows, ((0, 0), (0, n - width)), constant_values=filler)

    return dataclasses.replace(
        reqs,
        **{
            field.name: part(leaf, _PADDING.get(field.name, 1))
            for field in dataclasses.fields(reqs)
            if (leaf := getattr(reqs, field.name)) is not None
        },
    )


def gathered(reqs: Requests, out: Outcome, count: int) -> Outcome:
    """Put outcomes ``[count * B, n]`` of dealt streams back in the order of the requests."""
    n = reqs.is_real.shape[-1]
    width = -(-n // count)

    def whole(leaf: Any) -> np.ndarray:
        by_server = np.asarray(leaf)[:, :width].reshape(count, -1, width)
        return np.moveaxis(by_server, 0, -1).reshape(by_server.shape[1], -1)[:, :n]

    histogram = np.asarray(out.itl_histogram)
    return Outcome(
        arrival=reqs.arrival_s,
        is_real=reqs.is_real,
        max_itl=None if out.max_itl is None else whole(out.max_itl),
        itl_histogram=histogram.reshape(count, -1, histogram.shape[-1]).sum(axis=0),
        first_scheduled=whole(out.first_scheduled),
        first_token=whole(out.first_token),
        completion=whole(out.completion),
        num_preemptions=whole(out.num_preemptions),
        status=whole(out.status),
    )
