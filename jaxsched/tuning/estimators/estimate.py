"""The contract of an estimator, and what those that simulate have in common."""

from __future__ import annotations

import dataclasses
from typing import Any, NamedTuple, Protocol, Self

import jax
import jax.numpy as jnp

from jaxsched._lib.pytree import pytree, static
from jaxsched.engine.contract import Observation
from jaxsched.engine.simulate import simulate
from jaxsched.model.instance import Instance
from jaxsched.model.outcome import Outcome
from jaxsched.policies import rule_name
from jaxsched.tuning.objectives import Objective, mean_latency
from jaxsched.tuning.traffic import Traffic, is_dynamic

#: What an estimator is called with: instances ``[B, n]``, or streams at a server.
Cases = Instance | Traffic
#: What rules see of them.
Shown = Instance | Observation

_ROUNDING = 1e-6  # relative, of float32 scores


class Estimate(NamedTuple):
    """What an estimator found.

    Attributes:
      value: float ``[]``, mean objective over the instances.
      gradient: a pytree like the rule.
      diagnostics: anything worth knowing, arrays by name; may be dropped.
    """

    value: jax.Array
    gradient: Any
    diagnostics: dict[str, Any]


class Estimator(Protocol):
    """A way to a gradient: any such function, or a frozen pytree that is one.

    It returns an :class:`Estimate`, or a plain tuple of the same three. Two attributes are
    optional: ``simulations`` says how many a call takes of each instance, for
    ``js.tuning.fidelity``; and ``at(step)`` returns the estimator to use at a step of a run, where
    its numbers change in the course of it (:class:`Scheduled` has that).

    The gradient is that of the mean *logarithm* of the objective: a large instance counts as
    much as a small one, and steps do not depend on the unit. Estimators that simulate divide
    by the mean of an instance's samples instead of taking the logarithm of each.

    Temperatures and noises of scores are in units of their standard deviation within an
    instance, since an order is the same however the scores are scaled. The smoothed objective
    then does not change when all scores move together or spread evenly, and its gradient has no
    part in those directions: see :func:`within_orders`. Of streams the unit is that of requests
    that arrive one after the other: see :func:`units`.
    """

    def __call__(self, rule: Any, instances: Any, key: jax.Array, /) -> Estimate:
        """Estimate value and gradient on instances ``[B, n]``, or on a ``js.tuning.traffic``."""
        ...


def as_estimate(returned: Any, estimator: Any) -> Estimate:
    """Take what an estimator returned, or raise if it is not the three of an estimate."""
    if isinstance(returned, Estimate):
        return returned
    try:
        value, gradient, diagnostics = returned
    except (TypeError, ValueError):
        raise TypeError(
            f"estimator {rule_name(estimator)!r} returned {type(returned).__name__}; expected "
            "(value, gradient, diagnostics)"
        ) from None
    return Estimate(value, gradient, diagnostics)


class Scheduled:
    """Estimators whose numbers may be schedules: functions of the step, such as optax's.

    Example:
      >>> import optax
      >>> import jaxsched as js
      >>> falling = optax.linear_schedule(0.2, 0.1, transition_steps=100)
      >>> estimator = js.tuning.TangentNoise(noise=falling)
      >>> float(estimator.at(50).noise)
      0.15000000596046448
    """

    def at(self, step: int) -> Self:
        """Replace every schedule by its number at a step.

        Args:
          step: updates made before.

        Returns:
          The estimator to call.
        """
        me: Any = self
        numbers = {}
        for field in dataclasses.fields(me):
            value = getattr(me, field.name)
            if isinstance(value, Scheduled):  # an estimator inside another
                numbers[field.name] = value.at(step)
            elif not field.metadata.get("static") and _is_schedule(value):
                numbers[field.name] = jnp.asarray(value(step), jnp.float32)
        return dataclasses.replace(me, **numbers) if numbers else self


def _is_schedule(value: Any) -> bool:
    return callable(value) and jax.tree_util.all_leaves([value])


def at_step(estimator: Any, step: int) -> Any:
    """Return the estimator to use at a step: itself, unless it says otherwise."""
    return estimator.at(step) if hasattr(estimator, "at") else estimator


@pytree
class Antithetic(Scheduled):
    """What estimators have in common that simulate on both sides of the rule.

    Attributes:
      noise: how far to the sides, or a schedule of it.
      pairs: of samples; static.
      objective: what to make small; static.
    """

    noise: Any
    pairs: int = static(default=3)
    objective: Objective = static(default=mean_latency)

    @property
    def simulations(self) -> int:
        """Hard evaluations of each instance in a call."""
        return 2 * self.pairs


# Programs of their own: fused into what follows, a network is evaluated anew for every block.
@jax.jit
def scores(rule: Any, instances: Shown) -> jax.Array:
    """Priorities of instances ``[B, n]`` as float32 ``[B, n]``."""
    return jax.vmap(lambda inst: rule(inst).astype(jnp.float32))(instances)


def smooth_scores(rule: Any, instances: Shown) -> jax.Array:
    """Compute :func:`scores` for derivatives, or raise for a rule that returns integers."""
    if is_dynamic(rule):
        raise TypeError(
            f"rule {rule_name(rule)!r} is dynamic: it has no scores of requests once for all; take "
            "an estimator that moves the parameters, such as EvolutionStrategies"
        )
    one = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape[1:], leaf.dtype), instances)
    kind = jax.eval_shape(rule, one).dtype
    if not jnp.issubdtype(kind, jnp.floating):
        raise TypeError(
            f"rule {rule_name(rule)!r} returns {kind}, which has no slopes; return floats, or take "
            "an estimator that moves the parameters, such as EvolutionStrategies"
        )
    return scores(rule, instances)


