"""How far an estimator's gradients can be trusted, by many samples of the hard simulator."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree

from jaxsched._lib.errors import integer
from jaxsched.metrics.statistics import Estimate as Interval
from jaxsched.metrics.statistics import estimate_means
from jaxsched.model.instance import Instance
from jaxsched.model.requests import Requests
from jaxsched.model.server import Server
from jaxsched.policies import rule_name
from jaxsched.tuning._evaluate import default_objective, required
from jaxsched.tuning.estimators.estimate import Cases, Shown, as_estimate, at_step
from jaxsched.tuning.estimators.parameter_noise import EvolutionStrategies
from jaxsched.tuning.estimators.score_noise import ScoreNoise
from jaxsched.tuning.estimators.tangent import NEGLIGIBLE, moved
from jaxsched.tuning.objectives import Objective
from jaxsched.tuning.traffic import is_dynamic, shown_to_rules, traffic

_PAIRS_PER_CALL = 8
_CHECKS = 3  # in a row, so that halves that agree once by luck do not end it
_STEPS_PER_CALL = 64


class Reference(NamedTuple):
    """A gradient from many samples.

    Attributes:
      gradient: float64 ``[P]``, the rule's leaves laid end to end.
      halves_cosine: cosine between the gradients of its two halves.
      halves_evened: the same in coordinates that move the scores alike; see :func:`evened`.
      simulations: hard evaluations of each instance.
    """

    gradient: np.ndarray
    halves_cosine: float
    halves_evened: float
    simulations: int


class Fidelity(NamedTuple):
    """What became of an estimator beside a reference; intervals are 95%, over the repeats.

    Attributes:
      cosine: between an estimate and the reference.
      evened_cosine: the same in coordinates that move the scores alike; see :func:`evened`.
      sign_agreement: share of the parameters whose slopes have the same sign.
      bias: length of the mean estimate less the reference, over the reference's length, by the
        jackknife, which takes out most of what is noise of the mean.
      variance: mean squared distance of an estimate to their mean, over the squared length of
        the reference, likewise.
      simulations: hard evaluations of each instance in a call.
      seconds: median time of a call, compiled.
      reference_cosine: between the two halves of the reference.
      reference_evened: likewise, in coordinates that move the scores alike.
    """

    cosine: Interval
    evened_cosine: Interval
    sign_agreement: Interval
    bias: Interval
    variance: Interval
    simulations: int
    seconds: float
    reference_cosine: float
    reference_evened: float


def reference_gradient(
    rule: Any,
    instances: Instance | Requests,
    key: jax.Array,
    *,
    server: Server | None = None,
    noise: Any = 0.1,
    objective: Objective | None = None,
    agreement: float = 0.99,
    max_simulations: int = 16384,
) -> Reference:
    """Average :class:`ScoreNoise` until two halves of the samples agree, thrice in a row.

    They have to agree as they are and in coordinates that move the scores alike. Each check has
    an eighth more samples than the one before, or more. A dynamic rule has no scores once for all,
    so :class:`EvolutionStrategies` stands in, and coordinates are those of the parameters.

    Args:
      rule: a pytree of float leaves.
      instances: ``[B, n]``, or requests.
      key: of all randomness.
      server: what serves the requests.
      noise: standard deviation of the smoothing, in standard deviations of an instance's scores;
        of a dynamic rule in units of the parameters.
      objective: what is made small; by default ``mean_latency`` of instances, and
        ``objectives.mean_e2e()`` of requests.
      agreement: cosine between the halves at which to stop.
      max_simulations: hard evaluations of each instance after which to stop all the same.

    Returns:
      The :class:`Reference`; look at its ``halves_cosine``.

    Example:
      >>> import jax
      >>> import jaxsched as js
      >>> inst = js.workloads.mixed(jax.random.key(0), num_requests=20, batch=4)
      >>> rule = js.policies.linear_score(("log_output", "log_prompt"))
      >>> reference = js.tuning.reference_gradient(rule, inst, jax.random.key(1), agreement=0.9)
      >>> reference.gradient.shape, bool(reference.halves_cosine >= 0.9)
      ((2,), True)
    """
    objective = default_objective(instances) if objective is None else objective
    cases = _cases(instances, server)
    kind = EvolutionStrategies if is_dynamic(rule) else ScoreNoise
    estimator = kind(noise=jnp.float32(noise), pairs=_PAIRS_PER_CALL, objective=objective)
    coordinates = evened(rule, shown_to_rules(cases))
    sums, calls, rounds, passed = np.zeros((2, ravel_pytree(rule)[0].size)), 0, 8, 0
    while True:
        for _ in range(rounds):
            for half in range(2):
                estimate = estimator(rule, cases, jax.random.fold_in(key, calls))
                sums[half] += _flat(estimate.gradient)
                calls += 1
        cosine = _cosine(*sums)
        even = _cosine(*(sums @ coordinates))
        passed = passed + 1 if min(cosine, even) >= agreement else 0
        simulations = calls * estimator.simulations
        if passed == _CHECKS or simulations >= max_simulations:
            return Reference(sums.sum(axis=0) / calls, cosine, even, simulations)
        rounds = max(1, calls // 16)


def _cases(instances: Instance | Requests, server: Server | None) -> Cases:
    if isinstance(instances, Requests):
        return traffic(instances, required(server))
    return instances


def evened(rule: Any, instances: Shown) -> np.ndarray:
    r"""Coordinates in which every step of length 1 moves the scores as much.

    Features that nearly repeat one another pull a cosine of raw slopes towards the one direction
    they share. With :math:`J`, the slopes of the scores in standard deviations of each instance,
    without what changes no order, and :math:`V \Lambda V^\top` the mean of :math:`J^\top J` over
    the requests, gradients are compared as :math:`\Lambda^{-1/2} V^\top g`; eigenvalues below a
    millionth of the largest are left out.

    Args:
      rule: a pytree of float leaves, P numbers.
      instances: ``[B, n]``.

    Returns:
      float64 ``[P, Q]``, :math:`V \Lambda^{-1/2}`.

    Source:
      Ours.
    """
    flat, _ = ravel_pytree(rule)
    steps = np.eye(flat.size, dtype=flat.dtype)
    if is_dynamic(rule):
        return steps.astype(np.float64)
    calls = np.array_split(steps, -(-flat.size // _STEPS_PER_CALL))
    moves = np.concatenate([moved(rule, instances, each) for each in calls])
    table = moves.astype(np.float64).reshape(flat.size, -1)
    values, vectors = np.linalg.eigh(table @ table.T / np.count_nonzero(instances.is_real))
    kept = values > NEGLIGIBLE * values[-1]
    return vectors[:, kept] / np.sqrt(values[kept])


def fidelity(
    rule: Any,
    estimator: Any,
    instances: Instance | Requests,
    key: jax.Array,
    *,
    server: Server | None = None,
    reference: Reference | None = None,
    repeats: int = 16,
) -> Fidelity:
    r"""Compare an estimator with a many-sample reference on the hard simulator.

    .. math:: \cos = \frac{\hat g^\top g}{|\hat g|\,|g|}

    Args:
      rule: a pytree of float leaves.
      estimator: an estimator that has ``simulations``, how many a call takes of each instance;
        one with schedules is judged as it is at step 0.
      instances: ``[B, n]``, or requests.
      key: of all randomness.
      server: what serves the requests.
      reference: from :func:`reference_gradient`, to use one for several estimators; by default
        made here, for the estimator's objective.
      repeats: calls of the estimator, with a key each.

    Returns:
      The :class:`Fidelity`.

    Raises:
      ValueError: there are fewer than two repeats.
      TypeError: the estimator does not say how many ``simulations`` it takes.

    Example:
      >>> import jax
      >>> import jaxsched as js
      >>> inst = js.workloads.mixed(jax.random.key(0), num_requests=20, batch=4)
      >>> rule = js.policies.linear_score(("log_output", "log_prompt"))
      >>> relaxed = js.tuning.Pathwise(temperature=0.2)
      >>> fidelity = js.tuning.fidelity(rule, relaxed, inst, jax.random.key(1), repeats=2)
      >>> bool(fidelity.cosine.mean > 0.9)
      True
    """
    repeats = integer("repeats", repeats, 2)
    simulations = getattr(estimator, "simulations", None)
    if simulations is None:
        raise TypeError(
            f"estimator {rule_name(estimator)!r} has no attribute simulations; set it to how many "
            "a call takes of each instance"
        )
    if reference is None:
        objective = getattr(estimator, "objective", None)
        reference = reference_gradient(
            rule, instances, jax.random.fold_in(key, 0), server=server, objective=objective
        )
    keys = jax.random.split(jax.random.fold_in(key, 1), repeats)
    estimator, cases = at_step(estimator, 0), _cases(instances, server)
    jax.block_until_ready(estimator(rule, cases, keys[0]))  # compiles
    gradients, seconds = [], []
    for each in keys:
        begin = time.perf_counter()
        returned = jax.block_until_ready(estimator(rule, cases, each))
        seconds.append(time.perf_counter() - begin)
        gradients.append(_flat(as_estimate(returned, estimator).gradient))
    samples, truth = np.stack(gradients), reference.gradient
    length = np.linalg.norm(truth)
    even = evened(rule, shown_to_rules(cases))
    return Fidelity(
        cosine=estimate_means(np.array([_cosine(each, truth) for each in samples])),
        evened_cosine=estimate_means(
            np.array([_cosine(each @ even, truth @ even) for each in samples])
        ),
        sign_agreement=estimate_means(np.mean(np.sign(samples) == np.sign(truth), axis=1)),
        bias=_jackknifed(lambda some: np.linalg.norm(some.mean(axis=0) - truth) / length, samples),
        variance=_jackknifed(lambda some: some.var(axis=0).sum() / length**2, samples),
        simulations=simulations,
        seconds=float(np.median(seconds)),
        reference_cosine=reference.halves_cosine,
        reference_evened=reference.halves_evened,
    )


def _jackknifed(statistic: Callable[[np.ndarray], Any], samples: np.ndarray) -> Interval:
    """Estimate a statistic of samples ``[R, P]`` from what it is without each in turn."""
    count = len(samples)
    without = [statistic(np.delete(samples, row, axis=0)) for row in range(count)]
    return estimate_means(count * statistic(samples) - (count - 1) * np.array(without))


def _flat(tree: Any) -> np.ndarray:
    return np.asarray(ravel_pytree(tree)[0], np.float64)


def _cosine(a: np.ndarray, b: np.ndarray) -> float:
    lengths = np.linalg.norm(a) * np.linalg.norm(b)
    return float(a @ b / lengths) if lengths > 0 else 0.0
