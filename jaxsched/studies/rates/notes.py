"""What a plan says below its table: limits, and what its values leave open."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from jaxsched.studies.rates.searching import ServiceCurve, first_true
from jaxsched.studies.serving.goal import Goal

if TYPE_CHECKING:
    from jaxsched.studies.rates.service_plan import ServicePlan


def last_met(curve: ServiceCurve, goal: Goal, most: float = math.nan) -> float:
    """Find the last rate before the first that misses, of those up to ``most``; 0 for none."""
    is_met = goal.is_met(curve.metrics["attainment"].mean(axis=-1))
    place = first_true(~is_met | (curve.at > most))
    if place == 0:
        return 0.0
    return float(curve.at[-1 if place is None else place - 1])


def limit_lines(plan: ServicePlan) -> list[str]:
    """Say, of each setting, which rates no rule keeps up with."""
    said = []
    for setting, limits in zip(plan.settings, plan.limits or (), strict=False):
        memory, work, rate = (number(each.item()) for each in limits)
        named = ", ".join(f"{name}={value}" for name, value in setting.items())
        limit = (
            f"no rule keeps up with more than {rate} {plan.axis.unit} "
            f"(memory {memory}, work {work})"
        )
        if rate == "-":
            limit = "no limit is known, since the server cannot serve all requests in full"
        said.append(f"{named}: {limit}" if named else limit)
    if plan.is_at_limit.any():
        said.append("* at this limit the goal is still met")
    return said


def notes(plan: ServicePlan, rule: int, setting: int) -> list[str]:
    """Say what the value of a rule and setting leaves open."""
    curve, unit = plan.curve[plan.rules[rule]][setting], plan.axis.unit
    is_met = plan.goal.is_met(curve.metrics["attainment"].mean(axis=-1))
    value, is_falling = plan.value[rule, setting], plan.axis.is_falling
    if is_falling and not is_met[0]:
        return [f"misses it even at {number(curve.at[0])} {unit}, the lowest"]
    if math.isnan(value):
        return [f"misses it even with {number(curve.at[-1])} {unit}"]
    said = []
    if plan.is_beyond is not None and plan.is_beyond[rule, setting]:
        said.append(
            "* no rule keeps up with the rate there: some requests wait ever longer, or streams "
            "end first"
        )
    if is_falling:
        value = last_met(curve, plan.goal)
        most = f"{number(value)} {unit}"
        if value == curve.at[-1]:
            most += ", the highest tried"
        if value > plan.rate_limit[setting]:
            said.append(
                f"meets it even at {most}, above the limit: some requests wait ever longer, or "
                "streams end first"
            )
        elif value == curve.at[-1]:
            said.append(f"meets it even at {most}; longer streams may not")
    is_odd = is_met if is_falling else ~is_met
    again = curve.at[is_odd & (curve.at > value)]
    if again.size:
        verb = "meets" if is_falling else "misses"
        said.append(f"{verb} it again at {number(again[0])} {unit}")
    return said


def number(value: float) -> str:
    """Write a rate with four digits; numbers of servers and tokens whole."""
    if math.isnan(value):
        return "-"
    return f"{value:,.0f}" if value >= 1000 or value == round(value) else f"{value:.4g}"


def span(low: float, high: float) -> str:
    """Write the limits of an interval, ``-`` for none."""
    return f"{number(low)}..{number(high)}" if low < high else "-"
