"""Rules side by side on the same instances."""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, overload

import jax
import numpy as np

from jaxsched import bounds
from jaxsched._lib.arrays import filled, on_host, refuse_traced
from jaxsched._lib.chunks import (
    INSTANCES_PER_HOST_CHUNK,
    REQUESTS_PER_CHUNK,
    map_chunks,
)
from jaxsched._lib.errors import InputError, in_instance, wrong_shape
from jaxsched._lib.progress import progress_bar
from jaxsched._lib.registry import Registry
from jaxsched.engine.contract import Admission, Discipline
from jaxsched.engine.simulate import backlog_server, checked_cap, schedule_on
from jaxsched.metrics import summary
from jaxsched.model.clock import LinearClock
from jaxsched.model.instance import Instance
from jaxsched.model.requests import Requests
from jaxsched.model.schedule import Schedule, require_ok
from jaxsched.model.server import Server, require_server
from jaxsched.model.verify import verify
from jaxsched.policies import HostRule, Rule, prioritize, rule_name
from jaxsched.policies.registry import resolve
from jaxsched.studies.comparing.comparison import Comparison
from jaxsched.studies.comparing.rule_metrics import not_among_rules
from jaxsched.studies.serving.rules import ServingRules
from jaxsched.studies.serving.service_comparison import ServiceComparison, compare_service

#: A lower bound on total latency in rounds: an instance ``[.., n]`` to float64 ``[..]``.
Bound = Callable[[Instance], np.ndarray]


def _price(inst: Instance) -> np.ndarray:
    return bounds.price(inst).value


#: The bounds that :func:`compare` knows by name.
BOUNDS: Registry[Bound] = Registry(
    "bound", {"volume": bounds.volume, "mean_busy": bounds.mean_busy, "price": _price}
)


@overload
def compare(
    inst: Instance,
    rules: Sequence[Rule | str] | Mapping[str, Rule | str | Schedule],
    baseline: str | None = None,
    bound: str | Bound | None = "volume",
    clock: LinearClock | None = None,
    key: jax.Array | None = None,
    *,
    discipline: Discipline = "strict",
    admission: Admission = "look_ahead",
    max_num_seqs: Any = None,
    deadline_s: float | None = None,
    progress: bool | None = None,
) -> Comparison: ...


@overload
def compare(
    inst: Requests,
    rules: ServingRules,
    baseline: str | None = None,
    *,
    server: Server,
    bound: bounds.HindsightBound | None = None,
    key: jax.Array | None = None,
    ttft_slo_s: Any = None,
    tpot_slo_s: Any = None,
    e2e_slo_s: Any = None,
    window: tuple[float, float] | None = None,
    progress: bool | None = None,
) -> ServiceComparison: ...


