"""What objectives of served requests have in common: who counts, for how much, and which way."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from typing import Any

import jax
import numpy as np

from jaxsched._lib.arrays import in_jax, on_host
from jaxsched._lib.errors import InputError
from jaxsched.model.outcome import Outcome
from jaxsched.model.requests import Requests
from jaxsched.model.schedule import Status

#: One weight a request ``[.., n]``, or a weight for some clients; those not named weigh 1.
Weights = Mapping[int, float] | Any


@dataclasses.dataclass(frozen=True, eq=False)
class ServiceObjective:
    """A function of requests ``[.., n]`` and their outcome in seconds; smaller is better.

    Attributes:
      weights: how much requests count: one number each, a mapping from clients, or None.
    """

    weights: Weights = None

    #: What it is shown as: -1 where more is better, and ``__call__`` returns the negative.
    sign = 1
    #: What it is shown in.
    unit = ""

    @property
    def name(self) -> str:
        """What tables call it."""
        raise NotImplementedError

    def __call__(self, reqs: Requests, out: Outcome, /) -> Any:
        """Return one number for each stream, float64 ``[..]``, smaller is better."""
        if in_jax(reqs, out):
            promotes = jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow")
            with jax.enable_x64(True), promotes[0], promotes[1]:
                return self._of_streams(reqs, out)
        reqs, out = on_host((reqs, out))
        with np.errstate(invalid="ignore", divide="ignore"):
            return self._of_streams(reqs, out)

    def _of_streams(self, reqs: Requests, out: Outcome) -> Any:
        """Return the same, of numpy's arrays or of jax's in 64 bits."""
        raise NotImplementedError


def natural(objective: Any, value: Any) -> Any:
    """Turn what an objective returns into what it is called: goodput is more than 0 again.

    Args:
      objective: any objective.
      value: numbers that it returned, or their mean.

    Returns:
      The numbers, negated where more is better.

    Example:
      >>> import jaxsched as js
      >>> objectives = js.tuning.objectives
      >>> objectives.natural(objectives.goodput(ttft_slo_s=0.5), -3.0)
      3.0
    """
    return value if getattr(objective, "sign", 1) > 0 else -value


def checked_weights(weights: Weights) -> Weights:
    """Return weights that no number of is negative, or raise."""
    if weights is None:
        return None
    if isinstance(weights, Mapping):
        for client, weight in weights.items():
            if not (isinstance(weight, (int, float)) and math.isfinite(weight) and weight >= 0):
                raise InputError(
                    "weights", weight, f"expected a finite number >= 0 for client {client}"
                )
        return dict(weights)
    array = np.asarray(weights)
    if array.dtype.kind not in "iuf" or not (np.isfinite(array) & (array >= 0)).all():
        raise InputError("weights", weights, "expected finite numbers >= 0, one a request")
    return array


def weight_of_each(xp: Any, weights: Weights, reqs: Requests, counts: Any) -> Any:
    """Weights float64 ``[.., n]``, 0 for requests that do not count."""
    if isinstance(weights, Mapping):
        if reqs.client is None:
            raise InputError(
                "weights",
                weights,
                "give the requests clients, or one weight a request",
                finding="are of clients, and the requests name none",
            )
        each = xp.ones(counts.shape, float)
        for client, weight in weights.items():
            each = xp.where(reqs.client == client, float(weight), each)
    else:
        each = 1.0 if weights is None else xp.asarray(weights, float)
        try:
            each = xp.broadcast_to(each, counts.shape)
        except ValueError:
            raise InputError(
                "weights",
                weights,
                f"expected one a request, {counts.shape}",
                finding=f"have shape {np.asarray(weights).shape}",
            ) from None
    return xp.where(counts, each, 0.0)


def is_served(out: Outcome) -> Any:
    """Whether each request completed, bool ``[.., n]``."""
    return out.is_real & (out.status == int(Status.OK))


def is_whole(out: Outcome) -> Any:
    """Whether every request of a stream completed or was refused, bool ``[..]``."""
    is_over = (out.status == int(Status.OK)) | (out.status == int(Status.REFUSED))
    return (is_over | ~out.is_real).all(axis=-1)


def seconds_of(xp: Any, quantity: str, reqs: Requests, out: Outcome) -> Any:
    """Seconds ``[.., n]`` of ``ttft``, ``tpot`` (0 for one output token) or ``e2e``."""
    if quantity == "ttft":
        return out.first_token - out.arrival
    if quantity == "e2e":
        return out.completion - out.arrival
    gaps = reqs.output_tokens - 1
    return xp.where(gaps > 0, (out.completion - out.first_token) / xp.maximum(gaps, 1), 0.0)
