r"""What no rule can beat on a server, whatever it knows of requests to come.

**Rounds from seconds.** Let no step be shorter than :math:`a`. Two steps that begin at
:math:`\tau < \tau'` have :math:`\lfloor \tau / a \rfloor < \lfloor \tau' / a \rfloor`, so that a
step can stand for the round of that number, counted from 0. A request that arrives at :math:`r`
runs in no round before :math:`\lfloor r / a \rfloor`, and it completes no earlier than its last
round ends. So its latency is at least :math:`a` times its flow time in rounds, less
:math:`r - a \lfloor r / a \rfloor`.

**Memory.** In the step that yields its :math:`u`-th token a request holds at least
:math:`s + u - 1` tokens: the last token is never stored. That is the model of rounds with a
prompt of :math:`s - 1`. Where admission by ``"peak"`` or ``"look_ahead"`` keeps room to the end,
it counts :math:`s + u`, and so does the bound. Only a request that runs alone may have
:math:`s + o = M + 1`, and has :math:`s - 1` again. Blocks only round up, so :math:`M` is whole
blocks of tokens.

**Evictions, chunks and pauses.** A request needs :math:`o` steps that yield its tokens, in order,
but these need not follow each other. :func:`~jaxsched.bounds.mean_busy` and
:func:`~jaxsched.bounds.volume` hold nevertheless. The volume is needed all the same, and a pause
only moves token rounds further ahead of the completion. The other bounds let a request take
rounds that follow each other. They ask for a server where what yields a token goes on to the end:

* steps are all as long. So rounds that follow each other stand for steps that do;
* who decodes never waits for budget. One request at most is in the middle of its prompt, the last
  admitted, if there is no long-prefill threshold. So a budget of ``max_num_seqs`` is enough;
* nobody is evicted, or it starts again from nothing (``"restart"``), and then its last run counts.
  ``"peak"`` evicts nobody if no output is longer than predicted. Nor does ``"look_ahead"``, if
  prompts are never cut to chunks. A step stores what it computes, so a budget of the KV capacity
  does that.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal, get_args

import jax.numpy as jnp
import numpy as np

from jaxsched._lib.arrays import refuse_traced
from jaxsched._lib.errors import InputError, choice
from jaxsched.bounds._busy import mean_busy
from jaxsched.bounds._exact import exact
from jaxsched.bounds._linear_program import linear_program
from jaxsched.bounds._price import price
from jaxsched.bounds._servable import require_servable, usable_tokens
from jaxsched.bounds._volume import volume
from jaxsched.model.given import require_requests
from jaxsched.model.instance import Instance
from jaxsched.model.requests import Requests
from jaxsched.model.server import Server, require_numbers

HindsightBound = Literal["price", "mean_busy", "volume", "linear_program", "exact"]
_ROUNDING = 1e-9  # of a step, or relative: far more than sums of step times can be wrong by


def hindsight(
    reqs: Requests, server: Server, bound: HindsightBound = "price", **options: Any
) -> np.ndarray:
    r"""Lower bound on the total latency that any rule reaches on a server, in seconds.

    It is a bound on every rule, online or with foresight. With :math:`a` the least time of a
    step, :math:`r_i` the arrivals and :math:`a_i = \lfloor r_i / a \rfloor` release rounds,

    .. math::
       \sum_i (\text{completion}_i - r_i) \ge a\, L(s', o, a_i, M)
       - \sum_i \bigl( r_i - a\, a_i \bigr)

    where :math:`L` bounds total flow time in rounds, :math:`M` is the KV capacity in whole blocks
    and :math:`s' = s - 1`, as the engine never stores the last token. Where ``"peak"`` or
    ``"look_ahead"`` keeps room for that token too, :math:`s' = \min(s, M - o)`.

    ``"mean_busy"`` and ``"volume"`` hold on every server whose steps take time. Other bounds need
    a server that never interrupts a request once it yields tokens:

    * no clock, or one whose steps are all as long;
    * ``max_num_batched_tokens`` of at least ``max_num_seqs``, no long-prefill threshold, and no
      ``prefill_first``;
    * ``preemption="restart"``; or ``admission="peak"``, or ``"look_ahead"`` with
      ``max_num_batched_tokens`` of at least ``kv_capacity``, and no output longer than predicted.

    Args:
      reqs: the requests, ``[n]`` or ``[.., n]``, with concrete values.
      server: what serves them; its numbers broadcast against the streams.
      bound: which bound on flow time to take.
      options: what that bound takes besides, such as ``num_steps``.

    Returns:
      float64 ``[..]``, seconds: no outcome of :func:`jaxsched.serve` on this server that serves
      all requests has a smaller sum of completions less arrivals. Without a clock, a step takes
      a second.

    Raises:
      ValueError: the bound does not hold on this server, and the message says why; the server
        would refuse a request or cut it short; or steps take no time.

    Example:
      >>> import jaxsched as js
      >>> reqs = js.Requests.from_arrays([0, 0, 1], [3, 1, 2], [2, 4, 3])
      >>> server = js.Server(kv_capacity=7, block_size=1, admission="look_ahead")
      >>> bound = js.bounds.hindsight(reqs, server)
      >>> out = js.serve(reqs, server, "smallest_volume")
      >>> bool(bound <= out.latency.sum())
      True

    Source:
      Ours, from the bounds of the same names; proof at the top of the module.
    """
    refuse_traced("hindsight looks at values", "call it outside", (reqs, server))
    require_requests(reqs)
    choice("bound", bound, get_args(HindsightBound))
    require_servable(reqs, require_numbers(server))
    if bound not in ("mean_busy", "volume"):
        _require_no_pauses(reqs, server, bound)
    inst, arrival_s, step_s = _in_rounds(reqs, server)
    rounds = np.floor(arrival_s / step_s[..., None] + _ROUNDING)
    part_s = np.where(inst.is_real, arrival_s - rounds * step_s[..., None], 0).sum(axis=-1)
    flow = _FLOW_TIME[bound](inst, release_rounds=rounds.astype(np.int64), **options)
    flow_s = np.asarray(flow, np.float64) * step_s
    error = _ROUNDING * (np.abs(part_s) + (0 if server.clock is None else flow_s))
    return flow_s - part_s - error


def _exact(inst: Instance, *, release_rounds: np.ndarray, **options: Any) -> np.ndarray:
    if release_rounds.ndim > 1:
        rows = enumerate(release_rounds)
        return np.stack([_exact(inst[row], release_rounds=each, **options) for row, each in rows])
    return np.asarray(exact(inst, release_rounds=release_rounds, **options).lower, np.float64)


def _price(inst: Instance, **options: Any) -> np.ndarray:
    return price(inst, **options).value


_FLOW_TIME: dict[str, Callable[..., Any]] = {
    "price": _price,
    "mean_busy": mean_busy,
    "volume": volume,
    "linear_program": linear_program,
    "exact": _exact,
}


def _least_step_s(server: Server) -> np.ndarray:
    """Seconds that every step takes at least, float64 ``[..]``."""
    if server.clock is None:
        return np.asarray(1.0)
    step_ms = np.asarray(server.clock.iteration_ms, np.float64)
    if (step_ms <= 0).any():
        raise InputError("iteration_ms", step_ms, "expected a clock whose every step takes time")
    return step_ms * 1e-3


def _require_no_pauses(reqs: Requests, server: Server, bound: str) -> None:
    """Raise unless a request that yields tokens does so in every step until its end."""

    def refuse(name: str, expectation: str) -> None:
        other = f'{expectation}, or the bound "mean_busy", which holds on every server'
        finding = f"is {getattr(server, name)!r}, where the bound {bound!r} does not hold"
        raise InputError(name, getattr(server, name), other, finding=finding)

    clock = server.clock
    if clock is not None and any(
        np.any(each)
        for each in (
            clock.prefill_ms_per_token,
            clock.decode_ms_per_request,
            clock.kv_ms_per_token,
            clock.attention_ms_per_squared_token,
        )
    ):
        refuse("clock", "expected None, or steps that are all as long")
    budget = np.asarray(server.max_num_batched_tokens)
    most = np.minimum(reqs.is_real.shape[-1], _or(server.max_num_seqs, np.inf))
    if (budget < most).any():
        refuse("max_num_batched_tokens", "expected at least max_num_seqs")
    if np.any(server.long_prefill_token_threshold):
        refuse("long_prefill_token_threshold", "expected 0")
    if server.prefill_first:
        refuse("prefill_first", "expected False")
    if server.preemption == "restart" or _keeps_room(reqs, server):
        return
    if server.admission not in ("peak", "look_ahead"):
        refuse("admission", 'expected "look_ahead" or "peak", or preemption "restart"')
    outlived = _outlived(reqs)
    if not outlived.any():
        refuse("max_num_batched_tokens", "expected at least kv_capacity")
    at = tuple(np.argwhere(outlived)[0].tolist())
    expectation = (
        f"expected at least the output, {np.asarray(reqs.output_tokens)[at]}; who outlives a "
        'prediction can be evicted: take the bound "mean_busy"'
    )
    predicted = np.asarray(reqs.predicted_output_tokens)[at]
    raise InputError("predicted_output_tokens", predicted, expectation, at)


def _keeps_room(reqs: Requests, server: Server) -> bool:
    """Whether those that run never grow beyond the cache, with the last token stored too."""
    if server.admission == "peak":
        return not _outlived(reqs).any()
    fits_a_step = (np.asarray(server.max_num_batched_tokens) >= usable_tokens(server)).all()
    is_cut = server.prefill_first or np.any(server.long_prefill_token_threshold)
    is_planned = server.admission == "look_ahead" and fits_a_step and not is_cut
    return bool(is_planned and not _outlived(reqs).any())


def _outlived(reqs: Requests) -> np.ndarray:
    """Which requests generate more tokens than predicted, bool ``[.., n]``."""
    if reqs.predicted_output_tokens is None:
        return np.zeros(reqs.is_real.shape, bool)
    believed = np.maximum(np.ceil(np.asarray(reqs.predicted_output_tokens, np.float64)), 1)
    return np.asarray(reqs.is_real) & (believed < np.asarray(reqs.output_tokens))


def _or(value: Any, if_none: float) -> Any:
    return if_none if value is None else value


def _in_rounds(reqs: Requests, server: Server) -> tuple[Instance, np.ndarray, np.ndarray]:
    """Make the backlog whose flow time is bounded, arrivals ``[.., n]`` and step times ``[..]``."""
    capacity, step_s = usable_tokens(server), _least_step_s(server)
    leading = np.broadcast_shapes(reqs.is_real.shape[:-1], capacity.shape, step_s.shape)
    shape = (*leading, reqs.is_real.shape[-1])
    prompt, output, is_real, arrival_s = (
        np.broadcast_to(np.asarray(each), shape)
        for each in (reqs.prompt_tokens, reqs.output_tokens, reqs.is_real, reqs.arrival_s)
    )
    capacity = np.broadcast_to(capacity, leading)
    if _keeps_room(reqs, server):
        held = np.minimum(prompt, capacity[..., None] - output)
    else:
        held = prompt - 1
    inst = Instance(
        prompt_tokens=jnp.asarray(np.where(is_real, held, 1), jnp.int32),
        output_tokens=jnp.asarray(output, jnp.int32),
        is_real=jnp.asarray(is_real),
        kv_capacity=jnp.asarray(capacity, jnp.int32),
    )
    step_s = np.broadcast_to(step_s, leading)
    return inst, _since_a_round(arrival_s, is_real, step_s), step_s


def _since_a_round(arrival_s: np.ndarray, is_real: np.ndarray, step_s: np.ndarray) -> np.ndarray:
    """Count arrivals from the round of the first: dates would take more digits than there are."""
    first_s = np.where(is_real, arrival_s, np.inf).min(axis=-1, keepdims=True)
    rounds = np.floor(np.where(np.isfinite(first_s), first_s, 0.0) / step_s[..., None])
    return np.where(is_real, arrival_s - rounds * step_s[..., None], 0.0)
