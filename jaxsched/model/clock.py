"""From rounds to seconds: how long each iteration of a server takes."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
from jax.typing import ArrayLike

from jaxsched._lib.chunks import map_instances
from jaxsched._lib.errors import InputError, wrong_dtype, wrong_shape
from jaxsched._lib.pytree import pytree
from jaxsched._lib.registry import Registry
from jaxsched.model.instance import MAX_INT32, Instance
from jaxsched.model.schedule import Schedule, Status
from jaxsched.model.usage import events_in_order, usage_pieces


@pytree
class LinearClock:
    r"""Iteration time that is linear in the work of the round, in milliseconds.

    .. math:: a + b P + c B + d\,KV + e Q

    :math:`P` prompt tokens are prefilled in the round, :math:`B` requests decode and hold
    :math:`KV` tokens between them, and :math:`Q` is the sum of squared lengths of the prompts
    prefilled. A request counts in :math:`P` and :math:`Q` in its first round and in :math:`B`
    and :math:`KV` afterwards. A round with nobody active takes no time.

    All requests are present at round 0, so the schedule does not depend on the clock: one
    schedule may be read by many.

    Attributes:
      a: ms an iteration.
      b: ms a prompt token.
      c: ms a decoding request.
      d: ms a token held by a decoding request.
      e: ms a squared prompt token.

    Example:
      >>> import jaxsched as js
      >>> inst = js.Instance.from_lengths([3, 1], [2, 3], kv_capacity=12)
      >>> sched = js.Schedule.from_starts(inst, [0, 1])
      >>> clock = js.clock.LinearClock(a=1000.0, b=100.0, c=10.0, d=1.0, e=0.0)

      Round 1 prefills 3 tokens (1300 ms); round 2 prefills 1 token and decodes the first
      request, which then holds 5 (1115 ms); round 3 decodes the second, holding 3 (1013 ms).

      >>> clock.seconds(inst, sched, [1, 2, 3]).round(3).tolist()
      [1.3, 2.415, 3.428]
    """

    a: ArrayLike
    b: ArrayLike
    c: ArrayLike
    d: ArrayLike
    e: ArrayLike

    def seconds(self, inst: Instance, sched: Schedule, round: Any) -> np.ndarray:
        """Seconds from the start of round 1 to the end of the given rounds.

        Between two starts or completions the iteration time is linear in the round number, so
        the time to any round is a sum of closed forms. It stands still after the last completion.

        Args:
          inst: the instance, ``[.., n]``.
          sched: its schedule.
          round: integers ``[.., q]``: rounds of each instance, such as ``sched.completion``.

        Returns:
          float64 ``[.., q]``; 0 at round 0, NaN where ``round`` is negative (padding) and in
          instances that were not scheduled.

        Raises:
          ValueError: ``round`` is not of integers or lacks the instance's leading axes, or a
            coefficient is not a finite number >= 0.
        """
        rounds = np.asarray(round)
        leading = inst.prompt_tokens.shape[:-1]
        if rounds.dtype.kind not in "iu":
            raise wrong_dtype("round", rounds.dtype)
        if rounds.shape[:-1] != leading or not rounds.ndim:
            raise wrong_shape(
                "round",
                rounds.shape,
                f"expected [.., q] with the leading axes {leading} of the instance",
            )
        coefficients = _checked_coefficients(self)

        def block(inst: Instance, sched: Schedule, rounds: np.ndarray) -> np.ndarray:
            last_round = np.clip(rounds, 0, MAX_INT32).astype(np.int64)
            work = _work_until(inst, sched, last_round)
            milliseconds = sum(each * done for each, done in zip(coefficients, work, strict=True))
            is_known = (rounds >= 0) & (np.asarray(sched.status) == Status.OK)[:, None]
            return np.where(is_known, milliseconds / 1000.0, np.nan)

        return map_instances(block, inst, sched, rounds)


# Fits to public profiles: relative error about 4%, up to 30% on single points. All but the first
# row scale the attention cost from the profile of two GPUs.
#                          a      b       c       d        e        M
_SERVERS = {
    "llama2_70b_2xa100": (55.4, 0.299, 0.156, 1.12e-4, 2.7e-5, 53_248),
    "llama2_70b_4xa100": (35.4, 0.168, 0.092, 5.62e-5, 1.35e-5, 524_288),
    "llama2_7b_a100": (9.18, 0.0554, 0.0296, 3.21e-4, 9.7e-6, 118_784),
    "llama3_8b_a100": (10.11, 0.0604, 0.0330, 8.90e-5, 9.1e-6, 483_328),
    "llama2_70b_4xh100": (24.5, 0.0560, 0.0117, 3.33e-5, 5.9e-6, 524_288),
}

PRESETS: Registry[LinearClock] = Registry(
    "server",
    {
        name: LinearClock(*map(np.float64, coefficients))
        for name, (*coefficients, _) in _SERVERS.items()
    },
)
"""Iteration times of named servers."""

PRESET_KV_CAPACITY: Registry[int] = Registry(
    "server", {name: server[-1] for name, server in _SERVERS.items()}
)
"""Tokens the KV cache of each of these servers holds."""


def _checked_coefficients(clock: LinearClock) -> tuple[float, ...]:
    named = {name: np.asarray(getattr(clock, name)) for name in "abcde"}
    for name, value in named.items():
        if value.ndim or not (math.isfinite(value) and value >= 0):
            raise InputError(
                f"{name} of the clock", value, "expected one finite number >= 0, in milliseconds"
            )
    return tuple(float(value) for value in named.values())


class _Work(NamedTuple):
    """What a server has done by the end of some rounds, ``[rows, q]`` each, in a clock's order."""

    iterations: np.ndarray
    prefill_tokens: np.ndarray
    decodes: np.ndarray
    kv_tokens: np.ndarray
    squared_prompts: np.ndarray


