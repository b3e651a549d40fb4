"""The least memory, or the fewest servers, with which a rule meets a target."""

from __future__ import annotations

import dataclasses
import functools
import math
import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, get_args

import jax
import numpy as np

from jaxsched._lib.arrays import refuse_traced
from jaxsched._lib.errors import MAX_INT32, InputError, choice, integer
from jaxsched._lib.progress import progress_bar
from jaxsched._lib.words import counted
from jaxsched.engine.contract import Admission, Discipline
from jaxsched.engine.simulate import backlog_server
from jaxsched.model.clock import LinearClock
from jaxsched.model.instance import Instance
from jaxsched.model.schedule import Schedule
from jaxsched.model.server import Server
from jaxsched.policies import Rule
from jaxsched.servers.named import get, names
from jaxsched.studies.capacity.capacity_plan import CapacityPlan, Target
from jaxsched.studies.capacity.capacity_values import (
    TARGETS,
    Run,
    at_capacities,
    capacity_grid,
    on_preset,
    on_servers,
    with_capacities,
)
from jaxsched.studies.capacity.crossing import Curve, first_met, make_curve, search
from jaxsched.studies.comparing.compare import BOUNDS, measured, named_rules

Vary = Literal["kv_capacity", "servers", "preset"]

_CAPACITIES_A_CALL = 24
_SERVER_COUNTS_A_CALL = 3  # each costs as many simulations as there are servers


