"""One machine: its memory, its limits, what it admits and evicts, and how long a step takes."""

from __future__ import annotations

import dataclasses
import os
from typing import Any, Literal, get_args

import numpy as np
from jax.core import Tracer

from jaxsched._lib.errors import InputError, choice, reject, shown
from jaxsched._lib.pytree import exported, pytree, static
from jaxsched._lib.shown import are_numbers, span
from jaxsched.model.clock import LinearClock
from jaxsched.model.vllm_settings import read_settings, server_fields

Policy = Literal["fcfs", "priority"]
Discipline = Literal["strict", "earliest_fit"]
Admission = Literal["prompt", "chunk", "peak", "look_ahead"]
Preemption = Literal["recompute", "swap", "restart", "never"]
Victim = Literal[
    "by_policy",
    "last_admitted",
    "worst_priority",
    "least_computed",
    "most_memory",
    "longest_remaining",
]

_CHOICES = {
    "policy": Policy,
    "discipline": Discipline,
    "admission": Admission,
    "preemption": Preemption,
    "victim": Victim,
}
NO_LIMIT = 2**31 - 1


@exported
@pytree
class Server:
    """One machine that serves requests; settings carry the names that vLLM gives them.

    Numbers are leaves: one each, or one for each of many servers ``[..]``, so that a sweep over
    settings is one call. Choices are static. The defaults are those of vLLM's own classes.

    Attributes:
      kv_capacity: tokens the KV cache holds.
      clock: how long a step takes; None counts steps, each a second long.
      block_size: tokens a block of the cache holds.
      max_num_seqs: most requests that run at once; None for no cap, in backlogs alone.
      max_num_batched_tokens: most tokens computed in a step, the budget.
      max_model_len: most tokens of a request, prompt and output together.
      long_prefill_token_threshold: most prompt tokens of one request in a step where others
        are in the system; 0 for no such limit.
      long_prefill_token_threshold_adaptive: raise that to an equal share of the budget.
      enable_chunked_prefill: whether a prompt longer than the budget left may start.
      watermark: share of the blocks to be kept free when a request is admitted beside others.
      prefill_schedule_interval: start prompts only every so many steps while others decode.
      swap_s_per_token: seconds to move one token's KV cache to the host or back.
      policy: the order of the queue where no rule is named: ``"fcfs"``, or ``"priority"`` by the
        requests' own. Static.
      admission: what must fit before a request starts: ``"prompt"`` all its known tokens (vLLM),
        ``"chunk"`` its first chunk, ``"peak"`` prompt and predicted output of all that run,
        ``"look_ahead"`` every future round by predicted lengths. Static.
      preemption: what becomes of a request that is evicted: ``"recompute"`` its tokens (vLLM),
        ``"swap"`` them to the host, ``"restart"`` without them, ``"never"``. Static.
      victim: who is evicted; ``"by_policy"`` is vLLM's choice: the last admitted under first
        come first served, the worst priority under any other rule. ``js.serve`` also takes a
        ``victim_rule``. Static.
      prefill_first: whether steps prefill only while a prompt can start, and decode only
        otherwise, as SGLang does. Static.
      discipline: how a backlog is placed, see :func:`jaxsched.simulate`. Static.

    Example:
      >>> import jaxsched as js
      >>> js.Server(kv_capacity=384_000, max_num_seqs=256)
      Server(kv_capacity=384000, block_size=16, max_num_seqs=256, max_num_batched_tokens=2048)

    Source:
      Names, defaults and meanings: vLLM 0.33, ``vllm/v1/core/sched/scheduler.py``, 2026. Peak,
      look-ahead and restart: Jaillet et al., 2025, arXiv:2502.07115.
    """

    kv_capacity: Any
    clock: LinearClock | None = None
    block_size: Any = 16
    max_num_seqs: Any = 128
    max_num_batched_tokens: Any = 2048
    max_model_len: Any = NO_LIMIT
    long_prefill_token_threshold: Any = 0
    long_prefill_token_threshold_adaptive: Any = False
    enable_chunked_prefill: Any = True
    watermark: Any = 0.0
    prefill_schedule_interval: Any = 1
    swap_s_per_token: Any = 0.0
    policy: Policy = static(default="fcfs")
    admission: Admission = static(default="prompt")
    preemption: Preemption = static(default="recompute")
    victim: Victim = static(default="by_policy")
    prefill_first: bool = static(default=False)
    discipline: Discipline = static(default="strict")

    def __post_init__(self) -> None:
        """Refuse choices that there are not; numbers may be traced and are checked on use."""
        for name, choices in _CHOICES.items():
            choice(name, getattr(self, name), get_args(choices))

    @classmethod
    def from_vllm(
        cls,
        path: str | os.PathLike[str] | None = None,
        *,
        clock: LinearClock | None = None,
        kv_capacity: Any = None,
        **settings: Any,
    ) -> Server:
        """Make the server that vLLM's settings describe, by vLLM's names and defaults.

        Args:
          path: a JSON file of engine arguments; those given here count before it.
          clock: how long a step takes; None counts steps.
          kv_capacity: tokens the cache holds, where ``num_gpu_blocks`` does not say so.
          settings: ``num_gpu_blocks``, ``block_size``, ``max_num_seqs``,
            ``max_num_batched_tokens``, ``max_model_len``, ``enable_chunked_prefill``,
            ``long_prefill_token_threshold``, ``long_prefill_token_threshold_adaptive``,
            ``policy``, ``watermark``, ``scheduler_reserve_full_isl``, ``max_num_active_seqs``,
            ``prefill_schedule_interval``. Settings that change no decision are passed over.

        Returns:
          The server.

        Raises:
          ValueError: a setting is not modeled, in which case the message says what it would
            change; or a number is out of its range.

        Example:
          >>> import jaxsched as js
          >>> js.Server.from_vllm(num_gpu_blocks=1001, max_num_seqs=64)
          Server(kv_capacity=16000, block_size=16, max_num_seqs=64, max_num_batched_tokens=2048)
        """
        read = {} if path is None else read_settings(path)
        try:
            fields = server_fields({**read, **settings})
            if kv_capacity is not None:
                fields["kv_capacity"] = kv_capacity
            if "kv_capacity" not in fields:
                remedy = "give it, or kv_capacity in tokens"
                raise InputError("num_gpu_blocks", None, remedy, finding="is missing")
            return require_numbers(cls(clock=clock, **fields))
        except InputError as error:
            if path is None or error.argument in settings:
                raise
            raise ValueError(f"{path}: {error}") from error

    def __repr__(self) -> str:
        """Memory and limits, and the settings that are not vLLM's defaults."""
        shown = []
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            is_default = not hasattr(value, "shape") and value == field.default
            if field.name in _ALWAYS_SHOWN or not is_default:
                shown.append(f"{field.name}={_text(value)}")
        return f"Server({', '.join(shown)})"


