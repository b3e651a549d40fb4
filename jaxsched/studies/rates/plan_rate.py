"""The highest rate that a server takes within its targets."""

from __future__ import annotations

import math

import jax

from jaxsched._lib.errors import InputError
from jaxsched.model.requests import Requests
from jaxsched.model.server import Server
from jaxsched.studies.rates.axes import Rates
from jaxsched.studies.rates.planning import Vary, planned
from jaxsched.studies.rates.service_plan import ServicePlan
from jaxsched.studies.rates.settings import crossed
from jaxsched.studies.rates.streams import flattened, own_rate
from jaxsched.studies.serving.goal import Goal, checked_goal
from jaxsched.studies.serving.rules import ServingRules


def plan_rate(
    reqs: Requests,
    server: Server,
    rules: ServingRules = "fcfs",
    *,
    vary: Vary = None,
    attainment: float = 0.9,
    ttft_slo_s: float | None = None,
    tpot_slo_s: float | None = None,
    e2e_slo_s: float | None = None,
    tolerance: float = 0.01,
    key: jax.Array | None = None,
    progress: bool | None = None,
) -> ServicePlan:
    r"""Find the highest rate at which enough requests meet their targets.

    With :math:`A_b(\lambda)` the share of stream :math:`b` that meets every target when its
    requests arrive at :math:`\lambda` a second, the rate of a rule is the highest tried with

    .. math:: \bar A(\lambda') = \tfrac1B \sum_b A_b(\lambda') \ge x

    at it and at every :math:`\lambda'` tried below, but no more than the limit of
    :func:`jaxsched.bounds.stability`. Above that limit no rule keeps up. The goal may be met there
    all the same: a rule may leave the largest requests to wait ever longer, or streams end before
    queues have grown. Such a rate counts as the limit, which :attr:`ServicePlan.is_at_limit` and a
    star in the table mark; a note says up to which rate the goal was met.

    The draws are the same at every rate: arrival times are multiplied by the stream's own rate
    over :math:`\lambda`, and nothing else changes.

    Eight rates are served as one batch with all streams, from 1/1024 to 16 times the mean of the
    streams' own rates. Where all meet the goal, rates go on doubling up to 4096 times. Then the
    gap below the first that misses is cut into nine, again in a batch of that shape, until it is
    within the tolerance. Attainment need not fall as the rate grows, so a higher rate may meet
    the goal again: :meth:`ServicePlan.notes` says which was seen to. The rate is 0 where the
    lowest misses.

    The limit is necessary, not sufficient. Streams end, so below it too a rate that a server
    cannot sustain passes where its queue has no time to grow: take streams much longer than the
    targets. (The definitions are ours.)

    Args:
      reqs: streams of requests, ``[n]`` or ``[.., n]``, that arrive over time.
      server: one server, whose numbers have no leading axes.
      rules: a rule or its name, several, or a dict that names them, as :func:`serve` takes them.
      vary: settings of the server by name, each with the values to try; every combination is.
        Numbers compile nothing anew, choices do.
      attainment: the share x of requests that should meet every target.
      ttft_slo_s: target for the time to first token in seconds; None takes the requests' own.
      tpot_slo_s: target for the time per output token, likewise.
      e2e_slo_s: target for the end-to-end latency; None for no target.
      tolerance: gap, relative to the rate, that may be left above it.
      key: a jax random key, for bootstrap instead of t intervals.
      progress: True or False to show a progress bar or not; None shows it on a terminal.

    Returns:
      A :class:`ServicePlan`; print it, or see its attributes.

    Raises:
      ValueError: there is no target, a number is out of range, no setting or rule has a name, a
        rule gave NaN, or a stream has no rate.

    Example:
      >>> import numpy as np
      >>> import jaxsched as js
      >>> reqs = js.Requests.from_arrays(np.arange(40.0), [64] * 40, [8] * 40)
      >>> server = js.Server(kv_capacity=4096)  # without a clock, a step takes a second
      >>> plan = js.plan_rate(reqs, server, vary={"max_num_seqs": [1, 2]}, ttft_slo_s=2.5)
      >>> plan.value.round(3).tolist(), plan.is_at_limit.tolist()
      ([[0.125, 0.25]], [[True, True]])
    """
    flat = flattened(reqs, "plan_rate")
    goal = checked_goal(flat, Goal(attainment, ttft_slo_s, tpot_slo_s, e2e_slo_s))
    own_rate(flat)  # or an error, before any work
    axis = Rates(flat, goal.targets, checked_tolerance(tolerance))
    return planned(axis, flat, crossed(server, vary), rules, goal, key, progress)


def checked_tolerance(tolerance: float) -> float:
    """Return a relative gap that can be reached, or raise."""
    if not (isinstance(tolerance, (int, float)) and 1e-6 <= tolerance < math.inf):
        raise InputError("tolerance", tolerance, "expected a finite number >= 1e-6, such as 0.01")
    return float(tolerance)
