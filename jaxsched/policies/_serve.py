"""Requests served by a rule."""

from __future__ import annotations

from typing import Any, Literal, overload

import numpy as np

from jaxsched._lib.errors import InputError
from jaxsched.engine.contract import Rule
from jaxsched.engine.online.beyond import warn_beyond_the_box
from jaxsched.engine.online.serve import record_on, serve_on
from jaxsched.model.given import require_requests
from jaxsched.model.outcome import Outcome
from jaxsched.model.requests import Requests
from jaxsched.model.server import Server, require_server
from jaxsched.policies._dynamic import DynamicRule
from jaxsched.policies._prioritize import prioritize
from jaxsched.policies.on_arrival import on_arrival, own_priority
from jaxsched.policies.registry import resolve
from jaxsched.policies.scores.index import fcfs


@overload
def serve(
    reqs: Requests,
    server: Server,
    rule: Rule | str | None = None,
    *,
    victim_rule: Rule | str | None = None,
    record: Literal[False] = False,
    max_steps: int | None = None,
) -> Outcome: ...


@overload
def serve(
    reqs: Requests,
    server: Server,
    rule: Rule | str | None = None,
    *,
    victim_rule: Rule | str | None = None,
    record: Literal[True],
    max_steps: int | None = None,
) -> tuple[Outcome, dict[str, np.ndarray]]: ...


def serve(
    reqs: Requests,
    server: Server,
    rule: Rule | str | None = None,
    *,
    victim_rule: Rule | str | None = None,
    record: bool = False,
    max_steps: int | None = None,
) -> Outcome | tuple[Outcome, dict[str, np.ndarray]]:
    r"""Serve requests that arrive over time, deciding in every step as vLLM's scheduler does.

    A step computes a budget of tokens: first for the requests that run, in order of admission,
    then for those that wait. Blocks of KV memory are taken as tokens need them; where they run
    out, a request is evicted and computed again later. The step takes

    .. math:: a + b P + c B + d\,KV + e Q

    by the server's clock. Prefix caching, speculation and asynchronous scheduling are off.

    Concrete arrays use all cores, and the outcome is of numpy arrays. On accelerators, and where
    inputs are sharded, it stays on the devices. Inside ``jit``, ``vmap``, ``scan`` or
    ``shard_map`` it is one program, and on a mesh each device takes its own streams. Decisions
    are no smooth function of numbers: a gradient through them is zero.
    Nothing compiles anew when numbers change. Numbers of
    the server broadcast against the leading axes of the requests, so that a grid of settings is
    one call. Times are float64 whatever jax's width; close over the server rather than pass it
    through ``jit``, which would round its clock to float32.

    Args:
      reqs: the requests, ``[.., n]``.
      server: memory, limits, clock and choices; numbers ``[..]`` broadcast.
      rule: the order of the queue. ``"fcfs"`` is vLLM's policy of that name. Any other static
        rule is vLLM's priority policy with the rule's number as priority; ``"priority"`` takes
        the requests' own. Rules see predicted output lengths. None: the server's ``policy``.
      victim_rule: another static rule, whose largest number is evicted first; of equals the one
        that was admitted first. None: the server's ``victim`` says who.
      record: also return the log of one stream: what every step decided.
      max_steps: steps after which a stream ends with the status ``STEP_LIMIT``; None for twice
        its tokens.

    Returns:
      The :class:`Outcome` in seconds, NaN where something did not happen; ``status`` says why.
      A request that could never fit is refused when it arrives. With ``record`` a pair: the
      outcome, and the log as numpy columns by name: of steps ``step_clock, step_end,
      step_arrived, step_P, step_B, step_KV, step_free_mid, step_free_end, step_running,
      step_waiting, step_entries``; of requests given tokens ``ent_req, ent_tok, ent_sampled``,
      in order, split by ``step_entries``; then ``pre_step, pre_req`` of preemptions, ``adm_step,
      adm_req, adm_resumed`` of admissions, and ``fin_step, fin_req`` of completions.

    Raises:
      ValueError: a number of the server is out of range, no rule has that name, ``record``
        goes with several streams or with traced numbers, or both a ``victim_rule`` and the
        server's ``victim`` name who is evicted.

    Warns:
      UserWarning: a step takes in more than any that the clock was fitted to by
        :mod:`jaxsched.calibrate`.

    Example:
      >>> import jaxsched as js
      >>> reqs = js.Requests.from_arrays([0.0, 0.0, 2.5], [30, 50, 20], [3, 2, 4])
      >>> server = js.Server(kv_capacity=160, max_num_batched_tokens=64)
      >>> out = js.serve(reqs, server)  # without a clock, a step takes a second
      >>> out.first_token_s.tolist(), out.completion_s.tolist()
      ([1.0, 2.0, 4.0], [3.0, 3.0, 7.0])

    Source:
      The decisions are those of vLLM 0.33, ``vllm/v1/core/sched/scheduler.py``, 2026.
    """
    require_requests(reqs)
    require_server(server)
    rule = server.policy if rule is None else rule
    is_fcfs = rule is fcfs or (isinstance(rule, str) and rule == "fcfs")
    rule = rule if is_fcfs or rule == "priority" else resolve(rule)
    dynamic = rule if isinstance(rule, DynamicRule) else None
    priority = None if is_fcfs or dynamic is not None else _numbers(reqs, server, rule)
    victim_number = None if victim_rule is None else _numbers(reqs, server, victim_rule)
    if dynamic is not None and dynamic.evicts:
        _require_room_can_be_made(dynamic, server)
    if victim_number is not None and server.victim != "by_policy":
        raise InputError(
            "victim_rule",
            victim_rule,
            'give one of the two, or leave the server\'s victim "by_policy"',
            finding=f"goes with a server whose victim is {server.victim!r}",
        )
    given = server, reqs, priority, max_steps, victim_number, dynamic
    out = serve_on(*given)
    warn_beyond_the_box(reqs, server, out)
    return (out, record_on(*given)) if record else out


def _require_room_can_be_made(rule: DynamicRule, server: Server) -> None:
    """Raise where nobody can be pushed out, or it is not known what that would free."""
    if server.admission not in ("prompt", "chunk") or server.preemption == "never":
        raise InputError(
            "rule",
            rule.name,
            'expected a server whose admission is "prompt" or "chunk", and whose preemption is '
            'not "never"',
            finding=f"is {rule.name!r}, which evicts, on a server whose admission is "
            f"{server.admission!r} and whose preemption is {server.preemption!r}",
        )


def _numbers(reqs: Requests, server: Server, rule: Rule | str) -> Any:
    """Numbers ``[.., n]`` that a static rule gives requests when they arrive."""
    if isinstance(rule, str) and rule == "priority":
        return own_priority(reqs)
    if isinstance(rule := resolve(rule), DynamicRule):
        raise InputError(
            "victim_rule",
            rule.name,
            "expected a static rule; a dynamic one that orders the queue chooses victims as well",
            finding=f"is the dynamic {rule.name!r}",
        )
    return prioritize(on_arrival(reqs, server), resolve(rule))  # pyright: ignore[reportArgumentType]
