r"""The least cost of a start by trying every round, where there are not too many of them.

With the tail sums A and C of ``jaxsched/bounds/_price_blocks.py`` at every round, a request
:math:`(s, o)` started at :math:`k` costs

.. math:: f(k) = \bigl[ k + o + s A(k) + C(k) \bigr] - \bigl[ (s + o) A(k + o) + C(k + o) \bigr],

sums of numbers in tables that all requests share. Starts are tried from the release on, and costs
are counted from there. A cost is no less than the time to completion, so once that is above the
least cost so far, no later start need be tried. With weights, both times count :math:`w` times.

On a CPU rounds are taken many at a time, which fills the vector registers, and requests one after
the other. Other devices take requests and instances in step, too.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from jaxsched._lib.loops import while_loop
from jaxsched.bounds._price_blocks import position, rounding, tail_sums

ROUNDS_A_BLOCK = 128  # to try so many rounds costs as much as to look for the best of a block
_LANES = 1024  # rounds in step


class Tables(NamedTuple):
    """A and C at rounds 0 to beyond the horizon, and there 0; float64 ``[.., K]``."""

    a: Any
    c: Any


def tables(edges: np.ndarray, prices: np.ndarray) -> Tables:
    """Tail sums at every round for block ``prices [J]`` between ``edges [J + 1]``."""
    num_rounds = _LANES * (1 << max(0, (int(edges[-1]) // _LANES)).bit_length())
    tails = tail_sums(np, prices, np.diff(edges).astype(np.float64))
    return Tables(*tails.at(*position(np, edges, np.arange(num_rounds + _LANES))))


def least_costs(
    edges: np.ndarray,
    prices: np.ndarray,
    prompt: np.ndarray,
    output: np.ndarray,
    release: np.ndarray,
    weight: np.ndarray | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Cheapest start of each request, for many prices or instances.

    Args:
      edges: int64 ``[B, J + 1]``.
      prices: float64 ``[B, J]``.
      prompt: int ``[B, n]``.
      output: int ``[B, n]``.
      release: int ``[B, n]``, first start allowed.
      weight: float64 ``[B, n]``, what a round of latency costs; None for 1.

    Returns:
      The least cost, counted from release, float64 ``[B, n]``, rounded so that it is never above
      the true one; and its start, int32 ``[B, n]``.
    """
    each = [tables(*pair) for pair in zip(edges, prices, strict=True)]
    longest = max(table.a.size for table in each)
    full = [[np.pad(sums, (0, longest - sums.size)) for sums in table] for table in each]
    with jax.enable_x64(True):
        error = np.float64(rounding(edges.shape[1]))
        requests = tuple(each.astype(np.int32) for each in (prompt, output, release))
        requests += () if weight is None else (weight,)
        a, c = (np.stack(sums) for sums in zip(*full, strict=True))
        cost, start = _least_costs(Tables(a, c), requests, error)
        return np.asarray(cost), np.asarray(start)


@jax.jit
def _least_costs(
    tables: Tables, requests: tuple[jax.Array, ...], error: jax.Array
) -> tuple[jax.Array, jax.Array]:
    def one_by_one(given: Any) -> Any:
        tables, requests = given
        return lax.map(lambda request: _least_cost(tables, request, error), requests)

    def in_step(tables: Tables, requests: tuple[jax.Array, ...]) -> Any:
        def of_one(tables: Tables, *request: jax.Array) -> Any:
            return _least_cost(tables, request, error)

        of_requests = jax.vmap(of_one, in_axes=(None, *(0 for _ in requests)))
        return jax.vmap(of_requests)(tables, *requests)

    def on_cpu(*given: Any) -> Any:
        return lax.map(one_by_one, given)

    return lax.platform_dependent(tables, requests, cpu=on_cpu, default=in_step)


def _least_cost(
    tables: Tables, request: tuple[jax.Array, ...], error: jax.Array
) -> tuple[jax.Array, jax.Array]:
    """Least cost and its start for one request, of tables ``[K]``."""
    prompt, output, release, *weights = request
    num_rounds = tables.a.shape[0] - _LANES
    # A window that runs past the tables runs where all is free, as at the last round of them.
    ahead = jnp.minimum(output, num_rounds)
    first = jnp.minimum(release, num_rounds - 1)
    s, o = prompt.astype(jnp.float64), output.astype(jnp.float64)
    lanes = lax.iota(jnp.float64, _LANES)

    def timed(rounds: jax.Array) -> jax.Array:
        return weights[0] * rounds if weights else rounds

    def at(round: jax.Array) -> list[jax.Array]:
        return [lax.dynamic_slice(sums, (round,), (_LANES,)) for sums in tables]

    def is_left(state: Any) -> jax.Array:
        delay, least, _ = state
        return (first + delay < num_rounds) & (timed(delay.astype(o.dtype) + o) <= jnp.min(least))

    def over_rounds(state: Any) -> Any:
        delay, least, cheapest = state
        (a_start, c_start), (a_end, c_end) = at(first + delay), at(first + delay + ahead)
        paid = timed((delay.astype(o.dtype) + o) + lanes) + s * a_start + c_start
        saved = (s + o) * a_end + c_end
        cost = paid - saved - error * (paid + saved)
        is_less = cost < least
        return (
            delay + _LANES,
            lax.select(is_less, cost, least),
            lax.select(is_less, jnp.full_like(cheapest, delay), cheapest),
        )

    start = jnp.int32(0), jnp.full(_LANES, jnp.inf), jnp.zeros(_LANES, jnp.int32)
    _, least, cheapest = while_loop(is_left, over_rounds, start)
    lane = jnp.argmin(least).astype(jnp.int32)
    return least[lane], release + cheapest[lane] + lane