def compare(
    inst: Instance | Requests,
    rules: Any,
    baseline: str | None = None,
    bound: Any = ...,
    clock: LinearClock | None = None,
    key: jax.Array | None = None,
    *,
    discipline: Discipline = "strict",
    admission: Admission = "look_ahead",
    max_num_seqs: Any = None,
    deadline_s: float | None = None,
    server: Server | None = None,
    ttft_slo_s: Any = None,
    tpot_slo_s: Any = None,
    e2e_slo_s: Any = None,
    window: tuple[float, float] | None = None,
    progress: bool | None = None,
) -> Comparison | ServiceComparison:
    r"""Run rules on the same requests and say which is best, by how much, how far from optimal.

    Every rule orders and schedules every instance. Means are over instances; changes from the
    baseline are paired by instance, :math:`x_b / y_b - 1`, and so is the gap to the bound,
    :math:`\mathrm{TEL}_b / \mathrm{bound}_b - 1`, before they are averaged. Where instances have
    weights, the weighted latency decides, and the gap is of its total.

    Requests that arrive over time are served instead, each rule on the same streams. Then the
    service is measured, changes are paired by stream, and the gap is to what any rule needs with
    foresight.

    Args:
      inst: the instances, ``[n]`` or ``[.., n]``; or :class:`~jaxsched.Requests` with a server.
      rules: rules or names of registered ones, or a dict that names them; rules in a sequence
        go by the name of their function or class. The dict may also hold schedules, such as
        those of :func:`jaxsched.improve`, which are measured as they are.
      baseline: name of the rule to compare the others with; None for none.
      bound: lower bound on total latency: a name in ``BOUNDS``, a function of the instance
        ``[.., n]`` that returns ``[..]``, or None; ``"volume"`` unless said. Of requests, one of
        :func:`jaxsched.bounds.hindsight`, and None unless said.
      clock: the length of each round; latencies are then shown in seconds.
      key: a jax random key: intervals then come from 2000 bootstrap resamples of the instances
        instead of Student's t.
      discipline: see :func:`simulate`.
      admission: see :func:`simulate`.
      max_num_seqs: see :func:`simulate`.
      deadline_s: see :func:`jaxsched.metrics.summary`.
      server: what serves requests: one server, whose numbers have no leading axes. Instances have
        none, and requests take none of ``clock``, ``discipline``, ``admission``,
        ``max_num_seqs`` and ``deadline_s``, which the server says.
      ttft_slo_s: of requests, see :func:`jaxsched.metrics.service_summary`.
      tpot_slo_s: likewise.
      e2e_slo_s: likewise.
      window: likewise.
      progress: True or False to show a progress bar or not; None shows it on a terminal.

    Returns:
      A :class:`Comparison`, of requests a :class:`ServiceComparison`; print it, or see its
      methods.

    Raises:
      ValueError: no rules, two of one name, an unknown name, a rule that gave NaN (rule and
        instance are named), a schedule that does not fit the cache, or what :func:`simulate`
        and ``summary`` reject.

    Example:
      >>> import jaxsched as js
      >>> inst = js.Instance.from_lengths([[7, 1, 1], [5, 2, 1]], [[1, 2, 2], [3, 1, 2]],
      ...                                 kv_capacity=8)
      >>> comparison = js.compare(inst, ["fcfs", "smallest_volume"], baseline="fcfs")
      >>> comparison
      Comparison(fcfs, smallest_volume; 2 instances of 3 requests, 8 KV tokens; best: ...)
      >>> comparison.metrics["smallest_volume"]["total_latency_rounds"].tolist()
      [7.0, 8.0]
      >>> round(comparison.change("mean_latency_rounds")["smallest_volume"].mean, 3)
      -0.167

      Requests go to a server:

      >>> reqs = js.Requests.from_arrays([0.0, 0.0, 0.0], [50, 30, 20], [9, 2, 4])
      >>> server = js.Server(kv_capacity=160, max_num_batched_tokens=64)
      >>> served = js.compare(reqs, ["fcfs", "shortest_prompt"], "fcfs", server=server)
      >>> round(served.difference("mean_ttft_s")["shortest_prompt"].mean, 3)
      -0.333
    """
    refuse_traced(
        "compare looks at values",
        "call it outside, or simulate and js.metrics.summary inside",
        inst,
    )
    targets = {
        "ttft_slo_s": ttft_slo_s,
        "tpot_slo_s": tpot_slo_s,
        "e2e_slo_s": e2e_slo_s,
        "window": window,
    }
    if isinstance(inst, Requests):
        if server is None:
            raise InputError("server", None, "give what serves the requests", finding="is missing")
        require_server(server)
        of_backlogs = (clock, deadline_s, max_num_seqs)
        is_said = any(each is not None for each in of_backlogs)
        if is_said or (discipline, admission) != ("strict", "look_ahead"):
            finding = "says clock, discipline, admission, max_num_seqs and deadline_s"
            raise InputError("server", server, "leave those out", finding=finding)
        bound = None if bound is ... else bound
        return compare_service(inst, rules, server, baseline, key, targets, bound, progress)
    for name, value in {"server": server, **targets}.items():
        if value is not None:
            expectation = "leave it out, or give Requests, which arrive over time"
            raise InputError(name, value, expectation, finding="goes with no Instance")
    named = named_rules(rules)
    if baseline is not None and baseline not in named:
        raise not_among_rules(baseline, named)
    backlogs: Instance = jax.tree.map(np.asarray, inst)
    count = np.size(backlogs.kv_capacity)
    server = backlog_server(backlogs, discipline, admission, max_num_seqs, clock)
    measure = functools.partial(summary, clock=server.clock, deadline_s=deadline_s)
    metrics: dict[str, dict[str, np.ndarray]] = {}
    with progress_bar(count * len(named), "instances", progress) as bar:
        width = max(map(len, ("bound", *named)))
        bar.set_description(f"{'bound':{width}}")
        bound_name, bound_value = _evaluated("volume" if bound is ... else bound, backlogs)
        for name, rule in named.items():
            bar.set_description(f"{name:{width}}")
            if isinstance(rule, Schedule):
                metrics[name] = _metrics_of_schedule(backlogs, name, rule, measure)
                bar.update(count)
                continue
            metrics[name] = measured(backlogs, name, rule, server, measure, bar.update)
    is_weighted = backlogs.weight is not None
    bounded = "total_weighted_latency_rounds" if is_weighted else "total_latency_rounds"
    for of_rule in metrics.values():
        of_rule["kv_use"] = of_rule["mean_kv_tokens"] / backlogs.kv_capacity
        if bound_value is not None:
            of_rule["gap"] = of_rule[bounded] / bound_value - 1
    return Comparison(
        metrics=metrics,
        num_requests=np.asarray(backlogs.is_real.sum(axis=-1)),
        kv_capacity=np.asarray(backlogs.kv_capacity),
        total_weight=_total_weight(backlogs),
        baseline=baseline,
        bound=bound_value,
        bound_name=bound_name,
        key=key,
    )


