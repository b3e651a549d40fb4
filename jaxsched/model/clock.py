"""From rounds to seconds: how long each iteration of a server takes."""

from __future__ import annotations

import dataclasses
import math
from typing import Any, NamedTuple

import jax
import numpy as np
from jax.typing import ArrayLike

from jaxsched._lib.arrays import count_below, is_traced, namespace, take_in_rows
from jaxsched._lib.chunks import map_instances
from jaxsched._lib.errors import InputError, wrong_dtype, wrong_shape
from jaxsched._lib.pytree import exported, pytree, static
from jaxsched.model.instance import MAX_INT32, Instance
from jaxsched.model.schedule import Schedule, Status
from jaxsched.model.usage import Events, events_in_order, usage_pieces


class FittedBox(NamedTuple):
    """The most that any step had of those that a clock was fitted to.

    Attributes:
      prefill_tokens: prompt tokens prefilled in a step.
      decoding_requests: requests that decode in a step.
      kv_tokens: tokens that these hold between them.
    """

    prefill_tokens: float
    decoding_requests: float
    kv_tokens: float


@exported
@pytree
class LinearClock:
    r"""Iteration time that is linear in the work of the round, in milliseconds.

    .. math:: a + b P + c B + d\,KV + e Q

    :math:`P` prompt tokens are prefilled in the round, :math:`B` requests decode and hold
    :math:`KV` tokens between them, and :math:`Q` is the sum of squared lengths of the prompts
    prefilled. A chunk of :math:`k` tokens that follows :math:`m` computed ones counts
    :math:`(m + k)^2 - m^2` in :math:`Q`, so that a prompt costs the same in one piece or many.

    In a schedule of rounds a request counts in :math:`P` and :math:`Q` in its first round, and in
    :math:`B` and :math:`KV` afterwards. A round with nobody active takes no time. A backlog's
    schedule does not depend on the clock: one schedule may be read by many.

    Attributes:
      iteration_ms: :math:`a`, ms an iteration.
      prefill_ms_per_token: :math:`b`, ms a prompt token.
      decode_ms_per_request: :math:`c`, ms a decoding request.
      kv_ms_per_token: :math:`d`, ms a token held by a decoding request.
      attention_ms_per_squared_token: :math:`e`, ms a squared prompt token.
      box: the :class:`FittedBox` of a clock that :mod:`jaxsched.calibrate` fitted, beyond which
        :func:`jaxsched.serve` warns; None for no such limits. Static.

    Example:
      >>> import jaxsched as js
      >>> inst = js.Instance.from_lengths([3, 1], [2, 3], kv_capacity=12)
      >>> sched = js.Schedule.from_starts(inst, [0, 1])
      >>> clock = js.clock.LinearClock(1000.0, 100.0, 10.0, 1.0, 0.0)

      Round 1 prefills 3 tokens (1300 ms); round 2 prefills 1 token and decodes the first
      request, which then holds 5 (1115 ms); round 3 decodes the second, holding 3 (1013 ms).

      >>> clock.seconds(inst, sched, [1, 2, 3]).round(3).tolist()
      [1.3, 2.415, 3.428]
    """

    iteration_ms: ArrayLike
    prefill_ms_per_token: ArrayLike
    decode_ms_per_request: ArrayLike
    kv_ms_per_token: ArrayLike
    attention_ms_per_squared_token: ArrayLike
    box: FittedBox | None = static(default=None, repr=False, kw_only=True)

    def seconds(self, inst: Instance, sched: Schedule, round: Any) -> Any:
        """Seconds from the start of round 1 to the end of the given rounds.

        Between two starts or completions the iteration time is linear in the round number, so
        the time to any round is a sum of closed forms. It stands still after the last completion.

        It works inside ``jit`` and ``vmap``, also over clocks. A coefficient counts with the
        digits that it has, and is not checked where it is traced.

        Args:
          inst: the instance, ``[.., n]``.
          sched: its schedule.
          round: integers ``[.., q]``: rounds of each instance, such as ``sched.completion``.

        Returns:
          float64 ``[.., q]`` whatever jax's width; 0 at round 0, NaN where ``round`` is negative
          (padding) and in instances that were not scheduled.

        Raises:
          ValueError: ``round`` is not of integers or lacks the instance's leading axes, or a
            coefficient is not a finite number >= 0.
        """
        rounds = round if isinstance(round, jax.Array) else np.asarray(round)
        leading = inst.prompt_tokens.shape[:-1]
        if rounds.dtype.kind not in "iu":
            raise wrong_dtype("round", rounds.dtype)
        if rounds.shape[:-1] != leading or not rounds.ndim:
            raise wrong_shape(
                "round",
                rounds.shape,
                f"expected [.., q] with the leading axes {leading} of the instance",
            )
        _check_coefficients(self)
        return map_instances(_seconds, inst, sched, rounds, shared=(self,))


