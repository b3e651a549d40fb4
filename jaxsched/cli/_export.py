"""The command ``export``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

import jaxsched as js
from jaxsched.cli import _names as names
from jaxsched.cli import _options as options
from jaxsched.cli._backlog import kv_tokens
from jaxsched.cli._output import console_beside, require_targets

_ENGINES = ("vllm", "sglang")


def export(
    context: typer.Context,
    out: Annotated[Path, options.output("--out", "The file to write.", "FILE.py")],
    policy: options.Policy = "smallest_volume",
    engine: Annotated[
        str,
        options.rules(
            *("--engine", "vllm (default) or sglang.", "NAME"), complete=names.one_of(*_ENGINES)
        ),
    ] = "vllm",
    server: Annotated[
        str | None,
        options.server(
            *("--server", "Its KV capacity, for rules that use it.", "NAME|FILE"),
            complete=names.one_of(*names.SERVERS),
        ),
    ] = None,
    kv_capacity: Annotated[
        str | None,
        options.server("--capacity", "KV tokens instead (those of --server).", "N|server"),
    ] = None,
) -> None:
    """Write a rule as a Python file that computes priorities for an engine."""
    if engine not in _ENGINES:
        raise ValueError(f"--engine is {engine!r}; expected {' or '.join(_ENGINES)}")
    require_targets(out=out)
    tokens = None
    if server is not None or kv_capacity is not None:
        tokens = kv_tokens(kv_capacity, server)
    writers = {"vllm": js.export.vllm_priority, "sglang": js.export.sglang_priority}
    writers[engine](policy, out, kv_capacity=tokens)
    console_beside().print(f"rule saved to {out}; its first lines say how to use it")
