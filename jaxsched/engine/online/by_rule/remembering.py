"""A dynamic rule's state: of an empty server, after arrivals, and after steps."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.extend.core import jaxpr_as_fun

from jaxsched.engine.contract import Events
from jaxsched.engine.online.by_rule.asking import in_32_bits, observation, one_of
from jaxsched.engine.online.by_rule.crowd import Crowd, RuleKind
from jaxsched.engine.online.in_order.rows import Rows
from jaxsched.engine.online.lanes import choose, num_rows


def empty_memory(kind: RuleKind, crowd: Crowd, n: int) -> Crowd:
    """``crowd`` with the state of an empty server."""
    if not kind.has_state:
        return crowd
    obs = observation(crowd, n, crowd.first_arrival)
    return crowd._replace(memory=_mapped(_initial, kind, crowd.leaves, obs))


def after_arrivals(
    kind: RuleKind, crowd: Crowd, n: int, now: jax.Array, former: jax.Array, latter: jax.Array
) -> Crowd:
    """Bring the state up to date.

    Args:
      kind: what is compiled in of the rule.
      crowd: those who arrived among them.
      n: requests in a stream.
      now: float64 ``[B]`` seconds.
      former: int32 ``[B]``, nobody of this row or a later one had arrived before.
      latter: likewise, now.
    """
    row = jnp.arange(n, dtype=jnp.int32)
    obs = observation(crowd, n, now)
    arrived = obs.is_real & (row >= former[:, None]) & (row < latter[:, None])
    none, no = jnp.zeros_like(arrived, jnp.int32), jnp.zeros_like(arrived)
    step_s = jnp.zeros(now.shape, jnp.float32)
    events = Events(arrived, no, no, none, none, no, step_s)
    return _updated(kind, crowd, obs, events, former < latter)


def after_step(
    kind: RuleKind,
    crowd: Crowd,
    n: int,
    now: jax.Array,
    duration: jax.Array,
    here: jax.Array,
    rows: Rows,
    before: jax.Array,
    victims: jax.Array,
    evictions: jax.Array,
) -> Crowd:
    """Bring the state up to date.

    Args:
      kind: what is compiled in of the rule.
      crowd: what is known and computed as of the end of the step.
      n: requests in a stream.
      now: float64 ``[B]`` seconds, the end of the step.
      duration: float64 ``[B]`` seconds.
      here: bool ``[B]``, where a step was taken.
      rows: after its tokens have come, with those that completed.
      before: int32 ``[B]``, rows in use before anybody was admitted.
      victims: int32 ``[rows B]``, who was evicted.
      evictions: int32 ``[B]``, how many of them there are.
    """
    num_streams = now.shape[0]
    places = np.arange(rows.request.shape[0], dtype=np.int32)
    row, lane = np.divmod(places, np.int32(num_streams))

    def of_requests(request: jax.Array, counts: Any, values: jax.Array) -> jax.Array:
        """Give requests ``[B, n]`` what happened in their rows."""
        nobody = num_rows(crowd.place, now) - 1
        place = jnp.where(counts, request, nobody) * num_streams + lane
        whole = jnp.zeros(crowd.place.shape, values.dtype).at[place].set(values)
        return whole.reshape(-1, num_streams)[:n].T

    runs = rows.is_taken > 0
    yes = jnp.ones_like(runs)
    events = Events(
        arrived=jnp.zeros((num_streams, n), bool),
        admitted=of_requests(rows.request, runs & (row >= before[lane]), yes),
        evicted=of_requests(victims, row < evictions[lane], yes),
        computed_tokens=of_requests(rows.request, runs, rows.granted),
        new_tokens=of_requests(rows.request, runs, rows.gives),
        completed=of_requests(rows.request, runs & (rows.known == rows.last), yes),
        step_s=duration.astype(jnp.float32),
    )
    return _updated(kind, crowd, observation(crowd, n, now), events, here)


def _updated(kind: RuleKind, crowd: Crowd, obs: Any, events: Events, here: jax.Array) -> Crowd:
    memory = _mapped(_update, kind, crowd.leaves, crowd.memory, obs, events)

    def chosen(new: jax.Array, old: jax.Array) -> jax.Array:
        return choose(
            here.reshape(-1, *(1,) * (old.ndim - 1)) & jnp.ones(old.shape, bool), new, old
        )

    return crowd._replace(memory=jax.tree.map(chosen, memory, crowd.memory))


def _initial(rule: Any, obs: Any) -> Any:
    return jax.tree.map(jnp.asarray, rule.init(obs))


def _update(rule: Any, memory: Any, obs: Any, events: Events) -> Any:
    new = jax.tree.map(jnp.asarray, rule.update(memory, obs, events))
    _require_same_kind(rule, memory, new)
    return new


def _require_same_kind(rule: Any, memory: Any, new: Any) -> None:
    kept, updated = (jax.tree.map(_kind, tree) for tree in (memory, new))
    if kept != updated:
        raise TypeError(
            f"dynamic rule {rule.name!r}: update returned {updated}; expected {kept}, as init did"
        )


def _kind(leaf: jax.Array) -> str:
    return f"{leaf.dtype}[{', '.join(map(str, leaf.shape))}]"


def _mapped(function: Any, kind: RuleKind, leaves: Any, *given: Any) -> Any:
    """Call what a user wrote for each stream, as 32 bits would trace it."""

    def of_one(leaves: Any, *given: Any) -> Any:
        return function(kind.rule(leaves), *given)

    with jax.enable_x64(False):
        like = one_of((leaves, *given))
        structure = jax.tree.structure(jax.eval_shape(of_one, *like))
    program = jax.vmap(jaxpr_as_fun(in_32_bits(of_one, *like)))
    return jax.tree.unflatten(structure, program(*jax.tree.leaves((leaves, *given))))