def plan_capacity(
    inst: Instance,
    rules: Rule | str | Sequence[Rule | str] | Mapping[str, Rule | str],
    target: tuple[str, float],
    *,
    vary: Vary = "kv_capacity",
    presets: Sequence[str | os.PathLike[str]] | None = None,
    clock: LinearClock | None = None,
    bound: str | None = "volume",
    tolerance: int = 1,
    key: jax.Array | None = None,
    discipline: Discipline = "strict",
    admission: Admission = "look_ahead",
    max_num_seqs: int | None = None,
    progress: bool | None = None,
) -> CapacityPlan:
    r"""Find the least KV capacity, or the fewest servers, with which rules meet a target.

    With :math:`x_b(M)` the metric of instance :math:`b` when the cache holds :math:`M` tokens,
    the capacity of a rule is the least evaluated :math:`M` with

    .. math:: \bar x(M) = \tfrac1B \sum_b x_b(M) \le \text{target}.

    24 capacities of equal ratio are evaluated as one batch with all instances, from the largest
    request to room for all requests at once; then the gap below the first that meets the target
    is cut into parts, again 24 in a batch of the same shape, until it is no wider than
    ``tolerance``: the capacity before it was evaluated and misses the target, as do all smaller
    ones evaluated. Ranges of up to 24 tokens are searched exhaustively. Latency need not fall
    as memory grows, so a smaller capacity between two evaluated ones may meet the target, and a
    larger one may miss it: :attr:`CapacityPlan.missed_again`.

    The interval holds the capacities at which the target lies within the 95% interval of
    :math:`\bar x(M)`: from where its lower limit first meets the target to where its upper limit
    does, the capacity that is enough with 97.5% confidence. (The definitions are ours.)

    Args:
      inst: the requests, ``[n]`` or ``[.., n]``. Its own ``kv_capacity`` counts only where
        ``vary`` is ``"servers"``.
      rules: a rule or its name, several, or a dict that names them.
      target: a metric, one of ``"mean_latency"``, ``"p95_latency"``, ``"p99_latency"`` (short
        ``"mean"``, ``"p95"``, ``"p99"``) or ``"makespan"``, and the most it may be, in rounds or
        with a clock in seconds.
      vary: ``"kv_capacity"``; ``"servers"``, each with the capacity of ``inst``, to which the
        requests go in turn (one server and one for each request are tried, then what is between
        is bisected by ratio); or ``"preset"``, servers with their own clocks and capacities,
        the smallest first; NaN where a request does not fit.
      presets: which servers ``vary="preset"`` tries: names, or files as
        :func:`jaxsched.servers.get` takes them; None for all that have a name.
      clock: the length of each round, for a target in seconds; presets bring their own.
      bound: lower bound on mean latency in rounds, a name that ``compare`` knows, or None. It
        tells what no rule can do with less memory, where the target is one on that.
      tolerance: tokens (servers) between the capacity found and the next smaller evaluated.
      key: a jax random key, for bootstrap instead of t intervals.
      discipline: see :func:`simulate`.
      admission: see :func:`simulate`.
      max_num_seqs: see :func:`simulate`; one integer or None.
      progress: True or False to show a progress bar or not; None shows it on a terminal.

    Returns:
      A :class:`CapacityPlan`; print it, or see its attributes.

    Raises:
      ValueError: an argument is unknown or no rule of that name is known; or a rule meets the
        target with no capacity evaluated (the message says how near it came).

    Example:
      >>> import jaxsched as js
      >>> inst = js.Instance.from_lengths([5, 1, 1], [4, 2, 2], kv_capacity=9)
      >>> plan = js.plan_capacity(inst, ["fcfs", "smallest_volume"], ("mean", 3.5))
      >>> plan.capacity
      {'fcfs': 12, 'smallest_volume': 9}
      >>> plan.bound_capacity, round(plan.saved()["smallest_volume"], 2)
      (9, 0.25)
    """
    refuse_traced("plan_capacity looks at values", "call it outside", inst)
    goal = _checked_target(target, vary, clock)
    tried = _presets(presets, vary)
    _check_options(vary, bound, tolerance, max_num_seqs)
    inst = jax.tree.map(np.asarray, inst)
    by_name = _rules(rules)
    flat = jax.tree.map(lambda leaf: leaf.reshape(-1, *leaf.shape[inst.kv_capacity.ndim :]), inst)
    server = backlog_server(inst, discipline, admission, max_num_seqs, clock)
    curves: dict[str, Curve] = {}
    with progress_bar(len(by_name), "rules", progress) as bar:
        for name, rule in by_name.items():
            bar.set_description(name)
            run = functools.partial(
                measured,
                name=name,
                rule=rule,
                server=server,
                on_done=lambda count: None,
            )
            curves[name] = _curve(flat, run, goal, vary, tried, server.clock, tolerance, key)
            _require_met(name, curves[name], goal, vary)
            bar.update()
    bound_name, bound_curve, bound_capacity = None, None, None
    is_bounded = vary == "kv_capacity" and goal.metric == "mean_latency" and goal.unit == "rounds"
    if bound is not None and is_bounded:
        bound_name, bound_curve = bound, _bound_curve(flat, BOUNDS[bound], goal, key)
        bound_capacity = _crossing(bound_curve, "mean", goal.value)
    count = flat.kv_capacity.size
    return CapacityPlan(
        capacity={name: _crossing(curve, "mean", goal.value) for name, curve in curves.items()},
        interval={
            name: None
            if count < 2
            else (_crossing(curve, "low", goal.value), _crossing(curve, "high", goal.value))
            for name, curve in curves.items()
        },
        curve=curves,
        target=goal,
        vary=vary,
        description=_description(flat, vary),
        bound_name=bound_name,
        bound_curve=bound_curve,
        bound_capacity=bound_capacity,
        interval_name=None if count < 2 else "95% t" if key is None else "95% bootstrap",
    )


def _curve(
    inst: Instance,
    run: Run,
    goal: Target,
    vary: Vary,
    tried: Mapping[str, Server],
    clock: LinearClock | None,
    tolerance: int,
    key: jax.Array | None,
) -> Curve:
    """Evaluate one rule at enough capacities to know where it meets the target."""
    if vary == "preset":
        values = [on_preset(inst, run, goal, preset) for preset in tried.values()]
        return make_curve(list(tried), np.stack(values), key)
    if vary == "servers":
        most = int(inst.num_requests.max())
        return search(
            lambda counts: on_servers(inst, run, goal, clock, counts),
            sorted({1, most}),
            goal.value,
            batch=_SERVER_COUNTS_A_CALL,
            tolerance=tolerance,
            key=key,
        )
    return search(
        lambda capacities: at_capacities(inst, run, goal, clock, capacities),
        capacity_grid(inst, _CAPACITIES_A_CALL),
        goal.value,
        batch=_CAPACITIES_A_CALL,
        tolerance=tolerance,
        key=key,
    )


