r"""The fluid relaxation: a bound in closed form, and the prices that prove it.

**Claim.** With volumes in ascending order, :math:`v_1 \le \dots \le v_n`, and
:math:`V_j = v_1 + \dots + v_j`, every feasible schedule has

.. math::
   \mathrm{TEL} \ge \sum_{j=1}^{n} \frac{V_j - v_j / 2}{M}
   + \sum_{i=1}^{n} \Bigl( \frac12 + r_i \Bigr), \qquad
   r_i = \frac{1}{v_i} \Bigl( \frac{s_i\, o_i (o_i - 1)}{2} + \frac{o_i (o_i^2 - 1)}{6} \Bigr).

**Proof.** Let :math:`m_i(\tau)` be the tokens that request :math:`i` holds at time :math:`\tau`,
where round :math:`t` is the interval :math:`(t-1, t]`: :math:`s_i + u` in its :math:`u`-th active
round, 0 before and after, so that :math:`\int m_i = v_i`. Its *mean busy time*
:math:`B_i = \frac{1}{v_i} \int \tau\, m_i(\tau)\, d\tau` is the mean over its token rounds of the
middles of their rounds, and the :math:`u`-th of its rounds has its middle
:math:`o_i - u + \frac12` before the completion :math:`c_i`. Hence

.. math::
   c_i - B_i = \frac{1}{v_i} \sum_{u=1}^{o_i} (s_i + u) \bigl( o_i - u + \tfrac12 \bigr)
             = \tfrac12 + r_i ,

whatever the start. It remains to bound :math:`\sum_i B_i`, and for that of all that makes a
schedule feasible only :math:`m_i \ge 0`, :math:`\int m_i = v_i` and :math:`\sum_i m_i \le M` are
used: a fluid. Let :math:`\lambda(\tau) \ge 0` be continuous, fall with slope :math:`-1/v_j` for
:math:`\tau` between :math:`V_{j-1}/M` and :math:`V_j/M`, and be 0 from :math:`V_n/M` on. Because
:math:`M \lambda - \sum_i m_i \lambda \ge 0`,

.. math::
   \sum_i B_i \ge \sum_i \int m_i(\tau) \Bigl( \frac{\tau}{v_i} + \lambda(\tau) \Bigr) d\tau
   - M \int \lambda .

The slope of :math:`\tau / v_i + \lambda(\tau)` is :math:`1/v_i - 1/v_j`, not positive before and
not negative after the interval of :math:`i` itself, where it is 0; so the bracket is least
throughout that interval, and the right-hand side is least when each request fills its own interval
with :math:`m_i = M`. There every inequality above is an equality, and
:math:`B_i = (V_i - v_i / 2) / M`. :math:`\square`

**With weights** :math:`w_i`, order by :math:`v_i / w_i` and let :math:`\lambda` fall with slope
:math:`-w_j / v_j` in the interval of :math:`j`. The slope of
:math:`w_i \tau / v_i + \lambda(\tau)` is then :math:`w_i / v_i - w_j / v_j`, of which the same can
be said, and so

.. math::
   \sum_i w_i c_i \ge \sum_{j=1}^{n} w_j \frac{V_j - v_j / 2}{M}
   + \sum_{i=1}^{n} w_i \Bigl( \frac12 + r_i \Bigr).

The prices have a meaning: each interval lowers :math:`\lambda` by
:math:`\frac{1}{v_j} \cdot \frac{v_j}{M} = \frac1M`, so :math:`\lambda(\tau)` is the number of
requests that the fluid has not finished, over :math:`M`; with weights, their weight. Charging whole
windows of tokens by these prices instead of each token round by itself is
:func:`~jaxsched.bounds.price` at its start; its ascent improves on them.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from jaxsched._lib.arrays import is_traced, namespace, on_host
from jaxsched._lib.chunks import map_instances
from jaxsched.bounds._busy_arrivals import least_waiting
from jaxsched.bounds._releases import checked_releases, from_the_first
from jaxsched.bounds._weights import ROUNDING, from_the_end, weighed
from jaxsched.model.instance import Instance, exact_volume


def mean_busy(inst: Instance, *, release_rounds: Any = None) -> Any:
    r"""Lower bound on the total latency of every feasible schedule, from mean busy times.

    A request completes a fixed time after the mean of its token rounds, and these means are
    least when the cache is always full and serves one request after another, smallest volume
    first. With :math:`v_i = s_i o_i + \tfrac12 o_i (o_i + 1)` ascending and
    :math:`V_j = v_1 + \dots + v_j`,

    .. math::
       \mathrm{TEL} \ge \sum_{j=1}^{n} \frac{V_j - v_j / 2}{M} + \sum_{i=1}^{n} \Bigl( \frac12
       + \frac{s_i o_i (o_i - 1) / 2 + o_i (o_i^2 - 1) / 6}{v_i} \Bigr).

    Where request :math:`i` cannot start before round :math:`a_i`, it is a bound on total flow
    time, :math:`\sum (c_i - a_i)`. The fluid then serves the smallest volume released so far, and
    the work is :math:`O(n^2)`.

    With weights :math:`w_i` it is a bound on :math:`\sum w_i c_i`, or :math:`\sum w_i (c_i - a_i)`:
    the fluid serves by :math:`v_i / w_i`, and each term counts :math:`w_i` times.

    The complete proofs are at the top of ``jaxsched/bounds/_busy.py`` and, with releases, of
    ``_busy_arrivals.py``. Computed in float64, less 1e-9 of itself for rounding, also inside
    ``jit`` and ``vmap``.

    Args:
      inst: the instance, ``[.., n]``. Padding takes no part.
      release_rounds: :math:`a_i \ge 0`, integers ``[n]`` or ``[.., n]``; None for all 0.

    Returns:
      float64 ``[..]`` whatever jax's width, in rounds: a bound on the sum of completions less
      releases. It holds for both admissions and under any cap on the requests active at once.

    Raises:
      ValueError: a release is not an integer >= 0, or is too late to be counted in int32.

    Example:
      Two requests of volume 12 in a cache of 6 tokens: the means of their token rounds are no
      less than 1 and 3, and each completes 1/2 + 5/6 rounds after its own.

      >>> import jaxsched as js
      >>> inst = js.Instance.from_lengths([2, 2], [3, 3], kv_capacity=6)
      >>> round(float(js.bounds.mean_busy(inst)), 6)
      6.666667

    Source:
      Our form, for memory that grows, of Eastman, Even, Isaacs, *Bounds for the optimal
      scheduling of n jobs on m processors*, Management Science, 1964; with releases, of Goemans,
      Queyranne, Schulz, Skutella, Wang, *Single machine scheduling with release dates*, SIAM
      Journal on Discrete Mathematics, 2002.
    """
    without_releases = _mean_busy_bound if inst.weight is None else _weighted_bound
    if release_rounds is None:
        return map_instances(without_releases, inst)
    rounds = checked_releases(inst, release_rounds)
    if not is_traced(inst, rounds):
        _, after = from_the_first(np.asarray(inst.is_real), rounds)
        if not after.any():
            return map_instances(without_releases, inst)
    return map_instances(_bound_with_releases, inst, rounds)


def _bound_with_releases(inst: Instance, rounds: Any) -> Any:
    return (least_waiting(inst, rounds) + _to_completion(inst)) * (1 - ROUNDING)


def _to_completion(inst: Instance) -> Any:
    """Sum up the rounds from mean busy times to completions, float64 ``[B]``."""
    xp = namespace(inst.prompt_tokens)
    prompt, output = inst.prompt_tokens.astype(xp.float64), inst.output_tokens.astype(xp.float64)
    volume = exact_volume(inst).astype(xp.float64)
    after_mean = prompt * output * (output - 1) / 2 + output * (output**2 - 1) / 6
    rest = xp.where(inst.is_real, 0.5 + after_mean / xp.maximum(volume, 1), 0)
    if inst.weight is not None:
        rest = rest * inst.weight.astype(xp.float64)
    return rest.sum(axis=-1)


def _mean_busy_bound(inst: Instance) -> Any:
    xp = namespace(inst.prompt_tokens)
    volume = exact_volume(inst).astype(xp.float64)
    # V_j - v_j / 2 counts each volume once for every later request and half for its own. Padding
    # sorts first, as requests of no volume.
    volume = xp.sort(volume, axis=-1)
    n = volume.shape[-1]
    times_counted = (n - 0.5 - np.arange(n))[None]
    busy = xp.sum(volume * times_counted, axis=-1) / inst.kv_capacity.astype(xp.float64)
    return (busy + _to_completion(inst)) * (1 - ROUNDING)


def _weighted_bound(inst: Instance) -> Any:
    xp = namespace(inst.prompt_tokens)
    weight, ratio = weighed(inst)
    order = xp.argsort(ratio, axis=-1)
    weight, volume = (xp.take_along_axis(each, order, axis=-1) for each in (weight, weight * ratio))
    busy = xp.sum(weight * (xp.cumsum(volume, axis=-1) - volume / 2), axis=-1)
    return (busy / inst.kv_capacity.astype(xp.float64) + _to_completion(inst)) * (1 - ROUNDING)


class Fluid(NamedTuple):
    """One instance served as a fluid, smallest volume (over weight) first.

    Attributes:
      time: float64 ``[1 + requests]``, in rounds: 0, then when each request is finished.
      unfinished: float64 ``[1 + requests]``; requests, or their weights, that are left at
        ``time``, linear in between.
    """

    time: np.ndarray
    unfinished: np.ndarray

    def price(self, time: np.ndarray, kv_capacity: int) -> np.ndarray:
        r"""Price :math:`\lambda` of a token at ``time`` (see the top of this file)."""
        return np.interp(time, self.time, self.unfinished) / kv_capacity


def fluid(inst: Instance) -> Fluid:
    """Serve the real requests of one instance ``[n]`` as a fluid."""
    inst = on_host(inst)
    volume, capacity = exact_volume(inst)[inst.is_real], int(inst.kv_capacity)
    if inst.weight is None:
        work = np.concatenate([[0], np.cumsum(np.sort(volume))])
        return Fluid(work / capacity, np.arange(volume.size, -1.0, -1.0))
    weight, ratio = (each[inst.is_real] for each in weighed(inst))
    order = np.argsort(ratio)
    work = np.concatenate([[0], np.cumsum(volume[order])])
    return Fluid(work / capacity, from_the_end(weight[order]))
