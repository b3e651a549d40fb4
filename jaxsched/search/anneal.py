r"""Simulated annealing of serving orders: many chains in step, the exact simulator inside.

A move takes a request elsewhere in the order, or exchanges it with another. Requests that start
in the same round can change places without any effect, so a move always leaves the run of
equal starts around its request; how far beyond, by positions, is log-uniform. The new order
replaces the old one with probability :math:`\min(1, e^{-\Delta / T_k})`, where :math:`\Delta` is
what it adds to the total latency and the temperature of step :math:`k` is

.. math:: T_k = \frac{\bar c / 10}{\sqrt{1 + k / 100}}

with the mean latency :math:`\bar c` at the outset. Where requests have weights, both are weighted,
:math:`\bar c` being the weighted total over the number of requests. It knows of no last step, so
a search can go on at any time as if it had never paused. Moves and temperatures are ours.
"""

from __future__ import annotations

import dataclasses
import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from jaxsched.engine.contract import Admission, Discipline
from jaxsched.engine.offline.programs import starts_in_order
from jaxsched.model.instance import MAX_INT32, Instance

STEPS_PER_ROUND = 256
MAX_REQUESTS = 2**15

_FIRST_TEMPERATURE = 0.1  # mean latencies
_STEPS_BEFORE_COOLING = 100
_DRAWS = 4  # random numbers a step: which request, which move, how far, whether accepted
_LIMB_BITS = 16


class Total(NamedTuple):
    """A sum of start rounds in two limbs, ``high * 2**16 + low`` with ``0 <= low < 2**16``."""

    high: Any
    low: Any

    @classmethod
    def of(cls, rounds: np.ndarray) -> Total:
        """Split int64 sums."""
        return cls(*(limb.astype(np.int32) for limb in np.divmod(rounds, 2**_LIMB_BITS)))

    def exact(self) -> np.ndarray:
        """Put the limbs together, int64 on the host."""
        return np.asarray(self.high, np.int64) * 2**_LIMB_BITS + self.low


class WeightedTotal(NamedTuple):
    """A weighted sum of start rounds, float64."""

    rounds: Any

    @classmethod
    def of(cls, rounds: np.ndarray) -> WeightedTotal:
        """Take float64 sums."""
        return cls(rounds)

    def exact(self) -> np.ndarray:
        """Give the sum, float64 on the host."""
        return np.asarray(self.rounds, np.float64)


AnyTotal = Total | WeightedTotal


class Chains(NamedTuple):
    """Orders that are being improved, one a chain.

    Attributes:
      order: int32 ``[.., C, n]``, the requests in serving order, padding last.
      best: int32 ``[.., C, n]``, the best order yet.
      best_total: of that order, ``[.., C]``; weighted where the instance is.
    """

    order: Any
    best: Any
    best_total: AnyTotal


class _Walk(NamedTuple):
    chains: Chains
    start: jax.Array  # [C, n] start rounds in serving order
    total: AnyTotal  # [C]


