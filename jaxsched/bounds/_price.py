"""The price bound: what the cache costs when memory is paid for by the round."""

from __future__ import annotations

import functools
import operator
from typing import Any, NamedTuple

import jax
import numpy as np

from jaxsched._lib.arrays import on_host, refuse_traced
from jaxsched._lib.chunks import ACCELERATOR_CELLS, CPU_CELLS, map_device_chunks, num_device_calls
from jaxsched._lib.devices import Device, MappedProgram, is_cpu, local_devices
from jaxsched._lib.errors import InputError, integer, wrong_shape
from jaxsched._lib.progress import progress_bar
from jaxsched.bounds._busy import fluid
from jaxsched.bounds._busy_arrivals import fluid_of_arrivals, makespan
from jaxsched.bounds._price_ascent import STEPS_PER_CYCLE, Problem, ascend, first_step_size
from jaxsched.bounds._price_blocks import block_edges
from jaxsched.bounds._price_value import lagrangian
from jaxsched.bounds._releases import releases_on_host
from jaxsched.model.instance import MAX_INT32, Instance, exact_volume

_ASCENT = MappedProgram(ascend, num_mapped=3)


class PriceBound(NamedTuple):
    """A lower bound on TEL and the prices that prove it; numpy arrays.

    Attributes:
      value: float64 ``[..]``, in rounds: no feasible schedule has less total latency, or with
        releases less total flow time; weighted where the instance is.
      prices: float64 ``[.., J]``; ``prices[j]`` is charged for each token held in each of the
        rounds ``edges[j] + 1 .. edges[j + 1]``.
      edges: int32 ``[.., J + 1]``, ascending from 0 or the first release to the horizon; blocks
        at its end may be empty.
      best_starts: int32 ``[.., n]``, the cheapest start of each request under the prices; -1
        for padding.
      history: float32 ``[.., num_steps]``, the bound on the way, step by step; NaN once an
        instance has stopped.
    """

    value: np.ndarray
    prices: np.ndarray
    edges: np.ndarray
    best_starts: np.ndarray
    history: np.ndarray


