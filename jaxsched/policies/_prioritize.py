"""One-instance rules mapped over any number of instances."""

from __future__ import annotations

import functools
import operator

import jax
import jax.numpy as jnp
import numpy as np

from jaxsched._lib.arrays import is_traced
from jaxsched._lib.instances import on_each_device
from jaxsched._lib.programs import bound_programs
from jaxsched.model.instance import Instance
from jaxsched.policies._rule import (
    NEEDS_CONCRETE_NUMBERS,
    HostRule,
    Rule,
    require_concrete,
    require_priorities,
    rule_name,
)
from jaxsched.policies.argument_order import inst_first
from jaxsched.policies.registry import resolve


def prioritize(inst: Instance, rule: Rule | str) -> jax.Array:
    """Apply a one-instance rule to an instance, or to each of many.

    A pure rule is compiled once for each function and shape, and once for each *type* of
    parametric rule: another batch, or other parameters, compile nothing.

    A host rule is called once for each instance. Its priorities come back as dense int32
    ranks (0 for the lowest; equal where the rule's were equal), because jax would round float64
    and int64 to 32 bits and so tie requests that the rule told apart. If a real request's
    priority is NaN the ranks are float32 with NaN in its place, for :func:`simulate` to report.

    Args:
      inst: the instance, ``[.., n]``.
      rule: a :class:`~jaxsched.policies.Rule`, or the name of a registered one.

    Returns:
      Priorities ``[.., n]``, lower first: as the rule returned them, or ranks (above).

    Raises:
      ValueError: the rule's output is not one priority for each request, or no rule has that
        name.
      TypeError: the output is neither integers nor floats; or a rule that is not marked as a
        host rule uses numpy, ``if`` or ``int()`` on the values of the instance.

    Example:
      >>> import jaxsched as js
      >>> inst = js.Instance.from_lengths([[3, 1], [2, 2]], [[2, 4], [3, 1]], kv_capacity=8)
      >>> js.prioritize(inst, "shortest_output").tolist()
      [[2, 4], [3, 1]]
      >>> js.prioritize(inst, lambda inst: inst.prompt_tokens + inst.output_tokens).tolist()
      [[5, 5], [5, 3]]
    """
    inst, rule = inst_first("prioritize", inst, rule)
    rule = resolve(rule)
    if isinstance(rule, HostRule):
        return _map_on_host(rule, inst)
    if not is_traced(inst):
        bound_programs()
    if not jax.tree_util.all_leaves([rule]):
        return _map_pytree(rule, inst)
    try:
        hash(rule)
    except TypeError:
        raise TypeError(
            f"rule {rule_name(rule)!r} is neither a function nor a pytree and has no hash; "
            "decorate its class with @chex.dataclass(frozen=True)"
        ) from None
    return _map_function(rule, inst)


@functools.partial(jax.jit, static_argnums=0)
def _map_function(rule: Rule, inst: Instance) -> jax.Array:
    return on_each_device(functools.partial(_mapped, rule=rule), inst.kv_capacity.ndim, (inst,))


@jax.jit
def _map_pytree(rule: Rule, inst: Instance) -> jax.Array:
    return on_each_device(_mapped, inst.kv_capacity.ndim, (inst,), (rule,))


def _mapped(inst: Instance, rule: Rule) -> jax.Array:
    def priorities(one: Instance) -> jax.Array:
        try:
            priority = rule(one)
        except NEEDS_CONCRETE_NUMBERS as error:
            raise TypeError(
                f"rule {rule_name(rule)!r} needs concrete numbers (numpy, if, int() or the like "
                "on the values of an instance); write it with jax.numpy, or mark it with "
                "@js.policies.host_rule"
            ) from error
        require_priorities(rule_name(rule), priority, one.prompt_tokens.shape[-1])
        return priority

    for _ in np.shape(inst.kv_capacity):
        priorities = jax.vmap(priorities)
    return priorities(inst)


def _map_on_host(rule: HostRule, inst: Instance) -> jax.Array:
    require_concrete(rule_name(rule), inst)
    on_host = jax.tree.map(np.asarray, inst)
    leading = on_host.kv_capacity.shape
    ranks = np.empty(on_host.prompt_tokens.shape)
    for index in np.ndindex(leading):
        one = jax.tree.map(operator.itemgetter(index), on_host)
        ranks[index] = _dense_ranks(rule(one), one.is_real)
    return jnp.asarray(ranks, jnp.float32 if np.isnan(ranks).any() else jnp.int32)


def _dense_ranks(priority: np.ndarray, is_real: np.ndarray) -> np.ndarray:
    """Ranks by the priorities' own dtype, as float64 so that NaN has a place."""
    _, rank = np.unique(priority, return_inverse=True)
    return np.where(np.isnan(priority) & is_real, np.nan, rank)
