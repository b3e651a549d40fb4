r"""Prices that are constant on blocks of rounds, and the cheapest start of a request under them.

Block :math:`j` holds the rounds :math:`t` with :math:`e_j < t \le e_{j+1}`, all at the price
:math:`\lambda_j` a token; rounds beyond :math:`T = e_J` are free. With the tail sums

.. math:: A(k) = \sum_{t > k} \lambda_t, \qquad C(k) = \sum_{u \ge k} A(u)
   = \sum_{t > k} (t - k) \lambda_t,

a request :math:`(s, o)` started at :math:`k` and completed at :math:`c = k + o` costs

.. math:: f(k) = c + \sum_{t=k+1}^{c} \lambda_t (s + t - k)
               = c + s A(k) + C(k) - (s + o) A(c) - C(c).

Both sums vanish from :math:`T` on, so a window that runs past :math:`T` needs no special case.

**The least cost over all starts is exact, and as quick for long blocks as for short ones.** Let
:math:`k` move by one round while :math:`k + 1` stays in block :math:`a` and :math:`k + o + 1` in
block :math:`b`:

.. math:: f(k+1) - f(k) = 1 + (s + o) \lambda_b - s \lambda_a - (A(k) - A(k + o)),

which itself grows by :math:`\lambda_a - \lambda_b` a round. So :math:`f` is quadratic between
neighbours among the starts :math:`e_j` and :math:`e_j - o`, and its least value is at one of those
starts or, where :math:`\lambda_a > \lambda_b`, at the whole round next to the vertex of a parabola.
From :math:`T` on, where all is free, :math:`f` only grows. That makes two candidates for each of
:math:`2 (J + 1)` pieces. Where a request is released later than a piece begins, the piece begins
at its release. With weights, :math:`c` and the 1 in the slope are :math:`w` times as large.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from jaxsched._lib.chunks import HOST_CELLS
from jaxsched.bounds._busy import Fluid
from jaxsched.bounds._busy_arrivals import ArrivalFluid
from jaxsched.model.instance import MAX_INT32


class TailSums(NamedTuple):
    """The sums A and C at block edges, as numpy's or jax's arrays.

    Attributes:
      price: ``[J + 1]``; block J is free and without end.
      a: ``[J + 2]``; A at the edges, and 0 for the end of block J.
      c: ``[J + 2]``, likewise.
    """

    price: Any
    a: Any
    c: Any

    def at(self, block: Any, rest: Any) -> tuple[Any, Any]:
        """Give A and C ``rest`` rounds before the end of ``block``, by positive terms only."""
        price, a = self.price[block], self.a[block + 1]
        return a + price * rest, self.c[block + 1] + a * rest + price * rest * (rest + 1) / 2


def tail_sums(xp: Any, prices: Any, width: Any) -> TailSums:
    """Sum prices ``[J]`` over blocks of ``width`` rounds ``[J]``, from the last to the first."""
    zero = xp.zeros_like(prices[:1])

    def from_the_end(values: Any) -> Any:
        return xp.concatenate([xp.cumsum(values[::-1])[::-1], zero, zero])

    a = from_the_end(prices * width)
    c = from_the_end(a[1:-1] * width + prices * width * (width + 1) / 2)
    return TailSums(xp.concatenate([prices, zero]), a, c)


def position(xp: Any, edges: Any, time: Any) -> tuple[Any, Any]:
    """Block that starts at or before round ``time``, and the rounds left of it; 0 from T on."""
    block = xp.searchsorted(edges, time, side="right") - 1
    end = xp.concatenate([edges[1:], edges[-1:]])[block]
    return block, xp.maximum(end - time, 0)


def block_edges(fluid: Fluid | ArrivalFluid, horizon: int, num_blocks: int) -> np.ndarray:
    r"""Cut the rounds 1..T into blocks, finer where more requests complete.

    Rounding a start to the next edge costs a request half a block on average, so with
    :math:`\rho` completions a round in the fluid, the blocks that lose least in sum have widths
    proportional to :math:`1 / \sqrt\rho`.

    Args:
      fluid: the instance served as a fluid.
      horizon: T.
      num_blocks: J. If it is T or more, each round is a block.

    Returns:
      int64 ``[J + 1]``, ascending from 0 to T; blocks that are left over are empty, at T.
    """
    if num_blocks >= horizon:
        return np.minimum(np.arange(num_blocks + 1), horizon)
    time = np.append(fluid.time, max(horizon, fluid.time[-1]))
    rounds, finished = np.diff(time), np.append(-np.diff(fluid.unfinished), 0)
    density = np.concatenate([[0], np.cumsum(np.sqrt(rounds * (finished + rounds / horizon)))])
    level = np.linspace(0, np.interp(horizon, time, density), num_blocks + 1)
    edges = np.unique(np.floor(np.interp(level, density, time) + 0.5).astype(np.int64))
    return np.append(edges, np.full(num_blocks + 1 - edges.size, horizon))


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
      the true one; and its start, int64 ``[B, n]``.
    """
    requests = [each.astype(np.int64) for each in (prompt, output, release)]
    requests += [] if weight is None else [weight]
    each = [_of_one(*given) for given in zip(edges, prices, *requests, strict=True)]
    cost, start = (np.stack(parts) for parts in zip(*each, strict=True))
    return cost, start


