"""Mean and 99th percentile of seconds that requests take."""

from __future__ import annotations

import dataclasses
from typing import Any, Literal

from jaxsched._lib.arrays import namespace
from jaxsched.metrics.alone import alone_s
from jaxsched.model.outcome import Outcome
from jaxsched.model.requests import Requests
from jaxsched.model.server import Server, require_server
from jaxsched.tuning.objectives.service import (
    ServiceObjective,
    Weights,
    checked_weights,
    is_served,
    is_whole,
    seconds_of,
    weight_of_each,
)


@dataclasses.dataclass(frozen=True, eq=False)
class Seconds(ServiceObjective):
    """A statistic of seconds over the requests that completed.

    It is infinite where a request neither completed nor was refused: nobody gains by leaving
    requests out. A stream in which none completes has NaN.

    Attributes:
      weights: how much requests count: one number each, a mapping from clients, or None.
      quantity: ``"ttft"``, ``"tpot"``, ``"e2e"`` or ``"slowdown"``, the latter over what the
        request would take alone.
      statistic: ``"mean"`` or ``"p99"``.
      server: where requests would be alone.
    """

    quantity: Literal["ttft", "tpot", "e2e", "slowdown"] = "e2e"
    statistic: Literal["mean", "p99"] = "mean"
    server: Server | None = None

    @property
    def name(self) -> str:
        """What tables call it."""
        return f"{self.statistic}_{self.quantity}"

    @property
    def unit(self) -> str:
        """What it is shown in."""
        return "" if self.quantity == "slowdown" else "s"

    def _of_streams(self, reqs: Requests, out: Outcome) -> Any:
        """Return the statistic of each stream."""
        xp = namespace(out.completion)
        counts = is_served(out)
        if self.quantity == "tpot":
            counts = counts & (reqs.output_tokens > 1)
        if self.server is None:
            values = seconds_of(xp, self.quantity, reqs, out)
        else:
            values = (out.completion - out.arrival) / alone_s(reqs, self.server)
        weight = weight_of_each(xp, self.weights, reqs, counts)
        statistic = weighted_mean if self.statistic == "mean" else weighted_p99
        return xp.where(is_whole(out), statistic(xp, values, weight), xp.inf)


def weighted_mean(xp: Any, values: Any, weight: Any) -> Any:
    """Mean ``[..]`` of values ``[.., n]``; those of weight 0 may be NaN."""
    return xp.where(weight > 0, weight * values, 0.0).sum(axis=-1) / weight.sum(axis=-1)


def weighted_p99(xp: Any, values: Any, weight: Any) -> Any:
    r"""99th percentile ``[..]`` of values ``[.., n]``; those of weight 0 do not count.

    With values ascending, that of weight :math:`w_k` stands at the middle of its share,
    :math:`m_k = \sum_{j \le k} w_j - w_k / 2`. The percentile lies at 99% of the way from the
    first to the last of these, and is interpolated linearly. Equal weights give numpy's.
    """
    values = xp.where(weight > 0, values, xp.inf)
    order = xp.argsort(values, axis=-1)
    values = xp.take_along_axis(values, order, axis=-1)
    weight = xp.take_along_axis(weight, order, axis=-1)
    counts = weight > 0
    middle = xp.cumsum(weight, axis=-1) - weight / 2
    last = counts.sum(axis=-1, keepdims=True) - 1
    first_middle = middle[..., :1]
    last_middle = xp.take_along_axis(middle, xp.maximum(last, 0), axis=-1)
    place = first_middle + 0.99 * (last_middle - first_middle)
    below = xp.clip((counts & (middle <= place)).sum(axis=-1, keepdims=True) - 1, 0, None)
    above = xp.minimum(below + 1, xp.maximum(last, 0))
    low, high = (xp.take_along_axis(values, each, axis=-1) for each in (below, above))
    begin, end = (xp.take_along_axis(middle, each, axis=-1) for each in (below, above))
    share = xp.where(end > begin, (place - begin) / xp.where(end > begin, end - begin, 1.0), 0.0)
    found = xp.where(above > below, low + (high - low) * share, low)
    return xp.where(last >= 0, found, xp.nan)[..., 0]