def _work_until(inst: Instance, sched: Schedule, rounds: np.ndarray) -> _Work:
    """Add up the work of rounds ``1 .. round``, exactly: only the squares need float64."""
    events = events_in_order(sched)
    begin, end, base, active = usage_pieces(inst, sched, events)
    held = base + active * begin  # u rounds into a piece, held + active u tokens are held
    is_busy = active > 0

    def before(per_piece: np.ndarray) -> np.ndarray:
        return np.cumsum(per_piece, axis=-1) - per_piece

    def of_started(per_request: np.ndarray) -> np.ndarray:
        amount = np.where(inst.is_real, per_request, 0)
        return events.running_total(amount, np.zeros_like(amount))

    prompt = np.asarray(inst.prompt_tokens, np.int64)
    started, prefilled = of_started(np.ones_like(prompt)), of_started(prompt)
    squares = of_started(prompt.astype(np.float64) ** 2)

    piece = _last_before(begin, rounds)
    is_begun = piece >= 0
    piece = np.maximum(piece, 0)

    def there(values: np.ndarray) -> np.ndarray:
        return np.where(is_begun, np.take_along_axis(values, piece, axis=-1), 0)

    whole, into = end - begin, rounds - there(begin)
    # Requests in their first round are in `active` and `held` too: one request and s + 1 tokens.
    return _Work(
        iterations=there(before(is_busy * whole)) + there(is_busy) * into,
        prefill_tokens=there(prefilled),
        decodes=there(before(active * whole) - started) + there(active) * into,
        kv_tokens=there(before(held * whole + active * _triangular(whole)) - prefilled - started)
        + there(held) * into
        + there(active) * _triangular(into),
        squared_prompts=there(squares),
    )


def _triangular(count: np.ndarray) -> np.ndarray:
    return count * (count + 1) // 2


def _last_before(begin: np.ndarray, rounds: np.ndarray) -> np.ndarray:
    """Index in its ascending row of the last ``begin < round``, -1 where there is none."""
    row = np.arange(len(begin))[:, None]
    apart = row << 32  # rows laid end to end stay ascending, for one search over all of them
    found = np.searchsorted((begin + apart).ravel(), (rounds + apart).ravel())
    return found.reshape(rounds.shape) - row * begin.shape[-1] - 1