def require_server(server: Any) -> Server:
    """Return the server, or raise for anything else, such as the name of one.

    Example:
      >>> from jaxsched.model.server import require_server
      >>> require_server("llama3.1_8b_h100")
      Traceback (most recent call last):
      jaxsched._lib.errors.InputError: server is 'llama3.1_8b_h100'; expected a jaxsched.Server; ...
    """
    if isinstance(server, Server):
        return server
    remedy = ', such as js.servers.get("llama3.1_8b_h100")'
    if isinstance(server, str):
        remedy = f"; did you mean js.servers.get({shown(server)})?"
    raise InputError("server", server, f"expected a jaxsched.Server{remedy}")


def require_numbers(server: Server) -> Server:
    """Return the server if its numbers are in range, or raise; traced ones are let through."""
    require_server(server)
    for name, least in _LEAST.items():
        value = getattr(server, name)
        if isinstance(value, Tracer) or (value is None and name == "max_num_seqs"):
            continue
        array = np.asarray(value)
        is_whole = array.dtype.kind in "iu" or name in _FRACTIONS
        if array.dtype.kind not in "iuf" or not is_whole:
            kind = "a number" if name in _FRACTIONS else "an integer"
            raise InputError(name, value, f"expected {kind} >= {least}")
        reject(name, array, ~(array >= least), f"expected a number >= {least}")
        reject(name, array, array > NO_LIMIT, "expected at most 2^31 - 1")
    for name in _FLAGS:
        value = getattr(server, name)
        if not isinstance(value, Tracer) and np.asarray(value).dtype.kind != "b":
            raise InputError(name, value, "expected True or False")
    return server


_FLAGS = ("enable_chunked_prefill", "long_prefill_token_threshold_adaptive", "prefill_first")
_FRACTIONS = ("watermark", "swap_s_per_token")
_LEAST = {
    "kv_capacity": 1,
    "block_size": 1,
    "max_num_seqs": 1,
    "max_num_batched_tokens": 1,
    "max_model_len": 1,
    "long_prefill_token_threshold": 0,
    "prefill_schedule_interval": 1,
    "watermark": 0,
    "swap_s_per_token": 0,
}
_ALWAYS_SHOWN = ("kv_capacity", "block_size", "max_num_seqs", "max_num_batched_tokens")


def _text(value: Any) -> str:
    if isinstance(value, (np.ndarray, np.generic)) or hasattr(value, "shape"):
        return span(value) if are_numbers(value) else repr(value)
    return repr(value)
