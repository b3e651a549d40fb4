"""A lower bound from memory times time."""

from __future__ import annotations

from typing import Any

from jaxsched._lib.arrays import namespace
from jaxsched._lib.chunks import map_instances
from jaxsched.model.instance import Instance, exact_volume


def volume(inst: Instance) -> Any:
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

    Args:
      inst: the instance, ``[.., n]``. Padding takes no part.

    Returns:
      float64 ``[..]`` whatever jax's width, in rounds: a bound on the sum of completions. It
      holds for both admissions and under any cap on the requests active at once.

    Example:
      Three requests of volume 12 in a cache of 6 tokens: by volume they complete no earlier
      than rounds 2, 4 and 6, and none before round 3.

      >>> import jaxsched as js
      >>> inst = js.Instance.from_lengths([2, 2, 2], [3, 3, 3], kv_capacity=6)
      >>> float(js.bounds.volume(inst))
      13.0
    """
    return map_instances(_volume_bound, inst)


def _volume_bound(inst: Instance) -> Any:
    xp = namespace(inst.prompt_tokens)
    # Padding sorts first in both, as requests that take nothing and complete at round 0.
    least_work = xp.cumsum(xp.sort(exact_volume(inst), axis=-1), axis=-1)
    least_rounds = xp.sort(xp.where(inst.is_real, inst.output_tokens, 0), axis=-1)
    capacity = inst.kv_capacity.astype(xp.int64)[:, None]
    completion = xp.maximum(-(-least_work // capacity), least_rounds.astype(xp.int64))
    return completion.sum(axis=-1).astype(xp.float64)
