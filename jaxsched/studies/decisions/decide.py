"""From a log to a decision."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import numpy as np

from jaxsched import bounds
from jaxsched._lib.errors import InputError
from jaxsched._lib.progress import progress_bar
from jaxsched.metrics.statistics import Estimate
from jaxsched.metrics.traffic import traffic
from jaxsched.model.requests import Requests
from jaxsched.model.server import Server
from jaxsched.servers import NamedServer
from jaxsched.studies.decisions.candidates import RULES, SETTINGS
from jaxsched.studies.decisions.decision import Choice, Decision
from jaxsched.studies.decisions.runs import cut
from jaxsched.studies.rates.axes import Rates
from jaxsched.studies.rates.plan_rate import checked_tolerance
from jaxsched.studies.rates.planning import Vary, planned
from jaxsched.studies.rates.searching import ServiceCurve
from jaxsched.studies.rates.service_plan import ServicePlan
from jaxsched.studies.rates.settings import crossed
from jaxsched.studies.rates.streams import at_rates, flattened, own_rate
from jaxsched.studies.serving.goal import Goal, checked_goal
from jaxsched.studies.serving.rules import ServingRules, by_name
from jaxsched.workloads.predictions import predict

_SIGMA = 0.5  # of the logarithm of predicted over true output length
_NUM_LOADS = 8  # a call of the search has as many rates, so nothing compiles anew
_LEAST_LOAD, _MOST_LOAD = 0.5, 1.25  # times the rate taken now, and times the best
_BOUND = "mean_busy"  # the one that holds on every server


def decide(
    reqs: Requests,
    server: Server,
    rules: ServingRules = RULES,
    *,
    vary: Vary = None,
    attainment: float = 0.9,
    ttft_slo_s: float | None = None,
    tpot_slo_s: float | None = None,
    e2e_slo_s: float | None = None,
    num_requests: int | None = None,
    num_runs: int = 8,
    tolerance: float = 0.02,
    key: jax.Array | None = None,
    known: NamedServer | None = None,
    progress: bool | None = None,
) -> Decision:
    r"""Find what a server takes of a log's traffic, and which settings and order would give more.

    The log is cut into :math:`2B` runs of consecutive requests. On every second one,
    :func:`plan_rate` finds the rate :math:`\lambda_{\rho, \theta}` of every rule :math:`\rho` with
    every setting :math:`\theta`. With :math:`(\rho_0, \theta_0)` what is there now, four pairs are
    then measured on the other runs, which had no part in the choice:

    .. math::
       (\rho_0, \theta_0), \quad (\rho_0, \arg\max_\theta \lambda_{\rho_0, \theta}), \quad
       (\arg\max_\rho \lambda_{\rho, \theta_0}, \theta_0), \quad
       \arg\max_{\rho, \theta} \lambda_{\rho, \theta} .

    A rate above the limit of :func:`jaxsched.bounds.stability` counts as that limit, as
    :func:`plan_rate` has it.

    Args:
      reqs: the log, one stream ``[n]`` of requests that arrive over time.
      server: the server as it is set now, whose numbers have no leading axes.
      rules: as :func:`plan_rate` takes them; the first is the order of now. A tuned rule may be
        one of them.
      vary: settings by name, each with the values to try beside the server's own; None for
        token budgets from 512 to 8192 and 64 to 256 seats.
      attainment: the share of requests that should meet every target.
      ttft_slo_s: target for the time to first token in seconds; None takes the requests' own.
      tpot_slo_s: target for the time per output token, likewise.
      e2e_slo_s: target for the end-to-end latency; None for no target.
      num_requests: requests of a run; None for 1000, or fewer where the log is short.
      num_runs: runs to choose by, and as many to check on, B.
      tolerance: gap, relative to the rate, that may be left above it.
      key: a jax random key for the errors of predictions; None for ``jax.random.key(0)``.
      known: what is known of the server's clock, such as ``js.servers.info(name)``.
      progress: True or False to show progress bars or not; None shows them on a terminal.

    Returns:
      A :class:`Decision`; print it, or write its page with :meth:`Decision.to_html`.

    Raises:
      ValueError: there is no target, a number is out of range, no setting or rule has a name, the
        log is not one stream, or it is too short.

    Example:
      >>> import numpy as np
      >>> import jaxsched as js
      >>> reqs = js.Requests.from_arrays(np.arange(80.0), [64] * 80, [8] * 80)
      >>> server = js.Server(kv_capacity=4096, max_num_seqs=1)
      >>> found = js.decide(
      ...     reqs, server, "fcfs", vary={"max_num_seqs": [2]}, ttft_slo_s=2.5, num_runs=2)
      >>> found.best, round(found.choices["settings"].rate / found.choices["now"].rate, 1)
      ('settings', 2.0)
    """
    reqs = jax.tree.map(np.asarray, reqs)
    described = traffic(reqs)  # or an error: several streams, or no rate
    reqs = _real(reqs)
    goal = checked_goal(reqs, Goal(attainment, ttft_slo_s, tpot_slo_s, e2e_slo_s))
    named = by_name(rules)
    settings = crossed(server, _with_own(server, SETTINGS if vary is None else vary))
    has_predictions = reqs.predicted_output_tokens is not None
    choosing, checking = cut(_with_predictions(reqs), num_runs, num_requests)
    tolerance = checked_tolerance(tolerance)

    def planned_on(runs: Requests, rules: Mapping[str, Any], settings: Any) -> ServicePlan:
        runs = flattened(runs, "decide")
        own_rate(runs)  # or an error, before any work
        axis = Rates(runs, goal.targets, tolerance)
        return planned(axis, runs, settings, rules, goal, None, progress)

    search = planned_on(choosing, named, settings)
    pairs = _best_pairs(search)
    places = sorted({rule for rule, _ in pairs.values()})
    kept = sorted({setting for _, setting in pairs.values()})
    check = planned_on(
        checking,
        {search.rules[rule]: named[search.rules[rule]] for rule in places},
        [settings[setting] for setting in kept],
    )
    in_check = {
        name: (places.index(rule), kept.index(setting)) for name, (rule, setting) in pairs.items()
    }
    choices = {
        name: _choice(check, place, settings[kept[place[1]]], in_check)
        for name, place in in_check.items()
    }
    both, limits = choices["both"], check.limits
    assert limits is not None  # as of every plan of rates
    erring = None
    if not has_predictions:
        key = jax.random.key(0) if key is None else key
        mistaken = jax.tree.map(np.asarray, predict(checking, key, sigma=_SIGMA))
        erring = planned_on(mistaken, {both.rule: named[both.rule]}, [(both.setting, both.server)])
    return Decision(
        reqs=reqs,
        server=server,
        known=known,
        traffic=described,
        search=search,
        choices=choices,
        check=check,
        erring=erring,
        sigma=_SIGMA,
        load=_loads(checking, named, choices, goal, progress),
        limits={name: limits[place[1]] for name, place in in_check.items()},
        least_latency_s=_least_latency_s(checking, choices["now"]),
        num_runs=num_runs,
        num_requests=choosing.is_real.shape[-1],
    )


def _real(reqs: Requests) -> Requests:
    """Leave padding out."""
    is_real = reqs.is_real
    return jax.tree.map(lambda leaf: leaf[is_real], reqs)


def _with_own(server: Server, vary: Mapping[str, Sequence[Any]]) -> dict[str, list[Any]]:
    """Put the server's own value before the others of every setting."""
    values = {}
    for name, others in vary.items():
        if not hasattr(server, name) or isinstance(others, str):
            values[name] = others  # which crossing them refuses
            continue
        own = getattr(server, name)
        own = own.item() if isinstance(own, np.generic) else own
        values[name] = [own, *(each for each in others if each != own)]
    return values


