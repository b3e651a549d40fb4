"""A target's metric for each instance, on so much memory, so many servers, or a named server."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Sequence

import jax
import numpy as np

from jaxsched import metrics
from jaxsched._lib.registry import Registry
from jaxsched.model.clock import LinearClock
from jaxsched.model.instance import MAX_INT32, Instance
from jaxsched.model.schedule import Schedule
from jaxsched.model.server import Server
from jaxsched.studies.capacity.capacity_plan import Target

#: The metrics that a target may be set for, as statistics of latencies.
TARGETS: Registry[str] = Registry("target")
TARGETS.add("mean_latency", "mean_latency", aliases=["mean"])
TARGETS.add("p95_latency", "p95_latency", aliases=["p95"])
TARGETS.add("p99_latency", "p99_latency", aliases=["p99"])
TARGETS.add("makespan", "max_latency")

#: Schedules instances ``[.., B, n]`` by one rule; ``measure`` says what to return of them.
Run = Callable[..., dict[str, np.ndarray]]


def capacity_grid(inst: Instance, most_points: int) -> list[int]:
    """Capacities of equal ratio, from the largest request to room for all requests at once."""
    size = _sizes(inst)
    least, most = int(size.max()), min(int(size.sum(axis=-1).max()), MAX_INT32)
    if most - least < most_points:
        return list(range(least, most + 1))
    return sorted(set(np.rint(np.geomspace(least, most, most_points)).astype(int).tolist()))


def _sizes(inst: Instance) -> np.ndarray:
    prompt, output = np.asarray(inst.prompt_tokens, np.int64), np.asarray(inst.output_tokens)
    return np.where(inst.is_real, prompt + output, 0)


def at_capacities(
    inst: Instance,
    run: Run,
    goal: Target,
    clock: LinearClock | None,
    capacities: Sequence[int],
) -> np.ndarray:
    """Metric ``[K, B]`` with each of K capacities, all in one batch."""
    measure = functools.partial(_measure, goal=goal, clock=clock)
    return run(with_capacities(inst, capacities), measure=measure)["value"]


def with_capacities(inst: Instance, capacities: Sequence[int]) -> Instance:
    """Instances ``[B, n]`` once with each of K capacities, ``[K, B, n]``."""
    shape = len(capacities), *inst.prompt_tokens.shape
    return dataclasses.replace(
        inst,
        prompt_tokens=np.broadcast_to(inst.prompt_tokens, shape),
        output_tokens=np.broadcast_to(inst.output_tokens, shape),
        is_real=np.broadcast_to(inst.is_real, shape),
        kv_capacity=np.broadcast_to(np.asarray(capacities, np.int32)[:, None], shape[:2]),
        weight=None if inst.weight is None else np.broadcast_to(inst.weight, shape),
    )


def on_servers(
    inst: Instance,
    run: Run,
    goal: Target,
    clock: LinearClock | None,
    counts: Sequence[int],
) -> np.ndarray:
    """Metric ``[len(counts), B]`` when so many servers take the requests in turn."""

    def latencies(part: Instance, sched: Schedule) -> dict[str, np.ndarray]:
        return {"value": metrics.latency(part, sched, clock)}

    by_count: dict[int, np.ndarray] = {}
    place = np.cumsum(inst.is_real, axis=-1) - 1
    for count in counts:
        if count in by_count:
            continue
        if count > place.max():
            by_count[count] = _statistic(_latency_alone(inst, clock), goal)
            continue
        latency = np.full(place.shape, np.nan)
        for server in range(count):
            mine = inst.is_real & (place % count == server)
            part = dataclasses.replace(
                inst,
                prompt_tokens=np.where(mine, inst.prompt_tokens, np.int32(1)),
                output_tokens=np.where(mine, inst.output_tokens, np.int32(1)),
                is_real=mine,
            )
            latency = np.where(mine, run(part, measure=latencies)["value"], latency)
        by_count[count] = _statistic(latency, goal)
    return np.stack([by_count[count] for count in counts])


def _latency_alone(inst: Instance, clock: LinearClock | None) -> np.ndarray:
    """Latencies ``[B, n]`` of requests that all have a server of their own, under any rule."""
    each = jax.tree.map(lambda leaf: leaf[..., None], inst)  # [B, n, 1]
    each = dataclasses.replace(
        each, kv_capacity=np.broadcast_to(inst.kv_capacity[:, None], inst.is_real.shape)
    )
    sched = Schedule.from_starts(each, np.zeros(each.is_real.shape, np.int32))
    return metrics.latency(each, sched, clock)[..., 0]


def on_preset(inst: Instance, run: Run, goal: Target, preset: Server) -> np.ndarray:
    """Metric ``[B]`` on a server, NaN if its cache is too small for a request."""
    capacity = int(preset.kv_capacity)
    if capacity < _sizes(inst).max():
        return np.full(inst.kv_capacity.shape, np.nan)
    measure = functools.partial(_measure, goal=goal, clock=preset.clock)
    return run(with_capacities(inst, [capacity]), measure=measure)["value"][0]


def _measure(
    inst: Instance, sched: Schedule, *, goal: Target, clock: LinearClock | None
) -> dict[str, np.ndarray]:
    return {"value": _statistic(metrics.latency(inst, sched, clock), goal)}


def _statistic(latency: np.ndarray, goal: Target) -> np.ndarray:
    statistics = metrics.latency_statistics(latency, goal.unit)
    return statistics[f"{TARGETS[goal.metric]}_{goal.unit}"].astype(np.float64)
