"""Every decision of one stream, step by step, in the columns of a scheduler's log."""

from __future__ import annotations

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from jaxsched.engine.online.arrivals import Arrivals, checked, streams_of
from jaxsched.engine.online.in_order.ending import end, sums_of
from jaxsched.engine.online.in_order.kernel import schedule
from jaxsched.engine.online.in_order.state import State, initial
from jaxsched.engine.online.state import Choices, Kernel, Limits, Streams
from jaxsched.model.itl import ITL_EDGES_S
from jaxsched.model.schedule import Status

_STEPS_PER_CALL = 256


class _Moment(NamedTuple):
    """A step of one stream: scalars, and rows of those that ran."""

    is_logged: jax.Array
    clock: jax.Array
    end: jax.Array
    arrived: jax.Array
    P: jax.Array
    B: jax.Array
    KV: jax.Array
    free_mid: jax.Array
    free_end: jax.Array
    running: jax.Array
    waiting: jax.Array
    request: jax.Array  # [rows]
    granted: jax.Array  # [rows]
    is_sampled: jax.Array  # [rows]
    is_last: jax.Array  # [rows]
    is_new: jax.Array  # [rows]
    is_resumed: jax.Array  # [rows]
    victims: jax.Array  # [rows]
    evictions: jax.Array


def record_stream(
    arrivals: Arrivals, limits: Limits, choices: Choices, until: float = np.inf
) -> dict[str, np.ndarray]:
    """Serve one stream and keep what is decided, in the columns of a scheduler's log.

    Args:
      arrivals: ``[1, n]``.
      limits: ``[1]``.
      choices: what is compiled in.
      until: seconds; no step begins then or later.

    Returns:
      Columns: of steps ``step_clock, step_end, step_arrived,
      step_P, step_B, step_KV, step_free_mid, step_free_end, step_running, step_waiting,
      step_entries``; of requests given tokens, in schedule order, ``ent_req, ent_tok,
      ent_sampled``, split by the running sum of ``step_entries``; ``pre_step, pre_req`` of
      preemptions, ``adm_step, adm_req, adm_resumed`` of admissions, ``fin_step, fin_req`` of
      requests that end with the step.
    """
    with jax.enable_x64(True):
        limits = jax.tree.map(jnp.asarray, limits)
        streams, state = _begin(arrivals, limits, choices)
        moments = []
        while bool(state.is_live[0]):
            state, moment = _steps(streams, limits, choices, state, jnp.asarray([until]))
            moments.append(jax.tree.map(np.asarray, moment))
    return _columns(moments)


@functools.partial(jax.jit, static_argnames=("choices",))
def _begin(arrivals: Arrivals, limits: Limits, choices: Choices) -> tuple[Streams, State]:
    given = checked(arrivals, limits)
    streams, order, waiting = streams_of(choices, given, limits, "scatter")
    state = initial(streams, order, waiting, limits, choices, None)
    return streams, state._replace(is_live=jnp.ones_like(given.has_nan))


@functools.partial(jax.jit, static_argnames=("choices",))
def _steps(
    streams: Streams, limits: Limits, choices: Choices, state: State, until: jax.Array
) -> tuple[State, _Moment]:
    one, edges = jnp.ones((), jnp.int32), jnp.asarray(ITL_EDGES_S)
    choices = choices._replace(has_histogram=False)
    kernel = Kernel(streams, limits, choices, "scatter", edges, one, None)

    def step(state: State, _: None) -> tuple[State, _Moment]:
        halfway, before = schedule(kernel, state, until)
        sums, after = sums_of(halfway, before), end(kernel, halfway, before)
        rows = halfway.rows
        row = jnp.arange(rows.request.shape[0], dtype=jnp.int32)
        gets = (rows.is_taken > 0) & (rows.granted > 0)
        samples = gets & (rows.computed + rows.granted == rows.known)
        is_stalled = after.totals.status == int(Status.STALLED)
        return after, _Moment(
            is_logged=halfway.step.is_open & ~is_stalled,
            clock=halfway.now,
            end=after.now,
            arrived=halfway.arrived - state.arrived,
            P=sums.prefilled,
            B=sums.decoded,
            KV=sums.cached,
            free_mid=halfway.free,
            free_end=after.free,
            running=halfway.running,
            waiting=halfway.queued,
            request=rows.request,
            granted=jnp.where(gets, rows.granted, 0),
            is_sampled=samples,
            is_last=samples & (rows.known + 1 == rows.last),
            is_new=gets & (row >= before),
            is_resumed=rows.preemptions > 0,
            victims=halfway.victims,
            evictions=halfway.step.evictions,
        )

    return lax.scan(step, state, None, length=_STEPS_PER_CALL)


def _columns(moments: list[_Moment]) -> dict[str, np.ndarray]:
    whole = jax.tree.map(lambda *parts: np.concatenate(parts), *moments)
    logged = whole.is_logged[:, 0]
    whole = jax.tree.map(lambda part: part[logged], whole)
    columns = {
        f"step_{name}": getattr(whole, name)[:, 0]
        for name in ("clock", "end", "arrived", "P", "B", "KV", "free_mid", "free_end")
    }
    columns |= {f"step_{name}": getattr(whole, name)[:, 0] for name in ("running", "waiting")}
    gets = whole.granted > 0
    columns["step_entries"] = gets.sum(axis=1)
    columns |= {
        "ent_req": whole.request[gets],
        "ent_tok": whole.granted[gets],
        "ent_sampled": whole.is_sampled[gets],
    }
    is_victim = np.arange(whole.victims.shape[1]) < whole.evictions
    columns["pre_step"], columns["pre_req"] = is_victim.nonzero()[0], whole.victims[is_victim]
    columns["adm_step"], columns["adm_req"] = whole.is_new.nonzero()[0], whole.request[whole.is_new]
    columns["adm_resumed"] = whole.is_resumed[whole.is_new]
    columns["fin_step"], columns["fin_req"] = (
        whole.is_last.nonzero()[0],
        whole.request[whole.is_last],
    )
    return {
        name: column.astype(np.int64) if column.dtype.kind == "i" else column
        for name, column in columns.items()
    }