#: Names of the coefficients, in the order of the formula.
COEFFICIENTS = tuple(
    field.name for field in dataclasses.fields(LinearClock) if "static" not in field.metadata
)


def _check_coefficients(clock: LinearClock) -> None:
    for name in COEFFICIENTS:
        value = getattr(clock, name)
        if not is_traced(value):
            value = np.asarray(value)
        if value.ndim or not (is_traced(value) or (math.isfinite(value) and value >= 0)):
            raise InputError(
                f"{name} of the clock",
                value,
                "expected one finite number >= 0, in milliseconds",
            )


def _seconds(inst: Instance, sched: Schedule, rounds: Any, clock: LinearClock) -> Any:
    xp = namespace(sched.start)
    rounds = rounds.astype(xp.int64)
    work = _work_until(
        events_in_order(inst, sched.start, sched.completion), xp.clip(rounds, 0, MAX_INT32)
    )
    coefficients = (xp.asarray(each, xp.float64) for each in jax.tree.leaves(clock))
    milliseconds = sum(
        each * done.astype(xp.float64) for each, done in zip(coefficients, work, strict=True)
    )
    is_known = (rounds >= 0) & (sched.status == int(Status.OK))[:, None]
    return xp.where(is_known, milliseconds / 1000.0, xp.nan)


class _Work(NamedTuple):
    """What a server has done by the end of some rounds, ``[rows, q]`` each, in a clock's order."""

    iterations: Any
    prefill_tokens: Any
    decodes: Any
    kv_tokens: Any
    squared_prompts: Any


def _work_until(events: Events, rounds: Any) -> _Work:
    """Add up the work of rounds ``1 .. round``, exactly: only the squares need float64."""
    xp = namespace(rounds)
    begin, end, base, active = usage_pieces(events)
    held = base + active * begin  # u rounds into a piece, held + active u tokens are held

    def before(per_piece: Any) -> Any:
        return xp.cumsum(per_piece, axis=-1) - per_piece

    prompt = xp.maximum(events.signed_tokens, 0)
    prefilled, started = xp.cumsum(prompt, axis=-1), xp.cumsum(xp.minimum(prompt, 1), axis=-1)
    squares = xp.cumsum(prompt.astype(xp.float64) ** 2, axis=-1)

    piece = count_below(begin, rounds) - 1  # the last that begins before the round
    there = take_in_rows(xp.maximum(piece, 0))
    into, active_there, held_there = rounds - there(begin), there(active), there(held)
    whole, is_busy = end - begin, xp.minimum(active, 1)
    # Requests in their first round are in `active` and `held` too: one request and s + 1 tokens.
    held_before = before(held * whole + active * _triangular(whole))
    done = _Work(
        iterations=there(before(is_busy * whole)) + xp.minimum(active_there, 1) * into,
        prefill_tokens=there(prefilled),
        decodes=there(before(active * whole) - started) + active_there * into,
        kv_tokens=there(held_before - prefilled - started)
        + held_there * into
        + active_there * _triangular(into),
        squared_prompts=there(squares),
    )
    return _Work(*(xp.where(piece >= 0, each, 0) for each in done))


def _triangular(count: Any) -> Any:
    return count * (count + 1) >> 1  # numpy divides several times as slowly