def _bound_curve(
    inst: Instance,
    bound: Callable[[Instance], np.ndarray],
    goal: Target,
    key: jax.Array | None,
) -> Curve:
    inst = dataclasses.replace(inst, weight=None)  # targets count all requests alike
    return search(
        lambda capacities: bound(with_capacities(inst, capacities)) / np.asarray(inst.num_requests),
        capacity_grid(inst, _CAPACITIES_A_CALL),
        goal.value,
        batch=_CAPACITIES_A_CALL,
        key=key,
    )


def _crossing(curve: Curve, limit: str, target: float) -> Any:
    place = first_met(getattr(curve, limit), target)
    return None if place is None else curve.at[place].item()


def _require_met(name: str, curve: Curve, goal: Target, vary: Vary) -> None:
    if first_met(curve.mean, goal.value) is not None:
        return
    if np.isnan(curve.mean).all():
        raise ValueError("every preset's cache is too small for the largest request")
    best = int(np.nanargmin(curve.mean))
    where = {"kv_capacity": "{} KV tokens", "servers": "{} servers", "preset": "{}"}[vary]
    raise ValueError(
        f"rule {name!r} never meets the target: {goal.label} at most {goal.value:g} {goal.unit}; "
        f"the least found is {curve.mean[best]:.6g} {goal.unit}, with "
        f"{where.format(curve.at[best])}; raise the target above that, or leave the rule out"
    )


def _rules(rules: Any) -> dict[str, Rule]:
    by_name = {}
    for name, rule in named_rules(
        [rules] if isinstance(rules, str) or callable(rules) else rules
    ).items():
        if isinstance(rule, Schedule):
            raise ValueError(f"{name!r} is a schedule, made for one capacity; expected a rule")
        by_name[name] = rule
    return by_name


def _checked_target(target: tuple[str, float], vary: str, clock: LinearClock | None) -> Target:
    try:
        metric, value = target
        value = float(value)
    except (TypeError, ValueError):
        raise InputError(
            "target", target, 'expected a metric and a number, such as ("mean", 400)'
        ) from None
    metric = TARGETS.name_of(metric)
    if not (math.isfinite(value) and value > 0):
        finding = f"is {metric} {value}"
        raise InputError("target", target, "expected a finite number > 0", finding=finding)
    if vary == "preset" and clock is not None:
        raise ValueError("there is a clock, but presets bring their own clocks; leave it out")
    return Target(metric, value, "rounds" if clock is None and vary != "preset" else "s")


def _presets(presets: Sequence[str | os.PathLike[str]] | None, vary: str) -> dict[str, Server]:
    """Find the servers to try, by name or path, the smallest first."""
    if vary != "preset":
        if presets is not None:
            raise InputError("presets", presets, 'leave them out, or vary "preset"')
        return {}
    given = names() if presets is None else presets
    if isinstance(given, str) or not len(given):
        raise InputError("presets", given, "expected a list of servers that is not empty")
    found: dict[str, Server] = {}
    for place, each in enumerate(given):
        if (name := os.fspath(each)) in found:
            raise InputError("presets", name, "leave one out", (place,), f"has {name} twice")
        found[name] = get(name)
        if found[name].kv_capacity is None:
            raise ValueError(f"{name}: says no KV capacity; give --capacity N to calibrate")
    return dict(sorted(found.items(), key=lambda each: int(each[1].kv_capacity)))


def _check_options(vary: str, bound: str | None, tolerance: int, max_num_seqs: Any) -> None:
    choice("vary", vary, get_args(Vary))
    if bound is not None:
        BOUNDS.require(bound)
    integer("tolerance", tolerance, 1, MAX_INT32)
    if np.ndim(max_num_seqs):
        expectation = "expected one integer for all, or None"
        raise InputError("max_num_seqs", max_num_seqs, expectation, finding="is an array")


def _description(inst: Instance, vary: Vary) -> str:
    """Say what was run, in a phrase."""

    def span(values: Any, noun: str) -> str:
        return counted(int(np.min(values)), noun, int(np.max(values)))

    text = f"{counted(inst.kv_capacity.size, 'instance')} of {span(inst.num_requests, 'request')}"
    tokens = span(inst.kv_capacity, "KV token")
    return f"{text}, {tokens} a server" if vary == "servers" else text