def _of_one(
    edges: np.ndarray, prices: np.ndarray, *requests: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Do the same for requests ``[n]`` of one instance."""
    tails = tail_sums(np, prices, np.diff(edges).astype(np.float64))
    size = max(1, HOST_CELLS // edges.size)
    chunks = [slice(begin, begin + size) for begin in range(0, requests[0].size, size)]
    best = [
        _least_costs(edges, tails, *(each[chunk, None] for each in requests)) for chunk in chunks
    ]
    cost, start = (np.concatenate(parts) for parts in zip(*best, strict=True))
    return cost, start


def rounding(num_blocks: int) -> float:
    """Relative error that float64 can make in sums over the blocks and in placing a vertex.

    A tail sum adds J products of positive numbers and then J of those sums: 2 J roundings of
    2^-53 each and a handful more. A slope is off by as much of its terms, which moves a vertex;
    that costs less than the slope's error times the length of the piece, and a term of the slope
    times that length is at most twice a term of the cost.
    """
    return 16 * (num_blocks + 8) * np.finfo(np.float64).eps


def _least_costs(
    edges: np.ndarray,
    tails: TailSums,
    prompt: np.ndarray,
    output: np.ndarray,
    release: np.ndarray,
    weight: np.ndarray | int = 1,
) -> tuple[np.ndarray, np.ndarray]:
    """Do the same for requests ``[n, 1]``."""
    at_edge = np.broadcast_to(edges, (prompt.size, edges.size))
    to_edge = np.where(at_edge >= output, at_edge - output, at_edge)
    start = np.maximum(np.concatenate([at_edge, to_edge], axis=1), release)
    first, first_rest = position(np, edges, start)
    last, last_rest = position(np, edges, start + output)

    def cost(moved: Any) -> np.ndarray:
        """Cost from release of the starts moved within their pieces, rounded down."""
        a_start, c_start = tails.at(first, first_rest - moved)
        a_end, c_end = tails.at(last, last_rest - moved)
        paid = weight * ((start - release) + moved + output) + prompt * a_start + c_start
        saved = (prompt + output) * a_end + c_end
        return paid - saved - error * (paid + saved)

    error = rounding(edges.size)
    a_start, _ = tails.at(first, first_rest)
    a_end, _ = tails.at(last, last_rest)
    first_price, last_price = tails.price[first], tails.price[last]
    slope = weight + (prompt + output) * last_price - prompt * first_price - (a_start - a_end)
    bend = first_price - last_price
    length = np.minimum(first_rest, np.where(last_rest > 0, last_rest, MAX_INT32))
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        vertex = np.clip(np.rint(0.5 - slope / bend), 0, length)
    moved = np.where(bend > 0, vertex, 0).astype(np.int64)

    candidates = np.concatenate([cost(0), cost(moved)], axis=1)
    best = np.argmin(candidates, axis=1)[:, None]
    all_starts = np.concatenate([start, start + moved], axis=1)
    return (
        np.take_along_axis(candidates, best, axis=1)[:, 0],
        np.take_along_axis(all_starts, best, axis=1)[:, 0],
    )