def mean_ttft(*, weights: Weights = None) -> Seconds:
    r"""Take the mean time to first token.

    .. math:: \frac{\sum_i w_i \, (f_i - r_i)}{\sum_i w_i}

    where request :math:`i` arrives at :math:`r_i` and gives its first token at
    :math:`f_i`.

    Args:
      weights: :math:`w`, numbers >= 0: one a request, or a mapping from clients to theirs, where
        those not named weigh 1; None for all alike.

    Returns:
      The objective.

    Raises:
      ValueError: a weight is out of range.

    Example:
      >>> import jaxsched as js
      >>> server = js.Server(kv_capacity=160, max_num_batched_tokens=64)
      >>> reqs = js.Requests.from_arrays([0.0, 0.0, 2.5], [30, 50, 20], [3, 2, 4])
      >>> objective = js.tuning.objectives.mean_ttft()
      >>> round(float(objective(reqs, js.serve(reqs, server))), 3)
      1.5
    """
    return Seconds(checked_weights(weights), "ttft", "mean")


def p99_ttft(*, weights: Weights = None) -> Seconds:
    r"""Take the 99th percentile of the time to first token.

    .. math:: Q_{0.99}\big(f_i - r_i\big)

    where request :math:`i` arrives at :math:`r_i` and gives its first token at
    :math:`f_i`.

    Args:
      weights: numbers >= 0: one a request, or a mapping from clients to theirs, where those
        not named weigh 1; None for all alike. Equal ones give numpy's percentile.

    Returns:
      The objective.

    Raises:
      ValueError: a weight is out of range.

    Example:
      >>> import jaxsched as js
      >>> server = js.Server(kv_capacity=160, max_num_batched_tokens=64)
      >>> reqs = js.Requests.from_arrays([0.0, 0.0, 2.5], [30, 50, 20], [3, 2, 4])
      >>> objective = js.tuning.objectives.p99_ttft()
      >>> round(float(objective(reqs, js.serve(reqs, server))), 3)
      1.99
    """
    return Seconds(checked_weights(weights), "ttft", "p99")


def mean_tpot(*, weights: Weights = None) -> Seconds:
    r"""Take the mean time per output token.

    .. math:: \frac{\sum_i w_i \, (c_i - f_i) / (o_i - 1)}{\sum_i w_i}

    where request :math:`i` gives its first token at :math:`f_i` and the last of
    :math:`o_i` at :math:`c_i`. Requests of one output token do not count.

    Args:
      weights: :math:`w`, numbers >= 0: one a request, or a mapping from clients to theirs, where
        those not named weigh 1; None for all alike.

    Returns:
      The objective.

    Raises:
      ValueError: a weight is out of range.

    Example:
      >>> import jaxsched as js
      >>> server = js.Server(kv_capacity=160, max_num_batched_tokens=64)
      >>> reqs = js.Requests.from_arrays([0.0, 0.0, 2.5], [30, 50, 20], [3, 2, 4])
      >>> objective = js.tuning.objectives.mean_tpot()
      >>> round(float(objective(reqs, js.serve(reqs, server))), 3)
      1.0
    """
    return Seconds(checked_weights(weights), "tpot", "mean")


def p99_tpot(*, weights: Weights = None) -> Seconds:
    r"""Take the 99th percentile of the time per output token.

    .. math:: Q_{0.99}\big((c_i - f_i) / (o_i - 1)\big)

    where request :math:`i` gives its first token at :math:`f_i` and the last of
    :math:`o_i` at :math:`c_i`. Requests of one output token do not count.

    Args:
      weights: numbers >= 0: one a request, or a mapping from clients to theirs, where those
        not named weigh 1; None for all alike. Equal ones give numpy's percentile.

    Returns:
      The objective.

    Raises:
      ValueError: a weight is out of range.

    Example:
      >>> import jaxsched as js
      >>> server = js.Server(kv_capacity=160, max_num_batched_tokens=64)
      >>> reqs = js.Requests.from_arrays([0.0, 0.0, 2.5], [30, 50, 20], [3, 2, 4])
      >>> objective = js.tuning.objectives.p99_tpot()
      >>> round(float(objective(reqs, js.serve(reqs, server))), 3)
      1.0
    """
    return Seconds(checked_weights(weights), "tpot", "p99")


