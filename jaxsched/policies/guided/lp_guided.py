"""Rules guided by a relaxation over time, and one that plans anew at every completion."""

from __future__ import annotations

import functools
import math
from typing import NamedTuple, Protocol

import jax
import jax.numpy as jnp
import numpy as np

from jaxsched._lib.loops import while_loop
from jaxsched.bounds import solve_time_indexed_lp
from jaxsched.model.instance import MAX_INT32, Instance
from jaxsched.policies._rule import HostRule, Rule, host_rule
from jaxsched.policies.batches.sorted_f import (
    WAITING,
    checked_members,
    form_batches,
    order_by_batch,
)
from jaxsched.policies.selectors import (
    Selector,
    improve_by_swaps,
    least_f_prefix,
    resolve_selector,
)


class FractionalStarts(Protocol):
    """Where a relaxation would start each request."""

    def __call__(self, inst: Instance, /) -> np.ndarray:
        """Return a start round for each request, in fractions: float ``[n]``.

        Args:
          inst: one instance ``[n]``, its leaves numpy arrays.
        """
        ...


def linear_program_starts(inst: Instance) -> np.ndarray:
    r"""Mean start of each request in the time-indexed linear programme, by HiGHS.

    .. math:: \bar k_i = \sum_k k \, x_{ik}

    The horizon is a quarter more than the rounds that the volumes need at full memory, plus the
    longest output. For small instances: 60 requests of the ``uniform`` workload take ten seconds.

    Args:
      inst: one instance ``[n]`` with concrete values.

    Returns:
      float64 ``[n]``, in rounds; 0 for padding.

    Raises:
      ImportError: HiGHS is not installed.
      ValueError: the programme is too large.
    """
    is_real = np.asarray(inst.is_real)
    prompt = np.asarray(inst.prompt_tokens, np.float64)[is_real]
    output = np.asarray(inst.output_tokens, np.float64)[is_real]
    volume = np.sum(prompt * output + output * (output + 1) / 2)
    full_rounds = math.ceil(1.25 * volume / int(inst.kv_capacity))
    horizon = int(min(output.sum(), full_rounds + output.max()))
    share = solve_time_indexed_lp(inst, horizon).start_share
    return share @ np.arange(horizon + 1)


def sorted_lp(fractional_starts: FractionalStarts = linear_program_starts) -> HostRule:
    """Serve in the order of the fractional starts of a relaxation (Sorted-LP).

    Args:
      fractional_starts: the relaxation; the linear programme, solved by HiGHS, by default.

    Returns:
      A host rule: the fractional starts, float64 ``[n]``.

    Example:
      >>> import jaxsched as js
      >>> inst = js.Instance.from_lengths([1, 1, 1], [8, 2, 4], kv_capacity=9)
      >>> js.prioritize(inst, js.policies.sorted_lp()).tolist()
      [2, 0, 1]

    Source:
      Our form of Wang, Ye, Zhou, *LLM Serving Optimization with Variable Prefill and Decode
      Lengths*, 2025, arXiv:2508.06133.
    """

    def starts(inst: Instance) -> np.ndarray:
        return np.asarray(fractional_starts(inst), np.float64)

    return host_rule(starts, "sorted_lp")


def lp_swap(fractional_starts: FractionalStarts = linear_program_starts) -> HostRule:
    r"""Cut the order of a relaxation into batches and improve each by moves that lower F (LP-Swap).

    The batch is the feasible prefix of least :math:`F(X) = \sum o_i / |X|^2` in the order of the
    fractional starts, improved as in :func:`~jaxsched.policies.selectors.local_swap`; the next is
    cut from what remains.

    Args:
      fractional_starts: the relaxation; the linear programme, solved by HiGHS, by default.

    Returns:
      A host rule: positions, float32 ``[n]``.

    Example:
      >>> import jaxsched as js
      >>> inst = js.Instance.from_lengths([1, 1, 1], [8, 2, 4], kv_capacity=9)
      >>> js.prioritize(inst, js.policies.lp_swap()).tolist()
      [2, 0, 1]

    Source:
      Our form of Wang, Ye, Zhou, *LLM Serving Optimization with Variable Prefill and Decode
      Lengths*, 2025, arXiv:2508.06133.
    """

    def swapped(inst: Instance) -> np.ndarray:
        order = np.argsort(fractional_starts(inst), kind="stable")
        place = np.empty(order.size, np.int32)
        place[order] = np.arange(order.size, dtype=np.int32)
        return np.asarray(_swapped_order(inst, place))

    return host_rule(swapped, "lp_swap")


