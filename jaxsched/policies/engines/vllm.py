"""Rules and settings for vLLM."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

import numpy as np

from jaxsched._lib.errors import InputError
from jaxsched.engine.contract import Rule
from jaxsched.model.server import NO_LIMIT, Server, require_numbers
from jaxsched.policies.engines.priority_file import write_priority_file

_INSTRUCTIONS = """\
Start the server with

    vllm serve MODEL --scheduling-policy priority

and send the number as the field "priority" of each request; vLLM serves the lowest first.
"""
#: Choices of a server that vLLM does not have, and those that it has.
_OF_VLLM = {
    "admission": ("prompt", "chunk"),
    "preemption": ("recompute",),
    "victim": ("by_policy",),
    "prefill_first": (False,),
}
_ALWAYS = ("block_size", "max_num_seqs", "max_num_batched_tokens", "enable_chunked_prefill")
_WHERE_NOT_DEFAULT = (
    "long_prefill_token_threshold",
    "long_prefill_token_threshold_adaptive",
    "watermark",
    "prefill_schedule_interval",
)


def vllm_priority(
    rule: Rule | str, path: str | os.PathLike[str], *, kv_capacity: int | None = None
) -> None:
    r"""Write a rule as a Python file that computes the ``priority`` of a request for vLLM.

    The file defines ``priority(prompt_tokens, predicted_output_tokens, *, arrival_s=0.0,
    request_class=0, client=0, ttft_slo_s=inf, tpot_slo_s=inf, weight=1.0)``, an integer, lower
    first. What the rule reads has no default there, so that no gateway leaves it out. The file
    needs neither jax nor this package. Its docstring says how to start the server.

    Integers are those of the rule, and volumes are exact. A float32 becomes the integer of the
    same order: its bits, :math:`b` if it is positive and else :math:`-(b - 2^{31})`. Every
    operation rounds as the rule says. Compilers may round differently, so that numbers differ by
    a few units in the last place from those of :func:`jaxsched.prioritize`.

    Args:
      rule: a static rule of each request alone, or the name of one.
      path: the file, such as ``priority.py``.
      kv_capacity: tokens of the server's cache, for rules that use it.

    Raises:
      ValueError: the rule is dynamic, looks across requests, or uses what is not written out in
        plain Python; or it needs the capacity.

    Example:
      >>> import pathlib, tempfile
      >>> import jaxsched as js
      >>> with tempfile.TemporaryDirectory() as folder:
      ...     path = pathlib.Path(folder) / "priority.py"
      ...     js.export.vllm_priority("smallest_volume", path)
      ...     names = {}
      ...     exec(path.read_text(), names)
      >>> names["priority"](prompt_tokens=300, predicted_output_tokens=40)
      12820

    Source:
      vLLM 0.33, ``--scheduling-policy``, 2026: a lower value is handled earlier, ties by arrival.
    """
    write_priority_file(
        rule,
        path,
        kv_capacity,
        engine="vLLM",
        instructions=_INSTRUCTIONS,
        lower_first=True,
    )


def vllm_arguments(server: Server) -> dict[str, Any]:
    """Say the settings of a server as vLLM's engine arguments.

    Args:
      server: one server. Its clock has no setting and is left out.

    Returns:
      Values by vLLM's names, which ``vllm.LLM(**arguments)`` takes; :func:`vllm_flags` writes
      them for ``vllm serve``, and :meth:`Server.from_vllm` makes the server of them again.

    Raises:
      ValueError: there are several servers, or a choice that vLLM does not have.

    Example:
      >>> import jaxsched as js
      >>> server = js.Server(kv_capacity=16_000, max_num_seqs=64)
      >>> arguments = js.export.vllm_arguments(server)
      >>> arguments["num_gpu_blocks_override"], arguments["max_num_seqs"]
      (1001, 64)

    Source:
      Names: vLLM 0.33, ``vllm/config/scheduler.py`` and ``cache.py``, 2026.
    """
    require_numbers(server)
    for name, known in _OF_VLLM.items():
        if (value := getattr(server, name)) not in known:
            expected = " or ".join(map(repr, known))
            raise InputError(name, value, f"vLLM has no such choice; expected {expected}")
    if server.max_num_seqs is None:
        raise InputError("max_num_seqs", None, "vLLM always has a cap; give an integer")
    # One block more than are used: vLLM keeps it as the null block.
    blocks = _one(server, "kv_capacity") // _one(server, "block_size") + 1
    arguments = {"num_gpu_blocks_override": blocks}
    arguments |= {name: _one(server, name) for name in _ALWAYS}
    default = Server(kv_capacity=1)
    for name in _WHERE_NOT_DEFAULT:
        if (value := _one(server, name)) != getattr(default, name):
            arguments[name] = value
    if (longest := _one(server, "max_model_len")) != NO_LIMIT:
        arguments["max_model_len"] = longest
    if server.admission == "chunk":
        arguments["scheduler_reserve_full_isl"] = False
    return {**arguments, "scheduling_policy": server.policy}


def vllm_flags(arguments: Mapping[str, Any]) -> list[str]:
    """Write engine arguments as flags of ``vllm serve``.

    A file for ``--config`` would have to be YAML, and vLLM drops what is false in it where the
    name has underscores, or always in older releases. Flags say it either way.

    Args:
      arguments: values by vLLM's names, such as those of :func:`vllm_arguments`.

    Returns:
      A flag each, with its value.

    Example:
      >>> import jaxsched as js
      >>> js.export.vllm_flags({"max_num_seqs": 64, "enable_chunked_prefill": False})
      ['--max-num-seqs 64', '--no-enable-chunked-prefill']

    Source:
      vLLM, ``vllm/utils/argparse_utils.py``, ``load_config_file``, 2026.
    """
    written = []
    for name, value in arguments.items():
        flag = name.replace("_", "-")
        if isinstance(value, bool):
            written.append(f"--{flag}" if value else f"--no-{flag}")
        else:
            written.append(f"--{flag} {value}")
    return written


def _one(server: Server, name: str) -> Any:
    values = np.asarray(getattr(server, name))
    if values.ndim:
        raise InputError(
            name, values, "expected one number; take one server of the grid", finding="is an array"
        )
    return values.item()