def _total_weight(inst: Instance) -> np.ndarray | None:
    if inst.weight is None:
        return None
    return np.where(inst.is_real, inst.weight, 0).sum(axis=-1, dtype=np.float64)


def named_rules(
    rules: Sequence[Rule | str] | Mapping[str, Rule | str | Schedule],
) -> dict[str, Rule | Schedule]:
    """Resolve rules, schedules as they are, by the names they go by; or raise."""
    if isinstance(rules, str) or callable(rules):
        raise TypeError(f"rules is {rules!r}; expected a list of rules, or a dict that names them")
    if isinstance(rules, Mapping):
        named = {
            name: rule if isinstance(rule, Schedule) else resolve(rule)
            for name, rule in rules.items()
        }
    else:
        named = {}
        for rule in rules:
            if (name := rule_name(rule)) in named:
                raise ValueError(
                    f"two rules are called {name!r}; tell them apart with a dict {{name: rule}}"
                )
            named[name] = resolve(rule)
    if not named:
        raise ValueError("there are no rules to compare; give at least one")
    return named


def _evaluated(bound: str | Bound | None, inst: Instance) -> tuple[str | None, np.ndarray | None]:
    """Name and values ``[..]`` of a bound."""
    if bound is None:
        return None, None
    if isinstance(bound, str):
        name, bound = bound, BOUNDS[bound]
    else:
        name = getattr(bound, "__name__", type(bound).__name__)
    value = np.asarray(bound(inst), np.float64)
    if value.shape != inst.kv_capacity.shape:
        raise wrong_shape(
            f"the bound {name!r}",
            value.shape,
            f"expected one number for each instance, {inst.kv_capacity.shape}",
        )
    return name, value


def measured(
    inst: Instance,
    name: str,
    rule: Rule,
    server: Server,
    measure: Callable[..., dict[str, np.ndarray]],
    on_done: Callable[[int], Any],
) -> dict[str, np.ndarray]:
    """Schedule every instance by one rule and measure it, chunk by chunk."""
    leading, n = inst.kv_capacity.shape, inst.prompt_tokens.shape[-1]
    number = np.arange(math.prod(leading)).reshape(leading)
    size = _chunk_size(rule, number.size, n)

    def schedule_and_measure(
        number: np.ndarray, chunk: Instance, caps: np.ndarray | None
    ) -> dict[str, np.ndarray]:
        rows = len(number)
        full, full_caps = jax.tree.map(lambda leaf: filled(leaf, size), (chunk, caps))
        own = dataclasses.replace(server, kv_capacity=full.kv_capacity, max_num_seqs=full_caps)
        full_sched = schedule_on(own, full, prioritize(full, rule))
        sched = jax.tree.map(lambda leaf: np.asarray(leaf)[:rows], full_sched)
        require_ok(sched, f"rule {name!r}", first=number[0], leading=leading)
        metrics = measure(chunk, sched)
        on_done(rows)
        return metrics

    caps = checked_cap(inst, server.max_num_seqs)
    return map_chunks(schedule_and_measure, number, inst, caps, leading=leading, chunk_size=size)


def _metrics_of_schedule(
    inst: Instance,
    name: str,
    sched: Schedule,
    measure: Callable[..., dict[str, np.ndarray]],
) -> dict[str, np.ndarray]:
    """Measure a schedule that is there already, once it has been judged."""
    require_ok(sched, f"schedule {name!r}")
    verdict = verify(inst, sched)
    for index in map(tuple, np.argwhere(~verdict.is_feasible)):
        raise ValueError(
            f"schedule {name!r} holds {verdict.tokens_held[index]} tokens in round "
            f"{verdict.first_violated_round[index]}{in_instance(index)}; expected at most the "
            f"capacity of {verdict.kv_capacity[index]}"
        )
    return on_host(measure(inst, sched))


def _chunk_size(rule: Rule, num_instances: int, num_requests: int) -> int:
    """Instances in a chunk; all chunks are about as large, so that little is filled up."""
    most = max(1, REQUESTS_PER_CHUNK // num_requests)
    if isinstance(rule, HostRule):
        most = min(most, INSTANCES_PER_HOST_CHUNK)
    return -(-num_instances // -(-num_instances // most))