@functools.partial(jax.jit, static_argnames=("discipline", "admission"))
def anneal(
    inst: Instance,
    max_num_seqs: jax.Array | None,
    mean_latency: jax.Array,
    number: jax.Array,
    chains: Chains,
    key: jax.Array,
    begin: jax.Array,
    end: jax.Array,
    discipline: Discipline,
    admission: Admission,
) -> tuple[Chains, AnyTotal]:
    """Take steps ``begin .. end - 1`` of one round.

    Args:
      inst: the instance of each chain, ``[C, n]``. With weights, call it with ``enable_x64``.
      max_num_seqs: cap of each, ``[C]``, or None.
      mean_latency: that sets the temperature of each, float32 ``[C]`` rounds.
      number: of each, int32 ``[C]``, which sets its random numbers.
      chains: where they stand.
      key: jax random key.
      begin: first step, counted from the outset of the search.
      end: step to stop before, in the same round of ``STEPS_PER_ROUND``.
      discipline: see :func:`jaxsched.simulate`.
      admission: likewise.

    Returns:
      The chains, and the sums ``[C]`` of start rounds by their orders.
    """
    num_real = inst.num_requests
    position = lax.broadcasted_iota(jnp.int32, chains.order.shape, 1)
    total_of = functools.partial(_total_of, inst.weight)
    lengths = dataclasses.replace(inst, weight=None)
    draws = jax.vmap(lambda chain: _draws(key, chain, begin // STEPS_PER_ROUND))(number)

    def step(k: jax.Array, walk: _Walk) -> _Walk:
        of_request, of_move, of_distance, of_acceptance = draws[:, k % STEPS_PER_ROUND].T
        moved = _move(of_request, of_move, of_distance, walk.start, num_real)
        source = jnp.where(k < begin, position, moved)
        order = jnp.take_along_axis(walk.chains.order, source, axis=-1)
        start = starts_in_order(lengths, order, max_num_seqs, discipline, admission)
        total = total_of(order, jnp.where(position < num_real[:, None], start, 0))

        cooling = lax.rsqrt(1 + k.astype(jnp.float32) / _STEPS_BEFORE_COOLING)
        temperature = _FIRST_TEMPERATURE * cooling * mean_latency
        is_accepted = of_acceptance < jnp.exp(-_difference(total, walk.total) / temperature)
        is_best = _difference(total, walk.chains.best_total) < 0
        return _Walk(
            Chains(
                order=_either(is_accepted, order, walk.chains.order),
                best=_either(is_best, order, walk.chains.best),
                best_total=_either(is_best, total, walk.chains.best_total),
            ),
            start=_either(is_accepted, start, walk.start),
            total=_either(is_accepted, total, walk.total),
        )

    # The orders as they are come first, before any move, and are accepted whatever they cost:
    # so the simulator is compiled only once.
    worst = jnp.full(number.shape, MAX_INT32, jnp.int32)
    outset = Total(worst, worst)
    if inst.weight is not None:
        outset = WeightedTotal(jnp.full(number.shape, jnp.inf, jnp.float64))
    walk = _Walk(chains, jnp.zeros_like(chains.order), outset)
    walk = lax.fori_loop(begin - 1, end, step, walk)
    return walk.chains, walk.total


def _draws(key: jax.Array, chain: jax.Array, number: jax.Array) -> jax.Array:
    """Uniform numbers ``[STEPS_PER_ROUND, 4]`` of a chain in round ``number``."""
    own = jax.random.fold_in(jax.random.fold_in(key, chain), number)
    return jax.random.uniform(own, (STEPS_PER_ROUND, _DRAWS), jnp.float32)


def _move(
    of_request: jax.Array,
    of_move: jax.Array,
    of_distance: jax.Array,
    start: jax.Array,
    num_real: jax.Array,
) -> jax.Array:
    """Positions ``[C, n]`` that the requests of the new order come from.

    Args:
      of_request: uniform on [0, 1), ``[C]``.
      of_move: likewise.
      of_distance: likewise.
      start: start rounds in serving order, ``[C, n]``.
      num_real: requests of each chain, ``[C]``; the rest is padding.
    """
    position = lax.broadcasted_iota(jnp.int32, start.shape, 1)
    origin = _scaled(of_request, num_real)[:, None]
    is_apart = start != jnp.take_along_axis(start, origin, axis=-1)
    is_later = (position >= num_real[:, None]) | is_apart & (position > origin)
    run_end = jnp.min(position, axis=-1, where=is_later, initial=start.shape[1])
    run_begin = 1 + jnp.max(position, axis=-1, where=is_apart & (position < origin), initial=-1)

    # Four kinds of move: insertion or exchange, towards the end or towards the beginning.
    kind = _scaled(of_move, jnp.full_like(num_real, 4))
    room_after, room_before = num_real - run_end, run_begin
    is_forward = ((kind % 2 == 0) | (room_before == 0)) & (room_after > 0)
    room = jnp.where(is_forward, room_after, room_before)
    distance = jnp.exp(of_distance * jnp.log1p(room.astype(jnp.float32))).astype(jnp.int32)
    distance = jnp.minimum(distance, room)
    target = jnp.where(is_forward, run_end - 1 + distance, run_begin - distance)[:, None]

    is_origin, is_target = position == origin, position == target
    is_between = (position >= jnp.minimum(origin, target)) & (
        position <= jnp.maximum(origin, target)
    )
    shifted = position + jnp.where(is_between, jnp.sign(target - origin), 0)
    inserted = jnp.where(is_target, origin, shifted)
    exchanged = jnp.where(is_origin, target, jnp.where(is_target, origin, position))
    return jnp.where(kind[:, None] < 2, inserted, exchanged)


def _scaled(uniform: jax.Array, count: jax.Array) -> jax.Array:
    """Integers 0 .. count - 1 from numbers on [0, 1)."""
    scaled = (uniform * count.astype(jnp.float32)).astype(jnp.int32)
    return jnp.minimum(scaled, count - 1)


def _total(rounds: jax.Array) -> Total:
    """Sum over the last axis, of at most ``MAX_REQUESTS`` numbers >= 0."""
    low = jnp.sum(rounds & (2**_LIMB_BITS - 1), axis=-1, dtype=jnp.int32)
    high = jnp.sum(rounds >> _LIMB_BITS, axis=-1, dtype=jnp.int32)
    return Total(high + (low >> _LIMB_BITS), low & (2**_LIMB_BITS - 1))


def _total_of(weight: jax.Array | None, order: jax.Array, start: jax.Array) -> AnyTotal:
    """Sum up start rounds ``[C, n]`` in serving order, each as often as its request weighs."""
    if weight is None:
        return _total(start)
    in_order = jnp.take_along_axis(weight, order, axis=-1).astype(jnp.float64)
    return WeightedTotal(jnp.sum(in_order * start.astype(jnp.float64), axis=-1))


def _difference(total: AnyTotal, other: AnyTotal) -> jax.Array:
    """``total - other`` as float32, with the sign always right."""
    if isinstance(total, WeightedTotal) or isinstance(other, WeightedTotal):
        return (total[0] - other[0]).astype(jnp.float32)
    high, low = ((a - b).astype(jnp.float32) for a, b in zip(total, other, strict=True))
    return high * 2**_LIMB_BITS + low


def _either(condition: jax.Array, chosen: Any, other: Any) -> Any:
    """Chain by chain ``chosen`` where the condition ``[C]`` holds, else ``other``."""

    def choose(a: jax.Array, b: jax.Array) -> jax.Array:
        return jnp.where(condition.reshape(-1, *(1,) * (a.ndim - 1)), a, b)

    return jax.tree.map(choose, chosen, other)
