"""From options to the instances, clocks and rules they ask for."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import jaxsched as js
from jaxsched.cli._options import DEFAULT_REQUESTS, DEFAULT_WORKLOAD, Backlog, tokens

if TYPE_CHECKING:
    from rich.console import Console

DEFAULT_CAPACITY = 16492
DEFAULT_INSTANCES = 64


def make_backlog(options: Backlog, server: str | None, console: Console) -> js.Instance:
    """Draw or read the instances that the options describe, and say what they leave unsaid."""
    import jax

    kv_capacity = kv_tokens(options.kv_capacity, server)
    key = jax.random.key(options.seed)
    if options.trace is None:
        inst = _drawn(options, kv_capacity, key)
    else:
        inst = _read(options, kv_capacity, key, console)
    if server is not None and options.kv_capacity is None and options.workload != "uniform":
        capacity = f"KV capacity {kv_capacity:,} tokens, from {server}"
        console.print(f"{capacity}; --capacity N sets another", soft_wrap=True)
    return inst


def _drawn(options: Backlog, kv_capacity: int, key: Any) -> js.Instance:
    name, batch = _or(options.workload, DEFAULT_WORKLOAD), _or(options.batch, DEFAULT_INSTANCES)
    draw = named("workload", name, all_workloads())
    if name == "uniform":
        if options.num_requests is not None or options.kv_capacity is not None:
            raise ValueError("workload 'uniform' draws its own --requests and --capacity")
        return draw(key, batch=batch)
    return draw(key, _or(options.num_requests, DEFAULT_REQUESTS), batch, kv_capacity)


def _read(options: Backlog, kv_capacity: int, key: Any, console: Console) -> js.Instance:
    from jaxsched.workloads.traces import has_arrival_times

    path, sample = options.trace, {}
    assert path is not None
    if options.num_requests is not None or options.batch is not None:
        num_requests = _or(options.num_requests, DEFAULT_REQUESTS)
        sample = {"num_requests": num_requests, "batch": _or(options.batch, 1), "key": key}
    inst = js.traces.load(
        path, kv_capacity, drop_invalid=options.drop_invalid, **sample, **options.rows
    )
    if has_arrival_times(path, options.columns):
        note = "arrival times are not used: all requests wait from the start"
        console.print(f"{path}: {note}", soft_wrap=True)
    return inst


def all_workloads() -> dict[str, Any]:
    """Name what ``--workload`` takes."""
    return {**js.workloads.WORKLOADS, "uniform": js.workloads.uniform}


def kv_tokens(capacity: str | None, server: str | None) -> int:
    """Tokens of KV cache that ``--capacity`` and ``--server`` stand for."""
    if capacity == "server" and server is None:
        raise ValueError("--capacity server needs --server, to say which")
    if capacity in (None, "server") and server is not None:
        known = js.servers.get(server).kv_capacity
        if known is None:
            raise ValueError(
                f"{server}: says no KV capacity; give --capacity N, here or to calibrate"
            )
        return int(known)
    return DEFAULT_CAPACITY if capacity is None else tokens(capacity)


def make_clock(server: str | None, deadline_s: float | None = None) -> Any:
    """Find the clock of ``--server``; None without one."""
    if server is not None:
        return js.servers.get(server).clock
    if deadline_s is not None:
        raise ValueError("--deadline-s needs --server, which says how long a round takes")
    return None


def all_bounds() -> Mapping[str, Any]:
    """Name the bounds that ``compare`` knows."""
    from jaxsched.studies.comparing.compare import BOUNDS

    return BOUNDS


def bound_or_none(name: str) -> str | None:
    """Take what ``--bound`` names; ``none`` stands for None."""
    named("bound", name, {**all_bounds(), "none": None})
    return None if name == "none" else name


def policy_list(text: str) -> list[str]:
    """Split the names that ``--policies`` takes, each known and given once."""
    rules = [name.strip() for name in text.split(",") if name.strip()]
    for place, name in enumerate(rules):
        js.policies.make(name)  # or an error, before any work
        if name in rules[:place]:
            raise ValueError(f"--policies names {name!r} twice")
    return rules


def named(kind: str, name: str, known: Mapping[str, Any]) -> Any:
    """Look a name up, or say which are known."""
    from jaxsched._lib.registry import Registry

    return Registry(kind, known)[name]


def _or(value: Any, default: Any) -> Any:
    return default if value is None else value
