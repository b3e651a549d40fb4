r"""Gradient ascent on block prices, in float32: any prices will do, they are judged elsewhere.

With :math:`k_i` the cheapest starts under :math:`\lambda`, the bound grows by

.. math:: \frac{\partial L}{\partial \lambda_j}
   = \sum_i \sum_{t \in \text{block } j} m_i(t) - M\,|\text{block } j| ,

the tokens that requests started at :math:`k_i` would hold in the block, less those that the cache
has there. Here :math:`k_i` is sought among the block edges and the release only, which makes it a
gradient of a slightly larger function and does no harm to what is proven.

Prices are steps of Adam away from those of the fluid, each block's in units of its own fluid price,
and held at 0 from below. Nothing here needs the horizon: it is in the shape of the blocks.
"""

from __future__ import annotations

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import lax

from jaxsched.bounds._price_blocks import TailSums, position, tail_sums

STEPS_PER_CYCLE = 100


def first_step_size(num_requests: Any) -> np.ndarray:
    """Size of the first step of the first cycle, by trial.

    The more requests, the nearer the fluid is to the optimum, and the less there is to correct.
    """
    return np.minimum(1, 5 / np.sqrt(np.maximum(num_requests, 1))).astype(np.float32)


class Problem(NamedTuple):
    """One instance cut into blocks, or a batch of them; arrays of numpy or jax.

    Attributes:
      edges: int32 ``[.., J + 1]``.
      unit: float32 ``[.., J]``, what a step of 1 adds to a block's price.
      prompt: int32 ``[.., n]``.
      output: int32 ``[.., n]``.
      is_real: bool ``[.., n]``.
      kv_capacity: int32 ``[..]``.
      release: int32 ``[.., n]``, first start allowed; None, which is quicker, for all 0.
      weight: float32 ``[.., n]``, what a round of latency costs; None for 1.
    """

    edges: Any
    unit: Any
    prompt: Any
    output: Any
    is_real: Any
    kv_capacity: Any
    release: Any = None
    weight: Any = None


class Cycle(NamedTuple):
    """What a cycle of steps found: the best prices, their value, and all values on the way.

    Attributes:
      prices: float32 ``[.., J]``, in units.
      value: float32 ``[..]``.
      history: float32 ``[.., STEPS_PER_CYCLE]``; NaN for steps that were not asked for.
    """

    prices: jax.Array
    value: jax.Array
    history: jax.Array


class _Windows(NamedTuple):
    """Windows that requests may take, arrays ``[n, K]``; or that each one takes, ``[n]``.

    A round is where so many rounds are left of a block; edge j is the end of block j - 1.
    """

    delay: jax.Array  # from release to start; infinite before release
    first_block: jax.Array
    first_rest: jax.Array
    last_block: jax.Array
    last_rest: jax.Array

    def cost(
        self, tails: TailSums, prompt: jax.Array, output: jax.Array, weight: jax.Array | None
    ) -> jax.Array:
        latency = self.delay + output
        waited = latency if weight is None else weight * latency
        a_start, c_start = tails.at(self.first_block, self.first_rest)
        a_end, c_end = tails.at(self.last_block, self.last_rest)
        return waited + prompt * a_start + c_start - (prompt + output) * a_end - c_end


