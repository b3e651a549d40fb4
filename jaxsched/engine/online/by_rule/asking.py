"""The rule looks at the server and gives numbers.

A rule that treats every request alike is asked block by block inside a compiled function. Any
other is asked for all requests of a stream at once, mapped over streams.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.extend.core import jaxpr_as_fun

from jaxsched._lib.loops import fori_loop, while_loop
from jaxsched._lib.rowwise import is_rowwise, on_rows
from jaxsched.engine.contract import Observation
from jaxsched.engine.offline.slots import set_rows, take_rows
from jaxsched.engine.online.by_rule.crowd import (
    AWAY,
    RUNS,
    Crowd,
    RuleKind,
    Seen,
    blocks_between,
    fold,
    rows_in_block,
    spread,
    without_the_gone,
)
from jaxsched.engine.online.in_order.rows import Rows
from jaxsched.engine.online.lanes import (
    Writing,
    across,
    any_of,
    choose,
    num_rows,
    put,
    row_of,
)

_LOOK = ("place", "known", "computed")


def is_by_row(kind: RuleKind, leaves: tuple[Any, ...], n: int) -> bool:
    """Whether a rule of ``n`` requests may be asked block by block; ``leaves [B, ...]``."""
    if kind.has_state or any(leaf.ndim > 1 for leaf in leaves):
        return False
    return is_rowwise(_traced(kind, leaves, n), n)


def ask(
    kind: RuleKind,
    crowd: Crowd,
    writing: Writing,
    n: int,
    upto: jax.Array,
    now: jax.Array,
    here: jax.Array,
    rows: Rows,
    count: jax.Array,
) -> tuple[Crowd, jax.Array]:
    """Have the rule give numbers where ``here [B]``.

    Args:
      kind: what is compiled in of it.
      crowd: who is at the server.
      writing: how.
      n: requests in a stream.
      upto: int32 ``[B]``, nobody of this row or a later one has arrived.
      now: float64 ``[B]`` seconds.
      here: where.
      rows: of those that run.
      count: int32 ``[B]``, rows in use.

    Returns:
      The crowd, and bool ``[B]``, where a request at the server was given NaN.
    """
    crowd = without_the_gone(crowd, writing, upto)

    def asked(crowd: Crowd) -> Crowd:
        if writing != "loop" or _reads_tokens(kind, crowd.leaves, n):
            crowd = seen_by_rule(crowd, rows, count, writing)
        numbers = _by_row if writing == "loop" else _at_once
        return crowd._replace(number=numbers(kind, crowd, writing, n, upto, now))

    def once(carry: tuple[Any, Crowd]) -> tuple[Any, Crowd]:
        return False, asked(carry[1])

    start: tuple[Any, Crowd] = any_of(here), crowd
    _, crowd = while_loop(lambda carry: carry[0], once, start)

    def step(is_nan: jax.Array, _: jax.Array, fields: Any) -> jax.Array:
        place, number = fields
        return is_nan | ((place != AWAY) & jnp.isnan(number)).astype(jnp.int32)

    nans = fold(crowd, writing, upto, (crowd.place, crowd.number), step, jnp.zeros_like(upto))
    return crowd, here & (across(jnp.maximum, nans, upto.shape[0]) > 0)


def seen_by_rule(crowd: Crowd, rows: Rows, count: jax.Array, writing: Writing) -> Crowd:
    """Bring up to date what is known and computed of those that run, which their rows hold."""
    knowns, computeds = crowd.known, crowd.computed
    nobody = jnp.int32(num_rows(crowd.place, count) - 1)

    def one_row(row: jax.Array, found: list[jax.Array]) -> list[jax.Array]:
        here = row_of(rows.is_taken, row, count) > 0
        request = choose(here, row_of(rows.request, row, count), nobody)
        values = (row_of(array, row, count) for array in (rows.known, rows.computed))
        return put(
            writing,
            here,
            *((array, request, value) for array, value in zip(found, values, strict=True)),
        )

    knowns, computeds = fori_loop(jnp.int32(0), jnp.max(count), one_row, [knowns, computeds])
    return crowd._replace(known=knowns, computed=computeds)


#: What a rule sees of rows that hold no request, where it is not 0.
_OF_NOBODY = {"prompt_tokens": 1, "output_tokens": 1, "ttft_slo_s": np.inf, "tpot_slo_s": np.inf}
_OF_ALL = ("is_real", "kv_capacity", "now_s", "is_running")


def observation(crowd: Crowd, n: int, now: jax.Array) -> Observation:
    """Show all requests of every stream, ``[B, n]``; of those that are away nothing."""
    num_streams = now.shape[0]

    def whole(array: jax.Array) -> jax.Array:
        return array.reshape(-1, num_streams)[:n].T

    seen = jax.tree.map(whole, crowd.seen)
    place, known, computed = (whole(getattr(crowd, name)) for name in _LOOK)
    lanes = now[:, None], crowd.first_arrival[:, None], crowd.kv_capacity
    obs = _observed(seen, place, known, computed, *lanes)

    def shown(name: str) -> jax.Array:
        value = getattr(obs, name)
        return jnp.where(obs.is_real, value, jnp.asarray(_OF_NOBODY.get(name, 0), value.dtype))

    names = (field.name for field in dataclasses.fields(obs) if field.name not in _OF_ALL)
    hidden = {name: shown(name) for name in names}
    return dataclasses.replace(obs, **hidden, now_s=obs.now_s[:, 0])


def _observed(
    seen: Seen,
    place: jax.Array,
    known: jax.Array,
    computed: jax.Array,
    now: jax.Array,
    origin: jax.Array,
    kv_capacity: jax.Array,
) -> Observation:
    """Show requests as they are, whether or not they are at the server."""
    return Observation(
        prompt_tokens=seen.prompt_tokens,
        output_tokens=seen.output_tokens,
        is_real=place != AWAY,
        kv_capacity=kv_capacity,
        arrival_s=(seen.arrival - origin).astype(jnp.float32),
        priority=seen.priority,
        client=seen.client,
        ttft_slo_s=seen.ttft_slo_s,
        tpot_slo_s=seen.tpot_slo_s,
        now_s=(now - origin).astype(jnp.float32),
        waited_s=(now - seen.arrival).astype(jnp.float32),
        generated_tokens=known - seen.prompt_tokens,
        computed_tokens=computed,
        is_running=place == RUNS,
    )


def _by_row(
    kind: RuleKind, crowd: Crowd, writing: Writing, n: int, upto: jax.Array, now: jax.Array
) -> jax.Array:
    """Ask for a block of rows of all streams at a time, ``[rows B]``."""
    rows = rows_in_block(crowd, writing)
    width = rows * now.shape[0]
    program = _traced(kind, crowd.leaves, n)
    lanes = crowd.leaves, crowd.kv_capacity, crowd.first_arrival, now
    leaves, capacity, origin, now = spread(lanes, rows)
    looks = crowd.seen, *(getattr(crowd, name) for name in _LOOK)

    def over_block(block: jax.Array, numbers: jax.Array) -> jax.Array:
        begin = block * width
        seen, place, known, computed = jax.tree.map(
            lambda array: take_rows(array, begin, width), looks
        )
        obs = _observed(seen, place, known, computed, now, origin, capacity)
        (number,) = on_rows(program, jax.tree.leaves((leaves, obs)))
        return set_rows(numbers, begin, number.astype(jnp.float64))

    first, last = blocks_between(crowd, writing, upto)
    return fori_loop(first, last, over_block, crowd.number)


def _at_once(
    kind: RuleKind, crowd: Crowd, writing: Writing, n: int, upto: jax.Array, now: jax.Array
) -> jax.Array:
    """Ask for all requests, mapped over streams, ``[rows B]``."""
    del writing, upto
    program = jax.vmap(jaxpr_as_fun(_traced(kind, crowd.leaves, n, crowd.memory)))
    given = crowd.leaves, observation(crowd, n, now), crowd.memory
    (numbers,) = program(*jax.tree.leaves(given))
    rows = num_rows(crowd.number, now)
    numbers = jnp.pad(numbers.astype(jnp.float64).T, ((0, rows - n), (0, 0)))
    return numbers.reshape(-1)


def _traced(kind: RuleKind, leaves: tuple[Any, ...], n: int, memory: Any = None) -> Any:
    """Trace the rule for one stream: the numbers it gives, from leaves, sight and state."""

    def numbers(leaves: Any, obs: Observation, memory: Any) -> Any:
        return kind.rule(leaves).numbers(obs, memory)

    return in_32_bits(numbers, one_of(leaves), shapes_of_one(n), one_of(memory))


def _reads_tokens(kind: RuleKind, leaves: tuple[Any, ...], n: int) -> bool:
    """Whether numbers follow from what those that run have generated or computed."""
    program = _traced(kind, leaves, n).jaxpr
    fields = [field.name for field in dataclasses.fields(Observation)]
    inputs = program.invars[len(leaves) :]
    moving = {
        variable
        for name, variable in zip(fields, inputs, strict=True)
        if name in ("generated_tokens", "computed_tokens")
    }
    read = [*program.outvars, *(each for eqn in program.eqns for each in eqn.invars)]
    return any(each is variable for each in read for variable in moving)


def one_of(tree: Any) -> Any:
    """Shapes and types of one stream's part of leaves ``[B, ...]``."""
    return jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape[1:], leaf.dtype), tree)


def in_32_bits(function: Any, *like: Any) -> Any:
    """Trace what a user wrote as it would be without the 64 bits of this engine."""
    with jax.enable_x64(False):
        return jax.make_jaxpr(function)(*like)


def shapes_of_one(n: int) -> Observation:
    """Shapes and types of an observation of one stream."""

    def of(kind: Any, *shape: int) -> Any:
        return jax.ShapeDtypeStruct(shape, kind)

    whole, real, flag = of(jnp.int32, n), of(jnp.float32, n), of(jnp.bool_, n)
    return Observation(
        prompt_tokens=whole,
        output_tokens=whole,
        is_real=flag,
        kv_capacity=of(jnp.int32),
        arrival_s=real,
        priority=real,
        client=whole,
        ttft_slo_s=real,
        tpot_slo_s=real,
        now_s=of(jnp.float32),
        waited_s=real,
        generated_tokens=whole,
        computed_tokens=whole,
        is_running=flag,
    )
