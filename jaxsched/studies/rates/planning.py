"""One search for every rule and every setting."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import numpy as np

from jaxsched._lib.errors import InputError
from jaxsched._lib.progress import progress_bar
from jaxsched._lib.words import counted
from jaxsched.bounds import StabilityLimits, stability
from jaxsched.model.requests import Requests
from jaxsched.model.server import Server
from jaxsched.studies.rates.axes import Axis
from jaxsched.studies.rates.notes import last_met
from jaxsched.studies.rates.searching import (
    Measures,
    ServiceCurve,
    first_true,
    merged,
    search,
)
from jaxsched.studies.rates.service_plan import ServicePlan
from jaxsched.studies.rates.streams import own_rate
from jaxsched.studies.serving.goal import Goal, targets_text
from jaxsched.studies.serving.rules import ServingRules, by_name, predictions_text

#: Settings by name, each with the values to try.
Vary = Mapping[str, Sequence[Any]] | None


def planned(
    axis: Axis,
    reqs: Requests,
    settings: Sequence[tuple[dict[str, Any], Server]],
    rules: ServingRules,
    goal: Goal,
    key: jax.Array | None,
    progress: bool | None,
) -> ServicePlan:
    """Search along an axis, by every rule and with every setting, on the same streams."""
    named = by_name(rules)
    limits = [_limits(reqs, own) for _, own in settings] if axis.quantity == "rate" else None

    def is_crossed(measures: Measures) -> bool:
        return bool(goal.is_met(measures["attainment"].mean())) != axis.is_falling

    curve: dict[str, tuple[ServiceCurve, ...]] = {}
    with progress_bar(len(named) * len(settings), "searches", progress) as bar:
        for name, rule in named.items():
            bar.set_description(name)
            curves = []
            for place, (_, own) in enumerate(settings):

                def evaluate(
                    points: Sequence[float], own: Server = own, rule: Any = rule
                ) -> list[Measures]:
                    return axis.evaluate(own, rule, points)

                found = search(evaluate, axis.first(), is_crossed, axis.divide, axis.extend)
                if limits is not None:
                    limit = limits[place].rate.item()
                    found = _tried_at_limit(found, limit, goal, axis, evaluate, is_crossed)
                curves.append(found)
                bar.update()
            curve[name] = tuple(curves)
    value = np.array(
        [
            [_value(each, goal, axis, _rate(limits, place)) for place, each in enumerate(of)]
            for of in curve.values()
        ]
    )
    return ServicePlan(
        axis=axis,
        rules=tuple(named),
        settings=tuple(setting for setting, _ in settings),
        value=value,
        curve=curve,
        goal=goal,
        description=_description(reqs, axis),
        targets_text=targets_text(goal.targets, reqs),
        predictions_text=predictions_text(reqs),
        key=key,
        limits=None if limits is None else tuple(limits),
        is_beyond=None
        if limits is not None
        else np.array(
            [
                [_is_beyond(reqs, settings[s][1], axis, each) for s, each in enumerate(of)]
                for of in value
            ]
        ),
    )


def _is_beyond(reqs: Requests, server: Server, axis: Axis, value: float) -> bool:
    """Tell whether no rule keeps up with the streams' rate on so many servers or tokens."""
    if np.isnan(value):
        return False
    try:
        rate = own_rate(reqs).mean()
    except InputError:  # all come at once
        return False
    if axis.quantity == "servers":
        return bool(rate / value > _limits(reqs, server).rate)
    server = dataclasses.replace(server, kv_capacity=int(value))
    return bool(rate > _limits(reqs, server).rate)


def _limits(reqs: Requests, server: Server) -> StabilityLimits:
    """Find what no rule keeps up with, of all streams together; NaN where requests are refused."""
    together = jax.tree.map(lambda leaf: leaf.reshape(-1), reqs)
    try:
        return stability(together, server)
    except InputError:
        return StabilityLimits(*(np.full((), np.nan) for _ in StabilityLimits._fields))


def _rate(limits: Sequence[StabilityLimits] | None, setting: int) -> float:
    return float("nan") if limits is None else limits[setting].rate.item()


def _tried_at_limit(
    curve: ServiceCurve,
    limit: float,
    goal: Goal,
    axis: Axis,
    evaluate: Callable[[Sequence[float]], list[Measures]],
    is_crossed: Callable[[Measures], bool],
) -> ServiceCurve:
    """Try the limit too where a rate above it meets the goal, and rates up to it."""
    if not last_met(curve, goal) > limit:
        return curve
    below = curve.at[curve.at < limit]
    least = below[-1] if below.size else limit / 2
    points = np.geomspace(least, limit, len(axis.first())).tolist()
    return merged(curve, search(evaluate, points, is_crossed, axis.divide, lambda _: []))


def _value(curve: ServiceCurve, goal: Goal, axis: Axis, limit: float) -> float:
    """Find the last point before the first that misses, or the first that meets."""
    if axis.is_falling:
        return last_met(curve, goal, limit)
    place = first_true(goal.is_met(curve.metrics["attainment"].mean(axis=-1)))
    return float("nan") if place is None else float(curve.at[place])


def _description(reqs: Requests, axis: Axis) -> str:
    count = reqs.is_real.sum(axis=-1)
    requests = counted(int(count.min()), "request", int(count.max()))
    looked_for = {
        "rate": "highest rate",
        "servers": "fewest servers",
        "kv_capacity": "least KV capacity",
    }[axis.quantity]
    return f"{looked_for} for {counted(count.size, 'stream')} of {requests}"