def _with_predictions(reqs: Requests) -> Requests:
    """Predict the truth where nothing is predicted, as rules would; errors then compile nothing."""
    if reqs.predicted_output_tokens is not None:
        return reqs
    return dataclasses.replace(reqs, predicted_output_tokens=reqs.output_tokens.astype(np.float32))


def _best_pairs(search: ServicePlan) -> dict[str, tuple[int, int]]:
    """Find rule and setting of each choice; of equal ones the first, so that now is kept."""
    rates = search.value
    rule, setting = np.unravel_index(rates.argmax(), rates.shape)
    return {
        "now": (0, 0),
        "settings": (0, int(rates[0].argmax())),
        "order": (int(rates[:, 0].argmax()), 0),
        "both": (int(rule), int(setting)),
    }


def _choice(
    check: ServicePlan,
    place: tuple[int, int],
    of: tuple[dict[str, Any], Server],
    places: Mapping[str, tuple[int, int]],
) -> Choice:
    rule, setting = place
    return Choice(
        rule=check.rules[rule],
        setting=of[0],
        server=of[1],
        rate=check.value[place].item(),
        interval=Estimate(*(each[place].item() for each in check.interval)),
        change={
            name: Estimate(*(each[place].item() for each in check.change_from(*other)))
            for name, other in places.items()
        },
        limit=check.rate_limit[setting].item(),
        is_limited=bool(check.is_at_limit[place]),
    )


def _loads(
    runs: Requests,
    rules: Mapping[str, Any],
    choices: Mapping[str, Choice],
    goal: Goal,
    progress: bool | None,
) -> dict[str, ServiceCurve]:
    """Serve the runs at eight rates around the one taken now, which is one of them."""
    runs = flattened(runs, "decide")
    axis = Rates(runs, goal.targets, tolerance=1.0)
    now = choices["now"].rate or own_rate(runs).mean().item()
    most = max(now, *(choice.rate for choice in choices.values()))
    rates = np.geomspace(_LEAST_LOAD * now, _MOST_LOAD * most, _NUM_LOADS)
    rates[np.abs(np.log(rates / now)).argmin()] = now
    now_server = choices["now"].server
    lines = {name: (rule, now_server) for name, rule in rules.items()}
    for name in ("settings", "both"):
        choice = choices[name]
        if choice.setting != choices["now"].setting:
            lines[f"{choice.rule}, best settings"] = (rules[choice.rule], choice.server)
    curves = {}
    with progress_bar(len(lines), "loads", progress) as bar:
        for name, (rule, server) in lines.items():
            bar.set_description(name)
            measures = axis.evaluate(server, rule, rates.tolist())
            stacked = {each: np.stack([of[each] for of in measures]) for each in measures[0]}
            curves[name] = ServiceCurve(rates, stacked)
            bar.update()
    return curves


def _least_latency_s(runs: Requests, now: Choice) -> float:
    """Bound the mean latency of any order at the rate taken now; NaN where no bound holds."""
    if not now.rate:
        return float("nan")
    try:
        total_s = bounds.hindsight(at_rates(runs, [now.rate])[0], now.server, _BOUND)
    except InputError:
        return float("nan")
    return float((total_s / runs.is_real.sum(axis=-1)).mean())