def mean_e2e(*, weights: Weights = None) -> Seconds:
    r"""Take the mean end-to-end latency.

    .. math:: \frac{\sum_i w_i \, (c_i - r_i)}{\sum_i w_i}

    where request :math:`i` arrives at :math:`r_i` and completes at :math:`c_i`.

    Args:
      weights: :math:`w`, numbers >= 0: one a request, or a mapping from clients to theirs, where
        those not named weigh 1; None for all alike.

    Returns:
      The objective.

    Raises:
      ValueError: a weight is out of range.

    Example:
      >>> import jaxsched as js
      >>> server = js.Server(kv_capacity=160, max_num_batched_tokens=64)
      >>> reqs = js.Requests.from_arrays([0.0, 0.0, 2.5], [30, 50, 20], [3, 2, 4])
      >>> objective = js.tuning.objectives.mean_e2e()
      >>> round(float(objective(reqs, js.serve(reqs, server))), 3)
      3.5
    """
    return Seconds(checked_weights(weights), "e2e", "mean")


def p99_e2e(*, weights: Weights = None) -> Seconds:
    r"""Take the 99th percentile of the end-to-end latency.

    .. math:: Q_{0.99}\big(c_i - r_i\big)

    where request :math:`i` arrives at :math:`r_i` and completes at :math:`c_i`.

    Args:
      weights: numbers >= 0: one a request, or a mapping from clients to theirs, where those
        not named weigh 1; None for all alike. Equal ones give numpy's percentile.

    Returns:
      The objective.

    Raises:
      ValueError: a weight is out of range.

    Example:
      >>> import jaxsched as js
      >>> server = js.Server(kv_capacity=160, max_num_batched_tokens=64)
      >>> reqs = js.Requests.from_arrays([0.0, 0.0, 2.5], [30, 50, 20], [3, 2, 4])
      >>> objective = js.tuning.objectives.p99_e2e()
      >>> round(float(objective(reqs, js.serve(reqs, server))), 3)
      4.47
    """
    return Seconds(checked_weights(weights), "e2e", "p99")


def mean_slowdown(server: Server, *, weights: Weights = None) -> Seconds:
    r"""Take the mean slowdown.

    .. math:: \frac{\sum_i w_i \, (c_i - r_i) / e_i}{\sum_i w_i}

    where request :math:`i` arrives at :math:`r_i`, completes at :math:`c_i`, and alone on the
    server would take :math:`e_i`.

    Args:
      server: on which requests would be alone, one; tuning other settings leaves it as it is.
      weights: :math:`w`, numbers >= 0: one a request, or a mapping from clients to theirs, where
        those not named weigh 1; None for all alike.

    Returns:
      The objective.

    Raises:
      ValueError: a weight is out of range.

    Example:
      >>> import jaxsched as js
      >>> server = js.Server(kv_capacity=160, max_num_batched_tokens=64)
      >>> reqs = js.Requests.from_arrays([0.0, 0.0, 2.5], [30, 50, 20], [3, 2, 4])
      >>> objective = js.tuning.objectives.mean_slowdown(server)
      >>> round(float(objective(reqs, js.serve(reqs, server))), 3)
      1.208
    """
    return Seconds(checked_weights(weights), "slowdown", "mean", require_server(server))


def p99_slowdown(server: Server, *, weights: Weights = None) -> Seconds:
    r"""Take the 99th percentile of the slowdown.

    .. math:: Q_{0.99}\big((c_i - r_i) / e_i\big)

    where request :math:`i` arrives at :math:`r_i`, completes at :math:`c_i`, and alone on the
    server would take :math:`e_i`.

    Args:
      server: on which requests would be alone, one; tuning other settings leaves it as it is.
      weights: numbers >= 0: one a request, or a mapping from clients to theirs, where those
        not named weigh 1; None for all alike. Equal ones give numpy's percentile.

    Returns:
      The objective.

    Raises:
      ValueError: a weight is out of range.

    Example:
      >>> import jaxsched as js
      >>> server = js.Server(kv_capacity=160, max_num_batched_tokens=64)
      >>> reqs = js.Requests.from_arrays([0.0, 0.0, 2.5], [30, 50, 20], [3, 2, 4])
      >>> objective = js.tuning.objectives.p99_slowdown(server)
      >>> round(float(objective(reqs, js.serve(reqs, server))), 3)
      1.492
    """
    return Seconds(checked_weights(weights), "slowdown", "p99", require_server(server))