@jax.jit
@functools.partial(jax.vmap, in_axes=(0, 0, 0, None))
def ascend(
    problem: Problem, prices: jax.Array, step_size: jax.Array, num_steps: jax.Array
) -> Cycle:
    """Climb from ``prices`` (in units) by steps that shrink to nothing, as half a cosine.

    Args:
      problem: a batch ``[B, ..]``.
      prices: float32 ``[B, J]``.
      step_size: float32 ``[B]``, of the first step.
      num_steps: int32, at most ``STEPS_PER_CYCLE``.
    """
    width = jnp.diff(problem.edges).astype(jnp.float32)
    prompt, output, capacity = (
        tokens.astype(jnp.float32)
        for tokens in (problem.prompt, problem.output, problem.kv_capacity)
    )
    weight = problem.weight
    of_all = prompt[:, None], output[:, None], None if weight is None else weight[:, None]
    windows = [_windows_from_edges(problem)]
    if problem.release is not None:
        windows.append(_windows_from_release(problem))
    all_windows = _side_by_side(windows)
    optimizer: Any = optax.scale_by_adam(b2=0.99)

    def bound(prices: jax.Array) -> jax.Array:
        tails = tail_sums(jnp, prices * problem.unit, width)
        fixed = lax.stop_gradient(tails)
        costs = [each.cost(fixed, *of_all) for each in windows]
        cheapest = jnp.argmin(jnp.concatenate(costs, axis=1), axis=1)
        chosen = jax.tree.map(
            lambda field: jnp.take_along_axis(field, cheapest[:, None], axis=1)[:, 0],
            all_windows,
        )
        cost = chosen.cost(tails, prompt, output, weight)
        return jnp.sum(cost, where=problem.is_real) - capacity * tails.a[0]

    def step(number: jax.Array, state: Any) -> Any:
        prices, moments, best = state
        value, gradient = jax.value_and_grad(bound)(prices)
        is_better = value > best.value
        best = Cycle(
            prices=jnp.where(is_better, prices, best.prices),
            value=jnp.where(is_better, value, best.value),
            history=best.history.at[number].set(value),
        )
        with jax.numpy_dtype_promotion("standard"):  # optax raises a float to an int
            direction, moments = optimizer.update(gradient, moments)
        share = number.astype(jnp.float32) / num_steps.astype(jnp.float32)
        size = step_size * (1 + jnp.cos(jnp.pi * share)) / 2
        return jnp.maximum(prices + size * direction, 0), moments, best

    history = jnp.full(STEPS_PER_CYCLE, jnp.nan, jnp.float32)
    nothing = Cycle(prices, jnp.float32(-jnp.inf), history)
    return lax.fori_loop(0, num_steps, step, (prices, optimizer.init(prices), nothing))[2]


def _windows_from_edges(problem: Problem) -> _Windows:
    edges = problem.edges[None]
    last_block, last_rest = _end(problem, edges)
    delay = edges.astype(jnp.float32)
    if problem.release is not None:
        release = problem.release[:, None]
        delay = jnp.where(edges < release, jnp.inf, (edges - release).astype(jnp.float32))
    return _Windows(
        delay=delay,
        first_block=lax.broadcasted_iota(jnp.int32, edges.shape, 1) - 1,
        first_rest=jnp.zeros(edges.shape, jnp.float32),
        last_block=last_block,
        last_rest=last_rest,
    )


def _windows_from_release(problem: Problem) -> _Windows:
    release = problem.release[:, None]
    first_block, first_rest = position(jnp, problem.edges, release)
    last_block, last_rest = _end(problem, release)
    return _Windows(
        delay=jnp.zeros(release.shape, jnp.float32),
        first_block=first_block.astype(jnp.int32),
        first_rest=first_rest.astype(jnp.float32),
        last_block=last_block,
        last_rest=last_rest,
    )


def _end(problem: Problem, start: jax.Array) -> tuple[jax.Array, jax.Array]:
    # A window that runs past T ends there, as far as prices go; start + output might wrap.
    end = start + jnp.minimum(problem.output[:, None], problem.edges[-1] - start)
    block, rest = position(jnp, problem.edges, end)
    return block.astype(jnp.int32), rest.astype(jnp.float32)


def _side_by_side(windows: list[_Windows]) -> _Windows:
    full = [
        _Windows(*(jnp.broadcast_to(field, each.last_block.shape) for field in each))
        for each in windows
    ]
    return _Windows(*(jnp.concatenate(fields, axis=1) for fields in zip(*full, strict=True)))