@jax.jit
def pulled_back(rule: Any, instances: Shown, per_score: jax.Array) -> Any:
    """Gradient in the rule's leaves of the mean over instances, from ``[B, n]`` in the scores."""
    _, pull_back = jax.vjp(lambda rule: smooth_scores(rule, instances), rule)
    return pull_back(per_score / per_score.shape[0])[0]


def units(score: jax.Array, instances: Shown) -> jax.Array:
    """Measure scores ``[B, n]``: standard deviations ``[B]``, 1 where alike up to rounding.

    Scores of a stream may grow with the arrival, and only requests that meet are put in an order.
    So its deviation is estimated from the differences of neighbors, as von Neumann did (1941).
    """
    if isinstance(instances, Observation):
        return _of_neighbors(score, instances)
    centred = _centred(score, instances)
    count = instances.num_requests.astype(score.dtype)
    deviation = jnp.sqrt(jnp.sum(centred**2, axis=-1) / count)
    return _or_one(deviation, score, instances)


def _of_neighbors(score: jax.Array, instances: Observation) -> jax.Array:
    square = between_neighbors(score, instances) ** 2
    count = _num_neighbors(instances, score.dtype)
    return _or_one(jnp.sqrt(jnp.sum(square, axis=-1) / (2 * count)), score, instances)


def between_neighbors(score: jax.Array, instances: Observation) -> jax.Array:
    """Differences ``[.., n - 1]`` of numbers ``[.., n]`` of requests that arrive in a row."""
    are_real = instances.is_real[..., 1:] & instances.is_real[..., :-1]
    return jnp.where(are_real, jnp.diff(score, axis=-1), 0.0)


def _num_neighbors(instances: Observation, dtype: Any) -> jax.Array:
    return jnp.maximum(instances.num_requests - 1, 1).astype(dtype)


def _slopes_of_unit(score: jax.Array, instances: Observation) -> jax.Array:
    """Slopes ``[B, n]`` of :func:`units` of streams."""
    between = between_neighbors(score, instances)
    of_each = -jnp.diff(between, axis=-1, prepend=0.0, append=0.0)
    count = _num_neighbors(instances, score.dtype)
    return of_each / (2 * count * units(score, instances))[..., None]


def _or_one(deviation: jax.Array, score: jax.Array, instances: Shown) -> jax.Array:
    size = jnp.max(jnp.where(instances.is_real, jnp.abs(score), 0.0), axis=-1)
    return jnp.where(deviation > _ROUNDING * size, deviation, 1.0)


def within_orders(slopes: jax.Array, score: jax.Array, instances: Shown) -> jax.Array:
    """Take out of slopes ``[B, n]`` what shifts all scores alike or scales their spread.

    Neither changes an order, so the slopes of an objective smoothed in units of the spread have
    no such part: what is taken out is noise, or comes from holding the unit fixed.
    """
    centred = _centred(score, instances)
    even = _centred(slopes, instances)
    along = jnp.sum(even * centred, -1, keepdims=True)
    if isinstance(instances, Observation):
        return even - _slopes_of_unit(score, instances) * along / units(score, instances)[:, None]
    square = jnp.maximum(jnp.sum(centred**2, -1, keepdims=True), 1e-30)
    return even - centred * along / square


def moves_within_orders(moves: jax.Array, score: jax.Array, instances: Shown) -> jax.Array:
    """Take out of moves ``[B, n]`` of scores what shifts all alike or scales their spread.

    What is left does not change the unit. Slopes along it are those of :func:`within_orders`.
    """
    if not isinstance(instances, Observation):
        return within_orders(moves, score, instances)  # the unit grows the way scores lie
    even, centred = _centred(moves, instances), _centred(score, instances)
    growth = jnp.sum(even * _slopes_of_unit(score, instances), -1, keepdims=True)
    return even - centred * growth / units(score, instances)[:, None]


def _centred(values: jax.Array, instances: Shown) -> jax.Array:
    """Values ``[B, n]`` less their mean over the real requests; 0 for padding."""
    real = jnp.where(instances.is_real, values, 0.0)
    count = instances.num_requests[:, None].astype(values.dtype)
    return jnp.where(instances.is_real, real - jnp.sum(real, -1, keepdims=True) / count, 0.0)


def hard_values(objective: Objective, instances: Cases, sampled: jax.Array) -> jax.Array:
    """Objective of simulated schedules, float32 ``[S, B]``, for priorities ``[S, B, n]``.

    Samples are folded into the instances, and the call stays outside ``jit`` where its caller
    is: the simulator is fastest on one large concrete batch.
    """
    if isinstance(instances, Traffic):
        return jnp.asarray(objective(*instances.sampled(sampled)), jnp.float32)  # pyright: ignore[reportArgumentType]
    repeated = jax.tree.map(
        lambda leaf: jnp.broadcast_to(leaf, (sampled.shape[0], *leaf.shape)), instances
    )
    out = Outcome.from_schedule(repeated, simulate(repeated, sampled))
    return jnp.asarray(objective(repeated, out), jnp.float32)


def relative(values: jax.Array) -> jax.Array:
    """Values ``[S, B]`` in units of the mean over an instance's samples, without its sign."""
    unit = jnp.abs(jnp.mean(values, axis=0, keepdims=True))
    return values / jnp.where(unit > 0, unit, 1.0)
