"""A lower bound from memory times time."""

from __future__ import annotations

from typing import Any

from jaxsched._lib.arrays import namespace
from jaxsched._lib.chunks import map_instances
from jaxsched._lib.errors import InputError
from jaxsched._lib.loops import repeat
from jaxsched.bounds._releases import checked_releases, from_the_first
from jaxsched.bounds._weights import ROUNDING, weighed
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

    With weights, :math:`w_i`, it is a bound on :math:`\sum_i w_i c_i`, the larger of two. First,
    completions are those of one machine that takes :math:`v_i / M` rounds for a request, which is
    best used in ascending order of :math:`v_i / w_i` (Smith's rule):
    :math:`\sum_j w_j V_j / M` in this order. Second, with weights :math:`u_1 > u_2 > \dots` and the
    bound above of those requests alone that weigh at least :math:`u_l`,
    :math:`\sum_l (u_l - u_{l+1})\, \mathrm{TEL}_l` with 0 after the last. The second costs
    :math:`O(n^2 \log n)`.

    Args:
      inst: the instance, ``[.., n]``. Padding takes no part.
      release_rounds: :math:`a_i \ge 0`, integers ``[n]`` or ``[.., n]``; None for all 0.

    Returns:
      float64 ``[..]`` whatever jax's width, in rounds: a bound on the sum of completions less
      releases. It holds for both admissions and under any cap on the requests active at once.

    Raises:
      ValueError: a release is not an integer >= 0, or is too late to be counted in int32; or there
        are releases and weights, which :func:`mean_busy` and :func:`price` take together.

    Example:
      Three requests of volume 12 in a cache of 6 tokens: by volume they complete no earlier
      than rounds 2, 4 and 6, and none before round 3.

      >>> import jaxsched as js
      >>> inst = js.Instance.from_lengths([2, 2, 2], [3, 3, 3], kv_capacity=6)
      >>> float(js.bounds.volume(inst))
      13.0
    """
    if release_rounds is None:
        return map_instances(_volume_bound if inst.weight is None else _weighted_bound, inst)
    if inst.weight is not None:
        raise InputError(
            "release_rounds",
            release_rounds,
            "take js.bounds.mean_busy or price, or inst.replace(weight=None)",
            finding="goes with no weights in this bound",
        )
    return map_instances(_bound_with_releases, inst, checked_releases(inst, release_rounds))


def _volume_bound(inst: Instance) -> Any:
    xp = namespace(inst.prompt_tokens)
    return _total(inst, exact_volume(inst), inst.is_real).astype(xp.float64)


def _total(inst: Instance, work: Any, counts: Any) -> Any:
    """Bound the total latency of the requests that count, were they alone; int64 ``[B]``."""
    xp = namespace(work)
    # The others sort first in both, as requests that take nothing and complete at round 0.
    least_work = xp.cumsum(xp.sort(xp.where(counts, work, 0), axis=-1), axis=-1)
    least_rounds = xp.sort(xp.where(counts, inst.output_tokens, 0), axis=-1)
    capacity = inst.kv_capacity.astype(xp.int64)[:, None]
    completion = xp.maximum(-(-least_work // capacity), least_rounds.astype(xp.int64))
    return completion.sum(axis=-1)


def _weighted_bound(inst: Instance) -> Any:
    xp = namespace(inst.prompt_tokens)
    (weight, ratio), work = weighed(inst), exact_volume(inst)
    order = xp.argsort(ratio, axis=-1)
    in_turn = xp.cumsum(xp.take_along_axis(work, order, axis=-1), axis=-1).astype(xp.float64)
    by_smith = (xp.take_along_axis(weight, order, axis=-1) * in_turn).sum(axis=-1)
    by_smith = by_smith / inst.kv_capacity.astype(xp.float64)

    levels = xp.sort(weight, axis=-1)
    rise = xp.diff(levels, axis=-1, prepend=0.0)

    def add_level(place: Any, total: Any) -> Any:
        counts = inst.is_real & (weight >= levels[:, place, None])
        return total + rise[:, place] * _total(inst, work, counts).astype(xp.float64)

    layered = repeat(xp, work.shape[-1], add_level, xp.zeros(len(work), xp.float64))
    return xp.maximum(by_smith, layered) * (1 - ROUNDING)


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
