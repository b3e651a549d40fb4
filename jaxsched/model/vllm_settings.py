"""vLLM's settings by the names vLLM gives them, and what is made of each."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from jaxsched._lib.errors import MAX_INT32, InputError, integer
from jaxsched._lib.names import did_you_mean, nearest

#: Settings that a server has under the same name.
_SAME = (
    "block_size",
    "max_num_seqs",
    "max_num_batched_tokens",
    "max_model_len",
    "long_prefill_token_threshold",
    "long_prefill_token_threshold_adaptive",
    "enable_chunked_prefill",
    "watermark",
    "prefill_schedule_interval",
)
_TRANSLATED = (
    "num_gpu_blocks",
    "max_num_active_seqs",
    "scheduler_reserve_full_isl",
    "policy",
)
_SPELLINGS = {"scheduling_policy": "policy", "num_gpu_blocks_override": "num_gpu_blocks"}

#: Settings that change decisions which are not modeled: the value that is, and what others do.
_NOT_MODELED = {
    "enable_prefix_caching": (False, "requests that share a prefix would skip part of it"),
    "async_scheduling": (False, "blocks and seats would be free a step later"),
    "speculative_config": (None, "a step could give a request several tokens"),
    "num_speculative_tokens": (0, "a step could give a request several tokens"),
    "kv_transfer_config": (None, "requests would wait for KV cache from other servers"),
    "enable_lora": (False, "requests could be passed over in the queue"),
    "max_num_partial_prefills": (1, "several prompts would share the budget"),
    "pipeline_parallel_size": (1, "several batches would be in flight at once"),
    "data_parallel_size": (1, "requests would be spread over several schedulers"),
    "disable_hybrid_kv_cache_manager": (True, "layers could hold fewer blocks than others"),
    "max_num_queued_reqs": (None, "requests would be refused when the queue is long"),
    "max_num_queued_tokens": (None, "requests would be refused when the queue is long"),
}
#: Settings that change no decision of the scheduler; what they cost in time is the clock's.
_OF_NO_EFFECT = frozenset(
    [
        "model",
        "tokenizer",
        "served_model_name",
        "host",
        "port",
        "api_key",
        "seed",
        "dtype",
        "quantization",
        "load_format",
        "download_dir",
        "trust_remote_code",
        "revision",
        "tensor_parallel_size",
        "gpu_memory_utilization",
        "kv_cache_dtype",
        "enforce_eager",
        "max_logprobs",
        "disable_log_stats",
        "disable_log_requests",
        "enable_logging_iteration_details",
        "uvicorn_log_level",
        "tokenizer_mode",
        "chat_template",
    ]
)

#: What each choice of a server may be for ``vllm serve`` to take it; the first is the default.
_CHOICES_OF_VLLM = {
    "admission": ("prompt", "chunk"),
    "preemption": ("recompute",),
    "victim": ("by_policy",),
    "prefill_first": (False,),
}
_DEFAULTS = {
    "block_size": 16,
    "max_model_len": MAX_INT32,
    "long_prefill_token_threshold": 0,
    "long_prefill_token_threshold_adaptive": False,
    "enable_chunked_prefill": True,
    "watermark": 0.0,
    "prefill_schedule_interval": 1,
}


def read_settings(path: str | os.PathLike[str]) -> dict[str, Any]:
    """Read engine arguments from a JSON file.

    Args:
      path: a JSON object; names with dashes or underscores, as vLLM takes them.

    Raises:
      ValueError: the file holds no JSON object.
    """
    try:
        settings = json.loads(Path(path).read_text(encoding="utf-8"))
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"{path}: is not JSON: {error}") from error
    if not isinstance(settings, dict):
        raise ValueError(f"{path}: expected a JSON object of engine arguments")
    return settings


def server_fields(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Translate vLLM's settings to the fields of a :class:`~jaxsched.Server`.

    Raises:
      InputError: a setting is not modeled and has an effect, or is none of vLLM's.
    """
    given = {}
    for spelled, value in settings.items():
        name = spelled.lstrip("-").replace("-", "_")
        name = _SPELLINGS.get(name, name)
        if name in _NOT_MODELED:
            modeled, effect = _NOT_MODELED[name]
            if value not in (modeled, None):
                raise InputError(
                    name, value, f"only {modeled!r} is modeled; with {value!r} {effect}"
                )
        elif name in (*_SAME, *_TRANSLATED):
            given[name] = value
        elif name not in _OF_NO_EFFECT:
            near = nearest(name, (*_SAME, *_TRANSLATED))
            hint = did_you_mean(near) if near else "leave it out if it changes no decision"
            raise InputError(name, value, hint, finding="is no setting that is modeled")
    return _translated(given)


def _translated(given: dict[str, Any]) -> dict[str, Any]:
    fields = {name: given[name] for name in _SAME if given.get(name) is not None}
    block_size = fields.setdefault("block_size", 16)
    for name in ("num_gpu_blocks", "block_size", "max_num_active_seqs"):
        least = 2 if name == "num_gpu_blocks" else 1  # one block is never usable
        if isinstance(value := given.get(name), (str, bool, int, float, list, dict)):
            integer(name, value, least)
    if given.get("num_gpu_blocks") is not None:
        # vLLM keeps one block as the null block.
        fields["kv_capacity"] = (given["num_gpu_blocks"] - 1) * block_size
    if given.get("max_num_active_seqs") is not None:
        most = fields.get("max_num_seqs", 128)
        fields["max_num_seqs"] = min(given["max_num_active_seqs"], most)
    if given.get("scheduler_reserve_full_isl") is False:
        fields["admission"] = "chunk"
    if given.get("policy") is not None:
        fields["policy"] = given["policy"]
    return fields


def engine_arguments(server: Any, *, is_fcfs: bool = True) -> list[str]:
    """Write a server's settings as flags of ``vllm serve``, one a line.

    The token budget and the seats are always there, since ``vllm serve`` chooses its own. Other
    settings are where they differ from vLLM's defaults. KV memory is left to the engine.

    Args:
      server: one :class:`~jaxsched.Server`.
      is_fcfs: whether requests are served in order of arrival; else by their priority.

    Raises:
      InputError: a choice is none of vLLM's.
    """
    for name, (ours, *_) in _CHOICES_OF_VLLM.items():
        if getattr(server, name) not in _CHOICES_OF_VLLM[name]:
            raise InputError(name, getattr(server, name), f"vLLM has only {ours!r}")
    flags = [
        f"--max-num-batched-tokens {int(server.max_num_batched_tokens)}",
        f"--max-num-seqs {int(server.max_num_seqs)}",
        f"--scheduling-policy {'fcfs' if is_fcfs else 'priority'}",
    ]
    for name, default in _DEFAULTS.items():
        value = getattr(server, name)
        value = value.item() if hasattr(value, "item") else value
        if value != default:
            flags.append(_flag(name, value))
    if server.admission == "chunk":
        flags.append(_flag("scheduler_reserve_full_isl", False))
    return flags


def _flag(name: str, value: Any) -> str:
    flag = name.replace("_", "-")
    if isinstance(value, bool):
        return f"--{flag}" if value else f"--no-{flag}"
    return f"--{flag} {value}"