def price(
    inst: Instance,
    *,
    release_rounds: Any = None,
    num_steps: int = 300,
    tolerance: float = 3e-4,
    horizon: Any = None,
    num_blocks: int = 512,
    progress: bool | None = None,
) -> PriceBound:
    r"""Lower bound on the total latency of every feasible schedule, from prices of memory.

    Charge :math:`\lambda_t \ge 0` for each token held in round :math:`t \le T` and nothing
    later. A feasible schedule pays at most :math:`M \sum_t \lambda_t`, and each request, if it
    were alone, would start where latency and payment together are least, so that

    .. math::
       \mathrm{TEL} \ge L(\lambda) = \sum_i \min_{k \ge 0} \Bigl[ k + o_i
       + \sum_{t=k+1}^{k+o_i} \lambda_t (s_i + t - k) \Bigr] - M \sum_{t=1}^{T} \lambda_t .

    Where request :math:`i` cannot start before round :math:`a_i`, its minimum is over
    :math:`k \ge a_i`, and the bound is on total flow time, :math:`\sum (c_i - a_i)`: then
    :math:`\sum a_i` is subtracted.

    With weights, :math:`k + o_i` counts :math:`w_i` times, and the bound is on
    :math:`\sum w_i c_i`, or :math:`\sum w_i (c_i - a_i)`.

    The prices start at those of :func:`mean_busy` and climb by gradient steps; the best are kept.
    They are constant on blocks of rounds, which for :math:`T \le J` are single rounds; then
    the limit is the optimum of the linear programme over starts at the same :math:`T`. Whatever
    the prices, the value is a proof: it is worked out at the end in float64 with exact minima,
    rounded down, less 1e-9 of itself.

    Args:
      inst: the instance, ``[.., n]``, with concrete values. Padding takes no part.
      release_rounds: :math:`a_i \ge 0`, integers ``[n]`` or ``[.., n]``; None for all 0.
      num_steps: most gradient steps; the steps shrink to nothing in cycles of 100.
      tolerance: stop an instance after a cycle that raised its bound by less than this part.
      horizon: :math:`T`, an integer >= 1 or one for each instance ``[..]``; any is valid. By
        default the rounds until a cache that is always full, while there is work, is done with
        the volumes, and the longest output.
      num_blocks: :math:`J`, most blocks of rounds.
      progress: True or False to show a progress bar or not; None shows it on a terminal.

    Returns:
      A :class:`PriceBound`. It holds for both admissions and under any cap on the requests
      active at once.

    Raises:
      ValueError: an argument is out of its range.

    Example:
      >>> import jaxsched as js
      >>> inst = js.Instance.from_lengths([3, 1, 2], [2, 4, 3], kv_capacity=7)
      >>> bound = js.bounds.price(inst)
      >>> sched = js.simulate(inst, js.policies.smallest_volume(inst))
      >>> bool(bound.value <= sched.completion.sum())
      True

    Source:
      Ours: the Lagrangian dual of the time-indexed programme of Wang, Ye, Zhou, *LLM Serving
      Optimization with Variable Prefill and Decode Lengths*, 2025, arXiv:2508.06133.
    """
    refuse_traced("price looks at values", "call it outside, or volume and mean_busy inside", inst)
    num_steps = integer("num_steps", num_steps, 0, MAX_INT32)
    num_blocks = integer("num_blocks", num_blocks, 1, MAX_INT32)
    if not tolerance >= 0:
        raise InputError("tolerance", tolerance, "expected a number >= 0")
    inst = jax.tree.map(np.asarray, inst)
    leading, n = inst.kv_capacity.shape, inst.prompt_tokens.shape[-1]
    first, release = releases_on_host(inst, release_rounds)
    horizon = _checked_horizon(inst, horizon, first, release)
    # A power of two, so that few shapes are ever compiled.
    longest = int(horizon.max(initial=1))
    num_blocks = min(num_blocks, 1 << (longest - 1).bit_length())

    devices = local_devices()
    cells = CPU_CELLS if is_cpu(devices) else ACCELERATOR_CELLS
    size = 1 << max(0, (cells // (n * num_blocks)).bit_length() - 1)
    size = min(size, 1 << max(0, horizon.size - 1).bit_length())
    total = num_device_calls(horizon.size, size, devices) * num_steps
    with progress_bar(total, "step", progress) as bar:

        def run(
            devices: tuple[Device, ...], inst: Instance, release: Any, horizon: np.ndarray
        ) -> PriceBound:
            climb = functools.partial(_ASCENT, devices)
            return _priced(inst, release, horizon, num_blocks, num_steps, tolerance, climb, bar)

        cut = {"leading": leading, "chunk_size": size, "devices": devices}
        bound = map_device_chunks(run, inst, release, horizon, **cut)
    first = first.astype(np.int32)[..., None]
    starts = np.where(inst.is_real, bound.best_starts + first, bound.best_starts)
    return bound._replace(edges=bound.edges + first, best_starts=starts)


def _priced(
    inst: Instance,
    release: np.ndarray | None,
    horizon: np.ndarray,
    num_blocks: int,
    num_steps: int,
    tolerance: float,
    climb: Any,
    bar: Any,
) -> PriceBound:
    """Bound a few instances ``[B, n]``, with rounds counted from the first release."""
    singles = [jax.tree.map(operator.itemgetter(row), inst) for row in range(horizon.size)]
    if release is None:
        served = [fluid(one) for one in singles]
    else:
        served = [fluid_of_arrivals(*one) for one in zip(singles, release, strict=True)]
    edges = np.stack(
        [block_edges(one, int(t), num_blocks) for one, t in zip(served, horizon, strict=True)]
    )
    middle = (edges[:, :-1] + edges[:, 1:]) / 2
    capacity = np.asarray(inst.kv_capacity, np.int64)
    first = np.stack([one.price(*at) for one, *at in zip(served, middle, capacity, strict=True)])
    unit = first + _mean_weight(inst)[:, None] / capacity[:, None]
    problem = Problem(
        edges=edges.astype(np.int32),
        unit=unit.astype(np.float32),
        prompt=inst.prompt_tokens,
        output=inst.output_tokens,
        is_real=inst.is_real,
        kv_capacity=inst.kv_capacity,
        weight=inst.weight,
        release=None if release is None else release.astype(np.int32),
    )
    climbed, history = _climbed(problem, first / unit, num_steps, tolerance, climb, bar)
    climbed = climbed * unit

    # What float32 took for the best need not be: the fluid's prices are judged as well.
    judged = (lagrangian(inst, edges, each, release) for each in (first, climbed))
    values, starts = zip(*judged, strict=True)
    is_first = values[0] >= values[1]
    value, prices, best_starts = (
        np.where(is_first.reshape(-1, *[1] * (of_first.ndim - 1)), of_first, of_climbed)
        for of_first, of_climbed in (values, (first, climbed), starts)
    )
    return PriceBound(value, prices, edges.astype(np.int32), best_starts, history)


def _mean_weight(inst: Instance) -> np.ndarray:
    """Mean weight of the real requests, float64 ``[B]``; 1 without weights."""
    if inst.weight is None:
        return np.ones(len(inst.kv_capacity))
    weight = np.where(inst.is_real, inst.weight, 0).sum(axis=-1, dtype=np.float64)
    return weight / np.maximum(1, inst.is_real.sum(axis=-1))


def _climbed(
    problem: Problem,
    prices: np.ndarray,
    num_steps: int,
    tolerance: float,
    climb: Any,
    bar: Any,
) -> tuple[np.ndarray, np.ndarray]:
    """Climb from ``prices`` (in units) until every instance has stopped.

    Returns:
      The best prices in units, float64 ``[B, J]``, and the history, float32 ``[B, num_steps]``.
    """
    prices = prices.astype(np.float32)
    history = np.full((len(prices), num_steps), np.nan, np.float32)
    is_active: Any = np.any(problem.is_real, axis=-1)
    step_size = first_step_size(np.sum(problem.is_real, axis=-1))
    for begin in range(0, num_steps, STEPS_PER_CYCLE):
        end = min(begin + STEPS_PER_CYCLE, num_steps)
        if is_active.any():
            cycle = climb(problem, prices, step_size, np.int32(end - begin))
            climbed, value, values = jax.tree.map(np.asarray, cycle)
            prices = np.where(is_active[:, None], climbed, prices)
            history[is_active, begin:end] = values[is_active, : end - begin]
            before = values[:, 0]  # a cycle begins where the one before was best
            is_active &= value > before + tolerance * np.abs(before)
            step_size = step_size / 2
        bar.update(end - begin)
    return prices.astype(np.float64), history


def _checked_horizon(
    inst: Instance, horizon: Any, first: np.ndarray, release: np.ndarray | None
) -> np.ndarray:
    """Give rounds from the first release to the horizon, int64 ``[..]``."""
    leading = inst.kv_capacity.shape
    if horizon is None:
        output = np.where(inst.is_real, inst.output_tokens, 0).astype(np.int64)
        after = np.zeros_like(output) if release is None else release
        in_turn = after.max(axis=-1) + output.sum(axis=-1)
        full_rounds = makespan(exact_volume(on_host(inst)), after, np.asarray(inst.kv_capacity))
        return np.maximum(1, np.minimum(in_turn, full_rounds + output.max(axis=-1)))
    rounds = np.asarray(horizon)
    if rounds.dtype.kind not in "iu" or (rounds < 1).any() or (rounds >= MAX_INT32).any():
        raise InputError("horizon", horizon, "expected whole rounds >= 1, below 2^31 - 1")
    if rounds.shape not in ((), leading):
        raise wrong_shape(
            "horizon", rounds.shape, f"expected one integer, or one for each instance {leading}"
        )
    return np.maximum(1, np.broadcast_to(rounds.astype(np.int64), leading) - first)
