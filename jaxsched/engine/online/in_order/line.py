"""Those who wait stand in line: by arrival, by rank, or as a rule orders them anew."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from jaxsched.engine.online.by_rule import crowd as by_rule
from jaxsched.engine.online.by_rule.crowd import Crowd
from jaxsched.engine.online.in_order.state import State
from jaxsched.engine.online.lanes import choose, take
from jaxsched.engine.online.queue import Waiting, clear_bit, least, set_bit
from jaxsched.engine.online.state import Head, Kernel


def look_up(kernel: Kernel, state: State) -> State:
    """See who is next in line."""
    line = state.waiting
    if isinstance(line, Waiting):
        request = least(line, state.head)
    elif isinstance(line, Crowd):
        request = by_rule.first_in_line(line, kernel.writing, upto(kernel, state), kernel.nobody)
    else:
        request = choose(state.queued > 0, take(state.order, state.head), kernel.nobody)
    known = take(state.records.known, request)
    return state._replace(next=Head(request, known, take(kernel.streams.arrival, request)))


def upto(kernel: Kernel, state: State) -> jax.Array:
    """Nobody of this row or a later one has arrived, int32 ``[B]``."""
    return jnp.minimum(take(state.order, state.arrived), kernel.nobody)


def with_arrival(kernel: Kernel, state: State, request: jax.Array, here: jax.Array) -> State:
    """``state`` in which ``request [B]`` joins the line of a dynamic rule, where ``here [B]``."""
    line = state.waiting
    if isinstance(line, Crowd):
        request = choose(here, request, kernel.nobody)
        line = by_rule.move(line, kernel.writing, request, here, by_rule.WAITS)
    return state._replace(waiting=line)


def with_start(kernel: Kernel, state: State, request: jax.Array, here: jax.Array) -> State:
    """``state`` in which ``request [B]`` runs, where ``here [B]``."""
    line = state.waiting
    if isinstance(line, Waiting):
        line = clear_bit(line, request, here, kernel.writing)
    elif isinstance(line, Crowd):
        line = by_rule.move(line, kernel.writing, request, here, by_rule.RUNS)
    return state._replace(waiting=line, head=state.head + here.astype(jnp.int32))


def with_return(
    kernel: Kernel,
    state: State,
    request: jax.Array,
    here: jax.Array,
    known: jax.Array,
    computed: jax.Array,
) -> State:
    """``state`` in which ``request [B]`` waits again, with these tokens, where ``here [B]``."""
    line = state.waiting
    if isinstance(line, Waiting):
        line = set_bit(line, request, here, kernel.writing)
    elif isinstance(line, Crowd):
        line = by_rule.evict(line, kernel.writing, request, here, known, computed)
    return state._replace(waiting=line)


def with_end(kernel: Kernel, state: State, request: jax.Array, here: jax.Array) -> State:
    """``state`` in which ``request [B]`` has left, where ``here [B]``."""
    line = state.waiting
    if isinstance(line, Crowd):
        line = by_rule.move(line, kernel.writing, request, here, by_rule.AWAY)
    return state._replace(waiting=line)
