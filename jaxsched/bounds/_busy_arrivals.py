r"""The fluid relaxation where requests are released over time, and the prices that prove it.

**Claim.** Let request :math:`i` be released at round :math:`a_i`, volumes ascend,
:math:`v_1 \le \dots \le v_n`, and :math:`1 / v_{n+1} = 0`. Let :math:`W_j(\tau)` be the work in
token rounds before a server of :math:`M` token rounds a round that serves requests
:math:`1, \dots, j` alone: it rises by :math:`v_i` at :math:`a_i` and falls at rate :math:`M` while
it is above 0. With :math:`r_i` as in ``jaxsched/bounds/_busy.py``, every feasible schedule has

.. math::
   \sum_i (c_i - a_i) \ge \sum_{j=1}^{n} \Bigl( \frac1{v_j} - \frac1{v_{j+1}} \Bigr)
   \int W_j(\tau)\, d\tau + \sum_{i=1}^{n} \Bigl( \frac12 + r_i \Bigr).

**Proof.** With :math:`m_i` and :math:`B_i` as there, let :math:`R_i(\tau)` be the work left of
request :math:`i` from its release on: :math:`\int_\tau^\infty m_i` for :math:`\tau \ge a_i`, and 0
before. As :math:`m_i` is 0 before :math:`a_i`,

.. math:: \int R_i = \int (\tau - a_i)\, m_i(\tau)\, d\tau = v_i (B_i - a_i).

Summation by parts over the requests gives

.. math::
   \sum_i (B_i - a_i) = \sum_i \frac1{v_i} \int R_i
   = \sum_{j=1}^{n} \Bigl( \frac1{v_j} - \frac1{v_{j+1}} \Bigr) \int \sum_{i \le j} R_i .

No factor is negative. :math:`\sum_{i \le j} R_i` is the work left of the requests released so far
among the first :math:`j`. The schedule serves them at a rate of at most :math:`M` and the server of
:math:`W_j` always does so while there is work, so :math:`\sum_{i \le j} R_i \ge W_j` at all times.
With :math:`c_i = B_i + \frac12 + r_i` the claim follows. :math:`\square`

To serve the smallest released volume first, interrupting others for it, meets all :math:`W_j` at
once. With all releases at 0, :math:`\int W_j = V_j^2 / 2M`, and the sum is the closed form there.

**With weights** :math:`w_i`, let :math:`w_i / v_i` descend and stand for :math:`1 / v_i`
throughout; :math:`W_j` serves the first :math:`j` in this order, and the last sum has factors
:math:`w_i`.

One more token at time :math:`\tau` would take a token round off every :math:`W_j` until its busy
period ends, at :math:`D_j(\tau)`. These are the prices:

.. math:: \lambda(\tau) = \sum_{j=1}^{n} \Bigl( \frac1{v_j} - \frac1{v_{j+1}} \Bigr)
          \max(D_j(\tau) - \tau, 0).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np

from jaxsched._lib.arrays import namespace, on_host, running_max
from jaxsched._lib.loops import repeat
from jaxsched.bounds._releases import from_the_first
from jaxsched.bounds._weights import from_the_end, weighed
from jaxsched.model.instance import Instance, exact_volume


class Queue(NamedTuple):
    """Requests in order of release, each row one instance's, ``[.., n]``.

    Attributes:
      time: int64, when they are released.
      work: int64, their volumes.
      rank: what they are served by, lower first: int64 volumes, or float64 over weights.
    """

    time: Any
    work: Any
    rank: Any

    def left(self, work: Any, kv_capacity: Any) -> Any:
        """Work before the server just after each release, if only ``work`` is served.

        The server is done at the latest of: some release, and all released from it on.
        """
        released = work.cumsum(axis=-1)
        served = kv_capacity * self.time
        return released + running_max(served - (released - work)) - served


def queue_of(volume: Any, after: Any, rank: Any = None) -> Queue:
    """Sort volumes ``[.., n]`` by rounds ``after`` the first release."""
    xp = namespace(volume)
    order = xp.argsort(after, axis=-1, stable=True)
    rank = volume if rank is None else rank
    return Queue(*(xp.take_along_axis(each, order, axis=-1) for each in (after, volume, rank)))


def makespan(volume: np.ndarray, after: np.ndarray, kv_capacity: np.ndarray) -> np.ndarray:
    """Whole rounds until a cache that is full while there is work is done; int64 ``[..]``."""
    queue, capacity = queue_of(volume, after), kv_capacity.astype(np.int64)
    left = queue.left(queue.work, capacity[..., None])[..., -1]
    return queue.time[..., -1] - (-left // capacity)


def least_waiting(inst: Instance, rounds: Any) -> Any:
    """Sum up what the claim says of the mean busy times since release; float64 ``[B]``."""
    xp = namespace(inst.prompt_tokens)
    volume = exact_volume(inst)
    _, after = from_the_first(inst.is_real, rounds)
    by = volume if inst.weight is None else weighed(inst)[1]
    queue, ascending = queue_of(volume, after, by), xp.sort(by, axis=-1)
    factor = factors(ascending)
    capacity = inst.kv_capacity.astype(xp.int64)[:, None]
    gap = capacity * xp.diff(queue.time, axis=-1)

    def add_rank(rank: Any, total: Any) -> Any:
        work = xp.where(queue.rank <= ascending[:, rank, None], queue.work, 0)
        left = queue.left(work, capacity)
        served = xp.concatenate([xp.minimum(left[:, :-1], gap), left[:, -1:]], axis=-1)
        # While it falls from `left` by `served`, the work is their mean.
        area = served.astype(xp.float64) * (2 * left - served).astype(xp.float64)
        return total + factor[:, rank] * area.sum(axis=-1)

    total = repeat(xp, volume.shape[-1], add_rank, xp.zeros(len(volume), xp.float64))
    return total / (2 * inst.kv_capacity.astype(xp.float64))


def factors(ascending: Any) -> Any:
    """Differences of ``1 / v`` between neighbors ``[.., n]``, the last to 0; 0 for no volume."""
    xp = namespace(ascending)
    volume = xp.where(ascending > 0, ascending, 1).astype(xp.float64)
    rise = xp.diff(ascending, axis=-1).astype(xp.float64) / (volume[..., :-1] * volume[..., 1:])
    differences = xp.concatenate([rise, 1 / volume[..., -1:]], axis=-1)
    return xp.where(ascending > 0, differences, 0)


class ArrivalFluid(NamedTuple):
    """One instance served as a fluid, smallest released volume (over weight) first.

    Attributes:
      time: float64 ``[1 + requests]``, in rounds: 0, then when each request is finished.
      unfinished: float64 ``[1 + requests]``; requests, or their weights, that are left at
        ``time``, released or not.
      queue: the requests, ``[requests]``.
    """

    time: np.ndarray
    unfinished: np.ndarray
    queue: Queue

    def price(self, time: np.ndarray, kv_capacity: int) -> np.ndarray:
        r"""Price :math:`\lambda` of a token at ``time`` (see the top of this file)."""
        since = np.searchsorted(self.queue.time, time, side="right") - 1
        total = np.zeros(time.shape)
        for _, factor, end in _busy_periods(self.queue, kv_capacity):
            total += factor * np.maximum(end[since] - time, 0)
        return total


def fluid_of_arrivals(inst: Instance, after: np.ndarray) -> ArrivalFluid:
    """Serve the real requests of one instance ``[n]``, released so long ``after`` the first."""
    inst = on_host(inst)
    weight, by = (each[inst.is_real] for each in weighed(inst))
    volume, after = exact_volume(inst)[inst.is_real], after[inst.is_real]
    queue = queue_of(volume, after, None if inst.weight is None else by)
    finished = np.zeros(queue.work.size)
    for rank, _, end in _busy_periods(queue, int(inst.kv_capacity)):
        finished = np.where(queue.rank == rank, end, finished)
    weight = weight[np.argsort(after, kind="stable")][np.argsort(finished)]
    return ArrivalFluid(np.append(0, np.sort(finished)), from_the_end(weight), queue)


def _busy_periods(queue: Queue, kv_capacity: int) -> Iterator[tuple[Any, float, np.ndarray]]:
    """Give each rank, its factor, and when the busy period ends that holds each release."""
    ascending = np.unique(queue.rank)
    for rank, factor in zip(ascending.tolist(), factors(ascending).tolist(), strict=True):
        left = queue.left(np.where(queue.rank <= rank, queue.work, 0), kv_capacity)
        is_last = np.append(left[:-1] <= kv_capacity * np.diff(queue.time), True)
        end = np.where(is_last, queue.time + left / kv_capacity, np.inf)
        yield rank, factor, np.minimum.accumulate(end[::-1])[::-1]
