"""A lower bound from memory times time."""

from __future__ import annotations

from typing import Any

from jaxsched._lib.arrays import namespace
from jaxsched._lib.chunks import map_instances
from jaxsched._lib.loops import repeat
from jaxsched.bounds._releases import checked_releases, from_the_first
from jaxsched.model.instance import Instance, exact_volume


def volume(inst: Instance, *, release_rounds: Any = None) -> Any:
    r"""Lower bound on the total latency of every feasible schedule, from the volumes.

    Request :math:`i` takes :math:`v_i = s_i o_i + \tfrac12 o_i (o_i + 1)` token rounds and
    :math:`M` are to be had in a round, so the j-th completion comes no earlier than the j
    smallest volumes over :math:`M`. Nor does it come before the j-th shortest output. Sorting
    volumes and outputs each by themselves,

    .. math::
       \mathrm{TEL} \ge \sum_{j=1}^{n}
       \max\Bigl(\Bigl\lceil \tfrac1M \sum_{k \le j} v_{(k)} \Bigr\rceil,\; o_{(j)}\Bigr).

    The rounding up is ours: completions are whole rounds. All of it is exact integer arithmetic,
    also inside ``jit`` and ``vmap``.

    Where request :math:`i` cannot start before round :math:`a_i`, order requests by release. Of
    the first j to complete, at least :math:`j - k` are not among the first k released, and need
    their volumes after :math:`a_{(k+1)}`. With :math:`v^k` the volumes of those, ascending,

    .. math::
       \sum_i (c_i - a_i) \ge \sum_{j=1}^{n} \max\Bigl( (a + o)_{(j)},\;
       \max_{k < j} \Bigl( a_{(k+1)} + \Bigl\lceil \tfrac1M \sum_{l \le j - k} v^k_{(l)}
       \Bigr\rceil \Bigr) \Bigr) - \sum_i a_i .

    Args:
      inst: the instance, ``[.., n]``. Padding takes no part.
      release_rounds: :math:`a_i \ge 0`, integers ``[n]`` or ``[.., n]``; None for all 0.

    Returns:
      float64 ``[..]`` whatever jax's width, in rounds: a bound on the sum of completions less
      releases. It holds for both admissions and under any cap on the requests active at once.

    Raises:
      ValueError: a release is not an integer >= 0, or is too late to be counted in int32.

    Example:
      Three requests of volume 12 in a cache of 6 tokens: by volume they complete no earlier
      than rounds 2, 4 and 6, and none before round 3.

      >>> import jaxsched as js
      >>> inst = js.Instance.from_lengths([2, 2, 2], [3, 3, 3], kv_capacity=6)
      >>> float(js.bounds.volume(inst))
      13.0
    """
    if release_rounds is None:
        return map_instances(_volume_bound, inst)
    return map_instances(_bound_with_releases, inst, checked_releases(inst, release_rounds))


def _volume_bound(inst: Instance) -> Any:
    xp = namespace(inst.prompt_tokens)
    # Padding sorts first in both, as requests that take nothing and complete at round 0.
    least_work = xp.cumsum(xp.sort(exact_volume(inst), axis=-1), axis=-1)
    least_rounds = xp.sort(xp.where(inst.is_real, inst.output_tokens, 0), axis=-1)
    capacity = inst.kv_capacity.astype(xp.int64)[:, None]
    completion = xp.maximum(-(-least_work // capacity), least_rounds.astype(xp.int64))
    return completion.sum(axis=-1).astype(xp.float64)


def _bound_with_releases(inst: Instance, rounds: Any) -> Any:
    xp = namespace(inst.prompt_tokens)
    _, after = from_the_first(inst.is_real, rounds)
    # Padding is released first, takes nothing and completes at round 0.
    order = xp.argsort(xp.where(inst.is_real, after, -1), axis=-1, stable=True)
    time = xp.take_along_axis(after, order, axis=-1)
    work = xp.take_along_axis(exact_volume(inst), order, axis=-1)
    output = xp.where(inst.is_real, inst.output_tokens, 0).astype(xp.int64)
    capacity, place = inst.kv_capacity.astype(xp.int64)[:, None], xp.arange(work.shape[-1])

    def of_the_rest(k: Any, completion: Any) -> Any:
        left = xp.sort(xp.where(place >= k, work, 0), axis=-1)
        full = time[:, k, None] - (-xp.cumsum(left, axis=-1) // capacity)
        return xp.maximum(completion, xp.where(place >= k, full, 0))

    completion = xp.sort(after + output, axis=-1)
    completion = repeat(xp, work.shape[-1], of_the_rest, completion)
    return (completion - after).sum(axis=-1).astype(xp.float64)
