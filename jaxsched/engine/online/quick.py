"""The quick kernel: see :mod:`jaxsched.engine.online.together`."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

from jaxsched._lib.loops import fori_loop, while_loop
from jaxsched.engine.online.ending import end
from jaxsched.engine.online.lanes import any_of, choose, put, row_of
from jaxsched.engine.online.seats import NEVER, nowhere
from jaxsched.engine.online.settling import settle
from jaxsched.engine.online.state import Kernel
from jaxsched.engine.online.stepping import admit, begin
from jaxsched.engine.online.together import State
from jaxsched.model.schedule import Status


def advance(kernel: Kernel, state: State, until: jax.Array) -> State:
    """Run every step that begins before ``until`` (float64 ``[B]`` seconds).

    Returns:
      The state, from which ``advance`` goes on; the same as if it had not stopped.
    """
    state = state._replace(is_live=state.totals.status == int(Status.OK))
    return while_loop(
        lambda state: any_of(state.is_live), lambda state: iterate(kernel, state, until), state
    )


def iterate(kernel: Kernel, state: State, until: jax.Array) -> State:
    """Take every stream on by one request that leaves, one that takes a seat, one admitted."""
    state, settled = settle(kernel, state)
    state = begin(kernel, state, settled, until)
    state = admit(kernel, state)
    return end(kernel, state, settled, until)


def with_open_records(kernel: Kernel, state: State) -> State:
    """Write down what is known of those that have not ended, which their seats hold."""
    seats, zero = state.seats, jnp.zeros_like(state.head)
    num_seats = nowhere(seats, zero)

    def one_seat(row: jax.Array, itls: Any) -> Any:
        request, end, itl = (
            row_of(array, row, zero) for array in (seats.request, seats.end, seats.max_itl)
        )
        is_free = end == NEVER
        request = choose(is_free, kernel.nobody, request)
        itl = jnp.maximum(itl, state.pause)
        return put(kernel.writing, ~is_free, (itls, request, itl))[0]

    itls = fori_loop(jnp.int32(0), jnp.int32(num_seats), one_seat, state.records.max_itl)
    return state._replace(records=state.records._replace(max_itl=itls))