@jax.jit
def _swapped_order(inst: Instance, place: jax.Array) -> jax.Array:
    select = improve_by_swaps(inst, least_f_prefix(inst, place[None]))
    return order_by_batch(inst, form_batches(inst, select))


class _Clock(NamedTuple):
    """A simulation at decision ``number``, in round ``now``.

    ``batch`` holds the decision that started each request, ``end`` its completion.
    """

    batch: jax.Array
    end: jax.Array
    number: jax.Array
    now: jax.Array
    is_stuck: jax.Array


def receding_horizon(
    selector: str | Selector = "multiplier_sweep", **selector_options: object
) -> Rule:
    r"""Choose a batch of least F anew at every completion, for the memory that is then free.

    At round 0 and whenever requests complete, the capacity is :math:`M` minus the
    :math:`s_i + o_i` of those running; the batch of least F among the waiting requests that fit
    starts at once, and nothing else is decided. The order is that of the starts, by ascending
    output within a decision.

    Args:
      selector: as for :func:`~jaxsched.policies.sorted_f`.
      **selector_options: options of the named selector.

    Returns:
      A pure rule: float32 ``[n]``, positions, padding last. NaN for the requests that wait if the
      selector gives up.

    Raises:
      ValueError: no selector has this name.
      TypeError: options that the selector does not take.

    Example:
      Requests 2 and 4 fill the cache of 10 tokens. When 2 completes (round 1), 7 are free: 3
      starts; when 4 completes (round 2), 6 are free: 1; then 0 waits for both of those.

      >>> import jaxsched as js
      >>> inst = js.Instance.from_lengths([3, 1, 6, 2, 1], [4, 5, 1, 2, 2], kv_capacity=10)
      >>> js.policies.receding_horizon()(inst).tolist()
      [4.0, 3.0, 0.0, 2.0, 1.0]

    Source:
      Our form of Wang, Ye, Zhou, *LLM Serving Optimization with Variable Prefill and Decode
      Lengths*, 2025, arXiv:2508.06133.
    """
    return _receding_horizon(resolve_selector(selector, **selector_options))


@functools.lru_cache(maxsize=64)  # the same selector gives the same rule, hence no new compilation
def _receding_horizon(selector: Selector) -> Rule:
    def receding_horizon(inst: Instance) -> jax.Array:
        select = selector(inst)
        size = inst.prompt_tokens + inst.output_tokens

        def decide(clock: _Clock) -> _Clock:
            is_running = clock.end > clock.now
            free = inst.kv_capacity - jnp.sum(size, where=is_running, dtype=jnp.int32)
            fits = inst.is_real & (clock.batch == WAITING) & (size <= free)
            members = checked_members(select, fits, free)
            end = jnp.where(members, clock.now + inst.output_tokens, clock.end)
            is_running |= members
            return _Clock(
                batch=jnp.where(members, clock.number, clock.batch),
                end=end,
                number=clock.number + 1,
                now=jnp.min(jnp.where(is_running, end, MAX_INT32)),
                is_stuck=~jnp.any(is_running),
            )

        def goes_on(clock: _Clock) -> jax.Array:
            return jnp.any(inst.is_real & (clock.batch == WAITING)) & ~clock.is_stuck

        waiting = jnp.full(size.shape, WAITING, jnp.int32)
        zero = jnp.int32(0)
        start = _Clock(waiting, jnp.zeros_like(waiting), zero, zero, jnp.bool_(False))
        return order_by_batch(inst, while_loop(goes_on, decide, start).batch)

    return receding_horizon
